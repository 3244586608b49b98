"""From a published checkpoint to its first answer, against transformers: wall seconds and peak memory of one process.

The checkpoint is a BERT of the base size with random weights, as safetensors; both answer one short text, and the
hidden states are compared. Imports are not counted, the files lie in the page cache after the first round.

    python bench/loading.py [--rounds 7] [--layers 12]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rounds import in_processes, markdown, ratios, spread

IDS = [[101, 791, 1921, 1921, 3698, 102]]


def loaded(who: str, folder: str, small: str) -> tuple[float, Any]:
    """Seconds to the first answer, and the hidden states (1, T, D)."""
    import torch

    if who == "nlpx":
        from nlpx import load_model as load
    else:
        from transformers import BertModel

        load = BertModel.from_pretrained

    def answer(path: str) -> torch.Tensor:
        with torch.inference_mode():
            return load(path)(torch.tensor(IDS)).last_hidden_state

    answer(small)  # whatever is imported on first use
    start = time.perf_counter()
    states = answer(folder)
    return time.perf_counter() - start, states


def measure(who: str, folder: str, small: str) -> None:
    """One process: print seconds, peak MB and some of the states as JSON."""
    import resource

    seconds, states = loaded(who, folder, small)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << (20 if sys.platform == "darwin" else 10))
    print(json.dumps({"seconds": seconds, "peak": peak, "states": states[0, :, :8].tolist()}))


def rounds_of(options: argparse.Namespace) -> tuple[dict[str, list[dict[str, Any]]], int]:
    """What the processes of both printed, the first round left out, and the bytes of the checkpoint."""
    from transformers import BertConfig, BertForMaskedLM

    sizes = {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 1, "intermediate_size": 8}
    with tempfile.TemporaryDirectory() as folder:
        large, small = str(Path(folder) / "large"), str(Path(folder) / "small")
        BertForMaskedLM(BertConfig(vocab_size=21128, num_hidden_layers=options.layers)).save_pretrained(large)
        BertForMaskedLM(BertConfig(vocab_size=21128, **sizes)).save_pretrained(small)
        names = ("nlpx", "transformers")
        commands = {who: [sys.executable, __file__, "--one", who, large, small] for who in names}
        found = in_processes(commands, options.rounds + 1)
        return {who: runs[1:] for who, runs in found.items()}, (Path(large) / "model.safetensors").stat().st_size


def furthest(ours: list[list[float]], theirs: list[list[float]]) -> float:
    """The largest difference of two matrices."""
    rows = zip(ours, theirs, strict=True)
    return max(abs(own - other) for one, two in rows for own, other in zip(one, two, strict=True))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure(*options.one)
        return
    found, size = rounds_of(options)
    peers = found["transformers"]
    difference = furthest(found["nlpx"][0]["states"], peers[0]["states"])
    assert difference < 1e-4, difference
    rows = [
        [
            who,
            f"{statistics.median(run['seconds'] for run in runs):.2f}",
            *(spread(ratios([run[key] for run in runs], [run[key] for run in peers])) for key in ("seconds", "peak")),
        ]
        for who, runs in found.items()
    ]
    print(f"{size / 1e6:,.0f} MB, states differ by at most {difference:.0e}\n")
    print(markdown(["loading and first answer", "seconds", "of transformers' time", "of its peak memory"], rows))


if __name__ == "__main__":
    main()
