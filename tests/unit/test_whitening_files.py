"""Moments of files: ranges, precision, a cluster; memory does not follow the number of rows."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from nlpx.embed import fitting, moments
from nlpx.embed.fitting import Place, moments_of
from nlpx.embed.vectors import open_vectors
from nlpx.embed.whitening import Choices, fit, warnings_of
from nlpx.errors import InputError, MachineError
from nlpx.messages import Silent

COLUMNS = 24


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(moments, "MOST_BLOCK_ROWS", 512)
    monkeypatch.setattr(fitting, "RANGE_BLOCKS", 3)
    monkeypatch.setattr(fitting, "FEW_ROWS", 1000)


def spread_rows(rows, condition, *, columns=COLUMNS, seed=0):
    """Variances from 1 to 1 / condition in turned directions, about a mean that is far off."""
    chance = np.random.default_rng(seed)
    turn = np.linalg.qr(chance.normal(size=(columns, columns)))[0]
    scales = np.logspace(0, -np.log10(condition) / 2, columns)
    return (chance.normal(size=(rows, columns)) * scales) @ turn + chance.normal(size=columns)


def file_of(path, rows, dtype="f4"):
    np.save(path, rows.astype(dtype))
    return open_vectors(path)


def covariance(file):
    return np.cov(np.load(file.path).astype("f8").T)


def identity_error(found, file):
    """Of the directions that are kept and not floored, against the covariance of the file itself."""
    kept = found.kernel[:, : found.dim - found.num_floored]
    return np.abs(kept.T @ covariance(file) @ kept - np.eye(kept.shape[1])).max()


@pytest.mark.parametrize(
    ("condition", "dim", "dtype", "precision", "floored"),
    [
        (1e2, None, "f4", "float32", 0),
        (1e2, None, "f2", "float32", 0),
        (1e2, None, "f8", "float64", 0),
        (1e6, None, "f4", "float64", 0),
        (1e12, 4, "f4", "float32", 0),
        (1e12, 8, "f4", "float64", 0),
        (1e12, 12, "f4", "float64", 0),
        (1e12, None, "f4", "float64", 6),
        (1e12, None, "f8", "float64", 6),
    ],
)
def test_the_precision_is_what_the_kept_directions_need(tmp_path, condition, dim, dtype, precision, floored):
    file, choices = file_of(tmp_path / "rows.npy", spread_rows(6000, condition), dtype), Choices(dim=dim)
    found = fit(moments_of([file], choices, Place(), Silent()), choices)
    assert found.moments.precision == precision
    assert abs(found.num_floored - floored) <= 1
    assert identity_error(found, file) < (1e-4 if precision == "float32" else 1e-5)
    after = found.apply(np.load(file.path))
    assert np.isfinite(after).all()
    kept = after[:, : found.dim - found.num_floored].astype("f8")
    assert np.abs(np.cov(kept.T) - np.eye(kept.shape[1])).max() < 1e-4
    assert bool(found.num_floored) == any("below 1e-09" in text for text in warnings_of(found))


@pytest.mark.parametrize(("scale", "precision"), [(0.17, "float32"), (0.14, "float64")])
def test_float32_products_stay_within_the_promise_where_they_are_used(tmp_path, monkeypatch, scale, precision):
    """In the shape that suits them least: one direction as small as they may keep, and all others large."""
    monkeypatch.undo()  # whole blocks: the longer a sum in float32, the worse
    scales = np.r_[np.ones(255), scale]
    chance = np.random.default_rng(0)
    turn = np.linalg.qr(chance.normal(size=(256, 256)))[0]
    rows = (chance.normal(size=(16_384, 256)) * scales) @ turn + 0.2
    file = file_of(tmp_path / "rows.npy", rows)
    monkeypatch.setattr(fitting, "FEW_ROWS", 1000)
    found = fit(moments_of([file], Choices(), Place(), Silent()), Choices())
    assert found.moments.precision == precision
    assert identity_error(found, file) < 1e-4


@pytest.mark.parametrize("order", ["the library's", "largest first", "one after the other"])
def test_the_uncertainty_holds_for_any_order_of_the_sum(order, monkeypatch):
    """The worst a processor's matrix product may do: one accumulator, in an order that makes it large at once."""
    chance = np.random.default_rng(0)
    rows = (chance.normal(size=(4096, 6)) * np.logspace(0, -1, 6)).astype("f4")
    if order == "largest first":
        rows = rows[np.argsort(-np.abs(rows).sum(axis=1))]

    def product(panel):
        total = np.zeros((6, 6), "f4")
        for row in panel:
            total += np.outer(row, row)
        return total

    found = moments.Moments(6, precision="float32", shift=np.zeros(6))
    with monkeypatch.context() as patch:
        if order != "the library's":
            patch.setattr(moments, "_product", product)
        found.add(rows)
    exact = moments.Moments(6, shift=np.zeros(6))
    exact.add(rows)
    error = np.abs(found.second_moment() - exact.second_moment())
    bound = np.sqrt(np.outer(*[found.uncertainty(np.eye(6))] * 2))
    assert error.max() > 0
    assert (error <= bound).all()
    assert bound.max() < 1e-5


def test_the_uncertainty_adds_up_and_falls_with_the_rows():
    rows = spread_rows(8192, 10).astype("f4")
    whole, halves = moments.Moments(COLUMNS, precision="float32"), moments.Moments(COLUMNS)
    whole.add(rows)
    for part in np.split(rows, 2):
        half = moments.Moments(COLUMNS, precision="float32", shift=whole.shift)
        half.add(part)
        halves.merge(moments.Moments.of_tensors(half.tensors()))
    directions = np.eye(COLUMNS)
    assert halves.uncertainty(directions) == pytest.approx(whole.uncertainty(directions), rel=1e-4)
    assert half.uncertainty(directions) / whole.uncertainty(directions) == pytest.approx(
        np.full(COLUMNS, 2**0.5), rel=0.1
    )
    assert not np.any(moments.Moments(COLUMNS).uncertainty(directions))


def test_small_directions_are_applied_in_float64():
    """Rounding the map itself to float32 would mix a thousandth of the largest direction into the smallest."""
    rows = spread_rows(6000, 1e8).astype("f4")
    exact = moments.Moments(COLUMNS)
    exact.add(rows)
    narrow, wide = fit(exact, Choices(dim=4)), fit(exact, Choices())
    assert (narrow.precision_for(rows.dtype), wide.precision_for(rows.dtype)) == ("float32", "float64")
    assert wide.precision_for(np.dtype("f8")) == "float64"
    assert fit(exact, Choices(gamma=0)).precision_for(rows.dtype) == "float32"
    for found in (narrow, wide):
        after = found.apply(rows)
        assert after.dtype == np.float32
        assert np.abs(np.cov(after.astype("f8").T) - np.eye(found.dim)).max() < 1e-4


def test_asked_for_float64_or_few_rows_or_gamma_zero(tmp_path):
    file = file_of(tmp_path / "rows.npy", spread_rows(6000, 1e2))
    few = file_of(tmp_path / "few.npy", spread_rows(1000, 1e2))
    wide = file_of(tmp_path / "wide.npy", spread_rows(6000, 1e12))
    assert moments_of([file], Choices(), Place(float64=True), Silent()).precision == "float64"
    assert moments_of([few], Choices(), Place(), Silent()).precision == "float64"
    assert moments_of([wide], Choices(gamma=0), Place(), Silent()).precision == "float32"  # nothing is divided
    exact = moments_of([file], Choices(), Place(float64=True), Silent())
    assert np.abs(exact.second_moment() / covariance(file) - 1).max() < 1e-9


def test_what_only_the_last_rows_show(tmp_path):
    rows = spread_rows(6000, 1e2)
    rows[-3:, 0] += 1e6
    file = file_of(tmp_path / "rows.npy", rows)
    found = fit(moments_of([file], Choices(), Place(), Silent()), Choices())
    assert found.moments.precision == "float64"
    assert identity_error(found, file) < 1e-4


def test_numbers_that_float32_cannot_square(tmp_path):
    for factor in (1e25, 1e-18):
        file = file_of(tmp_path / "rows.npy", spread_rows(3000, 1e2) * factor)
        found = fit(moments_of([file], Choices(), Place(), Silent()), Choices())
        assert identity_error(found, file) < 1e-4


@pytest.mark.parametrize("place", [Place(), Place(float64=True)])
def test_several_files_are_one(tmp_path, place):
    rows = spread_rows(7000, 1e2)
    whole = moments_of([file_of(tmp_path / "whole.npy", rows)], Choices(), place, Silent())
    cuts = np.split(rows, [10, 1500, 1501, 5000])
    parts = [file_of(tmp_path / f"{number}.npy", part) for number, part in enumerate(cuts)]
    sums = moments_of(parts, Choices(), place, Silent())
    assert (whole.count, sums.count) == (7000, 7000)
    difference = np.abs(whole.second_moment() - sums.second_moment()).max()
    bound = sum(found.uncertainty(np.eye(COLUMNS)).max() for found in (whole, sums))
    assert difference <= bound + 1e-12 * whole.second_moment().max()
    # Each takes off the mean of its own first block, in the precision of the rows.
    spread = 0.0 if place.float64 else np.abs(rows - rows.mean(axis=0)).mean(axis=0).max()
    assert np.abs(whole.mean - sums.mean).max() < 2 * moments.UNIT * spread + 1e-12
    assert whole.mean_cosine == pytest.approx(sums.mean_cosine, abs=1e-6)
    assert whole.num_different == pytest.approx(7000, abs=1)


def test_rows_are_named_across_ranges(tmp_path):
    rows = spread_rows(6000, 1e2)
    rows[4321, 5] = -np.inf
    with pytest.raises(InputError, match="row 4321 holds -inf in column 5"):
        moments_of([file_of(tmp_path / "rows.npy", rows)], Choices(), Place(), Silent())


def test_chunks_begin_and_end_anywhere(tmp_path):
    rows = spread_rows(1000, 1e2).astype("f4")
    for order in "CF":
        np.save(tmp_path / "rows.npy", np.asarray(rows, order=order))
        file = open_vectors(tmp_path / "rows.npy")
        for start, stop, step in ((0, None, 7), (3, 900, 300), (999, 5000, 1), (10, 10, 4), (0, 1000, None)):
            parts = [part.copy() for part in file.chunks(step, start=start, stop=stop)]
            assert np.array_equal(np.concatenate([rows[:0], *parts]), rows[start:stop])


MEMORY = """
import sys
from nlpx.embed.fitting import Place, moments_of
from nlpx.embed.vectors import open_vectors
from nlpx.embed.whitening import Choices, fit
from nlpx.messages import Silent
fit(moments_of([open_vectors(sys.argv[1])], Choices(), Place(), Silent()), Choices())
print(int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_follow_the_rows(tmp_path):
    path = tmp_path / "rows.npy"
    vectors = np.lib.format.open_memmap(path, mode="w+", dtype="f4", shape=(100_000, 768))  # 300 MB
    vectors[:] = np.random.default_rng(0).normal(size=(1000, 768)).repeat(100, axis=0)
    vectors[:, 0] += np.arange(100_000) / 1e5
    done = subprocess.run([sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 200


# On a cluster


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed", reason="needs the extra `cluster`")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as found:
        yield found


@pytest.mark.parametrize("condition", [1e2, 1e6])
def test_a_cluster_sums_what_one_process_sums(tmp_path, monkeypatch, cluster, condition):
    monkeypatch.undo()  # workers have the sizes of blocks that the package has
    monkeypatch.setattr(fitting, "FEW_ROWS", 1000)
    monkeypatch.setattr(fitting, "RANGE_BLOCKS", 1)
    monkeypatch.chdir(tmp_path)
    rows = spread_rows(30_000, condition)
    file_of("first.npy", rows[:20_000])
    file_of("second.npy", rows[20_000:])
    files = [open_vectors("first.npy"), open_vectors("second.npy")]
    here = moments_of(files, Choices(), Place(), Silent())
    there = moments_of(files, Choices(), Place("dask", cluster.scheduler_address), Silent())
    assert here.precision == there.precision == ("float32" if condition == 1e2 else "float64")
    assert here.tensors().keys() == there.tensors().keys()
    for name, values in here.tensors().items():
        assert np.array_equal(values, there.tensors()[name]), name


def test_errors_of_a_cluster_arrive_whole(tmp_path, monkeypatch, cluster):
    monkeypatch.undo()
    rows = spread_rows(20_000, 1e2)
    rows[15_000, 0] = np.nan
    file, place = file_of(tmp_path / "rows.npy", rows), Place("dask", cluster.scheduler_address)
    with pytest.raises(InputError, match="row 15000 holds nan in column 0"):
        moments_of([file], Choices(), place, Silent())
    good = file_of(tmp_path / "good.npy", spread_rows(20, 1e2))
    with pytest.raises(MachineError, match="no Dask scheduler answers at nowhere"):
        moments_of([good], Choices(), Place("dask", "nowhere"), Silent())
