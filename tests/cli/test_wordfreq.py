"""`nlpx wordfreq`: equal to the naive loop, in every form, and clear about what it cannot count."""

from __future__ import annotations

import gzip
import inspect
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from nlpx_cli.wordfreq_options import CHOICES, Options, read_plainly

LINES = [
    "春风又绿江南岸，明月何时照我还？",
    "他来到了网易杭研大厦，买了一台1.8L的车。",
    "",
    "年龄18-24岁，emoji 😀 与 𠮷野家",
    "\t 缩进的一行 \\ 反斜杠 C:\\dir",
    "春风又绿江南岸",
]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("corpus.txt").write_bytes(("\ufeff" + "\r\n".join(LINES)).encode())
    return tmp_path


def table(counts: dict[str, int]) -> str:
    rows = sorted(counts.items(), key=lambda row: (-row[1], row[0]))
    return "".join(f"{word}\t{count}\n" for word, count in rows)


def naive(lines: list[str] = LINES, *, hmm: bool = True) -> dict[str, int]:
    import jieba

    counter = Counter(word for line in lines for word in jieba.lcut(line, HMM=hmm))
    return {word: count for word, count in counter.items() if not word.isspace()}


def test_words_equal_the_naive_loop(nlpx):
    outcome = nlpx("wordfreq", "corpus.txt")
    assert (outcome.code, outcome.out) == (0, table(naive()))
    assert "jieba" in outcome.err
    assert "5 texts" in outcome.err
    assert nlpx("wordfreq", "corpus.txt", "--no-hmm").out == table(naive(hmm=False))
    assert nlpx("wordfreq", "corpus.txt", "--segmenter", "jieba").out == table(naive())


@pytest.mark.parametrize("workers", ["1", "2", "4"])
def test_workers_do_not_change_a_byte(nlpx, workers):
    Path("larger.txt").write_text("\n".join(LINES * 3000), encoding="utf-8")
    outcome = nlpx("wordfreq", "larger.txt", "--workers", workers, "--quiet")
    assert outcome.out == table(naive(LINES * 3000))
    assert outcome.err == ""


def test_characters_and_grams(nlpx):
    characters = Counter(c for line in LINES for c in line if not c.isspace())
    assert nlpx("wordfreq", "corpus.txt", "--unit", "char").out == table(characters)
    Path("plain.txt").write_text("天地玄黄\n宇宙洪荒\n天地\n", encoding="utf-8")
    pairs = {"天地": 2, "地玄": 1, "宇宙": 1, "宙洪": 1, "洪荒": 1, "玄黄": 1}
    assert nlpx("wordfreq", "plain.txt", "--ngram", "2").out == table(pairs)
    assert nlpx("wordfreq", "plain.txt", "--ngram", "5").out == ""


def test_rows_of_every_form(nlpx):
    rows = [{"text": line, "title": "标题"} for line in LINES]
    Path("a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    Path("a.jsonl.gz").write_bytes(gzip.compress(Path("a.jsonl").read_bytes()))
    for name in ("a.jsonl", "a.jsonl.gz"):
        assert nlpx("wordfreq", name).out == table(naive())
    assert nlpx("wordfreq", "a.jsonl", "--field", "title").out == "标题\t6\n"
    import pyarrow
    from pyarrow.parquet import write_table

    write_table(pyarrow.table({"text": LINES}), "a.parquet")
    assert nlpx("wordfreq", "a.parquet").out == table(naive())


def test_stdin_with_and_without_a_dash(nlpx, monkeypatch):
    for words in (["-"], []):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(LINES).encode())))
        assert nlpx("wordfreq", *words).out == table(naive())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    outcome = nlpx("wordfreq")
    assert outcome.code == 2
    assert "stdin is a terminal" in outcome.err


def test_forms_of_the_output(nlpx):
    counts = naive()
    best = sorted(counts.items(), key=lambda row: (-row[1], row[0]))
    assert nlpx("wordfreq", "corpus.txt", "--top", "2").out == table(dict(best[:2]))
    often = {word: count for word, count in counts.items() if count >= 2}
    assert nlpx("wordfreq", "corpus.txt", "--min-count", "2").out == table(often)
    for words in (["--json"], ["--format", "jsonl"]):
        rows = [json.loads(line) for line in nlpx("wordfreq", "corpus.txt", *words).out.splitlines()]
        assert [(row["word"], row["count"]) for row in rows] == best
    vocabulary = nlpx("wordfreq", "corpus.txt", "--top", "1", "--format", "vocab").out
    assert vocabulary == f"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n{best[0][0]}\n"
    outcome = nlpx("wordfreq", "corpus.txt", "-o", "counts.jsonl")
    assert outcome.out == ""
    assert f"{len(counts)} lines in counts.jsonl" in outcome.err
    assert json.loads(Path("counts.jsonl").read_text(encoding="utf-8").splitlines()[0])["count"] == best[0][1]


def test_what_is_written_can_be_merged_exactly(nlpx):
    Path("more.txt").write_text("春风\n反斜杠 \\ 和 \\t\n", encoding="utf-8")
    nlpx("wordfreq", "corpus.txt", "-o", "a.tsv")
    nlpx("wordfreq", "more.txt", "-o", "b.jsonl")
    together = nlpx("wordfreq", "corpus.txt", "more.txt").out
    outcome = nlpx("wordfreq", "--merge", "a.tsv", "b.jsonl")
    assert (outcome.code, outcome.out) == (0, together)
    assert nlpx("wordfreq", "--merge", "a.tsv", "b.jsonl", "--top", "1").out == together.splitlines(True)[0]
    outcome = nlpx("wordfreq", "--merge", "a.tsv", "--no-hmm", "--quiet", "--json")
    assert "--no-hmm has no effect" in outcome.err
    Path("broken.tsv").write_text("好\t1\nno count\n", encoding="utf-8")
    outcome = nlpx("wordfreq", "--merge", "a.tsv", "broken.tsv")
    assert outcome.code == 3
    assert "broken.tsv:2: no" in outcome.err
    assert outcome.out == ""


def test_folders_and_patterns(nlpx):
    Path("news/deep").mkdir(parents=True)
    Path("news/a.txt").write_text("春风\n", encoding="utf-8")
    Path("news/deep/b.csv").write_text("text\n春风\n", encoding="utf-8")
    assert nlpx("wordfreq", "news").out == "春风\t2\n"
    assert nlpx("wordfreq", "news/*.txt").out == "春风\t1\n"
    assert nlpx("wordfreq", "news/a.txt", "news/a.txt").out == "春风\t2\n"


@pytest.mark.parametrize(
    ("words", "code", "message", "hint"),
    [
        (("corpsu.txt",), 3, "corpsu.txt: no such file", "corpus.txt"),
        (("empty",), 3, "empty is a folder without text", "--input-format"),
        (("gb.txt",), 3, "gb.txt:2: not UTF-8 at byte 3", "--encoding gb18030"),
        (("field.jsonl",), 3, "field.jsonl:1: no field `text`", "title"),
        (("half.txt.gz",), 3, "half.txt.gz: the compressed data ends in the middle", "again"),
        (("corpus.txt", "--user-dictionary", "none.txt"), 3, "none.txt", ""),
        (("corpus.txt", "--memory", "much"), 2, "`much` is no size", "500MB"),
        (("corpus.txt", "--ngram", "2", "--unit", "word"), 2, "--ngram belongs to --unit ngram", "leave out"),
        (("corpus.txt", "--unit", "token"), 2, "needs a tokenizer", "--tokenizer"),
        (("corpus.txt", "-o", "empty"), 2, "empty is a folder", "file"),
        (("plain.txt", "--encoding", "utf-16"), 3, "not UTF-16: the bytes are UTF-8 text", "--encoding utf-8"),
        (("corpus.txt", "--encoding", "klingon"), 2, "unknown encoding", "gb18030"),
        (("--merge",), 2, "--merge without files", "outputs"),
        (("-", "--timings"), 2, "can be read again", "file"),
        (("corpus.txt", "--timings", "--unit", "char"), 2, "compares methods to count words", "leave out"),
    ],
)
def test_one_sentence_a_hint_and_the_code(nlpx, words, code, message, hint):
    Path("empty").mkdir()
    Path("plain.txt").write_text("没有字节序标记的文本\n", encoding="utf-8")
    Path("gb.txt").write_bytes(b"ab\n" + "春风又绿江南岸".encode("gb18030"))
    Path("field.jsonl").write_text('{"title": "甲"}\n', encoding="utf-8")
    Path("half.txt.gz").write_bytes(gzip.compress(os.urandom(1000))[:500])
    Path("counts.tsv").write_text("earlier\t1\n", encoding="utf-8")
    outcome = nlpx("wordfreq", *words, *(() if "-o" in words else ("-o", "counts.tsv")))
    assert (outcome.code, outcome.out) == (code, "")
    assert outcome.err.count("Error:") == 1
    assert message in outcome.err
    assert hint in outcome.err
    assert Path("counts.tsv").read_text(encoding="utf-8") == "earlier\t1\n"
    assert not list(Path().glob(".*.tmp"))


def test_typer_answers_what_is_not_plain(nlpx):
    outcome = nlpx("wordfreq", "corpus.txt", "--tpo", "5")
    assert outcome.code == 2
    assert "--top" in outcome.err
    assert nlpx("wordfreq", "corpus.txt", "--unit", "letter").code == 2
    assert nlpx("wordfreq", "corpus.txt", "--top", "0").code == 2
    assert nlpx("wordfreq", "--help").out.startswith("Usage: nlpx wordfreq")


def test_empty_texts_are_no_error(nlpx):
    Path("blank.txt").write_text("\n \n", encoding="utf-8")
    outcome = nlpx("wordfreq", "blank.txt")
    assert (outcome.code, outcome.out) == (0, "")
    assert "nothing to count" in outcome.err


def test_replacing_and_other_encodings(nlpx):
    Path("gb.txt").write_bytes("春风春风\n".encode("gb18030"))
    assert nlpx("wordfreq", "gb.txt", "--encoding", "gb18030", "--unit", "char").out == "春\t2\n风\t2\n"
    assert "\ufffd" in nlpx("wordfreq", "gb.txt", "--errors", "replace").out


def test_the_plot_is_there_when_the_reader_leaves_early():
    pytest.importorskip("matplotlib")
    Path("zipf.txt").write_text("".join(chr(0x4E00 + n) * (400 // (n + 1)) for n in range(200)), encoding="utf-8")
    words = f"{sys.executable} -m nlpx_cli wordfreq zipf.txt --unit char --plot early.png"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {words} | true"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Path("early.png").read_bytes().startswith(b"\x89PNG")


def test_the_plot_and_its_sentence(nlpx):
    pytest.importorskip("matplotlib")
    text = "\n".join(
        f"{character} " * (600 // rank) for rank, character in enumerate("天地玄黄宇宙洪荒日月盈昃辰宿列张", start=1)
    )
    Path("zipf.txt").write_text(text, encoding="utf-8")
    outcome = nlpx("wordfreq", "zipf.txt", "--unit", "char", "--plot", "zipf.png")
    assert outcome.code == 0
    assert outcome.out.startswith("天\t600\n")
    assert Path("zipf.png").read_bytes().startswith(b"\x89PNG")
    assert "zipf.png: Zipf exponent 1.0" in outcome.err


def test_timings_count_the_same_five_ways(nlpx):
    outcome = nlpx("wordfreq", "corpus.txt", "--timings", "--workers", "2")
    assert outcome.out == table(naive())
    assert "do not agree" not in outcome.err
    lines = [line for line in outcome.err.splitlines() if line.startswith(("jieba", "nlpx"))]
    assert [line.split("  ")[0] for line in lines] == [
        "jieba, one dictionary",
        "jieba, 1000 texts each",
        "jieba, pool",
        "nlpx",
        "nlpx",
    ]


def test_speed_up_per_process_is_computed_as_said():
    from nlpx.jobs.wordfreq.timings import Timing, rows

    timings = [Timing("a", "", 1, 20.0), Timing("b", "b", 1, 8.0), Timing("b", "b", 10, 0.92)]
    made = rows(timings, 10_000_000)
    assert made[0] == ["a", "1", "20.00", "0.50", "1.00", "1.00", "-"]
    assert made[2][-3:] == ["21.74", "2.17", "0.87"]  # the figures of the post, in minutes


# The reader of plain command lines


def test_both_readers_have_the_same_options_and_defaults():
    from nlpx_cli.wordfreq import wordfreq

    parameters = inspect.signature(wordfreq).parameters
    assert list(parameters) == list(Options._fields)
    for name, parameter in parameters.items():
        default = () if name == "files" else parameter.default
        assert default == getattr(Options(), name), name


def command_lines() -> list[list[str]]:
    values = {
        "ngram": ["1", "5", "0", "6", "x", "²"],
        "top": ["10", "0", "-1", ""],
        "workers": ["3"],
        "memory": ["1GB"],
    }
    texts = ("", "-", "a b -", "--", "--merge=1", "--no_hmm", "--top", "--to 5", "a -q -o x", "-ox", "-qo x", "-- -a")
    more = ("--out=x=y", "--out=", "-o -", "--top=5 --top 6")
    lines = [text.split() for text in texts + more]
    for name in Options._fields[1:]:
        option = "--" + name.replace("_", "-")
        if getattr(Options(), name) is False:
            lines += [[option], ["x", option], [f"{option}=true"]]
        else:
            for value in [*CHOICES.get(name, ()), *values.get(name, ["2"]), "nonsense"]:
                lines += [["x", option, value], [f"{option}={value}", "x"]]
    return lines


@pytest.mark.parametrize("words", command_lines(), ids=" ".join)
def test_a_plain_command_line_is_read_as_typer_reads_it(words, monkeypatch):
    """Whatever the quick reader accepts, Typer must accept with the same meaning."""
    quick = read_plainly(words)
    if quick is None:
        return
    from nlpx_cli import wordfreq_run
    from nlpx_cli.app import build

    seen: list[Options] = []
    monkeypatch.setattr(wordfreq_run, "run", seen.append)
    with build().make_context("nlpx", ["wordfreq", *words]) as context:
        context.command.invoke(context)
    assert seen == [quick]


def test_ordinary_command_lines_are_plain():
    assert read_plainly(["corpus.txt", "--top", "50"]) == Options(files=("corpus.txt",), top=50)
    assert read_plainly(["a", "--no-hmm", "-o", "b.tsv", "-q"]) == Options(
        files=("a",), no_hmm=True, out="b.tsv", quiet=True
    )
    for words in (["--help"], ["-h"], ["a", "--tpo", "5"], ["a", "--unit", "letter"], ["a", "--top", "0"]):
        assert read_plainly(words) is None


def test_a_small_file_imports_nothing_heavy():
    code = (
        "import sys; from nlpx_cli.__main__ import main; code = main(['wordfreq', 'corpus.txt']);"
        "heavy = {'typer', 'rich', 'numpy', 'torch', 'pydantic', 'jieba', 'tokenizers', 'yaml', 'dataclasses',"
        "'multiprocessing', 'importlib.metadata', 'tempfile'};"
        "print(code, sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == table(naive())
    assert done.stderr.splitlines()[-1] == "0 []"


# As a process


def process(*words: str, **options: object) -> subprocess.Popen[str]:
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        [sys.executable, "-m", "nlpx_cli", "wordfreq", *words], encoding="utf-8", **streams | options
    )


def test_a_reader_that_leaves_is_no_error():
    Path("many.txt").write_text("\n".join(map(chr, range(0x4E00, 0x9000))), encoding="utf-8")
    line = f"set -o pipefail; {sys.executable} -m nlpx_cli wordfreq many.txt --unit char | head -1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stdout) == (0, "一\t1\n")
    assert "Error" not in done.stderr


def test_a_closed_interrupt_on_an_endless_stream_prints_nothing(tmp_path):
    (tmp_path / "temporary").mkdir()
    environment = os.environ | {"TMPDIR": str(tmp_path / "temporary")}
    running = process("-", start_new_session=True, env=environment)
    feeder = subprocess.Popen(["yes", "春风又绿江南岸"], stdout=running.stdin)
    try:
        while not list((tmp_path / "temporary").iterdir()):  # until it counts
            assert running.poll() is None
            time.sleep(0.01)
        os.killpg(running.pid, signal.SIGINT)
        out, err = running.communicate()
    finally:
        feeder.kill()
        feeder.wait()
    assert (running.returncode, out) == (130, "")
    assert "interrupted" in err
    assert "Traceback" not in err
    assert list((tmp_path / "temporary").iterdir()) == []


def test_the_table_on_a_terminal():
    import pty

    main_end, terminal = pty.openpty()
    done = process(
        "corpus.txt", "--top", "3", stdin=subprocess.DEVNULL, stdout=terminal, env=os.environ | {"COLUMNS": "80"}
    )
    done.communicate()
    os.close(terminal)
    shown = b""
    try:
        while chunk := os.read(main_end, 65536):
            shown += chunk
    except OSError:
        pass  # a terminal whose other end is closed
    text = shown.decode()
    assert "count" in text
    assert "fraction" in text
    assert "█" in text
    assert "\t" not in text
