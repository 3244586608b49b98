"""What the objectives over packed rows share: padding, who may see whom, and the loss at chosen positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from nlpx.data.batches.packing import PackedRow
    from nlpx.models.encoder import ModelOutput
    from nlpx.objectives import ObjectiveOutput

    Ids = NDArray[np.int64]

OUTSIDE = -1  # the document of padding: no other position is in it
WITH_TABLES = ("learned", "hierarchical")  # positions that count from the start of a text; others see distances only


def padded(rows: Sequence[Ids], *, fill: int) -> Ids:
    """Rows of different lengths as one array (B, T), `fill` behind the shorter ones."""
    import numpy as np

    table = np.full((len(rows), max(len(row) for row in rows)), fill, dtype=np.int64)
    for index, row in enumerate(rows):
        table[index, : len(row)] = row
    return table


def inputs(token_ids: Sequence[Ids], documents: Ids, *, pad: int) -> dict[str, Any]:
    """The part of a batch that every model call needs, as tensors.

    `documents` (B, T) holds each position's document, `OUTSIDE` for padding. `attention_mask` is there only where
    something is padded; `document_ids` and `position_ids`, which start anew with each document, only where a row
    holds several.
    """
    import torch

    batch = {"token_ids": torch.from_numpy(padded(token_ids, fill=pad))}
    if documents.max() > 0:
        batch["document_ids"] = torch.from_numpy(documents)
        batch["position_ids"] = torch.from_numpy(_places(documents))
    elif (documents == OUTSIDE).any():
        batch["attention_mask"] = torch.from_numpy(documents != OUTSIDE)
    return batch


def followed(documents: Ids) -> NDArray[np.bool_]:
    """Whether position i + 1 continues the document of position i, (B, T - 1)."""
    same: NDArray[np.bool_] = documents[:, :-1] == documents[:, 1:]
    real: NDArray[np.bool_] = documents[:, 1:] != OUTSIDE
    return same & real


def hidden_targets(rows: Sequence[PackedRow], places: Sequence[Ids], *, width: int) -> dict[str, Any]:
    """What stood at the places (K,) of each row, as `lm_positions` into the flattened B * width and `targets`, (N,)."""
    import numpy as np
    import torch

    flat = [index * width + where for index, where in enumerate(places)]
    targets = [row.token_ids[where] for row, where in zip(rows, places, strict=True)]
    return {
        "lm_positions": torch.from_numpy(np.concatenate(flat)),
        "targets": torch.from_numpy(np.concatenate(targets)),
    }


def prediction_targets(token_ids: Ids, predicted: NDArray[np.bool_]) -> dict[str, Any]:
    """What is predicted from the position before it.

    token_ids: (B, T); predicted: (B, T - 1), True where position i has to predict what stands at i + 1.
    """
    import numpy as np
    import torch

    rows, places = np.nonzero(predicted)
    return {
        "lm_positions": torch.from_numpy(rows * token_ids.shape[1] + places),
        "targets": torch.from_numpy(token_ids[rows, places + 1]),
        "num_targets": len(rows),
    }


def call(model: Any, batch: dict[str, Any], *, mask: str, **more: Any) -> ModelOutput:
    """Run the model on a batch with a mask by name, which holds within each document."""
    output: ModelOutput = model(
        batch["token_ids"],
        lm_positions=batch.get("lm_positions"),
        **masking_arguments(model, batch, mask=mask),
        **more,
    )
    return output


def masking_arguments(model: Any, batch: dict[str, Any], *, mask: str) -> dict[str, Any]:
    """The keywords of a model call for positions, segments and visibility."""
    keywords: dict[str, Any] = {name: batch.get(name) for name in ("segment_ids", "attention_mask")} | {"mask": mask}
    if "document_ids" in batch:
        keywords["mask"] = _within_documents(mask, batch)
        if model.config.position in WITH_TABLES:
            keywords["position_ids"] = batch["position_ids"]
    return keywords


def language_loss(model: Any, batch: dict[str, Any], *, mask: str, keep_logits: bool = False) -> ObjectiveOutput:
    """Mean negative log-likelihood of `targets` at `lm_positions`, in nats, under a mask that holds in each document.

    `outputs["logits"]` is (N, V), but in training without `keep_logits`: there they would be most of the memory.
    """
    import torch

    from nlpx.objectives import ObjectiveOutput

    targets = batch["targets"]
    if model.training and torch.is_grad_enabled() and not keep_logits:
        total = call(model, batch, mask=mask, lm_targets=targets).lm_loss
        assert total is not None  # the model has the head: the objective says so in HEADS
        return ObjectiveOutput(total / max(len(targets), 1))
    logits = call(model, batch, mask=mask).logits
    assert logits is not None
    return ObjectiveOutput(mean_loss(logits, targets), {"logits": logits})


def mean_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy in nats: logits (N, C), targets (N,) -> 0-d float32; 0 where there is no target."""
    from torch.nn import functional

    # Autocast on a CPU would leave the logarithm in bfloat16, whose three digits hide small differences.
    return functional.cross_entropy(logits.float(), targets, reduction="sum") / max(len(targets), 1)


def num_correct(outputs: dict[str, Any], batch: dict[str, Any]) -> int:
    """How many targets are the first choice of their logits."""
    return int((outputs["logits"].argmax(dim=-1) == batch["targets"]).sum())


def _within_documents(mask: str, batch: dict[str, Any]) -> Tensor:
    from nlpx.models.masks import visible

    documents = batch["document_ids"]
    same: Tensor = documents[:, :, None] == documents[:, None, :]
    pattern = visible(mask, None, batch.get("segment_ids"), documents.shape[1], documents.device)
    return same if pattern is None else same & pattern[:, 0]


def _places(documents: Ids) -> Ids:
    """How far each position is from the start of its document, (B, T)."""
    import numpy as np

    here = np.arange(documents.shape[1])
    begins = np.ones_like(documents, dtype=bool)
    begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return here - np.maximum.accumulate(np.where(begins, here, 0), axis=1)
