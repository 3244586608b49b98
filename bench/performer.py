"""Performer against softmax attention: time and memory by length, and the error by the number of features.

Time is forward and backward through one layer's attention (batch 1, 4 heads of 64), alternating rounds, one thread;
memory is what autograd keeps for the backward pass, exactly, and the peak of a process of its own where `--peak` asks.
`softmax` takes whichever form nlpx would; a ratio above 1 says that Performer is ahead. The error is that of the
attention weights in the Frobenius norm, on vectors like those of a fresh model and on longer ones.

    python bench/performer.py [--lengths 128 ... 8192] [--features 266] [--rounds 5] [--causal] [--peak]
                              [--json FILE] [--plot FILE]
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rounds import Variant, in_process, last_json_line, markdown, ratios, spread
from torch import Tensor

from nlpx.models.attention import AttentionContext, SelfAttention
from nlpx.models.config import ModelConfig
from nlpx.models.dropout import NoisePool
from nlpx.models.performer import approximation_error, default_features

LENGTHS = (128, 256, 512, 1024, 2048, 4096, 8192)
FEATURES = (16, 64, 256, 1024, 4096, 16384)
NUM_HEADS, HEAD_SIZE = 4, 64
HIDDEN_SIZE = NUM_HEADS * HEAD_SIZE
# Deviation of the entries of scaled queries and keys of 16 dimensions; 0.15 is a fresh model's, 0.5 a focused head's.
DEVIATIONS = (0.15, 0.3, 0.5)


def layer(attention: str, num_features: int) -> SelfAttention:
    """One layer's attention in training mode, without dropout, which Performer has none of."""
    torch.manual_seed(0)
    config = ModelConfig(
        vocab_size=8,
        hidden_size=HIDDEN_SIZE,
        num_layers=1,
        num_attention_heads=NUM_HEADS,
        intermediate_size=8,
        attention=attention,
        performer_features=num_features,
        attention_dropout=0.0,
    )
    return SelfAttention(config, NoisePool()).train()


def context(attention: str, length: int, *, causal: bool) -> AttentionContext:
    """What a call on one full text hands to its layers."""
    if attention == "performer":
        return AttentionContext(causal=causal)
    if not causal:
        return AttentionContext()
    hidden = torch.ones(length, length, dtype=torch.bool).triu(1)
    return AttentionContext(bias=torch.zeros(1, 1, length, length).masked_fill(hidden, torch.finfo(torch.float32).min))


def step(attention: str, length: int, options: argparse.Namespace) -> Callable[[], object]:
    """One forward and backward pass over a text of `length` tokens."""
    part, shared = layer(attention, options.features), context(attention, length, causal=options.causal)
    states = torch.randn(1, length, HIDDEN_SIZE, generator=torch.Generator().manual_seed(1), requires_grad=True)

    def run() -> None:
        part(states, shared)[0].square().mean().backward()
        states.grad = None
        part.zero_grad(set_to_none=True)

    return run


def kept_megabytes(attention: str, length: int, options: argparse.Namespace) -> float:
    """What autograd holds between forward and backward, each storage once."""
    part, shared = layer(attention, options.features), context(attention, length, causal=options.causal)
    seen: dict[int, int] = {}
    held: list[Tensor] = []  # a freed storage's address may be given away again

    def note(tensor: Tensor) -> Tensor:
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        held.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        result = part(torch.randn(1, length, HIDDEN_SIZE, requires_grad=True), shared)
    del result
    return sum(seen.values()) / 2**20


def peak_megabytes(attention: str, length: int, options: argparse.Namespace) -> float:
    """The peak of a fresh process that makes one step, less that of one that makes a step of 16 tokens."""
    found = []
    for size in (16, length):
        words = [sys.executable, __file__, "--worker", attention, "--lengths", str(size)]
        words += ["--features", str(options.features), *(["--causal"] if options.causal else [])]
        found.append(last_json_line(words)["peak"])
    return float(found[1] - found[0])


def worker(options: argparse.Namespace) -> int:
    """Make one step and print this process's peak in MB."""
    step(options.worker, options.lengths[0], options)()
    # Not `ru_maxrss`, which begins with the peak of the process that started this one.
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    peak = next(line.split()[1] for line in lines if line.startswith("VmHWM:"))
    print(json.dumps({"peak": int(peak) / 1024}))
    return 0


def measure_length(length: int, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each round and memory at one length."""
    variants: list[Variant] = [(name, step(name, length, options)) for name in ("softmax", "performer")]
    softmax, performer = in_process(variants, time.process_time, options.rounds)
    found: dict[str, Any] = {"length": length, "softmax": softmax, "performer": performer}
    for name in ("softmax", "performer"):
        found[f"{name}_kept"] = kept_megabytes(name, length, options)
        if options.peak:
            found[f"{name}_peak"] = peak_megabytes(name, length, options)
    return found


def length_row(found: dict[str, Any]) -> list[str]:
    """One line of the table of lengths."""
    seconds = [f"{statistics.median(found[name]) * 1000:,.1f}" for name in ("softmax", "performer")]
    memory = [f"{found[name]:,.1f}" for name in found if name.endswith(("_kept", "_peak"))]
    return [str(found["length"]), *seconds, spread(ratios(found["softmax"], found["performer"])), *memory]


def overtaken(results: Sequence[dict[str, Any]]) -> str:
    """From which measured length on Performer is ahead."""
    ahead = [statistics.median(ratios(found["softmax"], found["performer"])) > 1 for found in results]
    lengths = [found["length"] for found in results]
    for place, length in enumerate(lengths):
        if all(ahead[place:]):
            return f"Performer is ahead from {length} tokens on"
    return f"Performer is not ahead up to {lengths[-1]} tokens"


def measure_errors(options: argparse.Namespace, *, draws: int = 8) -> list[dict[str, Any]]:
    """Mean error over draws of vectors and features, for independent and for orthogonal features."""
    found = []
    for deviation in DEVIATIONS:
        for num_features in options.error_features:
            values: dict[bool, list[float]] = {False: [], True: []}
            for number in range(draws):
                generator = torch.Generator().manual_seed(number)
                query, key = torch.randn(2, 32, 16, generator=generator) * deviation
                for orthogonal, errors in values.items():
                    drawn = torch.Generator().manual_seed(1000 + number)
                    errors.append(approximation_error(query, key, num_features, generator=drawn, orthogonal=orthogonal))
            means = {
                name: statistics.mean(values[flag]) for name, flag in (("independent", False), ("orthogonal", True))
            }
            found.append({"deviation": deviation, "features": num_features, **means})
    return found


def plot(lengths: Sequence[dict[str, Any]], errors: Sequence[dict[str, Any]], file: Path) -> None:
    """Time, memory and error as three logarithmic panels of one picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (time_panel, memory_panel, error_panel) = pyplot.subplots(1, 3, figsize=(15, 4.5))
    x = [found["length"] for found in lengths]
    for name in ("softmax", "performer"):
        time_panel.plot(x, [statistics.median(found[name]) * 1000 for found in lengths], marker="o", label=name)
        memory_panel.plot(x, [found[f"{name}_kept"] for found in lengths], marker="o", label=name)
    for deviation in DEVIATIONS:
        chosen = [found for found in errors if found["deviation"] == deviation]
        sizes = [found["features"] for found in chosen]
        error_panel.plot(sizes, [found["orthogonal"] for found in chosen], marker="o", label=f"deviation {deviation}")
    labels = (("tokens", "CPU milliseconds a step"), ("tokens", "MB kept for backward"), ("features", "relative error"))
    for panel, (below, beside) in zip((time_panel, memory_panel, error_panel), labels, strict=True):
        panel.set(xlabel=below, ylabel=beside, xscale="log", yscale="log")
        panel.grid(visible=True, alpha=0.3)
        panel.legend()
    figure.tight_layout()
    figure.savefig(file, dpi=120)


def main() -> int:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--features", type=int, default=default_features(HEAD_SIZE))
    parser.add_argument("--error-features", type=int, nargs="+", default=FEATURES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--causal", action="store_true")
    parser.add_argument("--peak", action="store_true", help="also the peak of a process of its own (Linux)")
    parser.add_argument("--json", type=Path, help="write every round's figures here")
    parser.add_argument("--plot", type=Path, help="write a picture here")
    parser.add_argument("--worker", choices=("softmax", "performer"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.worker:
        return worker(options)
    lengths = []
    for length in options.lengths:
        lengths.append(measure_length(length, options))
        print(" | ".join(length_row(lengths[-1])), file=sys.stderr)
    errors = measure_errors(options)
    report(lengths, errors, options)
    if options.json:
        options.json.write_text(json.dumps({"lengths": lengths, "errors": errors}, indent=2))
    if options.plot:
        plot(lengths, errors, options.plot)
    return 0


def report(lengths: Sequence[dict[str, Any]], errors: Sequence[dict[str, Any]], options: argparse.Namespace) -> None:
    """Both tables as Markdown."""
    columns = ["tokens", "softmax, ms", "performer, ms", "softmax / performer"]
    columns += [name.replace("_", ", MB ") for name in lengths[0] if name.endswith(("_kept", "_peak"))]
    kind = "causal" if options.causal else "bidirectional"
    print(f"{kind}, {options.features} features, median of {options.rounds} alternating rounds\n")
    print(markdown(columns, [length_row(found) for found in lengths]))
    print(f"\n{overtaken(lengths)}.\n")
    rows = [
        [found["deviation"], found["features"], f"{found['independent']:.4f}", f"{found['orthogonal']:.4f}"]
        for found in errors
    ]
    print(markdown(("deviation", "features", "independent", "orthogonal"), rows))
    usual = [found for found in errors if found["deviation"] == DEVIATIONS[0]]
    if len(usual) > 1:
        error, size = (math.log(usual[-1][key] / usual[0][key]) for key in ("orthogonal", "features"))
        print(f"\nSlope at deviation {DEVIATIONS[0]}: {error / size:.2f}")


if __name__ == "__main__":
    sys.exit(main())
