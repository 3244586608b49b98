"""Pseudo-log-likelihood of a text: sum of log p(token | all others), each hidden in its turn (arXiv 1910.14659).

`nlpx.decode.masked` is faster for many texts; here the result of a text does not depend on what else is
scored, bit for bit, as chains need it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from nlpx.decode.batch_slots import BatchSlots
from nlpx.decode.conditionals import Conditionals


@dataclass(frozen=True, slots=True)
class PseudoLikelihood:
    """Scores texts of ids with special tokens, `slots` hidden positions a call."""

    conditionals: Conditionals
    mask_token_id: int
    pad_token_id: int
    slots: int = 16

    def __call__(self, token_ids: Sequence[int], places: Sequence[int], *, width: int) -> list[float]:
        """Log probability, in nats, of what stands at each of `places`; the row is padded to `width` tokens."""
        found: list[float] = []
        for start in range(0, len(places), self.slots):
            found += self._call(token_ids, places[start : start + self.slots], width)
        return found

    def _call(self, token_ids: Sequence[int], places: Sequence[int], width: int) -> list[float]:
        rows = BatchSlots(self.slots, width, pad_token_id=self.pad_token_id)
        positions = torch.zeros(self.slots, 1, dtype=torch.long)
        for slot, place in enumerate(places):
            rows.write(slot, [*token_ids[:place], self.mask_token_id, *token_ids[place + 1 :]])
            positions[slot] = place
        logits = self.conditionals(rows.token_ids, rows.attention_mask, positions)[:, 0]
        targets = torch.zeros(self.slots, dtype=torch.long)
        targets[: len(places)] = torch.tensor([token_ids[place] for place in places])
        log_probabilities = logits.float().log_softmax(dim=-1).gather(1, targets[:, None])[:, 0]
        return log_probabilities[: len(places)].tolist()
