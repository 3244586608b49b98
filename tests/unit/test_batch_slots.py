"""A chain among others equals the same chain alone, bit for bit; and how chains come to lie side by side."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import tiny
from gibbs_models import model_of
from nlpx.decode.batch_slots import CPU_SLOTS, BatchSlots, side_by_side, width_for
from nlpx.decode.conditionals import conditionals_of
from nlpx.decode.gibbs.chains import Chain, Sampler
from nlpx.decode.gibbs.draw import Draw
from nlpx.decode.pseudo_likelihood import PseudoLikelihood

MASK, PAD, SLOTS = 4, 0, 8
# Wide enough for the blocked kernels of the linear algebra library, which is where rounding could differ.
WIDE: dict[str, Any] = {"hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 512, "vocab_size": 700}
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


class Listening:
    """Conditionals that keep every row of logits, by what was asked in that row."""

    def __init__(self, found: Any) -> None:
        self.found = found
        self.rows: dict[tuple[int, ...], list[Tensor]] = defaultdict(list)

    def __call__(self, token_ids: Tensor, attention_mask: Tensor, places: Tensor) -> Tensor:
        logits: Tensor = self.found(token_ids, attention_mask, places)
        for slot, ids in enumerate(token_ids.tolist()):
            self.rows[(slot, *ids, *places[slot].tolist())].append(logits[slot])
        return logits


def chain(number: int, *, block: int = 1) -> Chain:
    random = np.random.default_rng(number)
    length = 5 + number % 9
    body = random.integers(5, 700, size=length).tolist()
    return Chain(number, [2, *body, 3], range(1, length + 1), 24 if number % 3 else 16, seed=9, block=block)


def history(numbers: range, *, device: str, precision: str, block: int, **choices: Any) -> tuple[dict[int, Any], Any]:
    torch.set_num_threads(1)
    conditionals = Listening(
        conditionals_of(model_of(std=0.05, **(WIDE | choices)), device=torch.device(device), precision=precision)
    )
    sampler = Sampler(conditionals, Draw(), MASK, PAD, slots=SLOTS, block=block)
    states: dict[int, Any] = defaultdict(list)
    for state in sampler.run([chain(number, block=block) for number in numbers], 6, lambda step: 1.0):
        states[state.number].append(list(state.token_ids))
    return states, conditionals.rows


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("block", "choices"),
    [(1, {"position": "rotary"}), (3, {}), (1, {"position": "relative"}), (1, {"attention": "performer"})],
    ids=["rotary", "blocks of 3", "relative", "performer"],
)
def test_single_chains_equal_batched_ones_bit_for_bit(device, precision, block, choices):
    together, rows = history(range(21), device=device, precision=precision, block=block, **choices)
    for number in (0, 5, 13, 20):
        alone, own = history(range(number, number + 1), device=device, precision=precision, block=block, **choices)
        assert alone[number] == together[number]
        asked = [key for key in own if key[0] == number % SLOTS]
        assert len(asked) >= 5
        for key in asked:  # not only the tokens: every logit
            assert torch.equal(own[key][0], rows[key][0])


def test_a_score_does_not_depend_on_what_else_is_scored():
    conditionals = conditionals_of(model_of(std=0.05, **WIDE), device=torch.device("cpu"))
    likelihood = PseudoLikelihood(conditionals, MASK, PAD, slots=4)
    text, others = chain(11).token_ids, chain(3).token_ids
    first = likelihood(text, range(1, len(text) - 1), width=16)
    likelihood(others, range(1, len(others) - 1), width=16)
    assert likelihood(text, range(1, len(text) - 1), width=16) == first
    with torch.no_grad():
        for place, found in enumerate(first, start=1):
            hidden = torch.tensor([[MASK if i == place else token_id for i, token_id in enumerate(text)]])
            logits = model_of(std=0.05, **WIDE)(hidden).logits[0, place]
            assert found == pytest.approx(float(logits.log_softmax(dim=-1)[text[place]]), abs=1e-4)


def test_the_command_gives_a_chain_the_same_words_among_any_number_of_others(tmp_path):
    from nlpx.jobs.sample import sample
    from nlpx.jobs.sample.settings import Settings

    tiny.bert(tmp_path / "bert", hidden_size=256, num_attention_heads=4, intermediate_size=512)

    def rows(chains: int, **more: Any) -> list[str]:
        settings = Settings(steps=8, chains=chains, length="3:4", seed=3, energy=True, **more)
        return [json.dumps(row) for row in sample(str(tmp_path / "bert"), settings) if row["chain"] < 2]

    for more in ({}, {"block": 4, "top_k": 50}, {"moves": True, "thin": 4}):
        alone = rows(2, **more)
        assert alone == rows(2, **more)
        assert alone == rows(CPU_SLOTS + 3, **more)


@dataclass
class Item:
    number: int
    width: int


def test_chains_keep_the_slot_of_their_number():
    items = [Item(number, 8 if number in (3, 11, 12) else 16) for number in range(20)]
    calls = side_by_side(items, 8)
    assert sorted(item.number for call in calls for item in call.values()) == list(range(20))
    for call in calls:
        assert len({item.width for item in call.values()}) == 1
        assert all(slot == item.number % 8 for slot, item in call.items())
    assert len(calls) == 2 + 3


@pytest.mark.parametrize(
    ("longest", "exact", "width"), [(34, True, 34), (34, False, 40), (7, False, 8), (8, False, 16)]
)
def test_widths(longest, exact, width):
    assert width_for(longest, exact=exact) == width


def test_a_slot_forgets_what_it_held():
    slots = BatchSlots(2, 5, pad_token_id=PAD)
    slots.write(1, [2, 9, 9, 9, 3])
    slots.write(1, [2, 7, 3])
    assert slots.token_ids.tolist() == [[0] * 5, [2, 7, 3, 0, 0]]
    assert slots.attention_mask.int().tolist() == [[1, 0, 0, 0, 0], [1, 1, 1, 0, 0]]
