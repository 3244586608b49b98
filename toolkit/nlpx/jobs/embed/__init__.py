"""`nlpx embed`: a vector for every line or row, window by window, so that any number of them will do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nlpx.errors import InputError, UsageError

if TYPE_CHECKING:
    from nlpx.data.corpus.texts import Reading, Source
    from nlpx.embed.encoder import SentenceEncoder
    from nlpx.embed.windows import Window
    from nlpx.messages import Messages
    from nlpx.train.config import Precision


@dataclass(frozen=True, slots=True)
class Options:
    """Which texts, which model, which vectors; what is None is as the model's directory says, else as usual."""

    model: str = "sim-tiny"
    pooling: str | None = None
    field: str = "text"
    input_format: str | None = None
    encoding: str = "utf-8"
    dtype: Literal["float32", "float16"] = "float32"
    shard: int | None = None
    max_length: int | None = None
    batch_tokens: int | None = None
    precision: Precision = "auto"
    device: str = "auto"
    normalize: bool | None = None
    prompt_name: str | None = None


def embed(files: Sequence[str], out: str, options: Options, messages: Messages) -> dict[str, Any] | None:
    """Write one vector for every line of plain text and every other row, in order; returns the facts.

    `out` is a `.npy` file, or `-` for stdout. Under `torchrun` every process encodes a part of the windows, the
    first one writes them out and the others return None. After a kill the same call continues. Raises `InputError` for
    what cannot be read or has no text, `UsageError` for options that contradict each other.
    """
    from nlpx.data.corpus.texts import Reading, find_sources
    from nlpx.device import choose
    from nlpx.messages import Silent
    from nlpx.train import distributed

    reading = Reading(field=options.field, encoding=options.encoding)
    reading.check()
    sources = find_sources(files, format=options.input_format, encoding=options.encoding)
    _check(sources, out, options)
    device = choose(options.device).device
    with distributed.process_group(device=device):
        if distributed.world_size() > 1:
            _check_group(sources, out)
            device = f"cuda:{distributed.local_rank()}" if device.startswith("cuda") else device
        main_messages = messages if distributed.is_main() else Silent()
        with _parts_folder(out, main_messages) as folder:
            encoder = _load(options, device, main_messages)
            found = _encode(sources, reading, encoder, folder, options, main_messages)
            return _finish(found, out, encoder, options, main_messages) if distributed.is_main() else None


def _check(sources: Sequence[Source], out: str, options: Options) -> None:
    if out == "-" and options.shard is not None:
        raise UsageError("stdout is one stream: --shard needs -o FILE")
    if out != "-" and Path(out).is_dir():
        raise UsageError(f"{out} is a folder", hint=f"-o {Path(out) / 'emb.npy'} names a file in it")
    if out != "-" and any(source.path == out for source in sources):
        raise UsageError(f"{out} is to be read and written at once")


def _check_group(sources: Sequence[Source], out: str) -> None:
    if out == "-" or not all(source.repeatable for source in sources):
        raise UsageError("several processes cannot share stdin and stdout", hint="name the files, and -o FILE")


@contextmanager
def _parts_folder(out: str, messages: Messages) -> Iterator[Path]:
    """The folder for vectors of windows: beside the target, where a later run finds it, or temporary for stdout."""
    import tempfile

    if out == "-":
        with tempfile.TemporaryDirectory(prefix="nlpx-embed-") as folder:
            yield Path(folder)
        return
    parts = Path(f"{out}.parts")
    try:
        yield parts
    except KeyboardInterrupt:
        messages.note(f"what is done is kept in {parts}: the same command continues from there")
        raise


def _load(options: Options, device: str, messages: Messages) -> SentenceEncoder:
    from nlpx.embed.encoder import SentenceEncoder

    encoder = SentenceEncoder.load(
        options.model,
        poolings=None if options.pooling is None else (options.pooling,),
        max_length=options.max_length,
        precision=options.precision,
        device=device,
        batch_tokens=options.batch_tokens,
        normalize=options.normalize,
        prompt_name=options.prompt_name,
    )
    for note in encoder.notes:
        messages.note(note)
    messages.detail(f"{encoder.precision} on {encoder.device}: {encoder.reason}")
    return encoder


def _encode(
    sources: Sequence[Source],
    reading: Reading,
    encoder: SentenceEncoder,
    folder: Path,
    options: Options,
    messages: Messages,
) -> list[Window]:
    """Encode this process's part of the windows, but those that are there already; returns all of them."""
    from nlpx.data.corpus.texts import read_texts
    from nlpx.embed.windows import WindowFolder, windows
    from nlpx.train import distributed

    windows_of = WindowFolder(folder, _settings(options, encoder))
    texts = (text for source in sources for text in read_texts(source, reading, keep_empty=True))
    found, num_kept = [], 0
    with messages.progress(None, "embedding") as progress:
        for number, window_texts in enumerate(windows(texts)):
            window = windows_of.add(window_texts)
            found.append(window)
            if number % distributed.world_size() == distributed.rank():
                if window.is_done:
                    num_kept += window.rows
                else:
                    window.write(encoder.encode(window_texts)[encoder.poolings[0]], dtype=options.dtype)
            progress.update(advance=window.rows)
    if not found:
        raise InputError(f"{', '.join(source.name for source in sources)}: not one text in it")
    if num_kept := distributed.total(num_kept):  # which also waits for the others
        messages.note(f"{num_kept:,} texts had been embedded before")
    return found


def _settings(options: Options, encoder: SentenceEncoder) -> list[Any]:
    """What vectors depend on: options, what was chosen for them, and the files of the model."""
    from nlpx import __version__
    from nlpx.models.checkpoints.hub import locate
    from nlpx.models.checkpoints.modules import read_modules

    path = locate(options.model)
    folders = {path, *(module.folder for module in read_modules(path))}
    files = sorted(path.parent.glob(f"{path.name}*"))
    if path.is_dir():
        files = sorted(file for folder in folders if folder.is_dir() for file in folder.iterdir())
    facts = [
        [str(file.relative_to(path.parent)), file.stat().st_size, file.stat().st_mtime_ns]
        for file in files
        if file.is_file()
    ]
    chosen = [encoder.max_length, encoder.precision, encoder.batch_tokens, encoder.device.type]
    asked = [encoder.poolings[0], options.normalize, encoder.prompt, options.dtype]
    return [__version__, *asked, chosen, facts]


def _finish(
    found: Sequence[Window], out: str, encoder: SentenceEncoder, options: Options, messages: Messages
) -> dict[str, Any]:
    """Join the windows, warn of empty texts and zero vectors, and remove their folder."""
    num_rows = found[-1].first + found[-1].rows
    paths, num_empty = _join(found, out, encoder.dim, num_rows, options)
    if out != "-":
        shutil.rmtree(f"{out}.parts")
    if num_empty:
        messages.warn(f"{num_empty:,} of {num_rows:,} texts are empty: their vectors are zeros")
    if options.shard is not None:
        _warn_of_others(paths, out, messages)
    facts = {"paths": paths, "rows": num_rows, "columns": encoder.dim, "empty": num_empty}
    facts |= {"model": options.model, "pooling": encoder.poolings[0], "dtype": options.dtype}
    facts |= {"prompt": encoder.prompt}
    return facts | {"max_length": encoder.max_length, "precision": encoder.precision, "device": str(encoder.device)}


def _join(found: Sequence[Window], out: str, columns: int, num_rows: int, options: Options) -> tuple[list[str], int]:
    """Write one file, or a file for every `shard` rows; returns their paths and the number of vectors of zeros."""
    from nlpx.embed.vectors import beside, write_vectors
    from nlpx.embed.windows import rows_between

    starts, num_empty = range(0, num_rows, options.shard or num_rows), 0
    paths = [out] if options.shard is None else [str(beside(out, f"-{n:05d}.npy")) for n in range(len(starts))]
    for path, start in zip(paths, starts, strict=True):
        stop = min(start + starts.step, num_rows)
        with write_vectors(path, rows=stop - start, columns=columns, dtype=options.dtype) as writer:
            for part in rows_between(found, start, stop):
                num_empty += int((~part.any(axis=1)).sum())
                writer.write(part)
    return paths, num_empty


def _warn_of_others(paths: Sequence[str], out: str, messages: Messages) -> None:
    """Shards of an earlier, longer run lie where a pattern would take them for this one's."""
    from nlpx.embed.vectors import beside

    pattern = beside(out, "-[0-9][0-9][0-9][0-9][0-9].npy")
    others = sorted({str(path) for path in pattern.parent.glob(pattern.name)} - set(paths))
    if others:
        messages.warn(
            f"from an earlier run, and no part of this one: {', '.join(others[:3])}{', …' * (len(others) > 3)}"
        )
