"""Count, mean and second moments of vectors, summed in one pass in float64; partial sums add up exactly.

Sums are taken about a fixed point near the mean, so that large common offsets cost no digits, and over blocks of a
fixed number of rows, so that the way in which the rows arrive changes no bit of the result.

Products may be float32, in panels of 1,024 rows whose results are added in float64, which takes 0.6 of the time. How
wrong they can be is kept with them (`Moments.uncertainty`): a panel's sum has at most 1,024 roundings, each of at most
u = 2^-24 of a partial sum, which by Cauchy-Schwarz is at most the product of the two columns' lengths in the panel,
in whatever order a processor adds. Roundings are taken as independent and of mean 0 (Higham and Mary, SIAM Journal on
Scientific Computing 41, 2019); the bound that is certain, without that, would be larger by the root of their number.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nlpx.embed.duplicates import DuplicateSample
from nlpx.errors import InputError

Matrix = NDArray[Any]
Precision = Literal["float32", "float64"]

BLOCK_NUMBERS, MOST_BLOCK_ROWS = 1 << 22, 8192
PANEL_ROWS = 1024  # summed in float32; half as many take a quarter more time
UNIT = 2.0**-24  # half the distance from 1 to the next float32: the most by which a rounding is wrong, of its result
_DEVIATIONS = 6.0  # beyond it lies one in 500 million, and the largest of d^2 errors is asked for


class MeanCosine:
    """Of all pairs of different rows, without forming a pair: from the sum of the rows scaled to length 1."""

    def __init__(self, columns: int) -> None:
        self.count = self.num_zero = 0
        self.directions = np.zeros(columns)

    def add(self, rows: Matrix) -> Matrix:
        """Add rows (N, d); returns what scales each to length 1, (N,), and 0 for a row of zeros."""
        with np.errstate(over="ignore", under="ignore"):
            squares = np.einsum("ij,ij->i", rows, rows)
        if rows.dtype != np.float64 and not (squares.min() > 0 and np.isfinite(squares).all()):
            return self.add(rows.astype(np.float64))  # float32 has no word for so large or small a square
        scales: Matrix = np.divide(1.0, np.sqrt(squares), out=np.zeros_like(squares), where=squares > 0)
        self.directions += scales @ rows
        self.count += len(rows)
        self.num_zero += int((squares == 0).sum())
        return scales

    def merge(self, other: MeanCosine) -> None:
        """Add what `other` holds."""
        self.directions += other.directions
        self.count += other.count
        self.num_zero += other.num_zero

    @property
    def value(self) -> float:
        """Rows of zeros count as cosine 0; NaN for fewer than two rows."""
        pairs = self.count * (self.count - 1)
        own = self.count - self.num_zero
        return float((self.directions @ self.directions - own) / pairs) if pairs else float("nan")


class Moments:
    """Of the rows added so far. `shift` (d,), `sums` (d,) and `products` (d, d) are about `shift`; all float64.

    `rounded` (d,) is the sum over float32 panels of the square of a column's sum of squares.
    `precision` is that of the products inside a block of `block_rows` rows; `shift` is the mean of the first block
    unless it is given, and `sample_level` what `DuplicateSample` begins with.
    """

    def __init__(
        self, columns: int, *, precision: Precision = "float64", shift: Matrix | None = None, sample_level: int = 0
    ) -> None:
        self.columns = columns
        self.precision = precision
        self.block_rows = block_rows(columns)
        self.count = 0
        self.shift = shift
        self.sums = np.zeros(columns)
        self.products = np.zeros((columns, columns))
        self.rounded = np.zeros(columns)
        self._cosine = MeanCosine(columns)
        self._duplicates = DuplicateSample(sample_level)
        self._block: Matrix = np.empty((self.block_rows, columns), precision)
        self._filled = 0

    def add(self, rows: Matrix) -> None:
        """Add rows (N, d) of any float type."""
        if rows.shape[1] != self.columns:
            raise InputError(f"vectors of {rows.shape[1]} numbers where {self.columns} are expected")
        start = 0
        self.count += len(rows)
        while start < len(rows):
            count = min(self.block_rows - self._filled, len(rows) - start)
            part, start = rows[start : start + count], start + count
            if count == self.block_rows and rows.dtype == self._block.dtype:
                self._sum(part)  # a block as it should be: no need to collect one
                continue
            self._block[self._filled : self._filled + count] = part
            self._filled += count
            if self._filled == self.block_rows:
                self._flush()

    def merge(self, other: Moments) -> None:
        """Add what `other` holds, as if its rows had been added here; the coarser precision remains."""
        if other.columns != self.columns:
            raise InputError(f"moments of {other.columns} dimensions where {self.columns} are expected")
        self._flush()
        other._flush()
        if other.shift is None or not other.count:
            return
        if self.shift is None:
            self.shift = other.shift.copy()
        offset = other.shift - self.shift
        self.products += other.products + np.outer(other.sums, offset) + np.outer(offset, other.sums)
        self.products += other.count * np.outer(offset, offset)
        self.sums += other.sums + other.count * offset
        self.rounded += other.rounded
        self._cosine.merge(other._cosine)
        self._duplicates.merge(other._duplicates)
        self.count += other.count
        if other.precision == "float32":
            self.precision = "float32"

    @property
    def mean(self) -> Matrix:
        """(d,)"""
        self._flush()
        return self._point + self.sums / self.count

    def second_moment(self, beta: float = 1.0, *, ddof: int = 1) -> Matrix:
        """Of x - beta * mean, divided by count - ddof, (d, d): beta 1 is the covariance, beta 0 leaves the mean in."""
        self._flush()
        centred = self.products - np.outer(self.sums, self.sums) / self.count
        if beta != 1:
            mean = self.mean
            centred = centred + self.count * (1 - beta) ** 2 * np.outer(mean, mean)
        return centred / (self.count - ddof)

    def uncertainty(self, directions: Matrix) -> Matrix:
        """By how much float32 products may have moved the variance along unit vectors (d, k); returns (k,).

        The covariance of two of them may be wrong by the geometric mean of theirs. All 0 for float64 products.
        """
        self._flush()
        # Var(a^T E b) <= 2 sum_ij a_i^2 b_j^2 Var(E_ij), for E is symmetric, and Var(E_ij) <= rows * u^2 / 3 * sum over
        # the panels of |x_i|^2 |x_j|^2 <= rows * u^2 / 3 * sqrt(rounded_i rounded_j).
        deviation = UNIT * np.sqrt(2 * PANEL_ROWS / 3) * (np.sqrt(self.rounded) @ np.square(directions))
        uncertainty: Matrix = _DEVIATIONS * deviation / max(1, self.count - 1)
        return uncertainty

    @property
    def mean_cosine(self) -> float:
        """Over all pairs of different rows."""
        self._flush()
        return self._cosine.value

    @property
    def num_zero(self) -> int:
        """How many rows are all zeros."""
        self._flush()
        return self._cosine.num_zero

    @property
    def num_different(self) -> int:
        """How many different rows there are: exact up to some thousand, an estimate beyond; zeros are one row."""
        self._flush()
        others = self.count - self.num_zero
        return round(others * self._duplicates.fraction_of_distinct) + min(1, self.num_zero)

    def tensors(self) -> dict[str, Matrix]:
        """All of it, for saving."""
        self._flush()
        return {
            "count": np.array([self.count, self.num_zero, int(self.precision == "float64")]),
            "shift": self._point,
            "sums": self.sums,
            "products": self.products,
            "rounded": self.rounded,
            "directions": self._cosine.directions,
            "copies": self._duplicates.tensor(),  # the name in files of moments since their first version
        }

    @classmethod
    def of_tensors(cls, tensors: dict[str, Matrix]) -> Moments:
        """What `tensors` gave."""
        count, num_zero, is_exact = (int(value) for value in tensors["count"])
        moments = cls(len(tensors["shift"]), shift=tensors["shift"])
        moments.precision = "float64" if is_exact else "float32"  # of what is there; what is added is exact
        moments.count = moments._cosine.count = count
        moments._cosine.num_zero, moments._cosine.directions = num_zero, tensors["directions"]
        moments.sums, moments.products, moments.rounded = (tensors[name] for name in ("sums", "products", "rounded"))
        moments._duplicates = DuplicateSample.of_tensor(tensors["copies"])
        return moments

    @property
    def _point(self) -> Matrix:
        return np.zeros(self.columns) if self.shift is None else self.shift

    def _flush(self) -> None:
        block, self._filled = self._block[: self._filled], 0
        if len(block):
            self._sum(block)

    def _sum(self, block: Matrix) -> None:
        self._cosine.add(block)
        self._duplicates.add(block)
        if self.shift is None:
            # Exact in either precision: what is subtracted here is what is added to the mean.
            self.shift = block.mean(axis=0, dtype=np.float64).astype(block.dtype).astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            shifted = np.subtract(block, self.shift.astype(block.dtype), out=self._block[: len(block)])
            self.sums += shifted.sum(axis=0, dtype=np.float64)
            if self.precision == "float64":
                self.products += _product(shifted)
                return
            for start in range(0, len(block), PANEL_ROWS):
                panel = shifted[start : start + PANEL_ROWS]
                products = _product(panel)
                self.products += products
                self.rounded += np.square(products.diagonal(), dtype=np.float64)


def block_rows(columns: int) -> int:
    """How many rows of so many numbers are multiplied at once, whoever asks."""
    return min(MOST_BLOCK_ROWS, max(256, BLOCK_NUMBERS // columns))


def _product(panel: Matrix) -> Matrix:
    return np.asarray(panel.T @ panel)  # (d, d)
