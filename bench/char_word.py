"""Characters against words at equal shape: tokens per character, documents per second, accuracy on TNEWS.

Two encoders that differ in their vocabulary, by default those that ship. Documents are truncated at `--max-length`
tokens, so a word model reads further into them; headlines are short. Speed is that of sentence vectors with one
thread in CPU seconds, alternating rounds in one process, with the tokenizer and on texts that were encoded before.
Accuracy is that on the dev part after `nlpx finetune --task classify`, both models with the same rows and seeds; runs
that are in `--folder` already are not made again.

    python bench/char_word.py [--models char-tiny word-tiny] [--rounds 7] [--seeds 7 8 9]
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rounds import ONE_THREAD, SHARED, Variant, in_process, last_json_line, markdown, ratios, spread

os.environ.update(ONE_THREAD)  # read by torch and by the tokenizers at their first use

from nlpx.embed.encoder import SentenceEncoder
from nlpx.tokenizers.encoding import Encoding

SHAPE = ("num_layers", "hidden_size", "num_attention_heads", "intermediate_size", "position", "attention")
CORPUS, TNEWS = "corpus_0.jsonl.gz", "cls_tnews.jsonl.gz"
Texts = dict[str, list[str]]  # by what they are called


class Remembered:
    """Stands in for a tokenizer and hands out what that one made of the same texts before: no time goes into it."""

    def __init__(self, tokenizer: Any, texts: Sequence[str], max_length: int) -> None:
        self.pad_token_id: int | None = tokenizer.pad_token_id
        self.encodings = dict(zip(texts, tokenizer.encode_batch(texts, max_length=max_length), strict=True))

    def encode_batch(self, texts: Sequence[str], *, max_length: int) -> list[Encoding]:
        """The encodings of texts that were given at the start."""
        return [self.encodings[text] for text in texts]


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def spaced(items: Sequence[str], count: int) -> list[str]:
    """So many of them, evenly spaced."""
    return [items[index * len(items) // count] for index in range(min(count, len(items)))]


def read_texts(options: argparse.Namespace) -> Texts:
    documents = list(dict.fromkeys(row["text"] for row in read_rows(options.data / CORPUS)))
    headlines = list(dict.fromkeys(row["text"] for row in read_rows(options.data / TNEWS)))
    return {
        "documents": spaced(documents, options.documents),
        "headlines": spaced(headlines, options.headlines),
    }


def load(options: argparse.Namespace) -> dict[str, SentenceEncoder]:
    """The encoders by name. Ends the bench if their shapes differ: speeds would say nothing about vocabularies."""
    import torch

    torch.set_num_threads(1)
    settings: dict[str, Any] = {"max_length": options.max_length, "precision": options.precision, "device": "cpu"}
    encoders = {name: SentenceEncoder.load(name, **settings) for name in options.models}
    shapes = {name: [getattr(found.model.config, key) for key in SHAPE] for name, found in encoders.items()}
    if len(set(map(tuple, shapes.values()))) > 1:
        raise SystemExit(f"the shapes differ ({', '.join(SHAPE)}): {shapes}")
    return encoders


def describe(encoders: dict[str, SentenceEncoder], texts: Texts) -> str:
    """How many tokens texts become, and how far into them a model reads before it is truncated."""
    rows = []
    for kind, chosen in texts.items():
        num_characters = sum(map(_num_characters, chosen))
        for name, encoder in encoders.items():
            whole = [len(row.token_ids) - 2 for row in encoder.tokenizer.encode_batch(chosen)]
            unknown = _share_unknown(encoder.tokenizer, chosen)
            read = sum(_characters_read(encoder, chosen)) / num_characters
            per_text = f"{statistics.median(whole):.0f}"
            rows.append([kind, name, f"{sum(whole) / num_characters:.3f}", per_text, f"{read:.1%}", f"{unknown:.2%}"])
    columns = ("texts", "model", "tokens per character", "median tokens a text", "read before truncation", "[UNK]")
    return markdown(columns, rows)


def _num_characters(text: str) -> int:
    return sum(not character.isspace() for character in text)


def _characters_read(encoder: SentenceEncoder, texts: Sequence[str]) -> Iterator[int]:
    encodings = encoder.tokenizer.encode_batch(texts, max_length=encoder.max_length, return_offsets=True)
    for text, encoding in zip(texts, encodings, strict=True):
        yield _num_characters(text[: max(end for _, end in encoding.offsets or [(0, 0)])])


def _share_unknown(tokenizer: Any, texts: Sequence[str]) -> float:
    ids = [index for row in tokenizer.encode_batch(texts) for index in row.token_ids]
    return ids.count(tokenizer.unk_token_id) / len(ids)


def measure_speed(encoders: dict[str, SentenceEncoder], texts: Texts, num_rounds: int) -> str:
    """Texts per CPU second of each encoder with and without its tokenizer, and the second over the first."""
    rows = []
    for kind, chosen in texts.items():
        for what, prepare in (("with the tokenizer", _whole), ("ids given", _forward_only)):
            variants: list[Variant] = [(name, prepare(encoder, chosen)) for name, encoder in encoders.items()]
            seconds = in_process(variants, time.process_time, num_rounds)
            speeds = [f"{len(chosen) / statistics.median(times):,.1f}" for times in seconds]
            rows.append([kind, what, *speeds, spread(ratios(seconds[0], seconds[1]))])
    first, second = encoders
    columns = ("texts", "measured", f"{first}, texts/s", f"{second}, texts/s", f"{second} is faster by")
    return markdown(columns, rows)


def _whole(encoder: SentenceEncoder, texts: list[str]) -> Callable[[], object]:
    return lambda: encoder.encode(texts)


def _forward_only(encoder: SentenceEncoder, texts: list[str]) -> Callable[[], object]:
    remembered = Remembered(encoder.tokenizer, texts, encoder.max_length)

    def work() -> object:
        tokenizer, encoder.tokenizer = encoder.tokenizer, remembered  # type: ignore[assignment]
        try:
            return encoder.encode(texts)
        finally:
            encoder.tokenizer = tokenizer

    return work


def rows_file(options: argparse.Namespace) -> Path:
    """The rows of TNEWS, or evenly spaced ones of each part where `--rows` asks for fewer."""
    path: Path = options.data / TNEWS
    if options.rows is None:
        return path
    lines = [json.dumps(row, ensure_ascii=False) for row in read_rows(path)]
    target: Path = options.folder / f"rows-{options.rows}.jsonl"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("".join(f"{line}\n" for line in spaced(lines, options.rows)), encoding="utf-8")
    return target


def accuracy(model: str, seed: int, data: Path, options: argparse.Namespace) -> dict[str, float]:
    """Accuracy and macro F1 on the dev part of one fine-tuned model."""
    from nlpx.report.history import History
    from nlpx.runs.folder import RunFolder

    run: Path = options.folder / f"{Path(model).name}-{options.rows or 'all'}-{seed}"
    if not (run / "report.md").exists():
        given = [word for each in options.set for word in ("--set", each)]
        words = ["finetune", "--task", "classify", "--data", str(data), "--model", model, "--seed", str(seed)]
        words += ["--preset", options.preset, "--out", str(run), "--overwrite", "--json", *given]
        last_json_line([sys.executable, "-m", "nlpx_cli", *words])
    best = History(list(RunFolder(run).records())).best or {}
    print(f"{model}, seed {seed}: {best.get('score')} at step {best.get('step')}", file=sys.stderr)
    return {name: float(best[name]) for name in ("score", "macro_f1")}


def measure_accuracy(options: argparse.Namespace) -> str:
    """Mean over the seeds in per cent, half the range between them, and the difference of the models seed by seed."""
    data = rows_file(options)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in options.models}
    for seed in options.seeds:
        for name in options.models:
            found[name].append(accuracy(name, seed, data, options))
    figures = {
        name: [[100 * each[key] for each in runs] for key in ("score", "macro_f1")] for name, runs in found.items()
    }
    rows = [[name, *map(_mean_and_range, values)] for name, values in figures.items()]
    first, second = figures.values()
    gains = [[b - a for a, b in zip(*pair, strict=True)] for pair in zip(first, second, strict=True)]
    rows.append([f"{options.models[1]} less {options.models[0]}", *map(_mean_and_range, gains)])
    return markdown(("model", "accuracy", "macro F1"), rows)


def _mean_and_range(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.2f} ± {(max(values) - min(values)) / 2:.2f}"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs=2, default=["char-tiny", "word-tiny"], metavar=("CHARACTERS", "WORDS"))
    parser.add_argument("--data", type=Path, default=SHARED, help="folder with the .jsonl.gz files")
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--headlines", type=int, default=3000)
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--precision", choices=("float32", "bfloat16", "auto"), default="float32")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seeds", type=int, nargs="*", default=[7, 8, 9], help="none: no fine-tuning")
    parser.add_argument("--rows", type=int, help="of TNEWS; all by default")
    parser.add_argument("--preset", default="finetune/classify-tiny")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="further settings of fine-tuning")
    parser.add_argument("--folder", type=Path, default=Path("runs/char-word"))
    options = parser.parse_args()
    absent = [name for name in (CORPUS, TNEWS) if not (options.data / name).is_file()]
    if absent:
        print(f"no {absent[0]} in {options.data}: name the folder with --data", file=sys.stderr)
        return 3
    encoders, texts = load(options), read_texts(options)
    print(f"{' and '.join(options.models)}, at most {options.max_length} tokens, median of {options.rounds} rounds\n")
    print(describe(encoders, texts))
    print("\n" + measure_speed(encoders, texts, options.rounds), flush=True)
    if options.seeds:
        print("\n" + measure_accuracy(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
