"""Whitening: one linear map after which vectors have mean 0 and covariance 1, so that cosines rank better.

y = (x - beta mu) U Lambda^(-gamma / 2), where U Lambda U^T is the second moment of x - beta mu, largest first, and
the first columns are kept. beta = gamma = 1 is BERT-whitening (Su Jianlin, kexue.fm/archives/8069; arXiv 2103.15316);
beta = gamma = 0 only turns, which reduces dimensions almost without loss (kexue.fm/archives/9079).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpx.embed.moments import UNIT, Moments, Precision
from nlpx.errors import InputError, UsageError
from nlpx.io import parse_json, write_atomically, write_json

Matrix = NDArray[Any]

VERSION = 2
PROMISE = 1e-4  # how far the covariance of what is whitened may be from the identity
RESOLUTION = 1e-9  # variances below this fraction of the largest are not distinguished from the rounding of float64
ROWS_PER_DIMENSION = 10  # fewer make an estimate that is mostly noise
DUPLICATES = 0.01  # fraction of the rows from which on duplicates are warned of
_TINY = 1e-30  # variances below it were squares that float32 could not hold


@dataclass(frozen=True, slots=True)
class Choices:
    """Which map: `dim` columns, or as many as explain the fraction `variance`; neither: all."""

    dim: int | None = None
    variance: float | None = None
    beta: float = 1.0
    gamma: float = 1.0

    def __post_init__(self) -> None:
        if self.dim is not None and self.variance is not None:
            raise UsageError("--dim and --variance contradict each other", hint="give one of them")
        if self.variance is not None and not 0 < self.variance <= 1:
            raise UsageError(f"--variance {self.variance} is no fraction", hint="such as 0.95")


@dataclass(frozen=True, slots=True)
class Whitening:
    """y = (x + bias) kernel, with `bias` (d,) and `kernel` (d, k); what it was made from stays with it."""

    bias: Matrix
    kernel: Matrix
    eigenvalues: Matrix  # all d, largest first
    moments: Moments
    choices: Choices
    num_floored: int
    pooling: str | None = None  # of the vectors, if it is known

    @property
    def columns(self) -> int:
        """Numbers of a vector before."""
        return len(self.bias)

    @property
    def dim(self) -> int:
        """Numbers of a vector after."""
        return int(self.kernel.shape[1])

    def apply(self, rows: Matrix) -> Matrix:
        """(N, d) to (N, k), float32 unless the rows are float64."""
        ready = self.of_type(self.precision_for(rows.dtype))
        kind = "float64" if rows.dtype == np.float64 else "float32"
        return ((rows + ready.bias) @ ready.kernel).astype(kind, copy=False)

    def precision_for(self, kind: np.dtype[Any]) -> Precision:
        """The precision in which rows of this type are multiplied: float32 where its rounding keeps the promise.

        Rounding the map moves the covariance of its columns i and j by at most u (r_ij + r_ji), where r is the ratio
        of their lengths. The products have another d roundings, each of u r: a deviation of u r sqrt(d / 3N) over
        N > d rows.
        """
        if kind == np.float64:
            return "float64"
        lengths = np.linalg.norm(self.kernel, axis=0)
        error = UNIT * (2 + 6 / np.sqrt(3)) * lengths.max() / lengths.min()
        return "float32" if error <= PROMISE else "float64"

    def of_type(self, kind: str) -> Whitening:
        """The same with `bias` and `kernel` of this type, so that applying it to many parts converts them once."""
        if self.kernel.dtype == kind:
            return self
        return replace(self, bias=self.bias.astype(kind), kernel=self.kernel.astype(kind))

    def truncated(self, dim: int) -> Whitening:
        """The same map without its last columns."""
        if dim > self.dim:
            raise UsageError(f"--dim {dim}: the map keeps {self.dim} dimensions", hint="fit it again to keep more")
        return replace(self, kernel=self.kernel[:, :dim], num_floored=max(0, self.num_floored - self.dim + dim))

    def facts(self) -> dict[str, Any]:
        """What people want to know of it."""
        fractions = explained(self.eigenvalues)
        wanted = (0.5, 0.8, 0.9, 0.95, 0.99)
        return {
            "rows": self.moments.count,
            "columns": self.columns,
            "dim": self.dim,
            **{key: value for key, value in asdict(self.choices).items() if key in ("beta", "gamma")},
            "explained_variance": float(fractions[self.dim - 1]),
            "dimensions_for": {str(fraction): int(np.searchsorted(fractions, fraction) + 1) for fraction in wanted},
            "effective_rank": effective_rank(self.eigenvalues),
            "largest_eigenvalue": float(self.eigenvalues[0]),
            "smallest_kept_eigenvalue": float(self.eigenvalues[self.dim - 1]),
            "floored_directions": self.num_floored,
            "precision": self.moments.precision,
            "pooling": self.pooling,
            "different_rows": self.moments.num_different,
            "mean_cosine_before": self.moments.mean_cosine,
        }


def fit(moments: Moments, choices: Choices) -> Whitening:
    """The map for vectors of these moments, in float64.

    Raises InputError where the result would say nothing: rows that are all alike, or no more rows than kept
    dimensions, when every two of N rows in general position end up at cosine -1 / (N - 1).
    """
    if moments.count < 2:
        raise InputError(
            f"{moments.count} vector: a map is fitted on many", hint="fit on a whole corpus, then apply it with --load"
        )
    values, vectors = np.linalg.eigh(moments.second_moment(choices.beta))
    values, vectors = np.maximum(values[::-1], 0.0), _signed(vectors[:, ::-1])
    if values[0] == 0:
        raise InputError("all vectors are the same: there is no variance to whiten")
    dim = _dimension(values, choices)
    if choices.gamma:
        _check_rows(moments, dim)
    floors = _floors(moments, values, vectors)[:dim]
    kernel = vectors[:, :dim] * np.maximum(values[:dim], floors) ** (-choices.gamma / 2)
    is_low = values[:dim] < floors
    num_floored = dim - int(is_low.argmax()) if choices.gamma and is_low.any() else 0
    return Whitening(-choices.beta * moments.mean, kernel, values, moments, choices, num_floored)


def is_resolved(moments: Moments, choices: Choices, *, rows: int | None = None) -> bool:
    """Whether each direction that would be kept stands clear of the rounding of these moments.

    With `rows`: of the moments of so many rows, of which these are the first.
    """
    with np.errstate(invalid="ignore"):
        second = moments.second_moment(choices.beta)
    if not np.isfinite(second).all():
        return False
    values, vectors = np.linalg.eigh(second)
    values, vectors = values[::-1], vectors[:, ::-1]
    dim = _dimension(np.maximum(values, 0.0), choices) if choices.gamma else 1
    # Roundings are independent: what they do to a mean over more rows falls with the root of their number.
    fraction = np.sqrt(moments.count / max(rows or 0, moments.count))
    return bool(values[0] > _TINY and (values >= _floors(moments, values, vectors, fraction))[:dim].all())


def explained(eigenvalues: Matrix) -> Matrix:
    """Share of all variance in the first 1, 2, ... directions."""
    sums = np.cumsum(eigenvalues)
    fractions: np.ndarray = sums / sums[-1]
    return fractions


def effective_rank(eigenvalues: Matrix) -> float:
    """exp of the entropy of the eigenvalues as fractions: how many equal directions would be as spread (Roy, 2007)."""
    fractions = eigenvalues / eigenvalues.sum()
    positive = fractions[fractions > 0]
    return float(np.exp(-(positive * np.log(positive)).sum()))


def warnings_of(whitening: Whitening) -> list[str]:
    """What is likely to make the map worse than it looks."""
    moments, dim, different = whitening.moments, whitening.dim, whitening.moments.num_different
    found = []
    if whitening.choices.gamma and different < ROWS_PER_DIMENSION * dim:
        found.append(
            f"{_numbered(moments)} for {dim} dimensions: below about {ROWS_PER_DIMENSION * dim:,} the map fits "
            f"their noise; --dim {max(1, different // ROWS_PER_DIMENSION)} would be safe"
        )
    fraction = 1 - different / moments.count
    if fraction >= DUPLICATES:
        found.append(f"{fraction:.0%} of the vectors are duplicates of others, and each counts; are texts repeated?")
    constant = int((np.diag(moments.second_moment()) == 0).sum())
    if constant:
        found.append(f"{constant} columns are constant: they carry nothing")
    if moments.num_zero:
        found.append(f"{moments.num_zero:,} vectors are zero: are their texts empty?")
    if whitening.num_floored:
        first = dim - whitening.num_floored
        floor = f"{RESOLUTION:g} of the largest" if moments.precision == "float64" else "what float32 products tell"
        found.append(
            f"directions {first} to {dim - 1} have eigenvalues below {floor}, "
            f"which is rounding: scaled as if at that floor; --dim {max(1, first)} leaves them out"
        )
        if moments.precision == "float32":
            found.append("some sums are of float32 products: fitting them again with --float64 resolves more")
    return found


def save(whitening: Whitening, path: Path) -> None:
    """Write `path` (safetensors: map and moments) and beside it a `.json` for people."""
    from safetensors.numpy import save_file

    tensors = {"bias": whitening.bias, "kernel": whitening.kernel, "eigenvalues": whitening.eigenvalues}
    tensors |= {f"moments.{name}": value for name, value in whitening.moments.tensors().items()}
    settings = {"version": VERSION, "num_floored": whitening.num_floored, "pooling": whitening.pooling}
    settings |= asdict(whitening.choices)
    with write_atomically(path) as temporary:
        contiguous = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
        save_file(contiguous, temporary, metadata={"nlpx_whitening": json.dumps(settings)})
    write_json(path.with_suffix(".json"), settings | whitening.facts())


def load(path: Path) -> Whitening:
    """Read what `save` wrote. Raises InputError for any other file and for another version."""
    from safetensors import SafetensorError, safe_open

    hint = "give the .safetensors file that `nlpx whiten` wrote"
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = (file.metadata() or {}).get("nlpx_whitening")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", hint=hint) from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: no whitening: {error}", hint=hint) from None
    if metadata is None:
        raise InputError(f"{path}: safetensors, but no whitening", hint=hint)
    try:
        return _of_file(parse_json(metadata), tensors, path)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: a whitening that is broken: {error}", hint=hint) from None


def _of_file(settings: dict[str, Any], tensors: dict[str, Matrix], path: Path) -> Whitening:
    version = settings.pop("version")
    if version != VERSION:
        raise InputError(f"{path}: a whitening of version {version}; this nlpx reads {VERSION}", hint="fit it again")
    rest = {name: settings.pop(name) for name in ("num_floored", "pooling")}
    moments = {name.removeprefix("moments."): value for name, value in tensors.items() if name.startswith("moments.")}
    bias, kernel, eigenvalues = (tensors[name] for name in ("bias", "kernel", "eigenvalues"))
    return Whitening(bias, kernel, eigenvalues, Moments.of_tensors(moments), Choices(**settings), **rest)


def _floors(moments: Moments, values: Matrix, vectors: Matrix, fraction: float = 1.0) -> Matrix:
    """What the eigenvalues (d,) must reach, (d,), for the covariance of their directions to keep the promise."""
    floors: Matrix = np.maximum(RESOLUTION * values[0], fraction * moments.uncertainty(vectors) / PROMISE)
    return floors


def _dimension(values: Matrix, choices: Choices) -> int:
    if choices.variance is not None:
        return min(len(values), int(np.searchsorted(explained(values), choices.variance - 1e-12) + 1))
    if choices.dim is None:
        return len(values)
    if not 1 <= choices.dim <= len(values):
        raise UsageError(f"--dim {choices.dim}: the vectors have {len(values)} dimensions")
    return choices.dim


def _check_rows(moments: Moments, dim: int) -> None:
    different = moments.num_different
    if different - 1 > dim:
        return
    law = f"every two of them would get the cosine -1/{moments.count - 1}, whatever they mean"
    if different < moments.count:  # with fractions p and q of the rows: -1 / sqrt((1 / p - 1) (1 / q - 1))
        law = "their cosines would follow from how often each occurs, whatever they mean"
    raise InputError(
        f"{_numbered(moments)} cannot be whitened to {dim} dimensions: {law}",
        hint=f"fit on at least {ROWS_PER_DIMENSION * dim:,} vectors, or choose a --dim far below {different}",
    )


def _numbered(moments: Moments) -> str:
    different = moments.num_different
    return f"{moments.count:,} vectors" + (f", {different:,} different," if different < moments.count else "")


def _signed(vectors: Matrix) -> Matrix:
    """Eigenvectors with their largest entry positive: else the sign would be chance."""
    largest = np.abs(vectors).argmax(axis=0)
    signed: np.ndarray = vectors * np.sign(vectors[largest, np.arange(vectors.shape[1])])
    return signed
