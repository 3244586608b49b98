"""A small classifier, a batch and an objective that tricks are tried on, for tests only."""

from __future__ import annotations

from typing import Any

import torch

from nlpx.configuration import registry
from nlpx.configuration.section import plugin_config
from nlpx.models.config import ModelConfig
from nlpx.models.transformer import Transformer
from nlpx.objectives import ObjectiveOutput

NUM_CLASSES = 3


def encoder(**choices: Any) -> Transformer:
    torch.manual_seed(4)
    values: dict[str, Any] = {
        "vocab_size": 12,
        "hidden_size": 8,
        "num_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
        "position": "rotary",
        "initializer_range": 0.4,
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
        "heads": ("classification",),
        "classification_pooling": "mean",
        "classification_transform": "none",
        "pooler": "none",
        "num_labels": NUM_CLASSES,
    }
    return Transformer(ModelConfig(**(values | choices)))


def batch() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(6)
    token_ids = torch.randint(1, 12, (4, 5), generator=generator)
    token_ids[0, 1] = token_ids[0, 2]  # a token that occurs twice
    mask = torch.ones_like(token_ids)
    mask[1, 3:] = 0
    labels = torch.tensor([0, 1, 2, 1])
    return {"token_ids": token_ids, "attention_mask": mask, "labels": labels, "num_targets": 4}


def objective_of(loss: Any) -> Any:
    def objective(model: Any, given: dict[str, Any]) -> ObjectiveOutput:
        logits = model(given["token_ids"], None, given["attention_mask"]).heads["classification"]
        return ObjectiveOutput(loss({"logits": logits}, given), {"logits": logits})

    return objective


cross_entropy = objective_of(
    lambda outputs, given: torch.nn.functional.cross_entropy(outputs["logits"], given["labels"])
)


def trick(name: str, **settings: Any) -> Any:
    return registry.load("tricks", name).Trick(plugin_config("tricks", name)(**settings))


def gradients(model: Transformer, loss: torch.Tensor) -> list[torch.Tensor]:
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    return [torch.zeros(()) if part is None else part for part in found]
