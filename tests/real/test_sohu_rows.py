"""The real contest pairs read as the data sheet counts them."""

from __future__ import annotations

from pathlib import Path

import pytest

from nlpx.data.rows.sohu import describe, read_pairs, read_splits

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="needs the shared data beside the checkout")


def test_real_contest_pairs() -> None:
    splits = read_splits(DATA / "match_sohu_ssA.jsonl.gz")
    assert (len(splits.train), len(splits.dev)) == (8374, 1401)
    assert sum(pair.label or 0 for pair in splits.train + splits.dev) == 2763
    assert splits.notes[0].endswith("train 8,374, dev 1,401")


def test_stand_ins_of_the_other_variants() -> None:
    for variant, name in ((2, "slA"), (3, "slB"), (4, "llA"), (5, "llB")):
        splits = read_splits(DATA / f"match_news_{name}.jsonl.gz")
        assert len(splits.train) + len(splits.dev) == 2000
        assert {pair.variant for pair in splits.train} == {variant}


def test_graded_rows_are_two_pairs_each() -> None:
    pairs = list(read_pairs(DATA / "match_sohu_sl_graded.jsonl.gz"))
    loose, strict = (summary["positive"] for summary in describe(pairs))
    assert (len(pairs), loose, strict) == (824, 276, 200)
