"""Answers by CTranslate2's own search: greedy, beams and draws; no constraints, and no probabilities of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nlpx.decode.generation.ctranslate2.export import facts_of
from nlpx.decode.generation.hypothesis import Hypothesis
from nlpx.decode.generation.settings import GenerationSettings
from nlpx.errors import InputError, MachineError, UsageError, install_hint


class Engine:
    """A model that `export` wrote. `reads_source` as of a `Decoder`: a prompt (causal), or a text to answer (T5)."""

    def __init__(self, directory: Path, *, num_threads: int, seed: int) -> None:
        """Raises `InputError` for another directory, `MachineError` without the extra."""
        facts = facts_of(directory)
        if facts is None:
            raise InputError(
                f"{directory}: not written for CTranslate2", hint=f"nlpx convert {directory} DST --to ctranslate2"
            )
        try:
            import ctranslate2
        except ImportError:
            hint = install_hint("ctranslate2")
            raise MachineError("--engine ctranslate2 needs the extra `ctranslate2`", hint=hint) from None
        self.reads_source = not facts["encoder_decoder"]
        self.max_length: int | None = facts["max_length"]
        self.special_token_ids: dict[str, int] = facts["special_token_ids"]
        self.num_rows: int = facts["num_rows"]
        ctranslate2.set_random_seed(seed)
        kind = ctranslate2.Generator if self.reads_source else ctranslate2.Translator
        self._model = kind(str(directory), device="cpu", intra_threads=num_threads)
        file = directory / ("vocabulary.json" if self.reads_source else "shared_vocabulary.json")
        self._tokens = _read_vocabulary(file)
        self._ids = {token: index for index, token in enumerate(self._tokens)}

    def answer(
        self,
        sources: Sequence[Sequence[int]],
        settings: GenerationSettings,
        *,
        end_ids: Sequence[int],
        banned: Sequence[int],
    ) -> list[list[Hypothesis]]:
        """The best answers to each source of token ids; `banned` ids are never written.

        Raises `UsageError` for a setting that CTranslate2 has none for.
        """
        if settings.typical_p is not None:
            raise UsageError("typical tokens are not drawn by CTranslate2", hint="--engine nlpx draws them")
        if not sources:
            return []
        options, ends = self._options(settings, end_ids, banned), set(end_ids)
        found: dict[int, list[Hypothesis]] = {}
        for rows in self._together(sources):
            prompts = [[self._tokens[index] for index in sources[row]] for row in rows]
            results = self._ask(prompts, options, settings)
            found |= {row: self._hypotheses(result, ends) for row, result in zip(rows, results, strict=True)}
        return [found[row] for row in range(len(sources))]

    def _together(self, sources: Sequence[Sequence[int]]) -> list[list[int]]:
        """Numbers of sources for one call: all, or prompts of one length, for it counts what is longer as answers."""
        if not self.reads_source:
            return [list(range(len(sources)))]
        by_length: dict[int, list[int]] = {}
        for row, source in enumerate(sources):
            by_length.setdefault(len(source), []).append(row)
        return list(by_length.values())

    def _options(self, settings: GenerationSettings, end_ids: Sequence[int], banned: Sequence[int]) -> dict[str, Any]:
        return {
            "beam_size": settings.num_beams,
            "num_hypotheses": settings.num_return,
            "length_penalty": settings.length_penalty,
            "repetition_penalty": settings.repetition_penalty,
            "no_repeat_ngram_size": settings.no_repeat_ngram,
            "end_token": [self._tokens[index] for index in end_ids],
            "return_end_token": True,
            "return_scores": True,
            "suppress_sequences": [[self._tokens[index]] for index in banned],
            # 0 draws from all tokens, 1 takes the likeliest.
            "sampling_topk": (settings.top_k or 0) if settings.is_sampling else 1,
            "sampling_topp": settings.top_p or 1.0,
            "sampling_temperature": settings.temperature or 1.0,
        }

    def _ask(self, prompts: list[list[str]], options: dict[str, Any], settings: GenerationSettings) -> list[Any]:
        shortest, longest = settings.min_new_tokens, settings.max_new_tokens
        if self.reads_source:
            options |= {"min_length": shortest, "max_length": longest, "include_prompt_in_result": False}
            return list(self._model.generate_batch(prompts, **options))
        options |= {"min_decoding_length": shortest, "max_decoding_length": longest, "max_input_length": 0}
        return list(self._model.translate_batch(prompts, **options))

    def _hypotheses(self, result: Any, ends: set[int]) -> list[Hypothesis]:
        rows = result.sequences_ids if self.reads_source else [self._known(row) for row in result.hypotheses]
        found = []
        for token_ids, score in zip(rows, result.scores, strict=True):
            is_finished = bool(token_ids) and token_ids[-1] in ends
            written = list(token_ids[:-1] if is_finished else token_ids)
            found.append(Hypothesis(written, float(score), [], is_finished))
        return sorted(found, key=lambda answer: -answer.score)

    def _known(self, tokens: Sequence[str]) -> list[int]:
        return [self._ids[token] for token in tokens]


def _read_vocabulary(file: Path) -> list[str]:
    import json

    tokens: list[str] = json.loads(file.read_text(encoding="utf-8"))
    return tokens
