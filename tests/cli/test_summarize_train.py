"""`nlpx summarize train`: stages that resume where they were ended, folds that see no document of theirs, its use."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch

import tiny
from nlpx.embed.encoder import SentenceEncoder
from nlpx.jobs.summarize import stages
from nlpx.spaces import fitting, labelling

ROWS = 10
SMALL = ("--model", "encoder", "--folds", "2", "--epochs", "1")


@pytest.fixture(autouse=True)
def _in_a_folder_with_rows(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stages, "PART", 3)
    tiny.bert(Path("encoder"))
    tiny.write_rows(Path("rows.jsonl"), _rows())


def _rows():
    """Four clauses; the summary is made of the first and the third. The last two documents are of the dev part."""
    chance = random.Random(1)
    for number in range(ROWS):
        clauses = ["".join(chance.choices(tiny.CHARACTERS, k=chance.randint(4, 7))) for _ in range(4)]
        text = f"{clauses[0]}，{clauses[1]}。{clauses[2]}；{clauses[3]}。"
        split = "dev" if number >= ROWS - 2 else "train"
        yield {"text": text, "summary": f"{clauses[0]}。{clauses[2]}", "split": split}


def _train(nlpx, out: str, *words: str):
    outcome = nlpx("summarize", "train", "--data", "rows.jsonl", *SMALL, "--out", out, *words)
    assert outcome.code == 0, outcome.err
    return outcome


def _files(run: str) -> dict[str, bytes]:
    """What a run has learned and written, without the facts about the run itself."""
    names = ("labels.jsonl", "vectors/*", "extractors/*/*", "generator.jsonl", "extractor.json")
    return {str(path.relative_to(run)): path.read_bytes() for name in names for path in Path(run).glob(name)}


def test_the_files_of_a_run(nlpx):
    outcome = _train(nlpx, "run")
    assert outcome.out.strip() == "run"
    labels = [json.loads(line) for line in Path("run/labels.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["taken"] for row in labels] == [[0, 2]] * ROWS
    assert json.loads(Path("run/extractor.json").read_text(encoding="utf-8"))["at_least"] == 2
    rows = [json.loads(line) for line in Path("run/generator.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(row["extract"], row["split"]) for row in rows] == [
        *([("extractor", "train"), ("marked", "train")] * (ROWS - 2)),
        *([("extractor", "dev")] * 2),
    ]
    assert rows[1]["source"] == labels[0]["clauses"][0] + labels[0]["clauses"][2]
    manifest = json.loads(Path("run/manifest.json").read_text(encoding="utf-8"))
    assert (manifest["state"], manifest["primary_metric"]["name"]) == ("finished", "main ROUGE")


def test_stages_one_by_one_are_the_whole(nlpx):
    _train(nlpx, "whole")
    _train(nlpx, "parts", "--stage", "label")
    early = nlpx("summarize", "train", "--resume", "parts", "--stage", "extract")
    assert early.code == 2
    assert "the stage extract needs that of vectorize" in early.err
    for stage in ("vectorize", "extract", "build"):
        assert nlpx("summarize", "train", "--resume", "parts", "--stage", stage).code == 0
    assert _files("parts") == _files("whole")


@pytest.mark.parametrize("place", ["label", "vectorize", "extract", "build"])
def test_a_run_that_was_ended_in_a_stage_goes_on(nlpx, monkeypatch, place):
    _train(nlpx, "whole")
    calls = []

    def ending(function):
        def call(*given, **named):
            calls.append(1)
            if len(calls) > 1:
                raise KeyboardInterrupt
            return function(*given, **named)

        return call

    with monkeypatch.context() as patched:
        if place == "label":
            patched.setattr(labelling, "labels", ending(labelling.labels))
        elif place == "vectorize":
            patched.setattr(SentenceEncoder, "encode", ending(SentenceEncoder.encode))
        elif place == "extract":
            patched.setattr(fitting, "fit", ending(fitting.fit))
        else:
            patched.setattr(stages.Pipeline, "extract_of", ending(stages.Pipeline.extract_of))
        ended = nlpx("summarize", "train", "--data", "rows.jsonl", *SMALL, "--out", "ended")
    assert ended.code == 130
    done = {name: Path("ended", name).stat().st_mtime_ns for name in _files("ended")}
    assert nlpx("summarize", "train", "--resume", "ended").code == 0
    assert _files("ended") == _files("whole")
    assert all(Path("ended", name).stat().st_mtime_ns == time for name, time in done.items())


def test_no_fold_learns_from_its_own_documents(nlpx):
    """With one epoch there is none to choose, so a changed summary changes only the extractors that learn from it."""
    _train(nlpx, "before")
    rows = list(_rows())
    rows[0]["summary"] = rows[0]["text"].split("；")[1]
    tiny.write_rows(Path("rows.jsonl"), rows)
    _train(nlpx, "after")
    before, after = _files("before"), _files("after")
    for fold in range(2):
        held_out = json.loads(before[f"extractors/{fold}/probabilities.json"])
        name = f"extractors/{fold}/model.safetensors"
        assert (before[name] == after[name]) == ("0" in held_out)
    held_out = [json.loads(before[f"extractors/{fold}/probabilities.json"]) for fold in range(2)]
    assert sorted(int(number) for fold in held_out for number in fold) == list(range(ROWS - 2))


def test_a_run_takes_clauses_of_a_document(nlpx):
    _train(nlpx, "run")
    outcome = nlpx("summarize", "rows.jsonl", "--model", "run", "--json")
    assert outcome.code == 0, outcome.err
    found = [json.loads(line) for line in outcome.out.splitlines()]
    for row in found:
        assert all(row["text"][one["start"] : one["end"]] == one["text"] for one in row["sentences"])
        assert row["generated"] == "".join(one["text"] for one in row["sentences"]) != ""
    sized = nlpx("summarize", "rows.jsonl", "--model", "run", "--sentences", "1", "--json")
    assert all(len(json.loads(line)["sentences"]) == 1 for line in sized.out.splitlines())
    piped = [nlpx("summarize", _one(row["text"]), "--model", "run").out for row in found]
    assert piped == [f"{row['generated']}\n" for row in found]


def _one(text: str) -> str:
    return str(tiny.write_rows(Path("one.txt"), [text]))


def test_a_plan_writes_nothing(nlpx):
    before = sorted(Path().rglob("*"))
    outcome = nlpx("summarize", "train", "--data", "rows.jsonl", *SMALL, "--dry-run", "--json")
    assert outcome.code == 0, outcome.err
    plan = json.loads(outcome.out)
    assert plan["documents"] == ROWS
    assert plan["vectorize"] == "embed 40 clauses by encoder"
    assert sorted(Path().rglob("*")) == before


def test_mistakes_get_one_sentence(nlpx):
    _train(nlpx, "parts", "--stage", "label")
    for words, code, said in (
        (("train",), 2, "no documents to train on"),
        (
            ("train", "--data", "rows.jsonl", "--model", "encoder", "--folds", "15", "--out", "few"),
            3,
            "fewer than the 15",
        ),
        (("train", "--data", "rows.jsonl", "--set", "fold=3"), 2, "fold"),
        (("train", "--resume", "parts", "--folds", "3"), 2, "`folds` is 2 in the run to resume and 3 here"),
        (
            ("train", "--resume", "parts", "--model", "other"),
            2,
            "`model` is encoder in the run to resume and other here",
        ),
        (("rows.jsonl", "--model", "parts"), 3, "is no finished run of `nlpx summarize train`"),
        (("rows.jsonl", "--model", "nowhere"), 2, "no run at nowhere"),
        (("rows.jsonl", "--model", "parts", "--method", "lead"), 2, "both say what is taken"),
    ):
        outcome = nlpx("summarize", *words)
        assert outcome.code == code, (words, outcome.err)
        assert said in outcome.err


def test_another_encoder_in_its_place_is_refused(nlpx):
    _train(nlpx, "run")
    tiny.bert(Path("wider"), hidden_size=32)
    facts = json.loads(Path("run/extractor.json").read_text(encoding="utf-8"))
    Path("run/extractor.json").write_text(json.dumps(facts | {"model": "wider"}), encoding="utf-8")
    outcome = nlpx("summarize", "rows.jsonl", "--model", "run")
    assert outcome.code == 3
    assert "was trained on vectors of 16 numbers, wider makes 32" in outcome.err
