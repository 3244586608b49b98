"""The model that takes clauses: gated convolutions with gaps over the vectors of a document's clauses.

The extractor of kexue.fm/archives/8046, a DGCNN: each clause is one vector, made by a frozen encoder, so a document of
256 clauses is a sequence of 256 places, and six light layers see a clause in its surroundings.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

DILATIONS = (1, 2, 4, 8, 1, 1)
WIDTH = 3  # places that a convolution sees
DROPOUT = 0.1


class GatedConvolution(nn.Module):
    """x + a LayerNorm(u sigmoid(v)), u and v being convolutions of x; `a` starts at 0, so the layer at x."""

    def __init__(self, size: int, dilation: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(size, 2 * size, WIDTH, dilation=dilation, padding=dilation * (WIDTH // 2))
        self.norm = nn.LayerNorm(size)
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """`states` (B, N, H) and `mask` (B, N), true for clauses -> (B, N, H)."""
        real = states * mask[..., None]  # (B, N, H)
        values, gates = self.convolution(real.transpose(1, 2)).transpose(1, 2).chunk(2, dim=-1)  # (B, N, H) each
        changed: Tensor = self.norm(values * gates.sigmoid())
        return states + self.scale * changed


class Extractor(nn.Module):
    """From vectors of clauses to the logit of each to be taken. `hidden_size` None: half the size of a vector."""

    def __init__(self, vector_size: int, hidden_size: int | None = None) -> None:
        super().__init__()
        size = hidden_size or vector_size // 2
        self.vector_size, self.hidden_size = vector_size, size
        self.dropout = nn.Dropout(DROPOUT)
        self.projection = nn.Linear(vector_size, size, bias=False)
        self.layers = nn.ModuleList(GatedConvolution(size, dilation) for dilation in DILATIONS)
        self.classifier = nn.Linear(size, 1)

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """`vectors` (B, N, D) and `mask` (B, N), true for clauses -> logits (B, N)."""
        states = self.projection(self.dropout(vectors))  # (B, N, H)
        for layer in self.layers:
            states = layer(self.dropout(states), mask)  # (B, N, H)
        logits: Tensor = self.classifier(self.dropout(states)).squeeze(-1)  # (B, N)
        return logits


def loss(logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Mean binary cross entropy of the clauses, in nats: logits, labels and mask (B, N) -> 0-d."""
    return functional.binary_cross_entropy_with_logits(logits[mask], labels[mask].float())


def padded(vectors: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Documents of N_i clauses, (N_i, D) each, as one (B, N, D) and its mask (B, N)."""
    together = nn.utils.rnn.pad_sequence(vectors, batch_first=True)  # (B, N, D)
    lengths = torch.tensor([len(one) for one in vectors])
    return together, torch.arange(together.shape[1]) < lengths[:, None]


@torch.inference_mode()
def probabilities(models: list[Extractor], vectors: Tensor) -> list[float]:
    """The mean probability of each clause of a document, (N, D), to be taken."""
    if not len(vectors):
        return []
    mask = torch.ones(1, len(vectors), dtype=torch.bool)
    found = torch.stack([model(vectors[None], mask)[0].sigmoid() for model in models])  # (K, N)
    return [float(value) for value in found.mean(0)]
