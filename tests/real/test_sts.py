"""Real question pairs through the shipped model: its cosines rank them better than chance."""

from __future__ import annotations

from pathlib import Path

import pytest

from nlpx.jobs.evaluate.sts import Settings, evaluate
from nlpx.messages import Silent

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="needs the shared data beside the checkout")


def test_question_pairs() -> None:
    settings = Settings(split="dev", limit=200)
    result = evaluate("char-tiny", [str(DATA / "sts_lcqmc.jsonl.gz")], settings, device="cpu", messages=Silent())
    (found,) = result["sets"]
    assert (found["name"], found["pairs"]) == ("sts_lcqmc", 200)
    assert found["poolings"]["first-last-avg"]["plain"]["spearman"]["value"] > 0.2
    for columns in found["poolings"].values():
        for kinds in columns.values():
            assert all(one["low"] <= one["value"] <= one["high"] for one in kinds.values())


def test_sets_inside_a_file() -> None:
    settings = Settings(poolings=("mean",), by="dataset", split="dev", limit=30)
    result = evaluate("char-tiny", [str(DATA / "en_sts.jsonl.gz")], settings, device="cpu", messages=Silent())
    assert {"STS-B", "SICK"} <= {one["name"] for one in result["sets"]}
    values = [one["poolings"]["mean"]["plain"]["pearson"]["value"] for one in result["sets"]]
    assert result["mean"]["poolings"]["mean"]["plain"]["pearson"]["value"] == pytest.approx(sum(values) / len(values))
