"""From options to processors: special tokens that are never written, allowed vocabulary, forced beginning, copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nlpx.errors import InputError, UsageError
from nlpx.jobs.generate.model import GeneratingModel, unwritten_ids
from nlpx.jobs.generate.options import Options

if TYPE_CHECKING:
    from torch import Tensor

    from nlpx.decode.generation.processors import Processor


class Constraints:
    """The constraints of one command, ready for each batch. Raises `UsageError` and `InputError` for what cannot be."""

    def __init__(self, model: GeneratingModel, options: Options, max_new_tokens: int) -> None:
        from nlpx.decode.generation.processors import Allowed, ForcedPrefix

        self.model, self.copy_source = model, options.copy_source
        is_allowed = _writable(model)  # (V,)
        prefix = _known(model, options.prefix, "--prefix")
        if len(prefix) >= max_new_tokens:
            message = f"--prefix has {len(prefix)} tokens, and --max-new-tokens {max_new_tokens} leaves none behind it"
            raise UsageError(message, hint=f"--max-new-tokens {len(prefix) + 1} or more")
        if options.allowed is not None:
            is_allowed &= _of_file(model, options.allowed)
        self._of_all: list[Processor] = [Allowed(is_allowed)] if not bool(is_allowed.all()) else []
        if prefix:
            self._of_all.append(ForcedPrefix(prefix))

    def processors(self, bodies: Sequence[Sequence[int]]) -> list[Processor]:
        """Those of one batch, from the ids of its texts."""
        from nlpx.decode.generation.processors import CopyFromSource

        copied: list[Processor] = [CopyFromSource(bodies, self.model.end_ids)] if self.copy_source else []
        return self._of_all + copied


def _writable(model: GeneratingModel) -> Tensor:
    """True (V,) for ids that may be written: not what only frames a text or hides a token."""
    import torch

    is_allowed = torch.ones(model.tokenizer.vocab_size, dtype=torch.bool)
    is_allowed[sorted(unwritten_ids(model))] = False
    return is_allowed


def _of_file(model: GeneratingModel, file: str) -> Tensor:
    """True (V,) for the ids of the characters or words of a file, one a line, and for the end tokens."""
    import torch

    from nlpx.data.rows.texts import Texts, read_texts

    is_allowed = torch.zeros(model.tokenizer.vocab_size, dtype=torch.bool)
    for line in read_texts(Texts(file, format="txt")):
        is_allowed[_known(model, line.text.strip(), line.place)] = True
    if not bool(is_allowed.any()):
        raise InputError(f"{file}: no character and no word, so nothing could be written", hint="one a line")
    is_allowed[sorted(model.end_ids)] = True
    return is_allowed


def _known(model: GeneratingModel, text: str, place: str) -> list[int]:
    """The ids of a text. Raises `InputError` if the vocabulary lacks a part of it."""
    whole = model.tokenizer.vocab.ids.get(text)
    token_ids = [whole] if whole is not None and text else model.body_of(text)
    if model.tokenizer.unk_token_id in token_ids:
        raise InputError(f"{place}: `{text}` is not in the vocabulary of the model", hint="it could never be written")
    return token_ids
