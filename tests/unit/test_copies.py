import numpy as np
import pytest

from nlpx.embed.copies import MOST, CopySample


def sample_of(*parts):
    found = CopySample()
    for part in parts:
        found.add(part)
    return found


def rows(count, columns=6, *, seed=0):
    return np.random.default_rng(seed).normal(size=(count, columns))


def test_few_are_counted_exactly():
    different = rows(MOST)
    assert sample_of(different, different[:1000]).share_of_different == MOST / (MOST + 1000)
    assert sample_of().share_of_different == 1
    assert sample_of(np.zeros((5, 3))).share_of_different == 1  # zeros are warned of by another name


@pytest.mark.parametrize("copies", [0, 5000, 60_000])
def test_many_are_estimated(copies):
    different = rows(40_000)
    found = sample_of(different, different[np.random.default_rng(1).integers(0, 40_000, copies)])
    assert found.level >= 4
    assert MOST / 3 <= len(found.times) <= MOST
    assert found.share_of_different == pytest.approx(40_000 / (40_000 + copies), abs=0.03)
    assert copies or found.share_of_different == 1


def test_how_rows_arrive_does_not_matter():
    everything = np.concatenate([rows(9000), rows(3000)])
    whole = sample_of(everything)
    parts = sample_of(*np.array_split(everything, 13))
    merged = sample_of(everything[:5000])
    merged.merge(sample_of(everything[5000:]))
    carried = sample_of(everything[:5000])
    rest = CopySample(carried.level)
    rest.add(everything[5000:])
    carried.merge(rest)
    for other in (parts, merged, carried, CopySample.of_tensor(whole.tensor())):
        assert (other.level, other.times) == (whole.level, whole.times)
    assert np.array_equal(sample_of(everything.astype("f4")).tensor(), whole.tensor())


def test_rows_that_differ_in_one_place_only():
    sparse = np.eye(500)
    assert sample_of(sparse, sparse).share_of_different == 0.5
