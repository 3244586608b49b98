"""Fine-tuning on real pairs against its peers: real tokens per CPU second, one thread, the same model everywhere.

4 layers x 256, 4 heads, dropout 0.1, learned positions, two classes, AdamW, gradients clipped to norm 1, the same pairs
as the same ids. Peers take batches of 32 rows in random order, padded to the longest of the batch, as transformers'
Trainer does by default; nlpx takes batches of similar length with as many real tokens on average. The clock runs over
collating, forward, backward and update, after a warm-up. Every round starts a fresh process per variant, in turn.

    python bench/finetune.py [--rounds 5] [--steps 50] [--json FILE] [--variants NAME ...] [--bert4torch-python PATH]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from finetune_workers import MAX_LENGTH, WORKERS, Clock
from rounds import SHARED, in_processes, markdown, ratios, spread

FILES = ("match_sohu_ssA.jsonl.gz", "match_sohu_ssB.jsonl.gz")

# What each variant is compared with.
PEERS = {
    "nlpx float32": ("trainer float32", "bert4torch float32"),
    "nlpx float32, conditional": ("trainer float32",),
    "nlpx bfloat16": ("trainer bfloat16", "trainer float32"),
    "trainer float32, grouped by length": ("trainer float32",),
}
VARIANTS = (
    "nlpx float32",
    "trainer float32",
    "nlpx bfloat16",
    "trainer bfloat16",
    "nlpx float32, conditional",
    "trainer float32, grouped by length",
    "bert4torch float32",
)


def prepare_data(folder: Path, out: Path) -> None:
    """Encode the training pairs once; all workers read the ids, and the peers' collator the tokenizer."""
    from nlpx.data.rows.sohu import read_splits
    from nlpx.tasks.sohu import Config, Task
    from nlpx.tokenizers.char import CharTokenizer
    from nlpx.tokenizers.vocabulary.from_texts import character_vocabulary

    task = Task(Config())
    rows = [pair for name in FILES for pair in read_splits(folder / name).train]
    tokenizer = CharTokenizer(character_vocabulary(task.texts(rows)))
    items = task.encode(rows, tokenizer, MAX_LENGTH).items
    tokenizer.save(out)
    (out / "items.json").write_text(json.dumps({"vocab_size": tokenizer.vocab_size, "items": items}))


def work(options: argparse.Namespace) -> None:
    """One variant in this process; the result is the last line."""
    import torch

    torch.set_num_threads(1)
    clock = Clock(options.warmup)
    model = WORKERS[options.worker.split()[0]](options, clock)
    print(json.dumps(clock.result(model) | {"loss": round(float(clock.loss), 4)}))


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    """Speed of each variant, and by how much ours is faster than its peers."""
    speeds = {name: [result["tokens_per_second"] for result in results] for name, results in found.items()}
    rows = []
    for name, values in speeds.items():
        peers = [peer for peer in PEERS.get(name, ()) if peer in speeds]
        ratio = "; ".join(f"{spread(ratios(values, speeds[peer]))} x {peer}" for peer in peers)
        rows.append([name, f"{statistics.median(values):,.0f}", found[name][0]["parameters"], ratio])
    return markdown(("variant", "real tokens per CPU second", "parameters", "ratio (smallest-largest)"), rows)


def main() -> int:
    """Parse, then measure all variants, or do the work of one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED, help=f"folder with {FILES[0]} and {FILES[1]}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=50, help="a multiple of 50: the grouped peer sorts so many")
    parser.add_argument("--warmup", type=int, default=5, help="steps before the clock starts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--json", type=Path, help="write every round's figures here")
    parser.add_argument("--bert4torch-python", help="an interpreter that imports bert4torch; without it, left out")
    parser.add_argument("--worker", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options)
        return 0
    absent = [name for name in FILES if not (options.data / name).is_file()]
    if absent:
        print(f"no {absent[0]} in {options.data}: name the folder with --data", file=sys.stderr)
        return 3
    found = measure(options)
    print(f"Median of {options.rounds} alternating rounds of {options.steps} steps\n\n{table(found)}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))
    return 0


def measure(options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Run every variant in its own process, round after round."""
    pythons = {"bert4torch": options.bert4torch_python}
    with tempfile.TemporaryDirectory() as folder:
        prepare_data(options.data, Path(folder))
        shared = [__file__, "--data", folder, "--steps", str(options.steps), "--warmup", str(options.warmup)]
        commands = {}
        for name in options.variants:
            python = pythons.get(name.split()[0], sys.executable)
            if python:
                commands[name] = [python, *shared, "--seed", "{round}", "--worker", name]
        return in_processes(commands, options.rounds, say=lambda text: print(text, file=sys.stderr))


if __name__ == "__main__":
    sys.exit(main())
