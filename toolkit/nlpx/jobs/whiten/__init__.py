"""`nlpx whiten`: fit a map on vectors, apply it, and report its effect. Vectors are processed in parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nlpx.errors import InputError, MachineError, UsageError, install_hint

if TYPE_CHECKING:
    from nlpx.embed.moments import Moments
    from nlpx.embed.vectors import VectorFile
    from nlpx.embed.whitening import Choices, Whitening
    from nlpx.messages import Messages


@dataclass(frozen=True, slots=True)
class Options:
    """What to fit on and where, or which earlier map to take, and where results go."""

    fit: Sequence[str] = ()
    load: Path | None = None
    merge: Sequence[Path] = ()
    save: Path | None = None
    out: str | None = None
    normalize: bool = False
    fold: str | None = None  # a model that gets the map as its last layer; `out` is its new directory
    pooling: str | None = None  # of the vectors, for `fold`
    plot: Path | None = None
    engine: Literal["local", "dask"] = "local"
    scheduler: str | None = None
    float64: bool = False


def whiten(source: str | None, choices: Choices, options: Options, messages: Messages) -> dict[str, Any]:
    """Fit (on `source` by default) and apply; returns the facts and what was written.

    Without `source` only the map is made, and with `fold` the model that has it. Raises `InputError` for vectors that
    are unusable, `UsageError` for options that contradict each other, `MachineError` without an extra that is needed.
    """
    from nlpx.embed.whitening import save, warnings_of

    _check(source, choices, options)
    is_fitted_on = not (options.load or options.fit or options.merge)
    with ExitStack() as stack:
        vectors = None if source is None else stack.enter_context(_opened(source, again=is_fitted_on))
        whitening = _map(vectors, choices, options, messages)
        for warning in () if options.load else warnings_of(whitening):
            messages.warn(warning)
        written: dict[str, Any] = {"path": None, "transform": None}
        if _is_saved(options):
            written["transform"] = str(_transform_path(source, options))
            save(whitening, Path(written["transform"]))
        after = None
        if options.fold is not None:
            written["path"] = _fold(whitening, options)
        elif vectors is not None:
            written["path"] = _target(source, options)
            after = _apply(vectors, whitening, str(written["path"]), options, messages)
    if options.plot is not None:
        _draw(whitening, options.plot)
    return written | whitening.facts() | {"mean_cosine_after": after}


def inspect(path: Path, plot: Path | None = None) -> dict[str, Any]:
    """The facts of an earlier map, and its eigenvalues drawn if `plot` is given."""
    from nlpx.embed.whitening import load

    whitening = load(path)
    if plot is not None:
        _check_plot(plot)
        _draw(whitening, plot)
    return {"transform": str(path)} | whitening.facts()


def _check(source: str | None, choices: Choices, options: Options) -> None:
    from nlpx.embed.whitening import Choices

    if options.load is not None and (options.fit or options.merge):
        raise UsageError("--load takes an earlier map, so there is nothing to fit", hint="leave out --fit and --merge")
    if options.load is not None and replace(choices, dim=None) != Choices():
        raise UsageError("an earlier map is what it is: of it only --dim can be chosen", hint="fit it again instead")
    if options.scheduler is not None and options.engine != "dask":
        raise UsageError("--scheduler is the address of a Dask cluster", hint="add --engine dask")
    if options.engine == "dask" and (options.load is not None or "-" in (source, *options.fit)):
        raise UsageError("--engine dask is for fitting on files that every worker can open")
    if options.pooling is not None and options.fold is None:
        raise UsageError("--pooling says for --fold how the vectors were made", hint="leave it out")
    if options.fold is not None:
        _check_fold(source, options)
    elif source is None and not (options.fit or options.merge):
        raise UsageError("no vectors", hint="name a .npy file, or - for stdin")
    elif source is None and options.save is None:
        raise UsageError("with nothing to apply the map to, --save must say where it goes")
    elif source == "-" and options.load is None and options.save is None and options.out in (None, "-"):
        raise UsageError("the vectors come from stdin: --save must say where the map goes, or -o where the vectors go")
    if options.plot is not None:
        _check_plot(options.plot)


def _check_fold(source: str | None, options: Options) -> None:
    if options.out in (None, "-"):
        raise UsageError("--fold makes a model: -o must name its new directory")
    if source is not None and (options.load or options.fit or options.merge):
        raise UsageError(f"--fold applies the map to no file: what is {source} for?", hint="leave it out")
    if source is None and not (options.load or options.fit or options.merge):
        raise UsageError("no map to fold", hint="name vectors to fit on, or an earlier map with --load")


def _check_plot(path: Path) -> None:
    """Refuse before an hour of fitting what could not be drawn after it."""
    from nlpx.report.plots import available

    if path.is_dir():
        raise UsageError(f"--plot: {path} is a folder", hint="name a file in it")
    if not available():
        raise MachineError("--plot needs matplotlib, which is not installed", hint=install_hint("plot"))


def _map(vectors: VectorFile | None, choices: Choices, options: Options, messages: Messages) -> Whitening:
    from nlpx.embed.whitening import fit, load

    if options.load is not None:
        earlier = load(options.load)
        return earlier if choices.dim is None else earlier.truncated(choices.dim)
    return fit(_moments(vectors, choices, options, messages), choices)


def _moments(vectors: VectorFile | None, choices: Choices, options: Options, messages: Messages) -> Moments:
    from nlpx.embed.fitting import Place, moments_of
    from nlpx.embed.moments import Moments
    from nlpx.embed.whitening import load

    earlier = [load(path).moments for path in options.merge]
    with ExitStack() as stack:
        files = [stack.enter_context(_opened(path, again=True)) for path in options.fit]
        if not files and not earlier and vectors is not None:
            files = [vectors]
        widths = {moments.columns for moments in earlier} | {file.columns for file in files}
        if len(widths) > 1:
            raise InputError(f"vectors of different dimensions: {', '.join(map(str, sorted(widths)))}")
        total = Moments(widths.pop())
        for moments in earlier:
            total.merge(moments)
        if files:
            place = Place(options.engine, options.scheduler, options.float64)
            total.merge(moments_of(files, choices, place, messages))
    return total


def _apply(vectors: VectorFile, whitening: Whitening, target: str, options: Options, messages: Messages) -> float:
    """Write the whitened vectors, one part while the next is computed; returns their mean cosine."""
    from nlpx.embed.moments import MeanCosine
    from nlpx.embed.vectors import write_vectors

    if vectors.columns != whitening.columns:
        raise InputError(f"{vectors.name}: vectors of {vectors.columns} numbers; the map takes {whitening.columns}")
    kind = "float64" if vectors.dtype.itemsize == 8 else "float32"
    cosine, ready = MeanCosine(whitening.dim), whitening.of_type(whitening.precision_for(vectors.dtype))
    with (
        messages.progress(vectors.rows, "applying") as progress,
        write_vectors(target, rows=vectors.rows, columns=whitening.dim, dtype=kind) as writer,
        ThreadPoolExecutor(1) as thread,
    ):
        under_way: Future[None] | None = None
        for part in vectors.finite_chunks():
            after = ready.apply(part)
            scales = cosine.add(after)
            if options.normalize:
                after *= scales[:, None]
            if under_way is not None:
                under_way.result()
            under_way = thread.submit(writer.write, after)
            progress.update(advance=len(part))
        if under_way is not None:
            under_way.result()
    return cosine.value


def _fold(whitening: Whitening, options: Options) -> str:
    from nlpx.embed.folded import fold
    from nlpx.embed.settings import DEFAULT_POOLING, own_pooling
    from nlpx.models.checkpoints.hub import locate

    pooling = options.pooling or whitening.pooling or own_pooling(locate(str(options.fold))) or DEFAULT_POOLING
    return str(fold(str(options.fold), whitening, pooling=pooling, out=Path(str(options.out))))


def _draw(whitening: Whitening, path: Path) -> None:
    from nlpx.embed.whitening import effective_rank
    from nlpx.report.spectrum import plot_spectrum

    values = whitening.eigenvalues
    plot_spectrum(values.tolist(), whitening.dim, path, effective_rank=effective_rank(values))


@contextmanager
def _opened(source: str, *, again: bool) -> Iterator[VectorFile]:
    """The vectors; those of stdin in a temporary file if they must be read `again`."""
    import tempfile

    from nlpx.embed.vectors import open_vectors, write_vectors

    vectors = open_vectors(source)
    if vectors.repeatable or not again:
        yield vectors
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.npy"
        with write_vectors(path, rows=vectors.rows, columns=vectors.columns, dtype=vectors.dtype.name) as writer:
            for part in vectors.chunks():
                writer.write(part)
        yield replace(open_vectors(path), name=vectors.name)


def _is_saved(options: Options) -> bool:
    """A map that was just made, unless the folded model is where it goes; an earlier one only when asked."""
    return options.save is not None or (options.load is None and options.fold is None)


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
