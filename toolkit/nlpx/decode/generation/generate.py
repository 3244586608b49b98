"""`generate`: answers to many sources, by whatever search the settings ask for."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch

from nlpx.decode.generation.beams import beam_search
from nlpx.decode.generation.decoders import Decoder
from nlpx.decode.generation.hypothesis import Hypothesis, Source
from nlpx.decode.generation.processors import Processor, processors_of
from nlpx.decode.generation.search import search, uniforms
from nlpx.decode.generation.settings import GenerationSettings
from nlpx.errors import InputError


@torch.inference_mode()
def generate(
    decoder: Decoder,
    sources: Sequence[Sequence[int]],
    settings: GenerationSettings,
    *,
    end_ids: Collection[int],
    processors: Sequence[Processor] = (),
    generator: torch.Generator | None = None,
) -> list[list[Hypothesis]]:
    """The answers to each source of token ids, best first, in the order of the sources.

    An answer ends with one of `end_ids`, after `max_new_tokens`, or where the model has no more positions. Rows that
    are done leave the batch. `processors` are those of this room or of transformers; they see all tokens before the
    next one, the source included where the model reads it as one text with the answer. Draws follow `generator`.
    Raises `InputError` for a source that is empty or leaves no position for an answer, and where processors allow
    nothing.
    """
    rows = [_source(decoder, number, token_ids, settings) for number, token_ids in enumerate(sources)]
    chain = processors_of(settings, end_ids, processors)
    draws = uniforms(len(rows), settings, generator)
    found: dict[int, list[Hypothesis]] = {}
    for group in _groups(decoder, rows):
        if settings.num_beams > 1:
            answers = beam_search(decoder, group, settings, end_ids=end_ids, processors=chain)
        else:
            answers = search(decoder, group, settings, end_ids=end_ids, processors=chain, draws=draws)
        found |= {source.number: answer for source, answer in zip(group, answers, strict=True)}
    return [found[number] for number in range(len(rows))]


def _source(decoder: Decoder, number: int, token_ids: Sequence[int], settings: GenerationSettings) -> Source:
    room = settings.max_new_tokens
    if decoder.max_length is not None:
        room = min(room, decoder.max_length - len(token_ids))
    if room < 1:
        raise InputError(
            f"source {number + 1} has {len(token_ids)} tokens, and the model has {decoder.max_length} positions for "
            "it and its answer",
            hint="shorten the source",
        )
    before = [*(token_ids if decoder.reads_source else ()), *decoder.start_ids]
    return Source(number, token_ids, before, room)


def _groups(decoder: Decoder, sources: list[Source]) -> list[list[Source]]:
    """All at once, or where a model needs that, those of equal length together."""
    if not decoder.is_even:
        return [sources] if sources else []
    by_length: dict[int, list[Source]] = {}
    for source in sources:
        by_length.setdefault(len(source.token_ids), []).append(source)
    return list(by_length.values())
