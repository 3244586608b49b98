import numpy as np
import pytest

from nlpx.embed.duplicates import MOST, DuplicateSample


def sample_of(*parts):
    found = DuplicateSample()
    for part in parts:
        found.add(part)
    return found


def rows(count, columns=6, *, seed=0):
    return np.random.default_rng(seed).normal(size=(count, columns))


def test_few_are_counted_exactly():
    different = rows(MOST)
    assert sample_of(different, different[:1000]).fraction_of_distinct == MOST / (MOST + 1000)
    assert sample_of().fraction_of_distinct == 1
    assert sample_of(np.zeros((5, 3))).fraction_of_distinct == 1  # zeros are warned of by another name


@pytest.mark.parametrize("num_duplicates", [0, 5000, 60_000])
def test_many_are_estimated(num_duplicates):
    different = rows(40_000)
    found = sample_of(different, different[np.random.default_rng(1).integers(0, 40_000, num_duplicates)])
    assert found.level >= 4
    assert MOST / 3 <= len(found.times) <= MOST
    assert found.fraction_of_distinct == pytest.approx(40_000 / (40_000 + num_duplicates), abs=0.03)
    assert num_duplicates or found.fraction_of_distinct == 1


def test_how_rows_arrive_does_not_matter():
    everything = np.concatenate([rows(9000), rows(3000)])
    whole = sample_of(everything)
    parts = sample_of(*np.array_split(everything, 13))
    merged = sample_of(everything[:5000])
    merged.merge(sample_of(everything[5000:]))
    carried = sample_of(everything[:5000])
    rest = DuplicateSample(carried.level)
    rest.add(everything[5000:])
    carried.merge(rest)
    for other in (parts, merged, carried, DuplicateSample.of_tensor(whole.tensor())):
        assert (other.level, other.times) == (whole.level, whole.times)
    assert np.array_equal(sample_of(everything.astype("f4")).tensor(), whole.tensor())


def test_rows_that_differ_in_one_place_only():
    sparse = np.eye(500)
    assert sample_of(sparse, sparse).fraction_of_distinct == 0.5
