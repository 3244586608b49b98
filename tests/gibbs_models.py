"""Small things to sample from whose distribution is known, for tests only."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from nlpx.decode.gibbs.chains import Chain, Sampler
from nlpx.decode.gibbs.draw import Draw
from nlpx.models.config import ModelConfig
from nlpx.models.transformer import Transformer

PAD, START, END, MASK, FIRST = 0, 1, 2, 3, 4  # the ids from FIRST on are the tokens of the joint
TWO = torch.tensor([[0.4, 0.1], [0.1, 0.4]], dtype=torch.float64)


def markov_chain() -> Tensor:
    """A joint (2, 2, 2, 2) of four tokens, each leaning on the one before it."""
    step = torch.tensor([[0.7, 0.3], [0.2, 0.8]], dtype=torch.float64)
    joint = torch.tensor([0.6, 0.4], dtype=torch.float64)
    for _ in range(3):
        joint = joint[..., None] * step
    return joint


class OfJoint:
    """The true conditionals of a joint distribution (size, ..., size), as a model would give them."""

    def __init__(self, joint: Tensor) -> None:
        self.joint, self.size, self.length = joint, joint.shape[0], joint.dim()

    def __call__(self, token_ids: Tensor, attention_mask: Tensor, places: Tensor) -> Tensor:
        logits = torch.zeros(*places.shape, FIRST + self.size)
        for row, column in itertools.product(range(places.shape[0]), range(places.shape[1])):
            logits[row, column] = self.of_row(
                tuple(token_ids[row, 1 : 1 + self.length].tolist()), int(places[row, column])
            )
        return logits

    def of_row(self, text: tuple[int, ...], place: int) -> Tensor:
        """Logits of one place, summed over what else is hidden; a dummy row gets zeros."""
        logits = torch.full((FIRST + self.size,), -torch.inf)
        if place == 0:
            return torch.zeros(FIRST + self.size)
        rest: Any = [slice(None) if token_id == MASK else token_id - FIRST for token_id in text]
        rest[place - 1] = slice(None)
        hidden = [i for i, token_id in enumerate(text) if rest[i] == slice(None)]
        others = [axis for axis, i in enumerate(hidden) if i != place - 1]
        found = self.joint[tuple(rest)]
        logits[FIRST:] = (found.sum(dim=others) if others else found).log().float()
        return logits


class Remembered:
    """Conditionals that are worked out once for each question: there are few."""

    def __init__(self, found: OfJoint) -> None:
        self.found = found
        self.answers: dict[tuple[tuple[int, ...], int], Tensor] = {}

    def __call__(self, token_ids: Tensor, attention_mask: Tensor, places: Tensor) -> Tensor:
        texts, asked = token_ids[:, 1 : 1 + self.found.length].tolist(), places.tolist()
        return torch.stack(
            [
                torch.stack([self._answer(tuple(text), place) for place in row])
                for text, row in zip(texts, asked, strict=True)
            ]
        )

    def _answer(self, text: tuple[int, ...], place: int) -> Tensor:
        if (text, place) not in self.answers:
            self.answers[text, place] = self.found.of_row(text, place)
        return self.answers[text, place]


def run(joint: Tensor, *, num_chains: int, num_steps: int, block: int = 1, draw: Draw | None = None) -> list[Chain]:
    """Chains that all start at the first state, after their steps."""
    length = joint.dim()
    chains = [
        Chain(number, [START, *[FIRST] * length, END], range(1, length + 1), length + 2, seed=5, block=block)
        for number in range(num_chains)
    ]
    sampler = Sampler(Remembered(OfJoint(joint)), draw or Draw(), MASK, PAD, slots=num_chains, block=block)
    for _ in sampler.run(chains, num_steps, lambda step: 1.0):
        pass
    return chains


def frequencies(chains: list[Chain], joint: Tensor) -> Tensor:
    """Share of the chains in each state, in the shape of the joint."""
    counts = torch.zeros_like(joint)
    for chain in chains:
        counts[tuple(token_id - FIRST for token_id in chain.token_ids[1:-1])] += 1
    return counts / len(chains)


def model_of(*, std: float = 0.3, **choices: Any) -> Transformer:
    """A Transformer with random weights and a vocabulary product."""
    sizes = {"vocab_size": 40, "hidden_size": 32, "num_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    model = Transformer(ModelConfig(**(sizes | {"heads": ("lm",)} | choices))).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
    return model
