"""What each trick costs: its whole step over a plain one, in the same rounds.

    python bench/tricks.py

A new model of 4 layers x 256 with dropout 0.1 and 15 classes, 32 texts of 64 tokens a step, AdamW, float32, one thread,
CPU seconds. A step is what the loop makes of it: the trick around its part, forward and backward passes, the update.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

import rounds

os.environ.update(rounds.ONE_THREAD)

PLAIN = "plain"
VOCAB, NUM_CLASSES = 8_000, 15
# By the name in the table: tricks with settings, and the goal for the step over plain.
VARIANTS: dict[str, tuple[dict[str, dict[str, Any]], float | None]] = {
    PLAIN: ({}, None),
    "ema": ({"ema": {}}, 1.02),
    "flooding": ({"flooding": {}}, 1.02),
    "multi_sample_dropout, 5 samples": ({"multi_sample_dropout": {}}, None),
    "weissi": ({"weissi": {}}, None),
    "weight_noise": ({"weight_noise": {}}, None),
    "mixout": ({"mixout": {}}, None),
    "r_drop": ({"r_drop": {}}, 2.0),
    "fgm on the table": ({"fgm": {}}, 2.0),
    "fgm on the output": ({"fgm": {"on": "output"}}, 1.65),
    "pgd, 3 steps": ({"pgd": {}}, None),
    "gradient_penalty": ({"gradient_penalty": {}}, 2.1),
    "vat": ({"vat": {}}, 2.7),
    "parameter_gradient_penalty": ({"parameter_gradient_penalty": {}}, 3.0),
}


def step_of(tricks: dict[str, dict[str, Any]], batch: dict[str, Any]) -> Callable[[], float]:
    """One update of a fresh model under these tricks, as a call."""
    import torch

    from nlpx.configuration.section import plugin_config
    from nlpx.models.config import ModelConfig
    from nlpx.models.transformer import Transformer
    from nlpx.objectives import ObjectiveOutput
    from nlpx.optim.config import OptimConfig
    from nlpx.optim.groups import build_optimizer
    from nlpx.train.step import accumulating_backward, build_tricks, plain_update, wrapped

    torch.manual_seed(0)
    model = Transformer(
        ModelConfig(
            vocab_size=VOCAB,
            hidden_size=256,
            num_layers=4,
            num_attention_heads=4,
            intermediate_size=1024,
            position="rotary",
            heads=("classification",),
            classification_pooling="mean",
            classification_transform="none",
            pooler="none",
            num_labels=NUM_CLASSES,
        )
    ).train()
    optimizer = build_optimizer(model, OptimConfig(learning_rate=1e-5))
    named = build_tricks({name: plugin_config("tricks", name)(**settings) for name, settings in tricks.items()})

    def objective(model: Any, batch: dict[str, Any]) -> ObjectiveOutput:
        logits = model(batch["token_ids"]).heads["classification"]
        return ObjectiveOutput(torch.nn.functional.cross_entropy(logits, batch["labels"]), {"logits": logits})

    inside = wrapped(objective, place="objective", tricks=named)
    backward = wrapped(accumulating_backward(inside), place="backward", tricks=named)
    update = wrapped(plain_update, place="update", tricks=named)

    def step() -> float:
        loss = backward(model, [batch]).loss
        update(model, optimizer)
        return float(loss)

    return step


def main() -> None:
    """Print the table."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--texts", type=int, default=32)
    parser.add_argument("--length", type=int, default=64)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    token_ids = torch.randint(5, VOCAB, (arguments.texts, arguments.length))
    labels = torch.randint(NUM_CLASSES, (arguments.texts,))
    batch = {"token_ids": token_ids, "labels": labels, "num_targets": arguments.texts}
    steps = [(name, step_of(tricks, batch)) for name, (tricks, _) in VARIANTS.items()]
    seconds = rounds.in_process(steps, time.process_time, arguments.rounds)
    rows = []
    for (name, (_, goal)), times in zip(VARIANTS.items(), seconds, strict=True):
        if name != PLAIN:
            rows.append([name, rounds.spread(rounds.ratios(times, seconds[0])), "" if goal is None else goal])
    print(rounds.markdown(["trick", "step over plain", "goal"], rows))


if __name__ == "__main__":
    main()
