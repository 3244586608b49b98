"""What bfloat16 costs in quality: the loss after the same steps in float32 and in bfloat16.

A small model learns whole-word masking from nothing by `nlpx pretrain`, with the same data, seed, masks and steps in
both formats. bfloat16 is the default where the hardware has it only while the losses stay within 0.02 nats: that of the
held-out documents, and the mean over the last tenth of the steps. CPU seconds of the two stand beside it.

    python bench/precision.py [--data FILE ...] [--steps 500] [--seeds 7] [--set KEY=VALUE ...] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rounds import ONE_THREAD, SHARED, markdown

from nlpx.train.precision import resolve_precision

FORMATS = ("float32", "bfloat16")
GOAL = 0.02  # nats
SMALL = ("model.new.hidden_size=256", "model.new.num_layers=4", "data.max_length=128", "train.batch_size=32")


def trained(arguments: argparse.Namespace, precision: str, seed: int, folder: Path) -> dict[str, float]:
    """One run: its losses, and the CPU seconds of all its processes."""
    out = folder / f"{precision}-{seed}"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    pretrain(arguments, folder, f"train.precision={precision}", "--seed", str(seed), "--out", str(out))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return losses(out) | {"cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def pretrain(arguments: argparse.Namespace, folder: Path, setting: str, *words: str) -> None:
    """`nlpx pretrain` with the settings of the bench; the tokenized corpus stays in `folder`."""
    own = (f"train.steps={arguments.steps}", "train.eval_every=null", "train.log_every=1", f"data.cache={folder}/cache")
    given = [word for each in (*SMALL, *own, setting, *arguments.set) for word in ("--set", each)]
    command = [sys.executable, "-m", "nlpx_cli", "pretrain", "--quiet", *words, *given, *arguments.data]
    done = subprocess.run(command, env=os.environ | ONE_THREAD, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])


def losses(run: Path) -> dict[str, float]:
    """In nats: the mean over the last tenth of the steps, and that of the held-out documents at the end."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    train = [record["loss"] for record in records if record["split"] == "train"]
    held_out = [record["loss"] for record in records if record["split"] == "dev"]
    return {"last_tenth": statistics.mean(train[-max(1, len(train) // 10) :]), "held_out": held_out[-1]}


def compare(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Both formats for every seed, in turn."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        pretrain(arguments, Path(folder), "train.precision=auto", "--dry-run")  # tokenizes: nobody's time
        for seed in arguments.seeds:
            for precision in FORMATS:
                result = trained(arguments, precision, seed, Path(folder))
                found.append({"seed": seed, "precision": precision} | result)
                print(found[-1], file=sys.stderr)
    return found


def report(found: Sequence[dict[str, Any]]) -> str:
    """A table of both formats by seed, and whether the goal is met."""
    rows, differences = [], []
    for wide, narrow in zip(found[::2], found[1::2], strict=True):
        for key in ("last_tenth", "held_out"):
            differences.append(abs(narrow[key] - wide[key]))
            figures = [f"{wide[key]:.4f}", f"{narrow[key]:.4f}", f"{narrow[key] - wide[key]:+.4f}"]
            rows.append([wide["seed"], key, *figures, f"{wide['cpu_seconds'] / narrow['cpu_seconds']:.2f}x"])
    columns = ["seed", "loss in nats", *FORMATS, "difference", "CPU time, float32 / bfloat16"]
    verdict = "within" if max(differences) <= GOAL else "NOT within"
    return f"{markdown(columns, rows)}\n\nlargest difference {max(differences):.4f}: {verdict} {GOAL} nats"


def main() -> None:
    """Measure and print."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=[str(SHARED / "corpus_0.jsonl.gz")])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[7])
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    chosen, reason = resolve_precision("auto", device=device)
    print(f"train.precision=auto is {chosen} here: {reason}\n")
    found = compare(arguments)
    print(report(found))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
