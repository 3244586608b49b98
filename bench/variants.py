"""What each part of the model is worth: masked accuracy after equal training, at the length of training and beyond.

Small models learn whole-word masking from nothing by `nlpx pretrain`, each variant with the same data, seeds and number
of tokens; `nlpx evaluate mlm` then asks them for hidden words of the documents that were held out, in rows of several
lengths. Learned positions end where training ended, so beyond it they are extended hierarchically. With
`--continue-steps` the extended model, and the one with rotary positions beside it, goes on at `--continue-length`.

    python bench/variants.py [--steps 1000] [--seeds 7 8 9] [--lengths 128 256 512 1024] [--continue-steps 300]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rounds import ONE_THREAD, SHARED, markdown

from nlpx.data.corpus.flatten import digest, held_out_bound
from nlpx.data.rows.reading import read_rows
from nlpx.io import write_atomically

LENGTH, BATCH_SIZE = 128, 64
CONTINUED_TOKENS = 4096  # in a batch
HELD_OUT = 0.01
SIZE = ("model.new.hidden_size=128", "model.new.num_layers=4", "model.new.intermediate_size=512")
VARIANTS: dict[str, tuple[str, ...]] = {
    "rotary, post-norm": (),
    "learned positions": ("model.new.position=learned",),
    "pre-norm": ("model.new.choices.norm_place=pre",),
    "RealFormer, sum": ("model.new.choices.residual_scores=sum",),
    "entropy-invariant scale": ("model.new.choices.attention_scale=entropy_invariant",),
}
ROTARY, LEARNED = "rotary, post-norm", "learned positions"
Scores = dict[tuple[str, int], list[float]]  # of a variant at a length, one for each seed


class Bench:
    """Runs the commands in a folder; what is there already is not made again."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments, self.folder = arguments, arguments.folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.kept_aside = self.folder / "kept_aside.jsonl"
        if not self.kept_aside.exists():
            self.write_kept_aside()

    def write_kept_aside(self) -> None:
        """Documents that no run learns from, as many of each file: read once, asked often."""
        each = self.arguments.documents // len(self.arguments.data)
        with write_atomically(self.kept_aside) as temporary, temporary.open("w", encoding="utf-8") as out:
            for source in self.arguments.data:
                texts = (str(row.values["text"]) for row in read_rows(source))
                aside = (text for text in texts if digest(text) < held_out_bound(HELD_OUT))
                for text in itertools.islice(aside, each):
                    out.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")

    def trained(self, name: str, seed: int) -> Path:
        """A run of a variant; for learned positions with the positions extended."""
        run = self.folder / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
        settings = (*SIZE, *VARIANTS[name], f"data.max_length={LENGTH}", f"train.batch_size={BATCH_SIZE}")
        self.pretrain(run, "pretrain/mlm-new", settings, self.arguments.steps, seed)
        return self.extended(run) if name == LEARNED else run / "checkpoints" / "best"

    def continued(self, model: Path, seed: int) -> Path:
        """The same model after some steps on longer rows."""
        length = self.arguments.continue_length
        run = self.folder / f"{model.parts[-3] if model.name == 'best' else model.name}-continued"
        settings = (f"data.max_length={length}", "train.epochs=null", f"train.batch_tokens={CONTINUED_TOKENS}")
        self.pretrain(run, "pretrain/mlm", settings, self.arguments.continue_steps, seed, "--model", str(model))
        return run / "checkpoints" / "best"

    def pretrain(self, run: Path, preset: str, settings: Sequence[str], steps: int, seed: int, *words: str) -> None:
        """`nlpx pretrain`, without evaluations on the way."""
        if (run / "report.md").exists():
            return
        own = (f"train.steps={steps}", "train.eval_every=null", "train.save_every=null", f"data.held_out={HELD_OUT}")
        given = [word for each in (*settings, *own, *self.arguments.set) for word in ("--set", each)]
        command = [
            "pretrain",
            "--preset",
            preset,
            "--out",
            str(run),
            "--overwrite",
            "--seed",
            str(seed),
            *words,
            *given,
        ]
        nlpx(*command, "--quiet", *self.arguments.data)

    def extended(self, run: Path) -> Path:
        """A copy whose learned positions reach further (hierarchical decomposition)."""
        target = run.with_name(f"{run.name}-hierarchical")
        if not target.exists():
            source = str(run / "checkpoints" / "best")
            nlpx("convert", source, str(target), "--to", "nlpx", "--set", "position=hierarchical", "--quiet")
        return target

    def accuracy(self, model: Path, length: int) -> float:
        """At hidden words of the documents held out, in rows of `length` tokens."""
        words = ("--max-length", str(length), "--pseudo-rows", "0", "--json")
        return float(json.loads(nlpx("evaluate", "mlm", str(model), str(self.kept_aside), *words))["accuracy"])


def nlpx(*words: str) -> str:
    """What a command prints. Ends the bench if the command fails."""
    command = [sys.executable, "-m", "nlpx_cli", *words]
    done = subprocess.run(command, env=os.environ | ONE_THREAD, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}\n{done.stderr[-3000:]}")
    return done.stdout


def compare(bench: Bench, arguments: argparse.Namespace) -> tuple[Scores, Scores]:
    """Every variant at every length for every seed, and what goes on at a greater length, before and after."""
    scores: Scores = {}
    continued: Scores = {}
    for seed in arguments.seeds:
        for name in arguments.variants:
            model = bench.trained(name, seed)
            for length in arguments.lengths:
                scores.setdefault((name, length), []).append(bench.accuracy(model, length))
            if arguments.continue_steps and name in (ROTARY, LEARNED):
                for step, each in ((0, model), (arguments.continue_steps, bench.continued(model, seed))):
                    score = bench.accuracy(each, arguments.continue_length)
                    continued.setdefault((name, step), []).append(score)
            print(seed, name, {key[1]: values[-1] for key, values in scores.items() if key[0] == name}, file=sys.stderr)
    return scores, continued


def table(scores: Scores, first: str, unit: str) -> str:
    """Mean over the seeds, in percent, and half the range between them."""
    names, columns = (list(dict.fromkeys(key[index] for key in scores)) for index in (0, 1))
    rows: list[list[Any]] = [[name, *(_cell(scores[name, column]) for column in columns)] for name in names]
    return markdown([first, *(f"{column} {unit}" for column in columns)], rows)


def _cell(values: Sequence[float]) -> str:
    half = (max(values) - min(values)) / 2
    return f"{100 * statistics.mean(values):.2f} ± {100 * half:.2f}"


def main() -> None:
    """Train, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=[str(SHARED / f"corpus_{part}.jsonl.gz") for part in range(4)])
    parser.add_argument("--documents", type=int, default=400, help="of those held out, how many are asked")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    parser.add_argument("--lengths", type=int, nargs="+", default=[128, 256, 512, 1024])
    parser.add_argument("--continue-length", type=int, default=1024)
    parser.add_argument("--continue-steps", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("runs/variants"))
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    scores, continued = compare(Bench(arguments), arguments)
    print(table(scores, "variant", "tokens"))
    if continued:
        print("\n" + table(continued, f"at {arguments.continue_length} tokens", "further steps"))


if __name__ == "__main__":
    main()
