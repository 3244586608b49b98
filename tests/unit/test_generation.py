"""Generation by our models: the same with and without a cache, together and alone, and drawn as often as it should."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from scipy.stats import chisquare
from torch import Tensor

from nlpx.decode.generation import CausalDecoder, GenerationSettings, PrefixDecoder, generate
from nlpx.decode.generation.beams import beam_search
from nlpx.decode.generation.hypothesis import Source
from nlpx.decode.generation.processors import Allowed, CopyFromSource, ForcedPrefix, NoRepeatNgram
from nlpx.errors import InputError, UsageError
from nlpx.models.config import ModelConfig
from nlpx.models.transformer import Transformer

VOCAB, ENDS = 30, (2, 10, 23)
SOURCES = [[4, 5, 6], [7], [9, 10, 11, 12, 13, 14, 9], [8, 3, 3], [21, 22]]
KINDS: dict[str, dict[str, Any]] = {
    "learned": {},
    "rotary": {"position": "rotary"},
    "hierarchical": {"position": "hierarchical", "max_position_embeddings": 5},
    "relative": {"position": "relative", "max_relative_position": 8},
    "RealFormer": {"position": "rotary", "residual_scores": "sum", "norm_place": "pre"},
    "grover": {"norm_place": "grover"},
    "bucketed": {"position": "bucketed", "num_position_buckets": 8, "max_bucketed_distance": 16},
    "entropy invariant": {"position": "rotary", "attention_scale": "entropy_invariant", "entropy_invariant_floor": 2},
}
SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "beams": {"num_beams": 3, "num_return": 3},
    "beams by length": {"num_beams": 3, "num_return": 2, "length_penalty": 0.8},
    "drawn": {"temperature": 1.3, "top_k": 9, "top_p": 0.9, "num_return": 2},
    "no repeats": {"no_repeat_ngram": 2, "repetition_penalty": 1.2, "min_new_tokens": 3, "num_beams": 2},
}


def model_of(mask: str = "causal", **choices: Any) -> Transformer:
    sizes = {"vocab_size": VOCAB, "hidden_size": 16, "num_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    known = {"heads": ("lm",), "mask": mask, "max_position_embeddings": 32, "initializer_range": 0.5}
    torch.manual_seed(3)
    return Transformer(ModelConfig(**(sizes | known | {"tie_word_embeddings": False} | choices))).eval()


def decoder_of(arrangement: str, **choices: Any) -> Any:
    if arrangement == "causal":
        return CausalDecoder(model_of(**choices))
    return PrefixDecoder(model_of("unilm", **choices))


class Rows:
    """The rows of `Uncached`: sources and targets so far."""

    def __init__(self, rows: list[tuple[list[int], list[int]]]) -> None:
        self.rows = rows

    def select(self, rows: Sequence[int]) -> None:
        self.rows = [self.rows[row] for row in rows]


class Uncached:
    """The same as a decoder, but every step is a forward pass over the whole text of each row by itself."""

    is_even = False
    start_ids = ()

    def __init__(self, decoder: Any) -> None:
        self.model, self.max_length = decoder.model, decoder.max_length
        self.reads_source = isinstance(decoder, CausalDecoder)

    def start(self, sources: Sequence[Sequence[int]]) -> tuple[Tensor, Rows]:
        state = Rows([(list(source), []) for source in sources])
        return self._logits(state), state

    def step(self, token_ids: Tensor, state: Rows) -> Tensor:
        state.rows = [
            (source, [*target, token]) for (source, target), token in zip(state.rows, token_ids.tolist(), strict=True)
        ]
        return self._logits(state)

    def _logits(self, state: Rows) -> Tensor:
        found = []
        for source, target in state.rows:
            segments = torch.tensor([[0] * len(source) + [1] * len(target)])
            given = {} if self.reads_source else {"segment_ids": segments, "mask": "unilm"}
            found.append(self.model(torch.tensor([source + target]), **given).logits[0, -1])
        return torch.stack(found)


def answers(decoder: Any, sources: Any = SOURCES, seed: int = 5, processors: Any = (), **settings: Any) -> Any:
    chosen = GenerationSettings(**({"max_new_tokens": 10} | settings))
    generator = torch.Generator().manual_seed(seed)
    return generate(decoder, sources, chosen, end_ids=ENDS, processors=processors, generator=generator)


def assert_same(found: Any, expected: Any) -> None:
    for one, other in zip(found, expected, strict=True):
        assert [answer.token_ids for answer in one] == [answer.token_ids for answer in other]
        assert [answer.is_finished for answer in one] == [answer.is_finished for answer in other]
        for ours, theirs in zip(one, other, strict=True):
            assert ours.score == pytest.approx(theirs.score, abs=1e-4)
            assert ours.log_probabilities == pytest.approx(theirs.log_probabilities, abs=1e-4)


@pytest.mark.parametrize("how", SEARCHES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("arrangement", ["causal", "prefix"])
def test_with_and_without_a_cache(arrangement, kind, how):
    decoder = decoder_of(arrangement, **KINDS[kind])
    assert_same(answers(decoder, **SEARCHES[how]), answers(Uncached(decoder), **SEARCHES[how]))


@pytest.mark.parametrize("how", SEARCHES)
@pytest.mark.parametrize("arrangement", ["causal", "prefix"])
def test_together_and_one_by_one(arrangement, how):
    decoder = decoder_of(arrangement)
    settings = GenerationSettings(max_new_tokens=10, **SEARCHES[how])
    generator = torch.Generator().manual_seed(5)
    alone = [generate(decoder, [source], settings, end_ids=ENDS, generator=generator)[0] for source in SOURCES]
    assert_same(answers(decoder, **SEARCHES[how]), alone)


def test_the_sources_here_end_at_different_times():
    found = [answer for [answer] in answers(decoder_of("prefix"))]
    assert {answer.is_finished for answer in found} == {True, False}
    assert all(len(answer.log_probabilities) == len(answer.token_ids) + answer.is_finished for answer in found)


def test_sources_of_equal_length_share_the_shorter_path():
    decoder = decoder_of("causal")
    even = [[4, 5, 6], [8, 3, 3], [9, 10, 11]]
    assert_same(answers(decoder, even, num_beams=3), answers(Uncached(decoder), even, num_beams=3))


def test_a_score_is_the_sum_of_the_log_probabilities():
    for how in ({}, {"num_beams": 3}, {"temperature": 1.0}):
        for [answer] in answers(decoder_of("prefix"), **how):
            assert answer.score == pytest.approx(sum(answer.log_probabilities), abs=1e-5)


@pytest.mark.parametrize("arrangement", ["causal", "prefix"])
def test_one_beam_is_greedy(arrangement):
    decoder, settings = decoder_of(arrangement), GenerationSettings(max_new_tokens=10)
    before = SOURCES if arrangement == "causal" else [[]] * len(SOURCES)
    sources = [Source(number, source, before[number], 10) for number, source in enumerate(SOURCES)]
    with torch.inference_mode():
        found = beam_search(decoder, sources, settings, end_ids=ENDS, processors=[NoRepeatNgram(1)])
    assert_same(found, answers(decoder, processors=[NoRepeatNgram(1)]))


def test_more_beams_find_likelier_answers():
    decoder = decoder_of("prefix")
    found, greedy = answers(decoder, num_beams=8), answers(decoder)
    assert sum(wide.score for [wide] in found) > sum(narrow.score for [narrow] in greedy)


def test_draws_follow_the_distribution():
    decoder, draws = decoder_of("causal", vocab_size=6), 4000
    settings = GenerationSettings(max_new_tokens=1, temperature=1.5, num_return=draws)
    generator = torch.Generator().manual_seed(1)
    [found] = generate(decoder, [[3, 4]], settings, end_ids=(), generator=generator)
    counts = Counter(answer.token_ids[0] for answer in found)
    with torch.inference_mode():
        logits, _ = decoder.start([[3, 4]])
    expected = (logits[0] / 1.5).softmax(dim=0) * draws
    assert expected.min() > 5  # what the test needs of every cell
    scaled = expected.double() / expected.double().sum() * draws
    assert chisquare([counts[token] for token in range(6)], scaled.numpy()).pvalue > 0.001


def test_a_seed_gives_the_same_draws_and_another_others():
    decoder = decoder_of("causal")
    found = [answers(decoder, seed=seed, temperature=1.0) for seed in (5, 5, 6)]
    assert found[0] == found[1] != found[2]


def test_copies_are_of_the_own_source():
    for how in ({}, {"num_beams": 3, "num_return": 3}, {"temperature": 2.0, "num_return": 4}):
        found = answers(decoder_of("prefix"), processors=[CopyFromSource(SOURCES, ENDS)], **how)
        for source, of_source in zip(SOURCES, found, strict=True):
            assert all(set(answer.token_ids) <= set(source) for answer in of_source)


def test_a_prefix_is_forced_and_then_free():
    for arrangement in ("causal", "prefix"):
        decoder = decoder_of(arrangement)
        for how in ({}, {"num_beams": 3}):
            found = answers(decoder, processors=[ForcedPrefix([25, 26])], **how)
            assert all(answer.token_ids[:2] == [25, 26] for [answer] in found)
    continued = answers(decoder_of("causal"), [[*source, 25, 26] for source in SOURCES], max_new_tokens=8)
    forced = answers(decoder_of("causal"), processors=[ForcedPrefix([25, 26])])
    assert [answer.token_ids[2:] for [answer] in forced] == [answer.token_ids for [answer] in continued]


def test_only_allowed_tokens_come():
    is_allowed = torch.zeros(VOCAB, dtype=torch.bool)
    is_allowed[[2, 4, 5]] = True
    for how in ({}, {"num_beams": 3}, {"temperature": 1.0}):
        for [answer] in answers(decoder_of("prefix"), processors=[Allowed(is_allowed)], **how):
            assert set(answer.token_ids) <= {4, 5}


@pytest.mark.parametrize("how", [{}, {"num_beams": 2}, {"temperature": 1.0}])
def test_constraints_that_leave_nothing_are_an_error(how):
    nothing = Allowed(torch.zeros(VOCAB, dtype=torch.bool))
    with pytest.raises(InputError, match="source 1: no token is allowed after 0 tokens"):
        answers(decoder_of("prefix"), processors=[nothing], **how)


def test_an_answer_stops_where_the_positions_end():
    decoder = decoder_of("causal", max_position_embeddings=8)
    for how in ({}, {"num_beams": 2}):
        found = [answer for [answer] in answers(decoder, **how)]
        assert [len(answer.token_ids) for answer in found if not answer.is_finished]
        assert all(
            len(source) + len(answer.log_probabilities) <= 8 for source, answer in zip(SOURCES, found, strict=True)
        )
    with pytest.raises(InputError, match="source 2 has 8 tokens, and the model has 8 positions"):
        answers(decoder, [[3], [3] * 8])


def test_an_empty_source_is_an_error():
    with pytest.raises(InputError, match="source 2 is empty"):
        answers(decoder_of("causal"), [[3], []])
    assert answers(decoder_of("causal"), []) == []


def test_a_model_without_a_head_or_a_second_segment_is_refused():
    with pytest.raises(UsageError, match="no head `lm`"):
        CausalDecoder(model_of(heads=()))
    with pytest.raises(UsageError, match="one segment"):
        PrefixDecoder(model_of("bidirectional", type_vocab_size=1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_new_tokens": 9, "max_new_tokens": 8}, "min_new_tokens 9 is above max_new_tokens 8"),
        ({"temperature": -0.1}, "greater than or equal to 0"),
        ({"temperature": 1.0, "top_p": 0.0}, "greater than 0"),
        ({"temperature": 1.0, "top_p": 1.1}, "less than or equal to 1"),
        ({"num_beams": 2, "num_return": 3}, "num_return 3 is above num_beams 2"),
        ({"num_beams": 2, "temperature": 1.0}, "temperature above 0 draws tokens, num_beams searches"),
        ({"top_k": 5}, "top_k narrows what is drawn"),
    ],
)
def test_settings_that_contradict_one_another(settings, message):
    with pytest.raises(ValidationError, match=message):
        GenerationSettings(**settings)
