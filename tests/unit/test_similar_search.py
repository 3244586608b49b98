"""Exact search against brute force in float64: ties, copies, scales, dimensions, blocks that end anywhere."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from nlpx.embed.moments import Moments
from nlpx.embed.search import exact as searching
from nlpx.embed.search.engines import open_engine
from nlpx.embed.search.exact import near_pairs, search
from nlpx.embed.search.top_k import TopK, above
from nlpx.embed.unit_vectors import UnitVectors, exactly_unit, to_unit, whitened
from nlpx.embed.vectors import open_vectors
from nlpx.embed.whitening import Choices, fit
from nlpx.errors import InputError, MachineError, UsageError


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(searching, "QUERY_ROWS", 16)
    monkeypatch.setattr(searching, "INDEX_ROWS", 128)
    monkeypatch.setattr(searching, "WINDOW_ROWS", 256)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("f4")


def stored(tmp_path, rows, name="rows.npy"):
    np.save(tmp_path / name, rows)
    return UnitVectors(open_vectors(tmp_path / name))


def brute_force(queries, rows, k):
    cosines = (exactly_unit(queries.astype("f8")) @ exactly_unit(rows.astype("f8")).T).round(12)
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(cosines, order, axis=1), order


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize(("num_rows", "k"), [(1, 1), (5, 5), (700, 1), (700, 10), (700, 150), (640, 3), (700, 700)])
def test_equal_to_brute_force(tmp_path, num_rows, k, dtype):
    rows, queries = normal(num_rows, 24).astype(dtype), normal(37, 24, seed=1)
    cosines, indices = search(queries, stored(tmp_path, rows), k)
    expected, order = brute_force(queries, rows, k)
    assert np.array_equal(indices, order)
    assert np.abs(cosines - expected).max() < 1e-11


def test_copies_come_by_index(tmp_path):
    rows = normal(600, 24)
    for copy in (3, 130, 131, 299, 599):
        rows[copy] = rows[77] * (copy + 1)
    cosines, indices = search(np.repeat(rows[77:78], 20, axis=0), stored(tmp_path, rows), 7)
    assert (indices[:, :6] == [3, 77, 130, 131, 299, 599]).all()
    assert (cosines[:, :6] == 1).all()


def test_a_query_of_zeros_finds_the_first_rows(tmp_path):
    cosines, indices = search(np.zeros((2, 24)), stored(tmp_path, normal(300, 24)), 4)
    assert (indices == [0, 1, 2, 3]).all()
    assert (cosines == 0).all()


def test_fortran_order_and_rows_of_zeros(tmp_path):
    rows = normal(300, 24)
    rows[[5, 200]] = 0
    index = stored(tmp_path, np.asfortranarray(rows))
    assert np.array_equal(search(rows[:9], index, 3)[1], brute_force(rows[:9], rows, 3)[1])
    assert index.num_zero == 2


@pytest.mark.parametrize("columns", [7, 64, 72])
def test_what_is_above_the_floors(columns):
    products, floors = normal(9, columns), normal(9, 1, seed=1)
    rows, found = above(products, floors)
    assert (np.diff(rows) >= 0).all()
    assert sorted(zip(rows.tolist(), found.tolist(), strict=True)) == list(
        zip(*np.nonzero(products > floors), strict=True)
    )


def test_merging_keeps_order_and_signs():
    best = TopK(2, 3)
    best.add(np.float32([[-1, -0.0, -2, 0.0], [5, 4, 3, 2]]), first_query=0, first_index=0)
    best.add(np.float32([[0.0, -3], [4, 6]]), first_query=0, first_index=4)
    scores, indices = best.result()
    assert scores.tolist() == [[0, 0, 0], [6, 5, 4]]
    assert indices.tolist() == [[1, 3, 4], [5, 0, 1]]


def test_fewer_products_than_asked_for():
    best = TopK(1, 3)
    best.add(np.float32([[1, 2]]), first_query=0, first_index=0)
    assert best.result()[0].tolist() == [[2, 1, -np.inf]]


def test_scaling_large_and_small_rows():
    rows = np.float32([[3e30, 4e30], [3e-30, 4e-30], [0, 0], [3, 4]])
    unit, num_zero = to_unit(rows.copy())
    assert np.allclose(unit, [[0.6, 0.8], [0.6, 0.8], [0, 0], [0.6, 0.8]], atol=1e-6)
    assert num_zero == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_a_row_that_is_not_finite_is_named(tmp_path, value, dtype):
    rows = normal(400, 24).astype(dtype)
    rows[301, 4] = value
    with pytest.raises(InputError, match=r"row 301 holds (nan|inf) in column 4"):
        search(normal(2, 24), stored(tmp_path, rows), 1)


def test_searching_through_a_map(tmp_path):
    rows = normal(400, 24) + 3
    rows[9] = 0
    moments = Moments(24)
    moments.add(rows)
    whitening = fit(moments, Choices(dim=12))
    np.save(tmp_path / "rows.npy", rows)
    index = UnitVectors(open_vectors(tmp_path / "rows.npy"), whitening)
    mapped = (rows.astype("f8") + whitening.bias) @ whitening.kernel
    mapped[9] = 0
    queries = whitened(rows[:20].astype("f8"), whitening)
    assert not whitened(rows, whitening)[9].any()
    assert np.array_equal(search(queries, index, 5)[1], brute_force(mapped[:20], mapped, 5)[1])
    np.save(tmp_path / "other.npy", normal(4, 10))
    with pytest.raises(InputError, match="of 10 numbers; the map takes 24"):
        UnitVectors(open_vectors(tmp_path / "other.npy"), whitening)


@pytest.mark.parametrize("num_rows", [2, 255, 600])
@pytest.mark.parametrize("threshold", [0.4, -1.0, 1.0])
def test_all_near_pairs(tmp_path, num_rows, threshold):
    rows = normal(num_rows, 24)
    rows[-1] = rows[0] * 2
    found = [
        pair
        for near in near_pairs(stored(tmp_path, rows), threshold)
        for pair in zip(near.first.tolist(), near.second.tolist(), near.cosine.tolist(), strict=True)
    ]
    unit = exactly_unit(rows.astype("f8"))
    cosines = unit @ unit.T
    expected = {(i, j) for i, j in np.argwhere(np.triu(cosines >= threshold - 1e-6, 1)).tolist()}
    assert {pair[:2] for pair in found} == expected
    assert len(found) == len(expected)
    assert all(abs(cosine - cosines[i, j]) < 1e-6 for i, j, cosine in found)


class _Flat:
    """What faiss and usearch are asked for, in numpy."""

    def __init__(self, columns=None, *, ndim=None, metric=None, dtype=None):
        self.rows = np.empty((0, columns or ndim))

    def add(self, *blocks):
        self.rows = np.concatenate([self.rows, blocks[-1]])

    def search(self, queries, k):
        cosines, indices = brute_force(np.atleast_2d(queries), self.rows, k)
        if queries.ndim == 2:
            return cosines, indices
        return _Matches(indices[0, :-1], 1 - cosines[0, :-1])


class _Matches:
    def __init__(self, keys, distances):
        self.keys, self.distances = keys, distances

    def __len__(self):
        return len(self.keys)


@pytest.mark.parametrize("name", ["faiss", "usearch"])
def test_other_engines(tmp_path, monkeypatch, name):
    module = SimpleNamespace(IndexFlatIP=_Flat, Index=_Flat)
    monkeypatch.setitem(sys.modules, "faiss", module)
    monkeypatch.setitem(sys.modules, "usearch", module)
    monkeypatch.setitem(sys.modules, "usearch.index", module)
    rows = normal(300, 24)
    cosines, indices = open_engine(name, stored(tmp_path, rows)).search(rows[:5] * 3, 4)
    expected = search(rows[:5], stored(tmp_path, rows), 4)
    kept = slice(4 if name == "faiss" else 3)
    assert np.array_equal(indices[:, kept], expected[1][:, kept])
    assert np.abs(cosines[:, kept] - expected[0][:, kept]).max() < 1e-6
    assert name == "faiss" or (indices[:, 3] == -1).all()


def test_engines_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MachineError, match="needs faiss, which cannot be imported") as caught:
        open_engine("faiss", stored(tmp_path, normal(4, 8)))
    assert caught.value.hint == "pip install faiss-cpu"
    with pytest.raises(UsageError, match="unknown engine `annoy`"):
        open_engine("annoy", stored(tmp_path, normal(4, 8)))
