"""What a run spends on anything but training, and how soon `nlpx predict` answers.

1. CPU seconds of a real `nlpx finetune` run by what they went into; logging, checkpoints, evaluation book-keeping and
   the report should stay below 5 % of the run.
2. Seconds from the start of `nlpx predict` to its first row, less those of `python -c "import torch"`, in turn, wall
   clock; at most one second.

    python bench/bookkeeping.py [--data PATH] [--set KEY=VALUE ...] [--rounds 5] [--json FILE]
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rounds import ONE_THREAD, last_json_line, markdown, spread

from nlpx import bundled

TRAINING, FORWARD, START = "steps: collate, forward, backward, update", "evaluation: forward", "start: imports, data"
# (what it is, module, dotted name): everything a run does after its start is inside one of these.
PLACES = (
    (TRAINING, "nlpx.train.loop", "_one_update"),
    (FORWARD, "nlpx.runs.inference", "_run"),
    ("evaluation: scores", "nlpx.tasks.sohu", "Task.evaluate"),
    ("logging and progress", "nlpx.runs.following", "Follower._log"),
    ("checkpoint to resume from", "nlpx.runs.following", "Follower._save"),
    ("best checkpoint", "nlpx.runs.following", "Follower._publish"),
    ("rest of the loop", "nlpx.runs.following", "Follower.follow"),
    ("report and plots", "nlpx.report.build", "build"),
)


class Ledger:
    """CPU seconds by label; what an inner function spends is not its caller's."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.inside: list[float] = []

    def timed(self, label: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, its own CPU time written down."""

        def call(*arguments: Any, **named: Any) -> Any:
            self.inside.append(0.0)
            start = time.process_time()
            try:
                return function(*arguments, **named)
            finally:
                spent = time.process_time() - start
                self.seconds[label] += spent - self.inside.pop()
                if self.inside:
                    self.inside[-1] += spent

        return call

    def watch(self, label: str, module: str, name: str) -> None:
        """Put the timed function in the place of the original."""
        *path, last = name.split(".")
        owner = importlib.import_module(module)
        for part in path:
            owner = getattr(owner, part)
        setattr(owner, last, self.timed(label, getattr(owner, last)))


def finetune(arguments: Sequence[str]) -> None:
    """Run `nlpx finetune` in this process, everything timed; the last line says what went where."""
    from nlpx_cli.__main__ import main

    ledger = Ledger()
    for place in PLACES:
        ledger.watch(*place)
    # The first import of torch is no part of what is watched, hence all of the process counts, less what is watched.
    code = main(["finetune", *arguments])
    if code:
        raise SystemExit(code)
    total = time.process_time()
    print(json.dumps({**ledger.seconds, START: total - sum(ledger.seconds.values())}))


def shares(seconds: dict[str, float]) -> tuple[str, float]:
    """The table, and the share that is book-keeping."""
    total = sum(seconds.values())
    ordered = sorted(seconds.items(), key=lambda item: -item[1])
    rows = [[label, f"{value:.2f}", f"{value / total:.2%}"] for label, value in ordered]
    share = sum(value for label, value in seconds.items() if label not in (TRAINING, FORWARD, START)) / total
    rows.append(["book-keeping: all but steps, forward and start", f"{share * total:.2f}", f"{share:.2%}"])
    return markdown(("what", "CPU seconds", "of the run"), rows), share


def first_row(words: Sequence[str], *, expected: bool = True) -> float:
    """Wall seconds from the start of a process to its first line, or to its end where none is expected."""
    start = time.perf_counter()
    with subprocess.Popen(
        words, env=os.environ | ONE_THREAD, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - start
        _, errors = process.communicate()
    if process.returncode or bool(line) != expected:
        raise SystemExit(f"{' '.join(words)}\nended with {process.returncode}:\n{errors.decode()[-3000:]}")
    return seconds


def answering(run: Path, rows: Path, num_rounds: int) -> list[dict[str, float]]:
    """Both times of each round, after one round that does not count: it warms the file cache."""
    predict = [sys.executable, "-m", "nlpx_cli", "predict", str(run), str(rows)]
    bare = [sys.executable, "-c", "import torch"]
    both = [
        {"predict": first_row(predict), "import torch": first_row(bare, expected=False)} for _ in range(num_rounds + 1)
    ]
    return both[1:]


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """One run, then the alternating rounds of `nlpx predict` on it."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        flags = [word for setting in options.set for word in ("--set", setting)]
        data = ["--data", options.data] if options.data else []
        words = [sys.executable, __file__, "--worker", "--task", "sohu", "--out", str(run), "--quiet", *data, *flags]
        seconds = last_json_line(words)
        answers = answering(run, Path(str(bundled.path("sohu"))), options.rounds)
    return {"finetune": seconds, "predict": answers}


def report(found: dict[str, Any], num_rounds: int) -> str:
    """Both results in Markdown."""
    table, share = shares(found["finetune"])
    answers = found["predict"]
    own = [answer["predict"] - answer["import torch"] for answer in answers]
    medians = {name: statistics.median(answer[name] for answer in answers) for name in ("predict", "import torch")}
    return (
        f"Book-keeping of a run: {share:.2%}\n\n{table}\n\n"
        f"First row of `nlpx predict`, median of {num_rounds} rounds: {medians['predict']:.2f} s, "
        f'`python -c "import torch"`: {medians["import torch"]:.2f} s, difference: {spread(own)} s'
    )


def main() -> int:
    """Parse, then measure, or run the training that is measured."""
    if "--worker" in sys.argv:
        finetune([word for word in sys.argv[1:] if word != "--worker"])
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="pairs to train on; by default what the package ships")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="handed on to nlpx finetune")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    found = measure(options)
    print(report(found, options.rounds))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
