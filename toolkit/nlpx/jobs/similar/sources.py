"""What `nlpx similar` compares, as vectors: a `.npy` file as it is, texts through an encoder, stdin as either."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpx.errors import InputError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nlpx.embed.encoder import SentenceEncoder
    from nlpx.embed.vectors import VectorFile
    from nlpx.embed.whitening import Whitening
    from nlpx.messages import Messages

NUMPY_MAGIC = b"\x93NUMPY"


@dataclass(frozen=True, slots=True)
class Settings:
    """How texts become vectors, and which map they go through; None is as the model's directory says, else as usual."""

    model: str = "sim-tiny"
    pooling: str | None = None
    whitening: Path | None = None
    field: str = "text"
    input_format: str | None = None
    encoding: str = "utf-8"
    max_length: int | None = None
    device: str = "auto"
    prompt_name: str | None = None


class Sources:
    """Opens what is compared; model and map are loaded once, when they are first needed."""

    def __init__(self, settings: Settings, messages: Messages) -> None:
        self.settings, self.messages = settings, messages

    @cached_property
    def encoder(self) -> SentenceEncoder:
        from nlpx.embed.encoder import SentenceEncoder

        chosen = self.settings
        encoder = SentenceEncoder.load(
            chosen.model,
            poolings=None if chosen.pooling is None else (chosen.pooling,),
            max_length=chosen.max_length,
            device=chosen.device,
            prompt_name=chosen.prompt_name,
        )
        for note in encoder.notes:
            self.messages.note(note)
        return encoder

    @cached_property
    def whitening(self) -> Whitening | None:
        from nlpx.embed.whitening import load

        return None if self.settings.whitening is None else load(self.settings.whitening)

    def encode(self, texts: Sequence[str]) -> NDArray[Any]:
        """Vectors of some texts, (N, d)."""
        return self.encoder.encode(texts)[self.encoder.poolings[0]]

    def texts(self, source: str) -> Iterator[str]:
        """The texts of a file or of stdin, one a line or row, empty ones too: as `nlpx embed` numbers them."""
        from nlpx.data.corpus.texts import Reading, find_sources, read_texts

        reading = Reading(field=self.settings.field, encoding=self.settings.encoding)
        reading.check()
        for found in find_sources([source], format=self.settings.input_format, encoding=reading.encoding):
            yield from read_texts(found, reading, keep_empty=True)

    def windows(self, source: str) -> Iterator[NDArray[Any]]:
        """Vectors of a source in order, some thousand at a time, (N, d); what is yielded holds until the next."""
        from nlpx.embed.search.exact import WINDOW_ROWS
        from nlpx.embed.vectors import open_vectors
        from nlpx.embed.windows import windows

        if not holds_vectors(source):
            yield from map(self.encode, windows(self.texts(source)))
            return
        for part in open_vectors(source).finite_chunks():
            for start in range(0, len(part), WINDOW_ROWS):
                yield part[start : start + WINDOW_ROWS]

    @contextmanager
    def opened(self, source: str) -> Iterator[VectorFile]:
        """The vectors of a source as a file that can be read again; those of texts and of stdin in a temporary one."""
        import tempfile

        from nlpx.embed.vectors import open_vectors

        if source != "-" and holds_vectors(source):
            yield open_vectors(source)
            return
        with tempfile.TemporaryDirectory() as folder:
            yield self._written(source, Path(folder) / "vectors")

    def _written(self, source: str, path: Path) -> VectorFile:
        import numpy as np

        from nlpx.embed.vectors import VectorFile

        shape, kind = (0, 0), np.dtype(np.float32)
        name = "stdin" if source == "-" else source
        with path.open("wb") as stream, self.messages.progress(None, "embedding") as progress:
            for part in self.windows(source):
                stream.write(np.ascontiguousarray(part).data.cast("B"))
                shape, kind = (shape[0] + len(part), part.shape[1]), part.dtype
                progress.update(shape[0])
        if not shape[0]:
            raise InputError(f"{name}: not one text in it")
        return VectorFile(name, str(path), *shape, kind, fortran_order=False, offset=0)

    def shown_texts(self, source: Path | None, vectors: VectorFile) -> list[str] | None:
        """The texts that vectors were made of, to be shown beside them. Raises InputError unless they are as many."""
        if source is None:
            return None
        texts = list(_texts_of_another(self, str(source)))
        if len(texts) != vectors.rows:
            raise InputError(
                f"{source} holds {len(texts):,} texts, {vectors.name} {vectors.rows:,} vectors",
                hint="--texts takes the very file that was embedded",
            )
        return texts


def _texts_of_another(sources: Sources, source: str) -> Iterator[str]:
    """The texts of a file whose format follows its suffix, whatever format was given for the other one."""
    return Sources(replace(sources.settings, input_format=None), sources.messages).texts(source)


def holds_vectors(source: str) -> bool:
    """Whether a source is an array: by its name, or on stdin by its first bytes."""
    if source != "-":
        return source.endswith(".npy")
    if sys.stdin.isatty():
        raise UsageError("nothing to compare: stdin is a terminal", hint="name a file, or pipe texts or a .npy")
    peek = getattr(sys.stdin.buffer, "peek", None)
    head = b"" if peek is None else peek(len(NUMPY_MAGIC))[: len(NUMPY_MAGIC)]
    return bool(head) and NUMPY_MAGIC.startswith(head)
