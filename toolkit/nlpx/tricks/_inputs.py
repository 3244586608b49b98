"""The input of a model as tricks see it: what its word table gave, the gradient there, and how to move it.

A move is added to the output of the table while a forward pass runs. A move of the table itself, which is the same
wherever a token occurs, therefore needs no write to the weights: there is nothing to restore, and the part of a tied
table that makes the logits stays where it is. It also costs only the rows that a batch uses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from nlpx.errors import UsageError

if TYPE_CHECKING:
    from nlpx.models.encoder import Encoder

On = Literal["table", "output"]
FLOOR = 1e-8  # added to norms that are divided by


@dataclass
class Lookups:
    """What the word table was asked for, (B, T) ids, and what it gave, (B, T, E), call by call."""

    ids: list[Tensor] = field(default_factory=list)
    vectors: list[Tensor] = field(default_factory=list)


@contextmanager
def recorded(model: Encoder) -> Iterator[Lookups]:
    """Within it, calls of the word table are recorded, and what they give has a gradient even if the table has none."""
    lookups = Lookups()

    def record(_: Any, args: tuple[Any, ...], options: dict[str, Any], output: Tensor) -> Tensor:
        if torch.is_grad_enabled() and not output.requires_grad:
            output = output.detach().requires_grad_()
        lookups.ids.append(args[0] if args else options["input"])
        lookups.vectors.append(output)
        return output

    handle = model.get_input_embeddings().register_forward_hook(record, with_kwargs=True)
    try:
        yield lookups
    finally:
        handle.remove()


def input_gradients(loss: Tensor, lookups: Lookups, *, create_graph: bool = False) -> list[Tensor]:
    """The gradient of a loss at each output of the word table, (B, T, E) each; zeros where it does not reach.

    Raises `UsageError` if no word was looked up.
    """
    if not lookups.vectors:
        raise UsageError("the model looked up no words, so a trick on its input has nothing to work on")
    with torch.autocast(loss.device.type, enabled=False):
        reached = [vectors for vectors in lookups.vectors if vectors.requires_grad]  # others were made without a graph
        found = iter(torch.autograd.grad(loss, reached, create_graph=create_graph, allow_unused=True))
    gradients = [next(found) if vectors.requires_grad else None for vectors in lookups.vectors]
    return [
        torch.zeros_like(vectors) if gradient is None else gradient
        for gradient, vectors in zip(gradients, lookups.vectors, strict=True)
    ]


class Moves:
    """Moves of the input of one batch: of the rows of the word table, or of each of its outputs.

    A move is a list of tensors: of `table` one, (U, E), a row for each different token; of `output` one a call of the
    table, (B, T, E). Lengths are those of the whole table's move, or of each text's.
    """

    def __init__(self, on: On, model: Encoder, lookups: Lookups) -> None:
        table = model.get_input_embeddings()
        if on == "table" and type(table).forward is not torch.nn.Embedding.forward:
            raise UsageError(
                "the word table of this model does more than look rows up, so a trick cannot move its rows",
                hint="`on: output` moves what it gives",
            )
        self.on, self.model, self.num_rows = on, model, table.num_embeddings
        self.outputs = [vectors.detach() for vectors in lookups.vectors]
        self.tokens = torch.cat([ids.flatten() for ids in lookups.ids]).unique()  # (U,), ascending

    def gradient(self, loss: Tensor, lookups: Lookups, *, create_graph: bool = False) -> list[Tensor]:
        """The gradient of a loss as a move: of `table` summed over the occurrences of each token."""
        gradients = input_gradients(loss, lookups, create_graph=create_graph)  # (B, T, E) each
        if self.on == "output":
            return gradients
        rows = gradients[0].new_zeros(len(self.tokens), gradients[0].shape[-1])  # (U, E)
        for ids, gradient in zip(lookups.ids, gradients, strict=True):
            places, known = self._places(ids.flatten())
            rows = rows.index_add(0, places, gradient.flatten(0, -2) * known[:, None])
        return [rows]

    def scaled(self, move: Sequence[Tensor], length: float) -> list[Tensor]:
        """The move at this length; one of length 0 stays."""
        return [part * (length / (norm + FLOOR)) for part, norm in zip(move, self._norms(move), strict=True)]

    def clipped(self, move: Sequence[Tensor], length: float) -> list[Tensor]:
        """The move, at most so long."""
        return [
            part * (length / norm.clamp(min=FLOOR)).clamp(max=1.0)
            for part, norm in zip(move, self._norms(move), strict=True)
        ]

    def random(self, length: float) -> list[Tensor]:
        """A move in a direction that is uniformly random, over the whole table or each text's outputs."""
        if self.on == "output":
            return self.scaled([torch.randn_like(vectors) for vectors in self.outputs], length)
        rows = torch.randn(len(self.tokens), self.outputs[0].shape[-1], device=self.tokens.device)  # (U, E)
        square = rows.square().sum()
        others = (self.num_rows - len(self.tokens)) * rows.shape[-1]
        if others:  # the squared length of the rows that nobody looks at, without drawing them
            square = square + torch.distributions.Chi2(torch.tensor(float(others))).sample().to(rows.device)
        return [rows * (length / square.sqrt())]

    @contextmanager
    def applied(self, move: Sequence[Tensor]) -> Iterator[None]:
        """Within it, the model reads its input moved; the weights stay as they are."""
        calls = iter(range(len(move)))

        def shift(_: Any, args: tuple[Any, ...], options: dict[str, Any], output: Tensor) -> Tensor:
            if self.on == "table":
                return output + self._looked_up(move[0], args[0] if args else options["input"]).to(output.dtype)
            call = next(calls, None)
            return output if call is None else output + move[call].to(output.dtype)

        handle = self.model.get_input_embeddings().register_forward_hook(shift, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    def _looked_up(self, rows: Tensor, ids: Tensor) -> Tensor:
        """The rows (U, E) of tokens (B, T); zeros for those without, which an objective that samples may meet."""
        places, known = self._places(ids)
        return rows[places] * known[..., None]  # (B, T, E)

    def _places(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Which of the U rows each token has, and whether it has one, in the shape of the ids."""
        places = torch.searchsorted(self.tokens, ids).clamp(max=len(self.tokens) - 1)
        return places, self.tokens[places] == ids

    def _norms(self, move: Sequence[Tensor]) -> list[Tensor]:
        """Of `table` the norm of the move, 0-d; of `output` that of each text, (B, 1, 1)."""
        if self.on == "table":
            return [torch.linalg.vector_norm(part.float()) for part in move]
        return [torch.linalg.vector_norm(part.float(), dim=(1, 2), keepdim=True) for part in move]
