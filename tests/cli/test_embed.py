import io
import json
import os
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import tiny
from nlpx.embed import windows
from nlpx.embed.encoder import SentenceEncoder

LINES = [row["source"] for row in tiny.rows(90)]


@pytest.fixture(autouse=True)
def _in_a_folder_with_texts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(windows, "WINDOW_TEXTS", 20)
    tiny.write_rows(Path("texts.txt"), LINES)
    tiny.bert(Path("model"), "BertModel")


def expected(texts=LINES, pooling="first-last-avg", **settings):
    encoder = SentenceEncoder.load("model", poolings=(pooling,), precision="float32", device="cpu", **settings)
    return encoder.encode(texts)[pooling]


def words(*more):
    return ("embed", "texts.txt", "--model", "model", "--precision", "float32", "--device", "cpu", *more)


def process(*arguments, **given):
    command = [sys.executable, "-m", "nlpx_cli", *arguments]
    return subprocess.run(command, capture_output=True, check=False, **given)


def test_a_vector_a_line(nlpx):
    outcome = nlpx(*words("-o", "emb.npy"))
    assert (outcome.code, outcome.out) == (0, "emb.npy\n")
    assert "90 vectors of 16 numbers by model, pooling first-last-avg, float32" in outcome.err
    made = np.load("emb.npy")
    assert made.shape == (90, 16)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, expected(), atol=1e-5)
    assert sorted(path.name for path in Path().iterdir()) == ["emb.npy", "model", "texts.txt"]
    assert nlpx(*words("-o", "emb.npy", "--quiet")) == (0, "emb.npy\n", "")
    facts = json.loads(nlpx(*words("-o", "emb.npy", "--json")).out)
    assert facts == {
        "paths": ["emb.npy"], "rows": 90, "columns": 16, "empty": 0, "model": "model", "pooling": "first-last-avg",
        "dtype": "float32", "max_length": 24, "precision": "float32", "device": "cpu",
        "prompt": "",
    }  # fmt: skip


@pytest.mark.parametrize("pooling", ["mean", "cls", "pooler"])
def test_poolings(nlpx, pooling):
    assert nlpx(*words("-o", "emb.npy", "--pooling", pooling)).code == 0
    np.testing.assert_allclose(np.load("emb.npy"), expected(pooling=pooling), atol=1e-5)


def test_settings_that_change_the_vectors(nlpx):
    assert nlpx(*words("-o", "emb.npy", "--max-length", "5")).code == 0
    np.testing.assert_allclose(np.load("emb.npy"), expected(max_length=5), atol=1e-5)
    assert not np.allclose(np.load("emb.npy"), expected(), atol=1e-2)
    assert nlpx(*words("-o", "half.npy", "--dtype", "float16")).code == 0
    half = np.load("half.npy")
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, expected(), rtol=1e-3, atol=1e-4)
    assert nlpx(*words("-o", "narrow.npy", "--precision", "bfloat16")).code == 0
    wide, narrow = expected(), np.load("narrow.npy")
    cosines = (wide * narrow).sum(1) / np.linalg.norm(wide, axis=1) / np.linalg.norm(narrow, axis=1)
    assert 0.99 < cosines.min() < 1 - 1e-9


def test_empty_lines_are_zeros_with_one_warning(nlpx):
    lines = ["", *LINES[:30], "", "  ", *LINES[30:], ""]
    tiny.write_rows(Path("texts.txt"), lines)
    outcome = nlpx(*words("-o", "emb.npy"))
    assert outcome.code == 0
    assert outcome.err.count("Warning") == 1
    assert "4 of 94 texts are empty: their vectors are zeros" in outcome.err
    np.testing.assert_allclose(np.load("emb.npy"), expected(lines), atol=1e-5)
    assert (~np.load("emb.npy").any(axis=1)).nonzero()[0].tolist() == [0, 31, 32, 93]
    assert "empty" not in nlpx(*words("-o", "emb.npy", "--quiet")).err


def test_shards_are_the_single_file(nlpx):
    assert nlpx(*words("-o", "whole.npy", "--quiet")).code == 0
    outcome = nlpx(*words("-o", "out/emb.npy", "--shard", "37"))
    paths = [f"out/emb-0000{number}.npy" for number in range(3)]
    assert outcome.out.split() == paths
    parts = [np.load(path) for path in paths]
    assert [len(part) for part in parts] == [37, 37, 16]
    assert np.concatenate(parts).tobytes() == np.load("whole.npy").tobytes()
    assert "earlier run" not in outcome.err
    outcome = nlpx(*words("-o", "out/emb.npy", "--shard", "60"))
    assert "from an earlier run, and no part of this one: out/emb-00002.npy" in outcome.err


def test_rows_and_several_files(nlpx):
    rows = [{"title": line, "x": 1} for line in LINES]
    tiny.write_rows(Path("rows.jsonl"), [*rows[:50], {"title": None}, *rows[50:]])
    Path("table.csv").write_text("title,x\n" + "".join(f"{line},1\n" for line in LINES), encoding="utf-8")
    common = ("--model", "model", "--precision", "float32", "--field", "title", "--quiet")
    assert nlpx("embed", "rows.jsonl", "table.csv", *common, "-o", "emb.npy").code == 0
    np.testing.assert_allclose(np.load("emb.npy"), expected([*LINES[:50], "", *LINES[50:], *LINES]), atol=1e-5)
    outcome = nlpx("embed", "rows.jsonl", "--model", "model", "-o", "emb.npy")
    assert outcome.code == 3
    assert "rows.jsonl:1: no field `text`" in outcome.err
    assert "choose with --field" in outcome.err


def test_in_a_pipe(nlpx):
    assert nlpx(*words("-o", "emb.npy", "--quiet")).code == 0
    text = Path("texts.txt").read_bytes()
    common = ("--model", "model", "--precision", "float32")
    done = process("embed", "-", *common, input=text)
    assert np.array_equal(np.load(io.BytesIO(done.stdout)), np.load("emb.npy"))
    assert b"90 vectors" in done.stderr
    assert done.returncode == 0
    assert process("embed", *common, "--quiet", input=text).stdout == done.stdout
    whitened = process("whiten", "-", "-o", "w.npy", "--quiet", input=done.stdout)
    assert (whitened.returncode, whitened.stdout) == (0, b"w.npy\n")
    assert np.load("w.npy").shape == (90, 16)


def test_the_shipped_model_is_the_default(nlpx):
    tiny.write_rows(Path("few.txt"), ["今天天气很好", "明天天气不错", "他在银行工作"])
    assert nlpx("embed", "few.txt", "-o", "emb.npy", "--quiet") == (0, "emb.npy\n", "")
    first, second, third = np.load("emb.npy")
    assert first @ second > first @ third


KILLED = """
import os, signal, sys
from nlpx.embed import vectors, windows
windows.WINDOW_TEXTS = 20
place, written = sys.argv.pop(1), 0
usual = vectors.VectorWriter.write
def write(self, part):
    global written
    written += 1
    if place == "in a window" and written == 3:
        self.stream.write(b"half"); self.stream.flush(); os.kill(os.getpid(), signal.SIGKILL)
    if place == "in the result" and written == 7:
        self.stream.flush(); os.kill(os.getpid(), signal.SIGKILL)
    usual(self, part)
    if place == "between" and written == 3 and len(part) == 20:
        self.stream.flush(); os.kill(os.getpid(), signal.SIGKILL)
vectors.VectorWriter.write = write
from nlpx_cli.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("place", "kept"), [("in a window", 40), ("between", 40), ("in the result", 90)], ids=lambda value: str(value)
)
def test_after_a_kill_the_same_command_goes_on(nlpx, place, kept):
    assert nlpx(*words("-o", "whole.npy", "--quiet")).code == 0
    Path("emb.npy").write_bytes(b"an older file")
    done = subprocess.run([sys.executable, "-c", KILLED, place, *words("-o", "emb.npy")], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert Path("emb.npy").read_bytes() == b"an older file"
    finished = [path for path in Path("emb.npy.parts").iterdir() if not path.name.startswith(".")]
    assert sum(len(np.load(path)) for path in finished) == kept
    outcome = nlpx(*words("-o", "emb.npy"))
    assert outcome.code == 0
    assert f"{kept} texts had been embedded before" in outcome.err
    assert Path("emb.npy").read_bytes() == Path("whole.npy").read_bytes()
    assert not list(Path().glob("*.parts"))
    assert not list(Path().glob(".*"))


def test_what_another_command_left_is_not_taken(nlpx):
    subprocess.run([sys.executable, "-c", KILLED, "between", *words("-o", "emb.npy")], capture_output=True)
    assert len(list(Path("emb.npy.parts").glob("0*"))) == 2
    tiny.write_rows(Path("texts.txt"), [*LINES[:25], "改", *LINES[26:]])
    outcome = nlpx(*words("-o", "emb.npy"))
    assert "20 texts had been embedded before" in outcome.err  # the first window, which is as it was
    np.testing.assert_allclose(np.load("emb.npy"), expected([*LINES[:25], "改", *LINES[26:]]), atol=1e-5)
    subprocess.run([sys.executable, "-c", KILLED, "between", *words("-o", "emb.npy")], capture_output=True)
    outcome = nlpx(*words("-o", "emb.npy", "--pooling", "mean"))
    assert outcome.code == 0
    assert "before" not in outcome.err
    subprocess.run([sys.executable, "-c", KILLED, "between", *words("-o", "emb.npy")], capture_output=True)
    tiny.bert(Path("model"), "BertModel", initializer_range=0.03)  # a model of the same name
    os.utime("model/model.safetensors", (1, 1))
    assert "before" not in nlpx(*words("-o", "emb.npy")).err


def test_ctrl_c_keeps_what_is_done(nlpx, monkeypatch):
    usual, calls = SentenceEncoder.encode, []

    def interrupted(self, texts):
        calls.append(texts)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return usual(self, texts)

    monkeypatch.setattr(SentenceEncoder, "encode", interrupted)
    outcome = nlpx(*words("-o", "emb.npy"))
    assert (outcome.code, outcome.out) == (130, "")
    assert "what is done is kept in emb.npy.parts: the same command continues from there" in outcome.err
    assert "40 texts had been embedded before" in nlpx(*words("-o", "emb.npy")).err
    assert len(calls) == 6


def test_two_processes_make_the_same_file(nlpx, monkeypatch):
    monkeypatch.setattr(windows, "WINDOW_TEXTS", 4096)
    many = LINES * 100
    many[4500] = ""
    tiny.write_rows(Path("texts.txt"), many)
    assert nlpx(*words("-o", "alone.npy", "--quiet")).code == 0
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "nlpx_cli"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}

    def together(*more):
        return subprocess.run([*command, *words(*more)], capture_output=True, text=True, check=False, env=environment)

    done = together("-o", "together.npy")
    assert (done.returncode, done.stdout) == (0, "together.npy\n"), done.stderr
    assert done.stderr.count("9,000 vectors") == 1
    assert done.stderr.count("1 of 9,000 texts are empty") == 1
    assert Path("together.npy").read_bytes() == Path("alone.npy").read_bytes()
    done = together("-o", "-")
    assert done.returncode != 0
    assert "several processes cannot share stdin and stdout" in done.stderr


def test_memory_does_not_follow_the_number_of_lines(nlpx, monkeypatch):
    monkeypatch.setattr(windows, "WINDOW_TEXTS", 200)

    def peak(num_texts):
        texts = (LINES[number % 90] + LINES[number % 89] for number in range(num_texts))
        monkeypatch.setattr("nlpx.data.corpus.texts.read_texts", lambda *_, **__: texts)
        tracemalloc.start()
        try:
            assert nlpx(*words("-o", "emb.npy", "--quiet")).code == 0
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(400)  # imports
    few, many = peak(1000), peak(10_000)
    assert np.load("emb.npy").shape == (10_000, 16)
    assert many < 1.2 * few, (few, many)


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (("--pooling", "max", "-o", "e.npy"), 2, "'max' is not one of"),
        (("--shard", "5"), 2, "stdout is one stream: --shard needs -o FILE"),
        (("-o", "model"), 2, "model is a folder"),
        (("-o", "texts.txt"), 2, "texts.txt is to be read and written at once"),
        (("-o", "e.npy", "--encoding", "klingon"), 2, "unknown encoding `klingon`"),
        (("-o", "e.npy", "--device", "gpu"), 2, "unknown device `gpu`"),
        (("-o", "e.npy", "--model", "nowhere/"), 3, "nowhere/: no such file or directory"),
        (("-o", "e.npy", "--model", "char-tiny", "--pooling", "pooler"), 3, "char-tiny has no pooler"),
        (("missing.txt", "-o", "e.npy"), 3, "missing.txt: no such file"),
        (("empty.txt", "-o", "e.npy"), 0, "90 vectors"),
        (("broken.txt", "-o", "e.npy"), 3, "broken.txt:2: not UTF-8 at byte 4"),
    ],
    ids=str,
)
def test_what_is_refused(nlpx, more, code, said):
    Path("empty.txt").write_bytes(b"")
    Path("broken.txt").write_bytes("春\n".encode() + b"\xff\xff\n")
    outcome = nlpx(*words(*more))
    assert outcome.code == code, outcome.err
    assert said in outcome.err, outcome.err
    assert outcome.out == "" or code == 0
    assert code == 0 or not Path("e.npy").exists()
    assert "Traceback" not in outcome.err


def test_no_text_at_all(nlpx):
    Path("texts.txt").write_bytes(b"")
    outcome = nlpx(*words("-o", "e.npy"))
    assert outcome.code == 3
    assert "texts.txt: not one text in it" in outcome.err
    assert not Path("e.npy").exists()
    assert not Path("e.npy.parts").exists()


def test_terminals_are_no_place_for_vectors(nlpx, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    outcome = nlpx(*words())
    assert outcome.code == 2
    assert "-o emb.npy writes them to a file" in outcome.err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    outcome = nlpx("embed")
    assert outcome.code == 2
    assert "no texts: stdin is a terminal" in outcome.err


def test_a_reader_that_leaves_early():
    tiny.write_rows(Path("texts.txt"), LINES * 100)
    line = f"{sys.executable} -m nlpx_cli {' '.join(words('--quiet'))} | head -c 1 > /dev/null"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {line}"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
