"""A key-value cache: keys and values of the tokens a model has read, so that each further token costs one token.

A row's tokens lie in slots 0, 1, 2, ... without gaps: slot s holds the token at position s, and a new token goes into
the first free slot of its row. Rows may differ in length; what lies beyond a row's length is garbage that no query
sees and the next token overwrites. Removing tokens is therefore free (`crop`), which makes taking back, branches of a
tree and refused proposals cheap.

Of the tokens of one call each sees all that is stored, and of the others what the call's mask says: causal generation,
a UniLM source followed by its target, and trees all work.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nlpx.errors import UsageError
from nlpx.models.config import ModelConfig

SMALLEST_CAPACITY = 64  # slots; doubled whenever a row outgrows them


class KeyValueCache:
    """Keys and values of B rows in all layers of one model; `lengths` counts the tokens of each row.

    Give it to calls of one model, one after the other: each reads it, and adds the tokens it was given. Raises
    `UsageError` for a model whose attention has no keys to keep.
    """

    def __init__(self, config: ModelConfig, num_rows: int = 1) -> None:
        if config.attention == "performer":
            raise UsageError(
                "attention `performer` keeps no keys, so it cannot decode with a cache",
                hint="load the model with attention=softmax",
            )
        self.lengths = [0] * num_rows
        self.layers = [CachedLayer(self) for _ in range(config.num_layers)]

    @property
    def num_rows(self) -> int:
        """B, which every call has to agree with."""
        return len(self.lengths)

    @property
    def is_even(self) -> bool:
        """Whether all rows have the same length: their slots are then a slice."""
        return self.lengths.count(self.lengths[0]) == len(self.lengths)

    def end(self, num_tokens: int) -> int:
        """How many slots a call with `num_tokens` more tokens a row attends to."""
        return max(self.lengths) + num_tokens

    def positions(self, num_tokens: int, device: torch.device) -> Tensor:
        """The positions of the next `num_tokens` tokens, (B or 1, T)."""
        steps = torch.arange(num_tokens, device=device)
        if self.is_even:
            return steps[None] + self.lengths[0]
        return torch.tensor(self.lengths, device=device)[:, None] + steps

    def visible(self, among_new: Tensor | None, num_tokens: int, device: torch.device) -> Tensor | None:
        """Visibility (B or 1, 1, T, slots) of all slots, from that among the new tokens, (B or 1, 1, T or 1, T).

        None if every new token sees every slot.
        """
        if among_new is None and self.is_even:
            return None
        if among_new is None:
            among_new = torch.ones(1, 1, 1, num_tokens, dtype=torch.bool, device=device)
        among_new = among_new.expand(-1, -1, num_tokens, -1)
        if self.is_even:
            return torch.nn.functional.pad(among_new, (self.lengths[0], 0), value=True)  # stored ones, all visible
        # Rows differ in length, so slot s is stored in one row and new in another. Each row looks up its own new
        # tokens by number; numbers outside 0 to T - 1 read a dummy, which the last line overrules.
        slots = torch.arange(self.end(num_tokens), device=device)
        number = slots - torch.tensor(self.lengths, device=device)[:, None]  # (B, slots); below 0: stored
        index = number.clamp(0, num_tokens - 1)[:, None, None, :].expand(-1, 1, num_tokens, -1)
        new = among_new.expand(self.num_rows, -1, -1, -1).gather(-1, index)  # (B, 1, T, slots)
        number = number[:, None, None, :]
        return (number < 0) | (new & (number < num_tokens))

    def advance(self, added: Sequence[int]) -> None:
        """Count the tokens of a call; padding, at the end of its rows, is not counted."""
        self.lengths = [length + more for length, more in zip(self.lengths, added, strict=True)]

    def crop(self, lengths: Sequence[int]) -> None:
        """Remove all but the first `lengths` tokens of each row."""
        if any(not 0 <= new <= old for new, old in zip(lengths, self.lengths, strict=True)):
            raise ValueError(f"rows of {self.lengths} tokens cannot be cropped to {list(lengths)}")
        self.lengths = list(lengths)

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows in this order; one that is named twice is copied (beams), one that is not is dropped.

        As many rows as before stay in their memory, and only those that change are written: list each row at its own
        place where you can.
        """
        in_place = len(rows) == self.num_rows
        targets = [place for place, row in enumerate(rows) if row != place] if in_place else []
        self.lengths = [self.lengths[row] for row in rows]
        if in_place and not targets:
            return
        sources = [rows[place] for place in targets] if in_place else list(rows)
        for layer in self.layers:
            layer.select(sources, targets)


class CachedLayer:
    """Keys and values of one layer, (B, H, slots, width) each, allocated when the first tokens come."""

    def __init__(self, cache: KeyValueCache) -> None:
        self._cache = cache
        self._keys: Tensor | None = None
        self._values: Tensor | None = None

    def extend(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Append new keys and values (B, H, T, width) to their rows; returns all up to the last slot in use."""
        end = self._cache.end(key.shape[2])
        self._keys = _with_room(self._keys, key, end)
        self._values = _with_room(self._values, value, end)
        self._write(self._keys, key)
        self._write(self._values, value)
        return self._keys[:, :, :end], self._values[:, :, :end]

    def select(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Write these rows to those places, or without `targets` keep them alone."""
        if self._keys is None or self._values is None:
            return
        index = torch.tensor(sources, dtype=torch.long, device=self._keys.device)
        keys, values = self._keys.index_select(0, index), self._values.index_select(0, index)
        if targets:
            places = torch.tensor(targets, device=self._keys.device)
            self._keys.index_copy_(0, places, keys)
            self._values.index_copy_(0, places, values)
        else:
            self._keys, self._values = keys, values

    def _write(self, store: Tensor, new: Tensor) -> None:
        lengths, count = self._cache.lengths, new.shape[2]
        if self._cache.is_even:
            store[:, :, lengths[0] : lengths[0] + count] = new
            return
        if count == 1:
            rows = torch.arange(len(lengths), device=store.device)
            store[rows, :, torch.tensor(lengths, device=store.device)] = new[:, :, 0]
            return
        for row, start in enumerate(lengths):
            store[row, :, start : start + count] = new[row]


def _with_room(store: Tensor | None, new: Tensor, num_slots: int) -> Tensor:
    """The store itself if it has so many slots, else a longer copy; zeros, so that unused slots are finite."""
    if store is not None and store.shape[2] >= num_slots:
        return store
    capacity = SMALLEST_CAPACITY
    while capacity < num_slots:
        capacity *= 2
    grown = new.new_zeros(new.shape[0], new.shape[1], capacity, new.shape[3])
    if store is not None:
        grown[:, :, : store.shape[2]] = store
    return grown
