"""Alternating rounds: every variant once a round, in turn, so that a busy machine slows all of them alike.

Speeds are compared as ratios inside one round, and the median over the rounds is what counts. Importing this file
takes the folder of the benches off the module path: one of them is called like the library it measures.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
SHARED = FOLDER.parents[1] / "shared" / "data"
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != FOLDER]

# One thread that never spins: CPU seconds then measure work, whoever else is at work on the machine.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
}

Variant = tuple[str, Callable[[], object]]


def in_process(variants: Sequence[Variant], clock: Callable[[], float], num_rounds: int) -> list[list[float]]:
    """Seconds of each variant in each round, after one round that does not count."""
    seconds: list[list[float]] = [[] for _ in variants]
    for number in range(num_rounds + 1):
        for times, (_, work) in zip(seconds, variants, strict=True):
            gc.collect()  # so that nobody pays for another's leavings
            start = clock()
            result = work()
            elapsed = clock() - start
            del result
            if number:
                times.append(elapsed)
    return seconds


def in_processes(
    commands: Mapping[str, Sequence[str]], num_rounds: int, *, say: Callable[[str], None] = lambda text: None
) -> dict[str, list[dict[str, Any]]]:
    """What each command printed as its last line, a JSON object, in each round; a fresh process each time.

    `{round}` in a command's words becomes the number of the round, from 0.
    """
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in commands}
    for number in range(num_rounds):
        for name, words in commands.items():
            result = last_json_line([word.replace("{round}", str(number)) for word in words])
            found[name].append(result)
            say(f"round {number + 1} of {num_rounds}, {name}: {result}")
    return found


def last_json_line(words: Sequence[str]) -> dict[str, Any]:
    """Run one command with one thread; the JSON object on its last line."""
    done = subprocess.run(words, env=os.environ | ONE_THREAD, capture_output=True, text=True, check=False)
    if done.returncode or not done.stdout.strip():
        raise SystemExit(f"{' '.join(words)}\nended with {done.returncode}:\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def ratios(ours: Sequence[float], peer: Sequence[float]) -> list[float]:
    """ours / peer, round by round."""
    return [own / other for own, other in zip(ours, peer, strict=True)]


def spread(values: Sequence[float]) -> str:
    """The median, and the smallest and the largest value."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def markdown(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)
