"""Generation equals that of transformers on tiny random models of the GPT-2 kind: greedy, beams, and processors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from nlpx import load_model
from nlpx.decode.generation import CausalDecoder, GenerationSettings, generate
from nlpx.decode.generation.processors import (
    MinNewTokens,
    NoRepeatNgram,
    RepetitionPenalty,
    Temperature,
    TopK,
    TopP,
    TypicalP,
)

transformers = pytest.importorskip("transformers")

END, VOCAB = [3, 12, 21, 30, 35], 40  # many end tokens, so that a random model meets one
PROMPTS = [[5, 6, 7], [8], [9, 10, 11, 12, 13, 14], [4, 3]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, CausalDecoder]:
    torch.manual_seed(2)
    config = transformers.GPT2Config(
        vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=3, eos_token_id=3
    )
    theirs = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.6)
    folder = tmp_path_factory.mktemp("gpt2")
    theirs.save_pretrained(folder)
    return theirs, CausalDecoder(load_model(folder, head="lm"))


def of_transformers(
    model: Any, prompts: list[list[int]], num_answers: int = 1, **options: Any
) -> list[list[list[int]]]:
    """Their answers without prompt and end, for prompts padded on the left."""
    width = max(map(len, prompts))
    token_ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    options = {"do_sample": False, "max_new_tokens": 12, "pad_token_id": 0, "eos_token_id": END} | options
    output = model.generate(token_ids, attention_mask=mask, num_return_sequences=num_answers, **options)
    answers = [_cut(row) for row in output[:, width:].tolist()]
    return [answers[first : first + num_answers] for first in range(0, len(answers), num_answers)]


def _cut(row: list[int]) -> list[int]:
    return row[: next((place for place, token in enumerate(row) if token in END), None)]


def ours(decoder: CausalDecoder, prompts: list[list[int]], processors: Any = (), **settings: Any) -> Any:
    return generate(
        decoder, prompts, GenerationSettings(**({"max_new_tokens": 12} | settings)), end_ids=END, processors=processors
    )


def ids(found: Any) -> list[list[list[int]]]:
    return [[answer.token_ids for answer in answers] for answers in found]


@pytest.mark.parametrize("length", [1, 5, 20])
def test_greedy(models: Any, length: int) -> None:
    theirs, decoder = models
    expected = of_transformers(theirs, PROMPTS, max_new_tokens=length)
    assert ids(ours(decoder, PROMPTS, max_new_tokens=length)) == expected
    assert length < 20 or any(len(answer[0]) < length for answer in expected)  # some rows end early


@pytest.mark.parametrize("penalty", [0.0, 1.0, 0.6])
@pytest.mark.parametrize("num_beams", [2, 3, 4])
@pytest.mark.parametrize("length", [2, 9, 20])
def test_beams(models: Any, num_beams: int, length: int, penalty: float) -> None:
    theirs, decoder = models
    options = {"num_beams": num_beams, "max_new_tokens": length, "length_penalty": penalty}
    expected = of_transformers(theirs, PROMPTS, num_beams, early_stopping=False, **options)
    found = ours(decoder, PROMPTS, num_return=num_beams, **options)
    assert ids(found) == expected


def test_scores_of_beams(models: Any) -> None:
    theirs, decoder = models
    options = {"num_beams": 3, "max_new_tokens": 9, "length_penalty": 1.0}
    output = theirs.generate(
        torch.tensor([PROMPTS[0]]), do_sample=False, pad_token_id=0, eos_token_id=END, num_return_sequences=3,
        output_scores=True, return_dict_in_generate=True, **options,
    )  # fmt: skip
    found = ours(decoder, PROMPTS[:1], num_return=3, **options)[0]
    assert [answer.score for answer in found] == pytest.approx(output.sequences_scores.tolist(), abs=1e-4)
    for answer in found:
        assert sum(answer.log_probabilities) / len(answer.log_probabilities) == pytest.approx(answer.score, abs=1e-5)


@pytest.mark.parametrize("num_beams", [1, 3])
def test_with_what_is_held_against_repetitions(models: Any, num_beams: int) -> None:
    theirs, decoder = models
    for prompt in PROMPTS:  # one by one: their padding would count as tokens that stood there
        shared = {"repetition_penalty": 1.3, "min_new_tokens": 4, "num_beams": num_beams}
        expected = of_transformers(theirs, [prompt], no_repeat_ngram_size=2, **shared)
        found = ours(decoder, [prompt], no_repeat_ngram=2, length_penalty=1.0, **shared)
        assert ids(found) == expected


@pytest.mark.parametrize("num_beams", [1, 2])
def test_processors_of_transformers_are_accepted(models: Any, num_beams: int) -> None:
    theirs, decoder = models
    given = transformers.LogitsProcessorList(
        [transformers.SuppressTokensLogitsProcessor([7, 9], device="cpu"), transformers.NoRepeatNGramLogitsProcessor(2)]
    )
    expected = [
        of_transformers(theirs, [prompt], num_beams=num_beams, logits_processor=given, length_penalty=0.0)[0]
        for prompt in PROMPTS
    ]
    assert ids(ours(decoder, PROMPTS, processors=list(given), num_beams=num_beams)) == expected


def _scores() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, VOCAB, (6, 30), generator=generator), torch.randn(6, VOCAB, generator=generator) * 3


@pytest.mark.parametrize(
    ("processor", "name", "arguments"),
    [
        (Temperature(0.7), "TemperatureLogitsWarper", (0.7,)),
        (TopK(5), "TopKLogitsWarper", (5,)),
        (TopK(100), "TopKLogitsWarper", (100,)),
        (TopP(0.8), "TopPLogitsWarper", (0.8,)),
        (TopP(0.05), "TopPLogitsWarper", (0.05,)),
        (TypicalP(0.6), "TypicalLogitsWarper", (0.6,)),
        (TypicalP(0.95), "TypicalLogitsWarper", (0.95,)),
        (RepetitionPenalty(1.4), "RepetitionPenaltyLogitsProcessor", (1.4,)),
        (RepetitionPenalty(0.8), "RepetitionPenaltyLogitsProcessor", (0.8,)),
        (NoRepeatNgram(1), "NoRepeatNGramLogitsProcessor", (1,)),
        (NoRepeatNgram(2), "NoRepeatNGramLogitsProcessor", (2,)),
        (NoRepeatNgram(3), "NoRepeatNGramLogitsProcessor", (3,)),
        (NoRepeatNgram(40), "NoRepeatNGramLogitsProcessor", (40,)),
    ],
)
def test_a_processor_equals_its_counterpart(processor: Any, name: str, arguments: tuple[Any, ...]) -> None:
    input_ids, scores = _scores()
    if "NGram" in name:
        input_ids = input_ids % 4  # so that something repeats
    expected = getattr(transformers, name)(*arguments)(input_ids, scores.clone())
    torch.testing.assert_close(processor(input_ids, scores.clone()), expected)


@pytest.mark.parametrize("num_new", [0, 2, 3])
def test_the_fewest_tokens_equal_their_counterpart(num_new: int) -> None:
    input_ids, scores = _scores()
    theirs = transformers.MinNewTokensLengthLogitsProcessor(30 - num_new, 3, [3, 5])
    found = MinNewTokens(3, [3, 5]).constrain(scores, [0] * 6, num_new)
    torch.testing.assert_close(found, theirs(input_ids, scores.clone()))
