"""Correlations and their resamples as if written out, cosines under maps, pairs from every form of file."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

import tiny
from nlpx.data.rows.text_pairs import read_pairs, score_of
from nlpx.embed.encoder import SentenceEncoder
from nlpx.embed.moments import Moments
from nlpx.embed.sts import PairSet, add_moments, cosines, embedded, fit_maps, maps, moments_of_pairs
from nlpx.embed.whitening import Choices, fit
from nlpx.errors import InputError
from nlpx.metrics.correlation import Estimate, _draws, correlate, mean


def ranks(numbers):
    """From 1, the mean rank for ties, by counting."""
    return np.array([(numbers < number).sum() + ((numbers == number).sum() + 1) / 2 for number in numbers])


def pearson(x, y):
    return np.corrcoef(x, y)[0, 1]


def variables(count=60, seed=0):
    chance = np.random.default_rng(seed)
    scores = chance.integers(0, 3, size=count).astype("f8")
    return np.stack([scores + chance.normal(size=count), chance.integers(0, 4, size=count)]), scores


def test_values_by_definition():
    given, scores = variables()
    found = correlate(given, scores, num_resamples=1)
    for number, row in enumerate(given):
        assert found.values[0, number] == pytest.approx(pearson(ranks(row), ranks(scores)), abs=1e-12)
        assert found.values[1, number] == pytest.approx(pearson(row, scores), abs=1e-12)


def test_resamples_are_the_pairs_that_were_drawn():
    given, scores = variables()
    found = correlate(given, scores, num_resamples=20, seed=3)
    for resample, weights in enumerate(np.concatenate(list(_draws(60, 20, 3)))):
        drawn = np.repeat(np.arange(60), weights.astype(int))
        assert len(drawn) == 60
        for number, row in enumerate(given):
            expected = pearson(ranks(row[drawn]), ranks(scores[drawn])), pearson(row[drawn], scores[drawn])
            assert found.resamples[:, number, resample] == pytest.approx(expected, abs=1e-12)


def test_the_same_seed_gives_the_same_interval_whatever_the_portions(monkeypatch):
    given, scores = variables()
    whole = correlate(given, scores, seed=5)
    monkeypatch.setattr("nlpx.metrics.correlation.NUMBERS_AT_ONCE", len(scores) * 1000)
    assert np.array_equal(correlate(given, scores, seed=5).resamples, whole.resamples)
    assert not np.array_equal(correlate(given, scores, seed=6).resamples, whole.resamples)
    estimate = whole.estimate("spearman", 0)
    assert estimate.low < estimate.value < estimate.high


def test_a_constant_has_no_correlation():
    _, scores = variables()
    found = correlate(np.stack([np.zeros(60), np.full(60, np.nan)]), scores, num_resamples=5)
    for kind in ("spearman", "pearson"):
        for number in range(2):
            assert found.estimate(kind, number) == Estimate(None, None, None)


def test_copies_of_a_text_are_ties():
    vectors = np.random.default_rng(0).normal(size=(50, 24)).astype("f4")
    both = np.repeat(np.arange(50), 2).reshape(50, 2)
    for chosen in fit_maps(moments_of_pairs(vectors, both), maps(12)).values():
        assert set(cosines(vectors, both, chosen).tolist()) == {1.0}


def test_means_of_sets():
    parts = [correlate(*variables(seed=seed), num_resamples=9, seed=(7, seed)) for seed in (0, 1)]
    assert mean(parts, [1, 3]).values == pytest.approx(0.25 * parts[0].values + 0.75 * parts[1].values)
    assert mean(parts, [2, 2]).resamples == pytest.approx((parts[0].resamples + parts[1].resamples) / 2)


def test_a_set_holds_each_text_once():
    found = PairSet.of("s", [("春", "夏", 1), ("夏", "春", 0), ("秋", "秋", 1)])
    assert list(found.texts) == ["春", "夏", "秋"]
    assert found.sides.tolist() == [[0, 1], [1, 0], [2, 2]]
    with pytest.raises(InputError, match="s: all 2 pairs have the score 1"):
        PairSet.of("s", [("春", "夏", 1), ("夏", "春", 1)])


def test_cosines_under_maps():
    chance = np.random.default_rng(0)
    vectors = (chance.normal(size=(200, 6)) @ chance.normal(size=(6, 6)) + 4).astype("f4")
    vectors[7] = 0
    sides = chance.integers(0, 200, size=(300, 2))
    sides[0] = [7, 8]
    rows = vectors[sides.ravel()].astype("f8")
    rows = rows[rows.any(axis=1)]
    values, directions = np.linalg.eigh(np.cov(rows.T))
    mapped = (vectors - rows.mean(axis=0)) @ directions[:, ::-1][:, :3] * values[::-1][:3] ** -0.5
    left, right = mapped[sides[:, 0]], mapped[sides[:, 1]]
    expected = (left * right).sum(axis=1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)
    expected[(sides == 7).any(axis=1)] = 0
    chosen = fit_maps(moments_of_pairs(vectors, sides), maps(3))
    assert list(chosen) == ["plain", "whitening", "whitening-3", "turned-3"]
    assert cosines(vectors, sides, chosen["whitening-3"]) == pytest.approx(expected, abs=1e-4)
    turned = fit(moments_of_pairs(vectors, sides), Choices(beta=0, gamma=0))
    assert cosines(vectors, sides, turned) == pytest.approx(cosines(vectors, sides, None), abs=1e-5)


def test_too_few_rows_give_a_reason_for_each_map_they_do_not_allow():
    moments = Moments(6)
    add_moments(moments, np.concatenate([np.random.default_rng(0).normal(size=(5, 6)), np.zeros((1, 6))]))
    assert moments.count == 5
    found = fit_maps(moments, maps(2))
    assert "5 vectors cannot be whitened to 6 dimensions" in found["whitening"]
    assert found["whitening-2"].dim == found["turned-2"].dim == 2


def test_texts_are_embedded_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr("nlpx.embed.windows.WINDOW_TEXTS", 3)
    tiny.bert(tmp_path / "bert", "BertModel")
    encoder = SentenceEncoder.load(tmp_path / "bert", poolings=("mean", "cls"), precision="float32", device="cpu")
    texts = ["春夏秋", "冬", "", "风雨雷电山川", "湖海", "日月", "星"]
    counts = []
    with embedded(encoder, texts, advance=counts.append) as vectors:
        assert list(vectors) == ["mean", "cls"]
        for pooling in vectors:
            alone = np.concatenate([encoder.encode([text])[pooling] for text in texts])
            assert np.abs(vectors[pooling] - alone).max() < 1e-5
    assert counts == [3, 3, 1]


PAIRS = [("春天来了", "春天到了", 1.0), ("你好", "", 0.0)]


def written(path, name):
    rows = [{"text1": one, "text2": two, "label": score, "split": "dev"} for one, two, score in PAIRS]
    lines = {
        "rows.jsonl": [json.dumps(row) for row in rows],
        "rows.jsonl.gz": [json.dumps(row) for row in rows],
        "rows": [
            json.dumps({"sentence1": row["text1"], "sentence2": row["text2"], "score": row["label"]}) for row in rows
        ],
        "rows.tsv": [f"{one}\t{two}\t{score}" for one, two, score in PAIRS],
        "rows.txt": ["score\ttarget\tsource", *(f"{score}\t{two}\t{one}" for one, two, score in PAIRS)],
        "rows.csv": ["text2,text1,score", *(f'"{two}",{one},{score}' for one, two, score in PAIRS)],
    }[name]
    opened = gzip.open if name.endswith("gz") else open
    with opened(path / name, "wt", encoding="utf-8") as stream:
        stream.writelines(f"{line}\n" for line in lines)
    return str(path / name)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows", "rows.tsv", "rows.txt", "rows.csv"])
def test_pairs_of_every_form(tmp_path, name):
    found = list(read_pairs(written(tmp_path, name)))
    assert [(pair.text1, pair.text2, score_of(pair)) for pair in found] == PAIRS


def test_chosen_fields(tmp_path):
    tiny.write_rows(tmp_path / "rows.jsonl", [{"q": "春", "a": "夏", "text1": "x", "text2": "y", "s": "2"}])
    (pair,) = read_pairs(str(tmp_path / "rows.jsonl"), fields=("q", "a"))
    assert (pair.text1, pair.text2, score_of(pair, "s")) == ("春", "夏", 2.0)


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("a.tsv", "春天", "a.tsv:2: 1 cell where the first line has 3"),
        ("a.tsv", "春\t夏\t1\t2", "a.tsv:2: 4 cells where the first line has 3"),
        ("a.tsv", "春\t夏", "a.tsv:2: the pair has no score"),
        ("a.tsv", "春\t夏\t", "a.tsv:2: the pair has no score"),
        ("a.tsv", "春\t夏\tgood", "a.tsv:2: the score `good` is no number"),
        ("a.tsv", "春\t夏\tnan", "a.tsv:2: the score `nan` is no number"),
        ("a.jsonl", '{"text1": "春", "text2": 3}', "a.jsonl:2: field `text2` is no text"),
        ("a.jsonl", '{"text1": "春", "other": "夏"}', "a.jsonl:2: has no pair of texts"),
        ("a.jsonl", '{"text1": "春", "text2": "夏", "score": null}', "a.jsonl:2: the pair has no score"),
        ("a", "[1]", "a:2: a JSON array, not an object"),
    ],
)
def test_pairs_that_are_refused(tmp_path, name, line, message):
    first = "春\t夏\t1" if name == "a.tsv" else '{"text1": "春", "text2": "夏", "score": 1}'
    (tmp_path / name).write_text(f"{first}\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        _ = [score_of(pair) for pair in read_pairs(str(tmp_path / name))]
    assert message in caught.value.message
