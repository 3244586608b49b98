"""What the parts of the model cost: a training step with each of them over one of the plain model.

4 layers x 256, batch of the same number of tokens, dropout 0.1, forward and backward, one thread, alternating rounds in
one process. A ratio above 1 says how many times as long as the plain model's a step takes.

    python bench/architectures.py [--lengths 128 512] [--rounds 5] [--tokens 2048] [--precision float32] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rounds import Variant, in_process, markdown, ratios, spread

from nlpx.models.config import ModelConfig
from nlpx.models.transformer import Transformer
from nlpx.train.precision import autocast

VOCAB_SIZE = 8000
CPU = torch.device("cpu")
PLAIN = "plain"
PARTS: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "RealFormer, sum": {"residual_scores": "sum"},
    "RealFormer, mean": {"residual_scores": "mean"},
    "entropy-invariant scale": {"attention_scale": "entropy_invariant"},
    "conditional norm": {"condition_size": 128, "num_conditions": 6},
    "one block for all layers": {"share_layers": "all"},
    "performer": {"attention": "performer"},
}


def build(choices: dict[str, Any]) -> Transformer:
    """The model of the benches with some parts changed, in training mode."""
    torch.manual_seed(0)
    config = ModelConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=256,
        num_layers=4,
        num_attention_heads=4,
        intermediate_size=1024,
        position="rotary",
        **choices,
    )
    return Transformer(config).train()


def step(model: Transformer, length: int, num_tokens: int, *, precision: str) -> Callable[[], object]:
    """One forward and backward pass over `num_tokens` tokens; the first row is the only one without padding."""
    num_rows = max(2, num_tokens // length)
    generator = torch.Generator().manual_seed(1)
    token_ids = torch.randint(5, VOCAB_SIZE, (num_rows, length), generator=generator)
    attention_mask = torch.ones(num_rows, length, dtype=torch.bool)
    attention_mask[1:, -2:] = False
    condition = torch.arange(num_rows) % 6 if model.config.condition_size else None

    def run() -> None:
        with autocast(precision, device=CPU):
            states = model(token_ids, attention_mask=attention_mask, condition=condition).last_hidden_state
        states.float().square().mean().backward()
        model.zero_grad(set_to_none=True)

    return run


def measure(length: int, options: argparse.Namespace) -> dict[str, list[float]]:
    """CPU seconds of each variant in each round."""
    variants: list[Variant] = [
        (name, step(build(PARTS[name]), length, options.tokens, precision=options.precision)) for name in options.parts
    ]
    seconds = in_process(variants, time.process_time, options.rounds)
    return {name: values for (name, _), values in zip(variants, seconds, strict=True)}


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=(128, 512))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=2048, help="in one batch")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--json", type=Path, help="write every round's figures here")
    options = parser.parse_args()
    options.parts = list(PARTS)
    torch.set_num_threads(1)
    found = {}
    for length in options.lengths:
        found[length] = measure(length, options)
        print(
            length,
            {name: round(statistics.median(values), 3) for name, values in found[length].items()},
            file=sys.stderr,
        )
    rows = [
        [name, *(spread(ratios(found[length][name], found[length][PLAIN])) for length in options.lengths)]
        for name in options.parts[1:]
    ]
    columns = ("part", *(f"step over plain, {length} tokens" for length in options.lengths))
    print(f"{options.precision}, median of {options.rounds} alternating rounds\n\n{markdown(columns, rows)}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
