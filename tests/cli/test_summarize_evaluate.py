"""`nlpx summarize evaluate`: figures against rouge-chinese, and what rows it takes, leaves out and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import jieba
import pytest
from rouge_chinese import Rouge

import tiny

TEXTS = [
    "春天来了，公园里的花开了。市民来到公园看花。天气预报说有雨。公园里的花有三千株，市民说好看。",
    "研究人员提出一种新的分词方法。这种方法在长句上速度提高三倍。代码已经公开。",
    "列车今天开通。车票 35 元。乘客说很方便，沿线有 12 个车站。",
]
SUMMARIES = ["公园里的花开了，市民说好看", "新的分词方法速度提高三倍", "列车开通，票价 36 元"]
GENERATED = ["市民来到公园看花。", "研究人员提出一种新方法", "列车今天开通，有 12 个车站。"]


@pytest.fixture(autouse=True)
def _in_a_folder_with_rows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"text": text, "summary": summary} for text, summary in zip(TEXTS, SUMMARIES, strict=True)]
    tiny.write_rows(Path("rows.jsonl"), rows)
    judged = [{**row, "generated": made} for row, made in zip(rows, GENERATED, strict=True)]
    tiny.write_rows(Path("judged.jsonl"), judged)


def _systems(outcome):
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    return found, {system["name"]: system for system in found["systems"]}


@pytest.mark.parametrize("unit", ["characters", "words"])
def test_rouge_is_that_of_rouge_chinese(nlpx, unit):
    def parts(text: str) -> str:
        found = jieba.lcut(text, HMM=False) if unit == "words" else list(text)
        return " ".join(part for part in found if part.strip())

    _, systems = _systems(nlpx("summarize", "evaluate", "judged.jsonl", "--json"))
    wanted = Rouge().get_scores([parts(one) for one in GENERATED], [parts(one) for one in SUMMARIES], avg=True)
    found = systems["generated"][unit]
    for ours, theirs in (("rouge_1", "rouge-1"), ("rouge_2", "rouge-2"), ("rouge_l", "rouge-l")):
        assert found[ours] == pytest.approx(wanted[theirs]["f"], abs=1e-7)
    assert found["main"] == pytest.approx(0.2 * found["rouge_1"] + 0.4 * found["rouge_2"] + 0.4 * found["rouge_l"])


def test_the_rows_of_the_table(nlpx):
    found, systems = _systems(nlpx("summarize", "evaluate", "rows.jsonl", "--json"))
    length = round(sum(map(len, SUMMARIES)) / 3)
    names = ["TextRank", "first sentence", f"first {length} characters", "oracle extract", "reference"]
    assert list(systems) == names
    assert found["size"] == {"characters": length}
    assert systems["reference"]["characters"]["main"] == systems["reference"]["words"]["main"] == pytest.approx(1)
    assert systems["oracle extract"]["characters"]["main"] > systems["first sentence"]["characters"]["main"]
    assert systems["first sentence"]["copied"]["2"] == 1
    assert (systems["reference"]["facts"], systems["reference"]["unsupported_facts"]) == (1, 1)
    assert systems["reference"]["unsupported_examples"] == [{"place": "rows.jsonl:3", "facts": ["36"]}]
    assert all(sum(system["histogram"].values()) == 3 for system in systems.values())


def test_what_was_written_by_the_command_is_judged(nlpx):
    outcome = nlpx("summarize", "rows.jsonl", "--method", "lead", "--sentences", "1", "--json")
    Path("made.jsonl").write_text(outcome.out, encoding="utf-8")
    _, systems = _systems(nlpx("summarize", "evaluate", "made.jsonl", "--json"))
    assert systems["generated"] == systems["first sentence"] | {"name": "generated"} | {
        "unsupported_examples": systems["generated"]["unsupported_examples"]
    }


def test_text_and_quiet(nlpx):
    outcome = nlpx("summarize", "evaluate", "judged.jsonl", "--sentences", "1")
    assert [line.split("  ")[0] for line in outcome.out.splitlines()] == [
        *("summaries", "generated", "TextRank", "first sentence", "oracle extract", "reference"),
    ]
    assert "n-grams as sets" in outcome.err
    assert "rjieba, HMM off" in outcome.err
    _, systems = _systems(nlpx("summarize", "evaluate", "judged.jsonl", "--json"))
    quiet = nlpx("summarize", "evaluate", "judged.jsonl", "--quiet")
    assert float(quiet.out) == pytest.approx(systems["generated"]["characters"]["main"], abs=5e-5)


def test_a_plot_is_drawn(nlpx):
    assert nlpx("summarize", "evaluate", "judged.jsonl", "--plot", "plot.png").code == 0
    assert Path("plot.png").read_bytes().startswith(b"\x89PNG")


def test_odd_rows_are_told(nlpx):
    odd = [{"text": "短", "summary": "比正文还要长"}, {"text": "", "summary": "没有正文"}]
    tiny.write_rows(Path("odd.jsonl"), odd)
    outcome = nlpx("summarize", "evaluate", "odd.jsonl")
    assert outcome.code == 0, outcome.err
    assert "1 of 2 rows have no text or no summary, and are left out" in outcome.err
    assert "1 of 1 summaries are longer than their texts" in outcome.err


@pytest.mark.parametrize(
    ("rows", "words", "said"),
    [
        ([{"text": "春"}], (), "has no field `summary`"),
        ([{"text": "春", "summary": ""}], (), "none of 1 rows has a text and a summary"),
        ([{"text": "春", "summary": "春"}], ("--split", "dev"), "none of 0 rows with `split` = dev"),
        (
            [{"text": "春", "summary": "春", "generated": "春"}, {"text": "春", "summary": "春"}],
            (),
            "1 of 2 rows have no text in `generated`",
        ),
    ],
)
def test_rows_that_cannot_be_compared_are_refused(nlpx, rows, words, said):
    tiny.write_rows(Path("bad.jsonl"), rows)
    outcome = nlpx("summarize", "evaluate", "bad.jsonl", *words)
    assert outcome.code == 3
    assert said in outcome.err
