"""Gibbs sampling from a masked language model: hide a position, draw it from the model's conditional, repeat.

The method and its defaults are of "BERT has a Mouth, and It Must Speak" (arXiv 1902.04094) and kexue.fm/archives/8119.
One difference: positions are visited in sweeps of a fresh random order and not independently, so that after one sweep
no [MASK] is left. Each single update leaves a joint distribution unchanged if it is that of the conditionals, so any
order is right that does not depend on the text. The conditionals of a masked model belong to no one joint distribution,
though: the chain has no exact target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from nlpx.data.batches.masking import row_generator
from nlpx.decode.batch_slots import BatchSlots, side_by_side
from nlpx.decode.conditionals import Conditionals
from nlpx.decode.gibbs.draw import Draw
from nlpx.decode.gibbs.scan import Scan


@dataclass(slots=True)
class Chain:
    """One text that is sampled: ids (n,) with special tokens, and the positions that may change.

    Its random numbers are a function of the seed and of its number; `width` is what its row is padded to.
    """

    number: int
    token_ids: list[int]
    free: Sequence[int]
    width: int
    seed: int = 7
    block: int = 1
    num_steps: int = 0
    num_visits: int = 0
    num_changed: int = 0
    random: np.random.Generator = field(init=False)
    scan: Scan = field(init=False)

    def __post_init__(self) -> None:
        self.random = row_generator(self.seed, 0, self.number, "sample")
        self.scan = Scan(self.free, self.random, block=self.block)


@dataclass(frozen=True, slots=True)
class Sampler:
    """Runs chains. They have the model's conditionals, how tokens are drawn and the shape of a call in common."""

    conditionals: Conditionals
    draw: Draw
    mask_token_id: int
    pad_token_id: int
    slots: int = 16
    block: int = 1

    def run(self, chains: Sequence[Chain], num_steps: int, temperature: Callable[[int], float]) -> Iterator[Chain]:
        """Step all chains `num_steps` times, and yield each after each of its steps.

        `temperature` is a function of the number of the step, from 1. Chains longer than one call go in turn.
        """
        groups = [_Group(self, by_slot) for by_slot in side_by_side(chains, self.slots)]
        for step in range(1, num_steps + 1):
            for group in groups:
                group.step(temperature(step))
                yield from group.chains.values()


class _Group:
    """Chains that are computed in one call."""

    def __init__(self, sampler: Sampler, chains: dict[int, Chain]) -> None:
        self.sampler, self.chains = sampler, chains
        width = next(iter(chains.values())).width
        self.rows = BatchSlots(sampler.slots, width, pad_token_id=sampler.pad_token_id)
        for slot, chain in chains.items():
            self.rows.write(slot, chain.token_ids)
        self.slot_numbers = torch.arange(sampler.slots)[:, None]

    def step(self, temperature: float) -> None:
        """Draw the next positions of every chain anew."""
        sampler = self.sampler
        places, uniforms, wanted = self._places()
        hidden = self.rows.token_ids.clone()
        hidden[self.slot_numbers, places] = sampler.mask_token_id
        logits = sampler.conditionals(hidden, self.rows.attention_mask, places)
        drawn = sampler.draw(logits, uniforms, temperature=temperature)
        drawn_lists = drawn.tolist()
        for slot, chain in self.chains.items():
            self._write(slot, chain, wanted[slot], drawn_lists[slot])

    def _places(self) -> tuple[Tensor, Tensor, dict[int, list[int]]]:
        # A slot with fewer positions than a block has its first one several times; only the first copy counts.
        places = torch.zeros(self.sampler.slots, self.sampler.block, dtype=torch.long)
        uniforms = torch.zeros(self.sampler.slots, self.sampler.block, dtype=torch.float64)
        wanted = {slot: chain.scan.next() for slot, chain in self.chains.items()}
        for slot, chosen in wanted.items():
            places[slot] = chosen[0]
            places[slot, : len(chosen)] = torch.tensor(chosen)
            uniforms[slot, : len(chosen)] = torch.from_numpy(self.chains[slot].random.random(len(chosen)))
        return places, uniforms, wanted

    def _write(self, slot: int, chain: Chain, places: list[int], drawn: list[int]) -> None:
        for place, token_id in zip(places, drawn, strict=False):
            chain.num_changed += chain.token_ids[place] != token_id
            chain.token_ids[place] = token_id
            self.rows.token_ids[slot, place] = token_id
        chain.num_visits += len(places)
        chain.num_steps += 1
