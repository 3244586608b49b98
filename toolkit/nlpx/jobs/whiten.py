"""`nlpx whiten`: fit a map on vectors, apply it, and say what it did. Everything passes through in parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpx.errors import InputError, UsageError

if TYPE_CHECKING:
    from nlpx.embed.moments import Moments
    from nlpx.embed.vectors import VectorFile
    from nlpx.embed.whitening import Choices, Whitening
    from nlpx.jobs.messages import Messages


@dataclass(frozen=True, slots=True)
class Options:
    """What to fit on, or which earlier map to take, and where results go."""

    fit: Sequence[str] = ()
    load: Path | None = None
    merge: Sequence[Path] = ()
    save: Path | None = None
    out: str | None = None
    normalize: bool = False


def whiten(source: str | None, choices: Choices, options: Options, messages: Messages) -> dict[str, Any]:
    """Fit (on `source` unless told otherwise) and apply; returns the facts and what was written.

    Without `source` only the map is made. Raises `InputError` for vectors that are unusable, `UsageError` for
    options that contradict each other.
    """
    from nlpx.embed.vectors import open_vectors
    from nlpx.embed.whitening import save, warnings_of

    _check(source, choices, options)
    vectors = None if source is None else open_vectors(source)
    if vectors is not None and not vectors.repeatable and not (options.load or options.fit or options.merge):
        vectors = _spooled(vectors)
    try:
        whitening = _map(vectors, choices, options, messages)
        for warning in () if options.load else warnings_of(whitening):
            messages.warn(warning)
        written: dict[str, Any] = {"path": None, "transform": None}
        if options.load is None or options.save is not None:
            written["transform"] = str(_transform_path(source, options))
            save(whitening, Path(written["transform"]))
        after = None
        if vectors is not None:
            written["path"] = _target(source, options)
            after = _apply(vectors, whitening, str(written["path"]), options, messages)
    finally:
        if vectors is not None and source == "-" and vectors.path != "-":
            Path(vectors.path).unlink()
    return written | whitening.facts() | {"mean_cosine_after": after}


def inspect(path: Path) -> dict[str, Any]:
    """The facts of an earlier map."""
    from nlpx.embed.whitening import load

    return {"transform": str(path)} | load(path).facts()


def _check(source: str | None, choices: Choices, options: Options) -> None:
    from nlpx.embed.whitening import Choices

    if options.load is not None and (options.fit or options.merge):
        raise UsageError("--load takes an earlier map, so there is nothing to fit", hint="leave out --fit and --merge")
    if options.load is not None and replace(choices, dim=None) != Choices():
        raise UsageError("an earlier map is what it is: of it only --dim can be chosen", hint="fit it again instead")
    if source is None and not (options.fit or options.merge):
        raise UsageError("no vectors", hint="name a .npy file, or - for stdin")
    if source is None and options.save is None:
        raise UsageError("with nothing to apply the map to, --save must say where it goes")
    if source == "-" and options.load is None and options.save is None and options.out in (None, "-"):
        raise UsageError("the vectors come from stdin: --save must say where the map goes, or -o where the vectors go")


def _map(vectors: VectorFile | None, choices: Choices, options: Options, messages: Messages) -> Whitening:
    from nlpx.embed.whitening import fit, load

    if options.load is not None:
        earlier = load(options.load)
        return earlier if choices.dim is None else earlier.truncated(choices.dim)
    return fit(_moments(vectors, options, messages), choices)


def _moments(vectors: VectorFile | None, options: Options, messages: Messages) -> Moments:
    from nlpx.embed.moments import Moments
    from nlpx.embed.vectors import check_finite, open_vectors
    from nlpx.embed.whitening import load

    earlier = [load(path).moments for path in options.merge]
    files = [open_vectors(path) for path in options.fit]
    if not files and not earlier and vectors is not None:
        files = [vectors]
    widths = {moments.columns for moments in earlier} | {file.columns for file in files}
    if len(widths) > 1:
        raise InputError(f"vectors of different dimensions: {', '.join(map(str, sorted(widths)))}")
    total = Moments(widths.pop())
    for moments in earlier:
        total.merge(moments)
    with messages.progress(sum(file.rows for file in files), "fitting") as progress:
        for file in files:
            done = 0
            for part in file.chunks():
                check_finite(part, first_row=done, name=file.name)
                total.add(part)
                done += len(part)
                progress.update(advance=len(part))
    return total


def _apply(vectors: VectorFile, whitening: Whitening, target: str, options: Options, messages: Messages) -> float:
    """Write the whitened vectors; returns their mean cosine."""
    import numpy as np

    from nlpx.embed.vectors import check_finite, write_vectors

    if vectors.columns != whitening.columns:
        raise InputError(f"{vectors.name}: vectors of {vectors.columns} numbers; the map takes {whitening.columns}")
    kind = "float64" if vectors.dtype == np.float64 else "float32"
    direction, count, done = np.zeros(whitening.dim), 0, 0
    with (
        messages.progress(vectors.rows, "applying") as progress,
        write_vectors(target, rows=vectors.rows, columns=whitening.dim, dtype=kind) as writer,
    ):
        for part in vectors.chunks():
            check_finite(part, first_row=done, name=vectors.name)
            after = whitening.apply(part)
            lengths = np.sqrt(np.einsum("ij,ij->i", after, after))
            scales = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
            direction += scales @ after
            count += int((lengths > 0).sum())
            writer.write(after * scales[:, None] if options.normalize else after)
            done += len(part)
            progress.update(done)
    pairs = vectors.rows * (vectors.rows - 1)
    return float((direction @ direction - count) / pairs) if pairs else float("nan")


def _spooled(vectors: VectorFile) -> VectorFile:
    """The vectors of stdin in a temporary file: they are needed twice, to fit and to apply."""
    import tempfile

    from nlpx.embed.vectors import open_vectors, write_vectors

    with tempfile.NamedTemporaryFile(suffix=".npy", delete=False) as file:
        path = Path(file.name)
    try:
        with write_vectors(path, rows=vectors.rows, columns=vectors.columns, dtype=vectors.dtype.name) as writer:
            for part in vectors.chunks():
                writer.write(part)
        return open_vectors(path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _target(source: str | None, options: Options) -> str:
    from nlpx.embed.vectors import beside

    if options.out is not None:
        return options.out
    return "-" if source in (None, "-") else str(beside(str(source), ".whitened.npy"))


def _transform_path(source: str | None, options: Options) -> Path:
    from nlpx.embed.vectors import beside

    if options.save is not None:
        return options.save
    base = options.out if source in (None, "-") else source
    return beside(str(base), ".whitening.safetensors")
