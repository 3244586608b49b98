"""Which form of attention for which length: eager products or torch's fused kernel; and what dropout costs.

Forward and backward of the whole model (4 layers x 256, dropout 0.1, a padding mask) over batches of the same number of
tokens, one thread, alternating rounds in one process. A ratio above 1 says that the eager form is the faster one;
`eager_is_faster` in nlpx/models/attention.py follows it.

    python bench/attention.py [--lengths 32 64 128 256 512] [--rounds 5] [--tokens 2048] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rounds import Variant, in_process, markdown, ratios, spread
from torch import nn

from nlpx.models import attention
from nlpx.models.config import ModelConfig
from nlpx.models.dropout import Dropout
from nlpx.models.transformer import Transformer
from nlpx.train.precision import autocast

VOCAB_SIZE, MAX_LENGTH = 8000, 512
CPU = torch.device("cpu")


def build(*, rate: float = 0.1, torch_dropout: bool = False) -> Transformer:
    """The model of the benches, in training mode."""
    torch.manual_seed(0)
    config = ModelConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=256,
        num_layers=4,
        num_attention_heads=4,
        intermediate_size=1024,
        max_position_embeddings=MAX_LENGTH,
        hidden_dropout=rate,
        attention_dropout=rate,
    )
    model = Transformer(config)
    if torch_dropout:
        replace_dropout(model)
    return model.train()


def replace_dropout(model: nn.Module) -> None:
    """Put torch's own dropout where the noise pool was."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Dropout):
                own = nn.Dropout(child.rate)
                own.rate = child.rate  # where the model asks how much is dropped
                setattr(parent, name, own)


def step(model: Transformer, length: int, num_tokens: int, *, form: str, precision: str) -> Callable[[], object]:
    """One forward and backward pass over `num_tokens` tokens; the first row is the only one without padding."""
    num_rows = max(2, num_tokens // length)
    token_ids = torch.randint(5, VOCAB_SIZE, (num_rows, length))
    attention_mask = torch.ones(num_rows, length, dtype=torch.bool)
    attention_mask[1:, -2:] = False

    def run() -> None:
        attention.eager_is_faster = lambda query, *, dropout: form == "eager"
        with autocast(precision, device=CPU):
            states = model(token_ids, attention_mask=attention_mask).last_hidden_state
        states.float().square().mean().backward()
        model.zero_grad(set_to_none=True)

    return run


def measure(length: int, precision: str, options: argparse.Namespace) -> dict[str, list[float]]:
    """Tokens per CPU second of each variant in each round."""
    usual = build()
    models = {
        "eager": (usual, "eager"),
        "fused": (usual, "fused"),
        "eager, torch's dropout": (build(torch_dropout=True), "eager"),
        "eager, no dropout": (build(rate=0.0), "eager"),
        "fused, no dropout": (build(rate=0.0), "fused"),
    }
    num_tokens = max(2, options.tokens // length) * length
    variants: list[Variant] = [
        (name, step(model, length, num_tokens, form=form, precision=precision))
        for name, (model, form) in models.items()
    ]
    seconds = in_process(variants, time.process_time, options.rounds)
    return {name: [num_tokens / value for value in values] for (name, _), values in zip(variants, seconds, strict=True)}


def row(length: int, precision: str, speeds: dict[str, list[float]]) -> list[str]:
    """One line of the table: speed of the eager form, and its ratio to each other variant."""
    eager = speeds["eager"]
    others = [spread(ratios(eager, values)) for name, values in speeds.items() if name != "eager"]
    return [precision, str(length), f"{statistics.median(eager):,.0f}", *others]


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=(32, 64, 128, 256, 512))
    parser.add_argument("--precisions", nargs="+", default=("float32", "bfloat16"), choices=("float32", "bfloat16"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=2048, help="in one batch")
    parser.add_argument("--json", type=Path, help="write every round's figures here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found, rows = [], []
    for precision in options.precisions:
        for length in options.lengths:
            speeds = measure(length, precision, options)
            found.append({"precision": precision, "length": length, "tokens_per_second": speeds})
            rows.append(row(length, precision, speeds))
            print(" | ".join(rows[-1]), file=sys.stderr)
    columns = (
        "precision",
        "length",
        "eager: tokens per CPU second",
        *(f"faster than {name}" for name in list(speeds)[1:]),
    )
    print(f"Median of {options.rounds} alternating rounds\n\n{markdown(columns, rows)}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
