"""Baseline of the six-variant matching task: one logistic regression per variant over TF-IDF character n-grams.

A pair is the vector [|a - b|, a * b, cosine(a, b)] of the TF-IDF vectors (characters, n = 1 to 3) of its texts. One
vectorizer and one classifier a variant, fitted on train, judged on dev (or `--split test`) at threshold 0.5.

    python bench/sohu_baseline.py --data sample
    python bench/sohu_baseline.py --data FOLDER_OR_FILE [FOLDER_OR_FILE ...] --output baseline.md
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from nlpx import bundled
from nlpx.baselines.tfidf import TfidfClassifier
from nlpx.data.rows.sohu import VARIANTS, Pair, Splits, read_splits
from nlpx.errors import UserError
from nlpx.metrics.sohu import evaluate
from nlpx.tasks.sohu import Config, Task


def probabilities(train: Sequence[Pair], judged: Sequence[Pair], *, strength: float) -> list[float]:
    """Fit on the labelled pairs of one variant; return the probability of a match of each judged pair."""
    texts = [pair.source for pair in train], [pair.target for pair in train]
    # Balanced: a strict variant has 12 % positives, and F1 at 0.5 would otherwise measure the prior.
    labels = [pair.label for pair in train]
    model = TfidfClassifier(*texts, labels, balanced=True, inverse_regularisation=strength)
    found = model.probabilities([pair.source for pair in judged], [pair.target for pair in judged])
    return found[:, model.classes.index(1)].tolist()


def run(data: Sequence[str], *, split: str, strength: float) -> str:
    """Return the table of F1 per variant, of A and B pooled, and the score, as Markdown."""
    started = time.perf_counter()
    parts = [read_splits(bundled.path("sohu") if name == "sample" else name) for name in data]
    judged, predicted = [], []
    for variant in range(len(VARIANTS)):
        train = _select(parts, "train", variant)
        chosen = _select(parts, split, variant)
        if train and chosen:
            judged += chosen
            predicted += probabilities(train, chosen, strength=strength)
    if not judged:
        raise SystemExit(f"no labelled {split} pairs in {', '.join(data)}")
    record = evaluate(predicted, [pair.label or 0 for pair in judged], [pair.variant for pair in judged])
    table = Task(Config()).tables(record)[0].markdown()
    seconds = time.perf_counter() - started
    return f"{table}\n\nScore on {split}: {record['score']:.4f} ({record['score_is']}); {seconds:.0f} s in all."


def _select(parts: Sequence[Splits], split: str, variant: int) -> list[Pair]:
    pairs = [pair for part in parts for pair in getattr(part, split)]
    return [pair for pair in pairs if pair.variant == variant and pair.label is not None]


def main() -> None:
    """Parse the command line, print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=["sample"], help="folders or files; `sample`: the shipped one")
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    parser.add_argument(
        "--strength", type=float, default=10.0, help="C of the regression (weaker regularisation: larger)"
    )
    parser.add_argument("--output", type=Path, help="also write the table here")
    options = parser.parse_args()
    try:
        table = run(options.data, split=options.split, strength=options.strength)
    except UserError as error:
        raise SystemExit(f"Error: {error}") from None
    print(table)
    if options.output is not None:
        options.output.write_text(table + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
