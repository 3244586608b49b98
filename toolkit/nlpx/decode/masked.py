"""Scores of hidden tokens by a masked language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nlpx.data.batches.bucketing import in_row_order, sequential_batches


@dataclass(frozen=True, slots=True)
class MaskedRow:
    """Token ids (T,) in which some are hidden, where they are, and what they were."""

    token_ids: Sequence[int]
    positions: Sequence[int]
    targets: Sequence[int]


@dataclass(frozen=True, slots=True)
class Scores:
    """Per hidden token: log probability of what stood there, in nats, and whether it was the model's first choice."""

    log_probabilities: list[float]
    is_first_choice: list[bool]


def score(
    model: Any, rows: Sequence[MaskedRow], *, pad_token_id: int, device: torch.device, batch_tokens: int = 8192
) -> list[Scores]:
    """Score the hidden tokens of every row, in order; the vocabulary product is computed at their positions only."""
    batches = sequential_batches([len(row.token_ids) for row in rows], batch_tokens=batch_tokens)
    with torch.inference_mode():
        outputs = [_score_batch(model, [rows[index] for index in batch], pad_token_id, device) for batch in batches]
    return in_row_order(batches, outputs)


def one_at_a_time(token_ids: Sequence[int], positions: Sequence[int], *, mask_token_id: int) -> list[MaskedRow]:
    """A row per position, in which only that one is hidden: the factors of a pseudo-likelihood (arXiv 1910.14659)."""
    return [
        MaskedRow([*token_ids[:position], mask_token_id, *token_ids[position + 1 :]], [position], [token_ids[position]])
        for position in positions
    ]


def _score_batch(model: Any, rows: Sequence[MaskedRow], pad_token_id: int, device: torch.device) -> list[Scores]:
    longest = max(len(row.token_ids) for row in rows)
    token_ids = torch.full((len(rows), longest), pad_token_id)
    attention_mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for index, row in enumerate(rows):
        token_ids[index, : len(row.token_ids)] = torch.as_tensor(row.token_ids)
        attention_mask[index, : len(row.token_ids)] = True
    places = torch.tensor(
        [index * longest + place for index, row in enumerate(rows) for place in row.positions], dtype=torch.long
    )
    targets = torch.tensor([target for row in rows for target in row.targets], dtype=torch.long)
    found, correct = _look_up(model, *(part.to(device) for part in (token_ids, attention_mask, places, targets)))
    sizes = [len(row.positions) for row in rows]
    return [
        Scores(part.tolist(), hits.tolist())
        for part, hits in zip(found.split(sizes), correct.split(sizes), strict=True)
    ]


def _look_up(
    model: Any, token_ids: Tensor, attention_mask: Tensor, places: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    logits = model(token_ids, attention_mask=attention_mask, mask="bidirectional", lm_positions=places).logits.float()
    chosen = logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(dim=1)
    return chosen.cpu(), (logits.argmax(dim=1) == targets).cpu()
