"""What sampling gives: forty uncurated samples of each model at temperature 1 and annealed, with diagnostics.

Beside them how well the model restores hidden words of sentences, and its pseudo-perplexity of the samples, of those
sentences and of random tokens of equal lengths. Give sentences that the models were not trained on; those of 8 to 32
tokens are used. Everything is printed as Markdown.

    python bench/gibbs_evidence.py --texts FILE [--models char-tiny word-tiny] [--steps 400] [--sentences 500]
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rounds import markdown

from nlpx.data.corpus.sentences import split_sentences
from nlpx.data.rows.reading import format_of, read_rows
from nlpx.jobs.evaluate.mlm import Settings as EvaluationSettings
from nlpx.jobs.evaluate.mlm import evaluate
from nlpx.jobs.sample import sample
from nlpx.jobs.sample.chains import FEWEST, FRAME, MOST, Run
from nlpx.jobs.sample.record import Record
from nlpx.jobs.sample.settings import Settings
from nlpx.messages import Silent

CHAINS = 40
MODES: dict[str, dict[str, Any]] = {"temperature 1": {}, "annealed": {"anneal": True}}


def sentences(options: argparse.Namespace, run: Run) -> list[str]:
    """Sentences of the texts that have between 8 and 32 tokens of this model, each once."""
    found: dict[str, None] = {}
    for row in read_rows(str(options.texts), format=format_of(str(options.texts))):
        for sentence in split_sentences(str(row.values[options.field])):
            if FEWEST <= len(run.model.tokenizer.encode(sentence).token_ids) - FRAME <= MOST:
                found[sentence] = None
        if len(found) >= options.sentences:
            break
    return list(found)[: options.sentences]


def pseudo_perplexity(run: Run, texts: Sequence[Sequence[int]]) -> float:
    """exp of the mean negative log probability of a token, all others in sight."""
    special, total = run.model.special, 0.0
    for text in texts:
        token_ids = [special.cls, *text, special.sep]
        total += math.fsum(run.likelihood(token_ids, range(1, len(token_ids) - 1), width=MOST + 8))
    return math.exp(-total / sum(map(len, texts)))


def figures(name: str, options: argparse.Namespace) -> None:
    """Print everything about one model."""
    print(f"### {name}\n")
    shown: dict[str, list[list[int]]] = {}
    for mode, choices in MODES.items():
        record = Record()
        settings = Settings(steps=options.steps, chains=CHAINS, seed=options.seed, **choices)
        rows = list(sample(name, settings, record=record))
        last = {row["chain"]: row["text"] for row in rows}  # the final state of every chain
        shown[mode] = [trace.texts[-1] for trace in record.traces.values()]
        print(f"{mode}, {options.steps} steps, {CHAINS} chains, their last states:\n")
        print("\n".join(f"1. {text}" for text in last.values()) + "\n")
        columns, table = record.table()
        print(markdown(columns[1:], [[_cell(value) for value in table[-1][1:]]]) + "\n")
    run = Run.load(name, Settings(), device="cpu", precision="float32")
    held_out_rows = sentences(options, run)
    _print_perplexities(run, shown, held_out_rows, options.seed)
    _print_accuracy(name, held_out_rows)


def _print_perplexities(run: Run, shown: dict[str, list[list[int]]], held_out_rows: Sequence[str], seed: int) -> None:
    real = [run.model.tokenizer.encode(sentence).token_ids[1:-1] for sentence in held_out_rows]
    chance = random.Random(seed)
    drawable = [index for index, banned in enumerate(run.draw.banned.tolist()) if not banned]  # type: ignore[union-attr]
    noise = [chance.choices(drawable, k=len(text)) for text in real[:CHAINS]]
    sets = {f"samples, {mode}": texts for mode, texts in shown.items()}
    sets |= {"real sentences": real, "random tokens": noise}
    rows = [[name, len(texts), f"{pseudo_perplexity(run, texts):,.1f}"] for name, texts in sets.items()]
    print(markdown(("texts", "number", "pseudo-perplexity"), rows) + "\n")


def _print_accuracy(name: str, held_out_rows: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sentences.txt"
        file.write_text("".join(f"{sentence}\n" for sentence in held_out_rows), encoding="utf-8")
        settings = EvaluationSettings(pseudo_rows=0)
        found = evaluate(name, [str(file)], settings, device="cpu", messages=Silent())
    share, targets = found["accuracy"], found["targets"]
    print(f"Hidden words restored: {share:.1%} of {targets:,} tokens in {len(held_out_rows)} sentences held out.\n")


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> int:
    """Parse, then print the evidence for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True, help="texts that were not trained on")
    parser.add_argument("--field", default="text", help="of rows, which holds the text")
    parser.add_argument("--models", nargs="+", default=["char-tiny", "word-tiny"])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--sentences", type=int, default=500)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    for name in options.models:
        figures(name, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
