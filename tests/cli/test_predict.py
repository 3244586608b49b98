"""`nlpx predict`: rows in, the same rows with an answer out, in order, as they come."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import tiny
from nlpx import load_model, load_tokenizer
from nlpx.jobs import predict as job
from nlpx.jobs.predict import as_they_arrive, in_windows


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with one finished run and the rows it was trained on."""
    from nlpx_cli.__main__ import main

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("predict")
    tiny.write_rows(folder / "rows.jsonl", tiny.rows(80))
    with chdir(folder):
        words = tiny.settings(*tiny.SMALL, "optim.learning_rate=0.02", "train.epochs=3", "train.precision=float32")
        assert main(["finetune", "--data", "rows.jsonl", *words, "--quiet"]) == 0
    return folder


@pytest.fixture(autouse=True)
def _at_home(home, monkeypatch):
    monkeypatch.chdir(home)


def answers(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_rows_come_back_in_order_with_an_answer(nlpx):
    outcome = nlpx("predict", "last", "rows.jsonl")
    assert (outcome.code, outcome.err) == (0, "")
    given = tiny.rows(80)
    for row, answer in zip(given, answers(outcome.out), strict=True):
        assert set(answer) == {*row, "label", "probability"}
        assert {key: answer[key] for key in row} == row
        assert answer["label"] == int(answer["probability"] >= 0.5)
    assert "\\u" not in outcome.out
    assert len({answer["probability"] for answer in answers(outcome.out)}) > 40


def test_the_answers_are_those_of_the_best_checkpoint(nlpx):
    """Computed by hand, one row at a time; the averaged weights of `best`, not the raw ones of `last`."""
    run = Path("runs") / Path("runs/last").read_text(encoding="utf-8").strip()
    best, last = (load_file(run / "checkpoints" / name / "model.safetensors") for name in ("best", "last"))
    assert any(not torch.equal(best[name], last[name]) for name in best)
    model = load_model(run / "checkpoints" / "best", head="classification")
    tokenizer = load_tokenizer(run / "checkpoints" / "best")
    given = tiny.rows(80)[:12]
    got = answers(nlpx("predict", "last", "rows.jsonl").out)[:12]
    for row, answer in zip(given, got, strict=True):
        encoding = tokenizer.encode(row["source"], row["target"], max_length=24)
        condition = torch.tensor([tiny.VARIANTS.index(row["variant"])])
        ids, segments = torch.tensor([encoding.token_ids]), torch.tensor([encoding.segment_ids])
        with torch.no_grad():
            logits = model(ids, segments, condition=condition).logits
        assert answer["probability"] == pytest.approx(logits.softmax(-1)[0, 1].item(), abs=2e-6)


def test_the_same_run_by_path_name_last_and_checkpoint(nlpx):
    name = Path("runs/last").read_text(encoding="utf-8").strip()
    expected = nlpx("predict", "last", "rows.jsonl")
    for reference in (f"runs/{name}", name, f"runs/{name}/checkpoints/best"):
        assert nlpx("predict", reference, "rows.jsonl") == expected


def test_packed_rows_and_rows_from_stdin(nlpx, monkeypatch):
    expected = nlpx("predict", "last", "rows.jsonl").out
    with gzip.open("rows.jsonl.gz", "wb") as packed:
        packed.write(Path("rows.jsonl").read_bytes())
    assert nlpx("predict", "last", "rows.jsonl.gz").out == expected
    for words in (("-",), ()):
        stdin = io.TextIOWrapper(io.BytesIO(Path("rows.jsonl").read_bytes()), encoding="utf-8")
        monkeypatch.setattr("sys.stdin", stdin)
        got = answers(nlpx("predict", "last", *words).out)
        for answer, other in zip(got, answers(expected), strict=True):  # other batches, so not to the last bit
            assert answer.pop("probability") == pytest.approx(other.pop("probability"), abs=1e-5)
            assert answer == other


def test_a_terminal_is_not_waited_for(nlpx, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    assert nlpx("predict", "last") == (
        2, "", "Error: no rows: stdin is a terminal\n  name a file, or pipe rows into the command\n",
    )  # fmt: skip


def test_csv_of_the_contest(nlpx, tmp_path):
    folder = tiny.contest(tmp_path / "contest")
    source = folder / tiny.FOLDERS[1] / "test_with_id.txt"
    outcome = nlpx("predict", "last", str(source), "--format", "csv", "--columns", "id,label")
    lines = list(csv.reader(io.StringIO(outcome.out)))
    assert (outcome.code, outcome.err, lines[0]) == (0, "", ["id", "label"])
    assert [line[0] for line in lines[1:]] == [f"{tiny.FOLDERS[1]}{number}" for number in range(4)]
    labels = [str(answer["label"]) for answer in answers(nlpx("predict", "last", str(source)).out)]
    assert [line[1] for line in lines[1:]] == labels
    got = answers(nlpx("predict", "last", str(source)).out)
    assert {answer["variant"] for answer in got} == {"ssB"}  # from the folder's name


def test_columns_must_be_there(nlpx):
    tiny.write_rows(Path("bare.jsonl"), [{"source": "春", "target": "夏", "variant": "ssA"}])
    assert nlpx("predict", "last", "bare.jsonl", "--columns", "id,label") == (
        3, "", "Error: row 1 has no `id`\n  its columns: source, target, variant, label, probability\n",
    )  # fmt: skip


def test_a_file_as_output(nlpx):
    expected = nlpx("predict", "last", "rows.jsonl").out
    assert nlpx("predict", "last", "rows.jsonl", "-o", "answers.jsonl") == (0, "", "")
    assert Path("answers.jsonl").read_text(encoding="utf-8") == expected
    tiny.write_rows(Path("bad.jsonl"), [*tiny.rows(3), "{"])
    assert nlpx("predict", "last", "bad.jsonl", "-o", "answers.jsonl").code == 3
    assert Path("answers.jsonl").read_text(encoding="utf-8") == expected  # whole or not at all
    assert [path.name for path in Path().iterdir() if ".tmp" in path.name] == []


def test_rows_before_a_bad_one_are_answered(nlpx):
    given = tiny.rows(40)
    tiny.write_rows(Path("bad.jsonl"), [*given[:35], '{"source": "春"}', *given[35:]])
    outcome = nlpx("predict", "last", "bad.jsonl")
    assert outcome.code == 3
    assert [answer["id"] for answer in answers(outcome.out)] == [row["id"] for row in given[:35]]
    assert outcome.err.startswith("Error: bad.jsonl:36: lacks the field `target`: ")
    outcome = nlpx("predict", "last", "bad.jsonl", "--on-bad-row", "skip")
    assert outcome.code == 0
    assert [answer["id"] for answer in answers(outcome.out)] == [row["id"] for row in given]
    assert outcome.err.startswith("Warning: 1 bad rows were left out; the first: bad.jsonl:36: lacks the field")


def test_bad_rows_from_stdin(nlpx, monkeypatch):
    lines = [json.dumps(row, ensure_ascii=False) for row in tiny.rows(10)] + ["{"]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\n".join(lines).encode()), encoding="utf-8"))
    outcome = nlpx("predict", "last", "-")
    assert (outcome.code, len(answers(outcome.out))) == (3, 10)
    assert outcome.err.startswith("Error: stdin:11: not JSON")


def test_texts_longer_than_the_model_and_empty_ones(nlpx):
    pair = {"variant": "llA", "id": "1"}
    texts = [pair | {"source": "春" * 500, "target": "夏" * 300}, pair | {"source": "", "target": ""}]
    tiny.write_rows(Path("odd.jsonl"), texts)
    outcome = nlpx("predict", "last", "odd.jsonl")
    assert (outcome.code, outcome.err, len(answers(outcome.out))) == (0, "", 2)


def test_what_is_no_run(nlpx, tmp_path):
    outcome = nlpx("predict", "nothing", "rows.jsonl")
    assert outcome == (2, "", "Error: no run at nothing\n  `nlpx runs list` shows the runs\n")
    outcome = nlpx("predict", str(tmp_path), "rows.jsonl")
    assert outcome == (
        3, "", f"Error: {tmp_path}: not a run folder: no manifest.json\n  `nlpx runs list` shows the runs\n",
    )  # fmt: skip
    outcome = nlpx("predict", "last", "none.jsonl")
    assert (outcome.code, outcome.out) == (3, "")
    assert outcome.err.startswith("Error: none.jsonl")


def test_a_run_without_a_checkpoint(nlpx, tmp_path):
    name = Path("runs/last").read_text(encoding="utf-8").strip()
    run = tmp_path / "copy"
    run.mkdir()
    (run / "manifest.json").write_bytes(Path("runs", name, "manifest.json").read_bytes())
    outcome = nlpx("predict", str(run), "rows.jsonl")
    assert (outcome.code, outcome.out) == (3, "")
    assert "the run has no checkpoint to predict with" in outcome.err


def test_a_kill_between_two_renames_costs_nothing(nlpx):
    run = Path("runs") / Path("runs/last").read_text(encoding="utf-8").strip()
    expected = nlpx("predict", "last", "rows.jsonl")
    best = run / "checkpoints" / "best"
    best.rename(best.with_name("best.old"))
    assert nlpx("predict", "last", "rows.jsonl") == expected


def test_errors_as_json(nlpx):
    outcome = nlpx("predict", "nothing", "rows.jsonl", "--json")
    assert (outcome.code, outcome.out) == (2, "")
    assert json.loads(outcome.err) == {
        "error": "no run at nothing",
        "hint": "`nlpx runs list` shows the runs",
        "exit": 2,
    }


# --- streams, which need a process of their own


def start(*words: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "nlpx_cli", "predict", *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment)


def test_the_first_answer_comes_while_stdin_is_open():
    process = start("last", "-")
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    for row in tiny.rows(3):  # each is answered before the next is sent
        process.stdin.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == row["id"]
    out, err = process.communicate()
    assert (process.returncode, out, err) == (0, b"", b"")


@pytest.mark.skipif(os.name == "nt", reason="no pipes of this kind")
@pytest.mark.parametrize("stdin_stays_open", [False, True])
def test_a_reader_that_leaves_is_no_error(stdin_stays_open):
    process = start("last", "-" if stdin_stays_open else "many.jsonl")
    tiny.write_rows(Path("many.jsonl"), tiny.rows(3000))
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    sent = Path("many.jsonl").read_bytes()
    if stdin_stays_open:
        process.stdin.write(sent[: sent.index(b"\n") + 1])
        process.stdin.flush()
    assert json.loads(process.stdout.readline())["id"] == "r0"
    process.stdout.close()
    if stdin_stays_open:
        process.stdin.write(sent[sent.index(b"\n") + 1 :][:20_000])
        process.stdin.flush()
    assert process.stderr.read() == b""
    assert process.wait(60) == 0
    process.stdin.close()


@pytest.mark.usefixtures("nlpx")
def test_an_endless_stream_is_read_only_as_far_as_it_is_answered():
    """Constant memory: no more rows are taken in than the queue and a window hold."""
    taken = 0

    def rows() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    size = 16
    windows = as_they_arrive(rows(), size)
    seen = [row for _ in range(50) for row in next(windows)]
    assert seen == list(range(1, len(seen) + 1))
    assert taken <= len(seen) + 2 * size + 2
    from_file = in_windows(iter(range(10**9)), 128)
    assert [len(next(from_file)) for _ in range(5)] == [32, 64, 128, 128, 128]
    assert job.WINDOW < 10_000


# Forms of input and output, with a classifier of three classes


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> str:
    """The path of a finished run over texts of three classes."""
    from nlpx_cli.__main__ import main

    folder = tmp_path_factory.mktemp("classifier")
    lines = [f"第{number}条{'春夏秋'[number % 3]},{'甲乙丙'[number % 3]}" for number in range(60)]
    (folder / "train.csv").write_text("\n".join(["text,label", *lines]) + "\n", encoding="utf-8")
    with chdir(folder):
        small = [setting for setting in tiny.SMALL if "condition_size" not in setting]
        words = tiny.settings(*small, "train.epochs=1", "train.precision=float32")
        arguments = ["--task", "classify", "--data", "train.csv", "--out", "run", *words, "--quiet"]
        assert main(["finetune", *arguments]) == 0
    return str(folder / "run")


def test_every_line_of_plain_text_has_its_answer(nlpx, classifier):
    Path("lines.txt").write_text("春天\n\n夏天\n", encoding="utf-8")
    outcome = nlpx("predict", classifier, "lines.txt")
    assert [answer["text"] for answer in answers(outcome.out)] == ["春天", "", "夏天"]
    assert outcome.err == "Warning: 1 row has no text: the labels there come from nothing\n"


def test_rows_of_every_form_get_the_same_answers(nlpx, classifier):
    from nlpx.data.rows.writing import write_rows

    rows = [{"text": f"第{number}条"} for number in range(6)]
    expected = [answer["probability"] for answer in answers(_predicted(nlpx, classifier, rows, "a.jsonl"))]
    for name in ("a.csv", "a.tsv", "a.parquet"):
        write_rows(rows, name, format=name.partition(".")[2])
        got = [answer["probability"] for answer in answers(nlpx("predict", classifier, name).out)]
        assert got == expected
    bare = "".join(f"第{number}条\t甲\n" for number in range(6))  # as finetune reads it, a label that is not looked at
    Path("bare.txt").write_text(bare, encoding="utf-8")
    outcome = nlpx("predict", classifier, "bare.txt")
    assert [answer["probability"] for answer in answers(outcome.out)] == expected
    assert "the first line is a row, not a header" in outcome.err
    Path("gb.data").write_text("text\n" + "".join(f"{row['text']}\n" for row in rows), encoding="gb18030")
    outcome = nlpx("predict", classifier, "gb.data", "--input-format", "csv", "--encoding", "auto")
    assert [answer["probability"] for answer in answers(outcome.out)] == expected


def _predicted(nlpx, run: str, rows: list[dict[str, object]], name: str, *words: str) -> str:
    tiny.write_rows(Path(name), rows)
    outcome = nlpx("predict", run, name, *words)
    assert outcome.code == 0, outcome.err
    return outcome.out


def test_tables_have_the_own_columns_first(nlpx, classifier):
    rows = [{"id": 7, "label": "甲", "text": "春", "note": "a,b"}]
    out = _predicted(nlpx, classifier, rows, "a.jsonl", "--format", "csv")
    header, row = csv.reader(io.StringIO(out))
    assert header == ["id", "given_label", "text", "note", "label", "probability"]
    assert row[:4] == ["7", "甲", "春", "a,b"]
    out = _predicted(nlpx, classifier, rows, "a.jsonl", "--format", "tsv", "--columns", "id,label")
    assert out.splitlines()[0] == "id\tlabel"
    assert out.splitlines()[1].split("\t")[1] in ("甲", "乙", "丙")


def test_probabilities_of_all_classes_and_the_likeliest(nlpx, classifier):
    rows = [{"text": "春"}, {"text": "夏"}]
    for answer in answers(_predicted(nlpx, classifier, rows, "a.jsonl", "--probabilities", "--top-k", "2")):
        every = answer["probabilities"]
        assert set(every) == {"甲", "乙", "丙"}
        assert sum(every.values()) == pytest.approx(1, abs=1e-5)
        ranked = sorted(every, key=every.get, reverse=True)
        assert [found["label"] for found in answer["top"]] == ranked[:2]
        assert (answer["label"], answer["probability"]) == (ranked[0], every[ranked[0]])
    out = _predicted(nlpx, classifier, rows, "a.jsonl", "--probabilities", "--top-k", "1", "--format", "csv")
    header = out.splitlines()[0].split(",")
    classes = [f"probability_{label}" for label in sorted("甲乙丙")]
    assert header == ["text", "label", "probability", *classes, "top_1", "top_1_probability"]


def test_probabilities_of_the_pairs_of_the_contest(nlpx):
    answer = answers(nlpx("predict", "last", "rows.jsonl", "--probabilities").out)[0]
    assert answer["probabilities"]["1"] == answer["probability"]
    assert answer["probabilities"]["0"] == pytest.approx(1 - answer["probability"], abs=2e-6)


def test_the_suffix_says_the_form_and_spreadsheets_get_their_mark(nlpx, classifier):
    tiny.write_rows(Path("a.jsonl"), [{"text": "春"}])
    assert nlpx("predict", classifier, "a.jsonl", "-o", "a.csv", "--out-encoding", "utf-8-sig").code == 0
    assert Path("a.csv").read_bytes().startswith(b"\xef\xbb\xbftext,label,probability\n")
    assert nlpx("predict", classifier, "a.csv", "-o", "b.parquet").code == 0
    assert answers(nlpx("predict", classifier, "b.parquet").out)[0]["text"] == "春"


def test_texts_under_another_name(nlpx, classifier):
    rows = [{"title": "春"}]
    assert answers(_predicted(nlpx, classifier, rows, "a.jsonl", "--field", "title"))[0]["title"] == "春"
    outcome = nlpx("predict", classifier, "a.jsonl", "--field", "title", "--field", "body")
    assert outcome.code == 2
    assert "the run learned from `text`" in outcome.err
    assert nlpx("predict", "last", "rows.jsonl", "--field", "title").code == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--format", "parquet"), "Parquet cannot go to stdout"),
        (("--out-encoding", "auto"), "nothing tells the encoding of an output"),
        (("--out-encoding", "klingon"), "unknown encoding"),
        (("-o", "."), ". is a folder"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_work(nlpx, words, message):
    outcome = nlpx("predict", "no-such-run", "rows.jsonl", *words)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
