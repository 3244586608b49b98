import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from nlpx.embed import moments
from nlpx.embed.moments import Moments
from nlpx.embed.whitening import Choices, effective_rank, fit, is_resolved, load, save, warnings_of
from nlpx.errors import InputError, UsageError


def vectors(rows=400, columns=12, *, seed=0):
    chance = np.random.default_rng(seed)
    return chance.normal(size=(rows, columns)) @ chance.normal(size=(columns, columns)) + 5 * chance.normal(
        size=columns
    )


def moments_of(*parts):
    found = Moments(parts[0].shape[1])
    for part in parts:
        found.add(part)
    return found


def cosines(rows):
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit @ unit.T


def test_the_result_has_mean_zero_and_covariance_one():
    rows = vectors()
    after = fit(moments_of(rows), Choices()).apply(rows)
    assert np.abs(np.cov(after.T) - np.eye(12)).max() < 1e-11
    assert np.abs(np.cov(after.T, ddof=0) - 399 / 400 * np.eye(12)).max() < 1e-11
    assert np.abs(after.mean(axis=0)).max() < 1e-12
    first = fit(moments_of(rows), Choices(dim=5)).apply(rows)
    assert first.shape == (400, 5)
    assert np.abs(first - after[:, :5]).max() < 1e-12


def test_the_moments_are_those_of_numpy():
    rows = vectors()
    found = moments_of(rows)
    assert np.abs(found.mean - rows.mean(axis=0)).max() < 1e-13
    assert np.abs(found.second_moment() - np.cov(rows.T)).max() < 1e-11
    assert np.abs(found.second_moment(ddof=0) - np.cov(rows.T, ddof=0)).max() < 1e-11
    for beta in (0.0, 0.5):
        moved = rows - beta * rows.mean(axis=0)
        assert np.abs(found.second_moment(beta) - moved.T @ moved / 399).max() < 1e-10
    everything = cosines(rows)
    assert found.mean_cosine == pytest.approx((everything.sum() - 400) / (400 * 399), abs=1e-12)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("size", [7, 100, 256, 1000, 3000])
def test_how_rows_arrive_changes_no_bit(size, precision, monkeypatch):
    monkeypatch.setattr(moments, "MOST_BLOCK_ROWS", 400)
    monkeypatch.setattr(moments, "PANEL_ROWS", 150)
    rows = np.random.default_rng(0).normal(size=(700, 60)).astype(np.float32) + 2
    whole, parts = Moments(60, precision=precision), Moments(60, precision=precision)
    assert whole.block_rows < 700 * 3  # so that blocks end inside
    for _ in range(3):
        whole.add(rows)
    again = np.concatenate([rows] * 3)
    for start in range(0, len(again), size):
        parts.add(again[start : start + size])
    assert np.array_equal(whole.second_moment(), parts.second_moment())
    assert np.array_equal(whole.mean, parts.mean)
    assert whole.mean_cosine == parts.mean_cosine
    assert whole.num_different == parts.num_different == 700


def test_the_recursion_of_the_post():
    rows, mean, covariance = vectors(50, 4), np.zeros(4), np.zeros((4, 4))
    for count, row in enumerate(rows):
        new = count / (count + 1) * mean + row / (count + 1)
        covariance = (
            count / (count + 1) * (covariance + np.outer(mean, mean))
            + np.outer(row, row) / (count + 1)
            - np.outer(new, new)
        )
        mean = new
    assert np.abs(moments_of(rows).second_moment(ddof=0) - covariance).max() < 1e-10


def test_partial_sums_add_up():
    rows = vectors(5000, 6)
    merged = moments_of(rows[:1234])
    merged.merge(moments_of(rows[1234:4000]))
    merged.merge(Moments(6))
    merged.merge(moments_of(rows[4000:]))
    whole = moments_of(rows)
    assert merged.count == 5000
    assert np.abs(merged.second_moment() / whole.second_moment() - 1).max() < 1e-12
    assert np.abs(merged.mean - whole.mean).max() < 1e-12
    assert merged.mean_cosine == pytest.approx(whole.mean_cosine, abs=1e-12)
    with pytest.raises(InputError, match="6 dimensions where 5"):
        moments_of(rows[:, :5]).merge(whole)


def test_partial_sums_of_several_blocks_add_up_whatever_their_means(monkeypatch):
    """The sums about the first block's mean are then not zero, and neither are their products with the offset."""
    monkeypatch.setattr(moments, "MOST_BLOCK_ROWS", 256)
    rows = vectors(3000, 6) + np.linspace(0, 40, 3000)[:, None] * [1, -2, 0.5, 3, 0, 1]
    merged = moments_of(rows[:1000])
    assert merged.block_rows == 256
    for part in (rows[1000:1700], rows[1700:2900], rows[2900:]):
        merged.merge(moments_of(part))
    assert np.abs(merged.mean - rows.mean(axis=0)).max() < 1e-11
    assert np.abs(merged.second_moment() - np.cov(rows.T)).max() < 1e-9
    assert np.abs(merged.second_moment(0.0) - rows.T @ rows / 2999).max() < 1e-8


def test_a_large_common_offset_costs_no_digits():
    rows = vectors(3000, 6)
    apart = moments_of(rows + 1e6)
    assert np.abs(apart.second_moment() / moments_of(rows).second_moment() - 1).max() < 1e-7


def test_beta_and_gamma_zero_only_turn():
    rows = vectors()
    after = fit(moments_of(rows), Choices(beta=0, gamma=0)).apply(rows)
    assert np.abs(cosines(after) - cosines(rows)).max() < 1e-13
    fewer = fit(moments_of(rows), Choices(beta=0, gamma=0, dim=4))
    assert (fewer.apply(rows) ** 2).sum() == pytest.approx(399 * fewer.eigenvalues[:4].sum())


def test_by_hand():
    rows = np.array([[1.0, 0], [-1, 0], [0, 2], [0, -2]])
    found = fit(moments_of(rows), Choices())
    assert np.allclose(found.eigenvalues, [8 / 3, 2 / 3])
    assert np.allclose(found.kernel, [[0, 1.5**0.5], [(3 / 8) ** 0.5, 0]])


@pytest.mark.parametrize("seed", range(3))
def test_directions_have_a_sign_that_is_no_chance(seed):
    """The largest entry of each is positive, so that equal moments give equal maps whatever library found them."""
    kernel = fit(moments_of(vectors(seed=seed)), Choices(gamma=0)).kernel
    assert (kernel[np.abs(kernel).argmax(axis=0), np.arange(12)] > 0).all()


def test_whitening_twice_is_a_rotation():
    rows = vectors()
    once = fit(moments_of(rows), Choices()).apply(rows)
    twice = fit(moments_of(once), Choices()).apply(once)
    assert np.abs(cosines(once) - cosines(twice)).max() < 1e-10


def test_a_common_shift_changes_nothing():
    rows = vectors()
    first, second = (fit(moments_of(part), Choices()).apply(part) for part in (rows, rows + 3.0))
    assert np.abs(cosines(first) - cosines(second)).max() < 1e-9


def test_too_few_rows_say_nothing_and_are_refused():
    rows = np.random.default_rng(0).normal(size=(100, 768))
    with pytest.raises(InputError, match="cosine -1/99"):
        fit(moments_of(rows), Choices(dim=99))
    centred = rows - rows.mean(axis=0)  # the law itself, computed apart
    values, vectors_ = np.linalg.eigh(np.cov(rows.T))
    after = centred @ (vectors_[:, -99:] / np.sqrt(values[-99:]))
    assert np.abs(cosines(after)[~np.eye(100, dtype=bool)] + 1 / 99).max() < 1e-8
    assert fit(moments_of(rows), Choices(dim=5)).dim == 5
    assert fit(moments_of(rows), Choices(dim=99, gamma=0)).dim == 99
    with pytest.raises(InputError, match="1 vector"):
        fit(moments_of(rows[:1]), Choices())
    with pytest.raises(InputError, match="all vectors are the same"):
        fit(moments_of(np.ones((50, 3))), Choices())


def test_rounding_is_floored_and_named():
    rows = vectors(2000, 6)
    rows = np.hstack([rows, rows[:, :2] + rows[:, 2:4]])  # two directions without variance of their own
    found = fit(moments_of(rows), Choices())
    assert found.num_floored == 2
    assert np.isfinite(found.apply(rows)).all()
    assert any("directions 6 to 7" in text and "--dim 6" in text for text in warnings_of(found))
    kept = fit(moments_of(rows), Choices(dim=6))
    assert np.abs(np.cov(kept.apply(rows).T) - np.eye(6)).max() < 1e-8
    assert warnings_of(kept) == []


def test_what_float32_products_cannot_tell_is_floored_and_named():
    rows = vectors(2000, 6) @ np.diag([1e3, 1, 1, 1, 1, 1e-3])
    coarse = Moments(6, precision="float32")
    coarse.add(rows)
    assert coarse.precision == "float32"
    found = fit(coarse, Choices())
    assert found.num_floored >= 1
    assert np.isfinite(found.apply(rows)).all()
    assert any("--float64" in text for text in warnings_of(found))
    assert fit(moments_of(rows), Choices()).num_floored < found.num_floored
    exact = moments_of(rows)
    exact.merge(coarse)  # the coarser one remains
    assert exact.precision == "float32"
    assert Moments.of_tensors(exact.tensors()).precision == "float32"


def test_numbers_that_float32_cannot_square():
    rows = vectors(300, 4)
    for factor in (1e25, 1e-25):
        scaled = (rows * factor).astype(np.float32)
        found = Moments(4, precision="float32")
        found.add(scaled)
        assert found.mean_cosine == pytest.approx(moments_of(rows).mean_cosine, abs=1e-6)
        assert found.num_zero == 0
        assert not is_resolved(found, Choices())
        assert is_resolved(moments_of(scaled), Choices()) == (factor > 1)


def test_duplicates_are_named_and_refused():
    rows = np.repeat(vectors(40, 6), 5, axis=0)
    assert moments_of(rows).num_different == 40
    found = " ".join(warnings_of(fit(moments_of(rows), Choices(dim=5))))
    assert "80% of the vectors are duplicates of others" in found
    assert "200 vectors, 40 different, for 5 dimensions" in found
    assert len(warnings_of(fit(moments_of(rows), Choices(dim=4)))) == 1
    few = np.repeat(vectors(6, 6), [1, 2, 3, 50, 5, 6], axis=0)
    with pytest.raises(InputError, match="67 vectors, 6 different, cannot be whitened to 5 dimensions"):
        fit(moments_of(few), Choices(dim=5))
    # the law behind it: the cosine of two of them follows from their shares of the rows alone
    shares = np.array([1, 2, 3, 50, 5, 6]) / 67
    centred = few - few.mean(axis=0)
    values, turned = np.linalg.eigh(centred.T @ centred / 67)
    after = (centred @ (turned[:, 1:] / np.sqrt(values[1:])))[[0, 1, 3, 6, 56, 61]]
    odds = np.sqrt(1 / shares - 1)
    expected = -1 / np.outer(odds, odds)
    np.fill_diagonal(expected, 1)
    assert np.abs(cosines(after) - expected).max() < 1e-9


def test_what_is_warned_of():
    rows = vectors(50, 12)
    rows[:, 3] = 7.0
    rows[4] = 0.0
    rows[4, 3] = 7.0
    found = " ".join(warnings_of(fit(moments_of(rows), Choices())))
    assert "50 vectors for 12 dimensions" in found
    assert "1 columns are constant" in found
    rows[4, 3] = 0.0
    assert "1 vectors are zero" in " ".join(warnings_of(fit(moments_of(rows), Choices())))


def test_how_many_dimensions():
    rows = np.random.default_rng(0).normal(size=(5000, 4)) * [8.0, 4, 2, 1]
    shares = np.cumsum([64, 16, 4, 1]) / 85
    for share in shares:
        dim = fit(moments_of(rows), Choices(variance=float(share) - 0.005)).dim
        assert dim == int(np.searchsorted(shares, share - 0.005) + 1)
    assert fit(moments_of(rows), Choices(variance=1.0)).dim == 4
    with pytest.raises(UsageError, match="--dim 9"):
        fit(moments_of(rows), Choices(dim=9))
    with pytest.raises(UsageError, match="contradict"):
        Choices(dim=1, variance=0.5)
    assert effective_rank(np.ones(7)) == pytest.approx(7)
    assert effective_rank(np.array([1.0, 0, 0])) == pytest.approx(1)


def test_saved_and_loaded(tmp_path):
    rows = vectors()
    found = fit(moments_of(rows), Choices(dim=5, beta=0.5, gamma=0.8))
    save(found, tmp_path / "w.safetensors")
    again = load(tmp_path / "w.safetensors")
    assert np.array_equal(found.apply(rows), again.apply(rows))
    assert again.choices == found.choices
    assert again.facts() == found.facts()
    again.moments.merge(moments_of(rows))  # what was saved can be added to
    assert again.moments.count == 800
    save(replace(found, pooling="cls"), tmp_path / "w.safetensors")
    assert load(tmp_path / "w.safetensors").pooling == "cls"
    assert np.array_equal(found.of_type("float32").apply(rows.astype(np.float32)), found.apply(rows.astype(np.float32)))
    (tmp_path / "w.safetensors").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="no whitening"):
        load(tmp_path / "w.safetensors")


def test_float32_rows_stay_float32():
    rows = vectors().astype(np.float32)
    found = fit(moments_of(rows), Choices())
    assert found.apply(rows).dtype == np.float32
    assert np.abs(np.cov(found.apply(rows).T) - np.eye(12)).max() < 1e-4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "a whitening of version 99; this nlpx reads 2"),
        ({"gamma": None}, "broken"),
        ({"strength": 1}, "broken"),
    ],
)
def test_maps_that_cannot_be_read(tmp_path, change, message):
    path = tmp_path / "w.safetensors"
    save(fit(moments_of(vectors()), Choices()), path)
    with safe_open(path, framework="numpy") as file:
        settings, names = json.loads(file.metadata()["nlpx_whitening"]), list(file.keys())
        tensors = {name: file.get_tensor(name) for name in names}
    settings = {key: value for key, value in (settings | change).items() if value is not None or key == "pooling"}
    kept = {name: value for name, value in tensors.items() if "gamma" not in change or name != "kernel"}
    save_file(kept, path, metadata={"nlpx_whitening": json.dumps(settings)})
    with pytest.raises(InputError, match=message):
        load(path)
    save_file(tensors, path)
    with pytest.raises(InputError, match="safetensors, but no whitening"):
        load(path)
