"""The same thing has the same name in every command: options, earlier spellings, and a run where a model belongs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import tiny
from nlpx_cli.names import with_new_names


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NLPX_CACHE", str(tmp_path / "cache"))


def _options() -> dict[tuple[str, ...], dict[str, Any]]:
    from nlpx_cli.app import build

    def walk(command: Any, words: tuple[str, ...]) -> dict[tuple[str, ...], dict[str, Any]]:
        below = getattr(command, "commands", {})
        if not below:
            return {words: {name: one for one in command.params for name in one.opts if name.startswith("-")}}
        return {key: value for name, child in below.items() for key, value in walk(child, (*words, name)).items()}

    return walk(build(), ())


OPTIONS = _options()


def test_format_is_of_the_output_and_input_format_of_the_input():
    for words, options in OPTIONS.items():
        assert "--format" not in options or "--out" in options, words
    assert {words for words, options in OPTIONS.items() if "--format" in options} >= {("predict",), ("wordfreq",)}


def test_whoever_reads_rows_can_be_told_how():
    """Only games tell their format by themselves, and arrays have none."""
    for words, options in OPTIONS.items():
        if "--field" in options:
            assert {"--input-format", "--encoding"} <= options.keys(), words
        for name in ("--encoding", "--input-format", "--field", "--model"):
            assert not getattr(options.get(name), "hidden", False), (words, name)
        assert ("--out" in options) == ("-o" in options), words
        assert not {"--output", "--fields", "--corpus", "--input"} & options.keys(), words


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("wordfreq a.txt --output x.tsv", "wordfreq a.txt --out x.tsv"),
        ("wordfreq --output=x.tsv a.txt", "wordfreq --out=x.tsv a.txt"),
        ("pretrain --format csv", "pretrain --input-format csv"),
        ("summarize a.txt --quiet", "summarize write a.txt --quiet"),
        ("summarize --method lead -", "summarize write --method lead -"),
        ("summarize train --data a", "summarize train --data a"),
        ("summarize --help", "summarize --help"),
        ("vocab trim base --corpus a --corpus=b", "vocab trim base --data a --data=b"),
        ("embed --data a.txt --data=b.txt -o x", "embed -o x a.txt b.txt"),
        ("predict --data rows.jsonl last", "predict last rows.jsonl"),
        ("similar score --fields a b x.tsv", "similar score --field a --field b x.tsv"),
        ("wordfreq a -- --output --data", "wordfreq a -- --output --data"),
        ("predict last --format csv", "predict last --format csv"),
        ("finetune --data a --format csv", "finetune --data a --format csv"),
        ("embed --data", "embed --data"),
        ("", ""),
    ],
)
def test_earlier_spellings(words, expected):
    assert with_new_names(words.split()) == expected.split()


def test_data_by_option_and_behind_the_command(nlpx):
    Path("texts.txt").write_text("春天来了\n夏天来了\n", encoding="utf-8")
    plain = nlpx("wordfreq", "texts.txt")
    assert plain.code == 0
    assert nlpx("wordfreq", "--data", "texts.txt").out == plain.out
    tiny.write_rows(Path("rows.jsonl"), tiny.labelled(30))
    tiny.write_rows(Path("more.jsonl"), tiny.labelled(12, seed=1))
    outcome = nlpx("finetune", "--task", "classify", "--data", "rows.jsonl", "more.jsonl", "--dry-run")
    assert "rows.jsonl, more.jsonl" in outcome.err
    assert outcome.code == 0


def test_the_format_and_fields_of_a_fine_tuning(nlpx):
    rows = [{"title": row["text"], "label": row["label"]} for row in tiny.labelled(40)]
    tiny.write_rows(Path("rows.data"), rows)
    lines = ["title,label", *(f"{row['title']},{row['label']}" for row in rows)]
    tiny.write_rows(Path("rows.txt"), lines)
    words = ("finetune", "--task", "classify", "--field", "title", "--dry-run")
    for name, form in (("rows.data", "jsonl"), ("rows.txt", "csv")):
        outcome = nlpx(*words, name, "--input-format", form)
        assert (outcome.code, "(14)" in outcome.err) == (0, True), outcome.err
    assert nlpx(*words, "rows.txt", "--input-format", "jsonl").code == 3
    assert "--field: unknown key" in nlpx("finetune", "rows.data", "--field", "title", "--dry-run").err
    assert nlpx("finetune", *("--field", "a") * 3).code == 2


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("embed --format csv x", "--input-format names the format of the input"),
        ("finetune --format csv", "--input-format names the format of the input"),
        ("finetune --lr 1e-3", "--learning-rate sets it"),
        ("finetune --dropout 0.1", "--set KEY=VALUE changes any setting"),
        ("predict last --output x", "--out names the output"),
    ],
)
def test_an_unknown_option_says_what_to_write(nlpx, words, hint):
    outcome = nlpx(*words.split())
    assert outcome.code == 2
    assert hint in outcome.err
    assert hint in nlpx(*words.split(), "--json").err


def test_a_model_is_named_by_option_too(nlpx):
    both = nlpx("predict", "--model", "a", "b", "c")
    assert (both.code, "both name the run" in both.err) == (2, True)
    assert "no run to predict with" in nlpx("predict").err
    assert "no model to evaluate" in nlpx("evaluate", "mlm").err


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run folder with nothing but what makes it one, and a masked language model as its best checkpoint."""
    folder = tmp_path_factory.mktemp("models") / "run"
    tiny.bert(folder / "checkpoints" / "best", max_position_embeddings=40)
    for name in ("manifest.json", "config.yaml"):
        (folder / name).write_text("{}", encoding="utf-8")
    return folder


COMMANDS = [
    "embed texts.txt --model run -o vectors.npy",
    "similar score pairs.tsv --model run",
    "similar pairs texts.txt --model run",
    "similar search texts.txt --index vectors.npy --model run",
    "sample --model run --steps 12 --chains 1 --length 6",
    "evaluate mlm run texts.txt --pseudo-rows 1",
    "evaluate mlm --model run texts.txt --pseudo-rows 1",
    "evaluate sts pairs.tsv --model run",
    "inspect run",
    "inspect --cost run --length 8",
    "convert run hf",
    "vocab show run",
    "vocab trim run --data texts.txt -o trimmed",
    "vocab extend run --size 2 -o extended",
    "wordfreq texts.txt --tokenizer run",
    "finetune --task classify rows.jsonl --model run --dry-run --max-length 24",
    "pretrain texts.txt --model run --dry-run --max-length 24 --set data.held_out=0.3",
    "pretrain texts.txt --tokenizer run --dry-run --max-length 24 --set data.held_out=0.3",
    "chess-lm train games.txt --model run --dry-run --max-length 24 --set data.held_out=0.7",
]


@pytest.mark.parametrize("words", COMMANDS)
def test_a_run_folder_is_taken_for_its_best_checkpoint(nlpx, run, words):
    import numpy as np

    shutil.copytree(run, "run")
    tiny.write_rows(Path("texts.txt"), [row["text"] for row in tiny.labelled(40)])
    tiny.write_rows(Path("rows.jsonl"), tiny.labelled(40))
    tiny.write_rows(Path("pairs.tsv"), [f"{row['source']}\t{row['target']}\t{row['score']}" for row in _scored()])
    tiny.write_rows(Path("games.txt"), _games())
    np.save("vectors.npy", np.random.default_rng(0).standard_normal((8, 16), dtype=np.float32))
    outcome = nlpx(*words.split())
    assert outcome.code == 0, outcome.err


def test_a_map_is_folded_into_a_run(nlpx, run):
    import numpy as np

    np.save("vectors.npy", np.random.default_rng(0).standard_normal((400, 16), dtype=np.float32))
    outcome = nlpx("whiten", "vectors.npy", "--fold", str(run), "-o", "folded", "--dim", "4")
    assert outcome.code == 0, outcome.err
    assert Path("folded/config.json").exists()
    assert not Path("folded/checkpoints").exists()


def test_a_run_without_a_checkpoint_is_said_to_be_one(nlpx, run):
    shutil.copytree(run, "young", ignore=shutil.ignore_patterns("checkpoints"))
    for words in (("embed", "-o", "x.npy", "--model", "young", "young/config.yaml"), ("inspect", "young")):
        outcome = nlpx(*words)
        assert (outcome.code, "a run folder without a checkpoint" in outcome.err) == (3, True)


def _games() -> list[str]:
    columns = "abcdefghi"
    return [f"h2e2 {column}6{column}5 b0c2" for column in columns[::2]] + ["h2e2 h9g7 h0g2", "c3c4 h9g7", "g3g4 h7e7"]


def _scored() -> list[dict[str, Any]]:
    return [row | {"score": number % 3} for number, row in enumerate(tiny.rows(40))]
