"""Gibbs sampling: single-position steps per CPU second, one thread, length 32, random weights, the same model for all.

4 layers x 256 with a vocabulary of 8,000, and 12 x 768 with 21,128. Peers: the usual loop over transformers'
BertForMaskedLM with one chain and logits at all positions, and the same with 32 chains. Ours goes through
`nlpx.decode.gibbs.chains`, with all that belongs to a step: choosing positions, the ban list, drawing, writing back.
Before anything is timed the conditionals of ours and of the peer are compared.

    python bench/gibbs.py [--shapes small base] [--rounds 5] [--seconds 1.0] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rounds import Variant, in_process, markdown, ratios, spread

from nlpx import load_model
from nlpx.decode.conditionals import Conditionals, conditionals_of
from nlpx.decode.gibbs.chains import Chain, Sampler
from nlpx.decode.gibbs.draw import Draw

LENGTH, CHAINS = 32, 32
PAD, START, END, MASK, FIRST = 0, 101, 102, 103, 104
SHAPES: dict[str, dict[str, int]] = {
    "small": {"num_hidden_layers": 4, "hidden_size": 256, "num_attention_heads": 4, "vocab_size": 8000},
    "base": {"num_hidden_layers": 12, "hidden_size": 768, "num_attention_heads": 12, "vocab_size": 21128},
}
CPU = torch.device("cpu")
NAIVE, BATCHED, BATCHED_HALF = "transformers, 1 chain", "transformers, 32 chains", "transformers, 32 chains, bfloat16"
PEERS = {"nlpx, 32 chains, float32": (NAIVE, BATCHED), "nlpx, 32 chains, bfloat16": (NAIVE, BATCHED, BATCHED_HALF)}


def peer(shape: str) -> Any:
    """transformers' model with weights large enough that its conditionals are not flat."""
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    sizes = SHAPES[shape] | {"intermediate_size": 4 * SHAPES[shape]["hidden_size"], "max_position_embeddings": 64}
    return BertForMaskedLM(BertConfig(initializer_range=0.05, **sizes)).eval()


def start(num_chains: int) -> torch.Tensor:
    """[CLS] [MASK] ... [SEP], one row a chain."""
    row = torch.tensor([START, *[MASK] * LENGTH, END])
    return row.repeat(num_chains, 1)


def usual_loop(model: Any, num_chains: int, num_steps: int) -> Callable[[], object]:
    """The loop one finds: pick positions, hide them, run the model, draw from the softmax there."""
    token_ids, rows = start(num_chains), torch.arange(num_chains)

    def run() -> torch.Tensor:
        with torch.inference_mode():
            for _ in range(num_steps):
                places = torch.randint(1, LENGTH + 1, (num_chains,))
                token_ids[rows, places] = MASK
                logits = model(token_ids).logits[rows, places]
                token_ids[rows, places] = logits.float().softmax(dim=-1).multinomial(1)[:, 0]
        return token_ids

    return run


def ours(conditionals: Conditionals, vocab_size: int, num_steps: int) -> Callable[[], object]:
    """The sampler of `nlpx sample`; each round its chains go on where they were."""
    banned = torch.arange(vocab_size) < FIRST
    sampler = Sampler(conditionals, Draw(banned), MASK, PAD)
    chains = [
        Chain(number, [START, *[MASK] * LENGTH, END], range(1, LENGTH + 1), LENGTH + 2) for number in range(CHAINS)
    ]

    def run() -> object:
        return sum(1 for _ in sampler.run(chains, num_steps, lambda step: 1.0))

    return run


def compare(theirs: Any, conditionals: Conditionals) -> float:
    """Largest difference between log probabilities of the peer and of ours, over some places."""
    token_ids = torch.randint(FIRST, 8000, (16, LENGTH + 2), generator=torch.Generator().manual_seed(1))
    places = torch.arange(16)[:, None] + 3
    token_ids.scatter_(1, places, MASK)
    with torch.inference_mode():
        expected = theirs(token_ids).logits.gather(1, places[..., None].expand(-1, -1, theirs.config.vocab_size))
    found = conditionals(token_ids, torch.ones_like(token_ids, dtype=torch.bool), places)
    return float((found.log_softmax(dim=-1) - expected.log_softmax(dim=-1)).abs().max())


def build(shape: str, seconds: float) -> list[tuple[str, int, Callable[[], object]]]:
    """Name, single-position steps a round, and work of each variant; a round of each takes about `seconds`."""
    theirs, vocab_size = peer(shape), SHAPES[shape]["vocab_size"]
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        found = {
            precision: conditionals_of(load_model(folder, head="mlm"), device=CPU, precision=precision)
            for precision in ("float32", "bfloat16")
        }
    for precision, conditionals in found.items():
        difference = compare(theirs, conditionals)
        print(f"{shape}, {precision}: log probabilities differ by at most {difference:.2g}", file=sys.stderr)
        if precision == "float32" and difference > 1e-3:
            raise SystemExit("the models are not the same")
    half = peer(shape).to(torch.bfloat16)
    makers: dict[str, tuple[int, Callable[[int], Callable[[], object]]]] = {
        NAIVE: (1, lambda steps: usual_loop(theirs, 1, steps)),
        BATCHED: (CHAINS, lambda steps: usual_loop(theirs, CHAINS, steps)),
        BATCHED_HALF: (CHAINS, lambda steps: usual_loop(half, CHAINS, steps)),
        "nlpx, 32 chains, float32": (CHAINS, lambda steps: ours(found["float32"], vocab_size, steps)),
        "nlpx, 32 chains, bfloat16": (CHAINS, lambda steps: ours(found["bfloat16"], vocab_size, steps)),
    }
    return [(name, *sized(chains, make, seconds)) for name, (chains, make) in makers.items()]


def sized(chains: int, make: Callable[[int], Callable[[], object]], seconds: float) -> tuple[int, Callable[[], object]]:
    """Steps that take about so long, times chains; and the work."""
    steps, elapsed = 1, 0.0
    while elapsed < seconds / 2:
        steps *= 2
        work, began = make(steps), time.process_time()
        work()
        elapsed = time.process_time() - began
    return steps * chains, work


def measure(shape: str, options: argparse.Namespace) -> dict[str, list[float]]:
    """Single-position steps per CPU second of each variant in each round."""
    built = build(shape, options.seconds)
    variants: list[Variant] = [(name, work) for name, _, work in built]
    seconds = in_process(variants, time.process_time, options.rounds)
    return {name: [steps / value for value in values] for (name, steps, _), values in zip(built, seconds, strict=True)}


def table(speeds: dict[str, list[float]]) -> str:
    """Speed of each variant, and by how much ours is faster than its peers."""
    rows = []
    for name, values in speeds.items():
        found = "; ".join(f"{spread(ratios(values, speeds[other]))} x {other}" for other in PEERS.get(name, ()))
        rows.append([name, f"{statistics.median(values):,.1f}", found])
    return markdown(("variant", "steps per CPU second", "ratio (smallest-largest)"), rows)


def main() -> int:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one variant in one round, about")
    parser.add_argument("--json", type=Path, help="write every round's figures here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for shape in options.shapes:
        found[shape] = measure(shape, options)
        print(f"{shape}, length {LENGTH}: median of {options.rounds} alternating rounds\n\n{table(found[shape])}\n")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
