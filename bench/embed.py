"""Sentence vectors against transformers' BertModel: the same weights, the same ids, the same pooling, in turn.

Speed: texts per CPU second with one thread, of `SentenceEncoder.encode` from text to vectors, and of the peer from ids
that were made for it beforehand: in batches of 32 in file order in float32 (goal: 6x), and in batches of 32 sorted by
length under bfloat16 autocast (goal: 1.0x). All vectors are compared before a time counts; cosines to float32 stand
beside the speeds, also for the shipped weights. Memory: peak of a whole `nlpx embed` for two numbers of lines.

With the extra `onnx`, the same weights as graphs of ONNX Runtime in float32 and int8 are variants too; int8 has a bound
of its own on the cosine, because random weights are hard on it.

    python bench/embed.py [--texts FILE ...] [--count 4000 400] [--rounds 5] [--memory-lines 20000 80000] [--json FILE]
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rounds import SHARED, Variant, in_process, last_json_line, markdown, ratios, spread

from nlpx.embed.encoder import SentenceEncoder, padded

FILES = ("sts_bq", "cls_shopping10", "match_sohu_ssA", "corpus_0")
TEXT_FIELDS = ("text", "text1", "text2", "source", "target")
SHAPES = {  # name -> layers, width, heads, entries of the vocabulary
    "4 x 256": (4, 256, 4, 8000),
    "12 x 768": (12, 768, 12, 21128),
}
POOLING, MAX_LENGTH, PEER_ROWS = "first-last-avg", 128, 32
LOWEST_COSINE, LOWEST_COSINE_INT8 = 0.999, 0.98


def read_lines(paths: Sequence[Path], count: int) -> list[str]:
    """About the same number of lines of each file, shuffled as one: a file of users is not sorted by its source."""
    share = -(-count // len(paths))
    lines = [line for path in paths for line in islice(lines_of(path), share)]
    return [lines[index] for index in np.random.default_rng(0).permutation(len(lines))[:count]]


def lines_of(path: Path) -> Iterator[str]:
    """The lines of a text file, or of the texts of JSON lines."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as stream:
        for line in stream:
            row = json.loads(line) if ".jsonl" in path.name else {"text": line}
            texts = (row[field] for field in TEXT_FIELDS if row.get(field))
            yield from (part for text in texts for part in text.split("\n") if part.strip())


def build(folder: Path, shape: str, texts: Sequence[str]) -> Any:
    """A BertModel with random weights, saved with a vocabulary of the texts' characters."""
    import transformers

    from nlpx.tokenizers.vocabulary.from_texts import character_vocabulary

    num_layers, size, num_heads, num_entries = SHAPES[shape]
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=num_entries,
        hidden_size=size,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        intermediate_size=4 * size,
        initializer_range=0.05,  # of 0.02 hardly anything would come through four layers but the embedding
    )
    model = transformers.BertModel(config).eval()
    model.save_pretrained(folder)
    entries = character_vocabulary(texts, max_size=num_entries).tokens
    (folder / "vocab.txt").write_text("".join(f"{entry}\n" for entry in entries), encoding="utf-8")
    return model


class Peer:
    """transformers' model over ready ids, in batches of so many rows, pooled as ours."""

    def __init__(self, model: Any, token_ids: Sequence[Sequence[int]], *, is_sorted: bool, precision: str) -> None:
        self.model, self.token_ids, self.precision = model, token_ids, precision
        order = sorted(range(len(token_ids)), key=lambda row: -len(token_ids[row])) if is_sorted else None
        self.order = list(order or range(len(token_ids)))

    def encode(self) -> Any:
        """Vectors (N, D) in the order of the texts."""
        vectors = np.empty((len(self.order), self.model.config.hidden_size), np.float32)
        narrow = torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bfloat16")
        with torch.inference_mode(), narrow:
            for start in range(0, len(self.order), PEER_ROWS):
                rows = self.order[start : start + PEER_ROWS]
                vectors[rows] = self._pooled([self.token_ids[row] for row in rows])
        return vectors

    def _pooled(self, token_ids: Sequence[Sequence[int]]) -> Any:
        ids, mask = padded(token_ids, 0)
        mask = torch.ones_like(ids) if mask is None else mask.long()
        states = self.model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
        weights = mask[..., None].float()
        both = (states[1].float() + states[-1].float()) / 2
        return ((both * weights).sum(1) / weights.sum(1)).numpy()


def measure(shape: str, texts: Sequence[str], num_rounds: int) -> dict[str, Any]:
    """Seconds of each variant in each round, and how close vectors are to float32."""
    with tempfile.TemporaryDirectory() as name:
        model = build(Path(name), shape, texts)
        settings: dict[str, Any] = {"max_length": MAX_LENGTH, "device": "cpu"}
        ours = {kind: SentenceEncoder.load(name, precision=kind, **settings) for kind in ("bfloat16", "float32")}
        graphs = onnx_encoders(Path(name), settings)
    ids = [row.token_ids for row in ours["float32"].tokenizer.encode_batch(texts, max_length=MAX_LENGTH)]
    variants: list[Variant] = [
        ("nlpx bfloat16", lambda: ours["bfloat16"].encode(texts)[POOLING]),
        ("nlpx float32", lambda: ours["float32"].encode(texts)[POOLING]),
        *((kind, lambda graph=graph: graph.encode(texts)[POOLING]) for kind, graph in graphs.items()),
        ("BertModel, file order, float32", Peer(model, ids, is_sorted=False, precision="float32").encode),
        ("BertModel, sorted, float32", Peer(model, ids, is_sorted=True, precision="float32").encode),
        ("BertModel, sorted, bfloat16 autocast", Peer(model, ids, is_sorted=True, precision="bfloat16").encode),
    ]
    exact = dict(variants)["BertModel, file order, float32"]()
    closeness = {name: closeness_of(work(), exact) for name, work in variants}
    for kind, found in closeness.items():
        assert found["lowest"] >= (LOWEST_COSINE_INT8 if "int8" in kind else LOWEST_COSINE), closeness
    seconds = in_process(variants, time.process_time, num_rounds)
    named = {name: times for (name, _), times in zip(variants, seconds, strict=True)}
    return {"shape": shape, "texts": len(texts), "tokens": sum(map(len, ids)), "seconds": named, "cosine": closeness}


def onnx_encoders(folder: Path, settings: dict[str, Any]) -> dict[str, SentenceEncoder]:
    """The checkpoint as graphs of ONNX Runtime; none without the extra."""
    from nlpx.errors import MachineError
    from nlpx.jobs.convert import convert

    found = {}
    for dtype in ("float32", "int8"):
        try:
            convert(str(folder), folder / f"onnx-{dtype}", to="onnx", dtype=dtype)
            found[f"nlpx onnx {dtype}"] = SentenceEncoder.load(folder / f"onnx-{dtype}", **settings)
        except MachineError as error:
            print(f"without ONNX Runtime: {error.message}", file=sys.stderr)
            return {}
    return found


def closeness_of(vectors: Any, exact: Any) -> dict[str, float]:
    """The lowest cosine to the exact vectors, and the mean cosine once their common mean is taken off both."""

    def cosines(first: Any, second: Any) -> Any:
        return (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)

    mean = exact.mean(axis=0)
    found = cosines(vectors, exact).min(), cosines(vectors - mean, exact - mean).mean()
    return dict(zip(("lowest", "centred"), map(float, found), strict=True))


def shipped(texts: Sequence[str]) -> dict[str, dict[str, float]]:
    """How close bfloat16 is to float32 with the weights that ship, by model and pooling."""
    poolings = ("first-last-avg", "mean", "cls")
    found = {}
    for name in ("char-tiny", "word-tiny"):
        wide, narrow = (
            SentenceEncoder.load(name, poolings=poolings, precision=kind, device="cpu").encode(texts)
            for kind in ("float32", "bfloat16")
        )
        found |= {f"{name}, {pooling}": closeness_of(narrow[pooling], wide[pooling]) for pooling in poolings}
    return found


def print_speeds(found: dict[str, Any]) -> None:
    """One table a shape: speed, cosines, and by how much ours in bfloat16 is faster."""
    ours, rows = found["seconds"]["nlpx bfloat16"], []
    for name, times in found["seconds"].items():
        speed = f"{found['texts'] / statistics.median(times):,.1f}"
        cosine = found["cosine"][name]
        rows.append([name, speed, spread(ratios(times, ours)), f"{cosine['lowest']:.6f}", f"{cosine['centred']:.6f}"])
    columns = ("variant", "texts per CPU second", "nlpx bfloat16 is faster by", "lowest cosine", "centred, mean")
    title = f"{found['shape']}, {found['texts']:,} texts of {found['tokens'] / found['texts']:.0f} tokens"
    print(f"\n{title}\n\n{markdown(columns, rows)}", flush=True)


def peak_memory(paths: Sequence[Path], counts: Sequence[int]) -> list[list[object]]:
    """Peak of a process that embeds so many lines with the shipped model."""
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory() as name:
        lines = read_lines(paths, max(counts))
        for count in counts:
            file = Path(name) / "texts.txt"
            repeated = (lines[number % len(lines)] for number in range(count))
            file.write_text("".join(f"{line}\n" for line in repeated), encoding="utf-8")
            words = [sys.executable, __file__, "--memory-of", str(file)]
            rows.append([f"{count:,}", f"{last_json_line(words)['megabytes']:,.0f}"])
    return rows


def embed_and_report(file: Path) -> None:
    """What the process does whose memory is measured."""
    from nlpx.jobs.embed import Options, embed
    from nlpx.messages import Silent

    embed([str(file)], str(file.with_suffix(".npy")), Options(device="cpu"), Silent())
    # Not getrusage: there, a process starts from the peak of the one that started it.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(json.dumps({"megabytes": int(status["VmHWM"].split()[0]) / 1024}))


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = [SHARED / f"{name}.jsonl.gz" for name in FILES]
    parser.add_argument("--texts", type=Path, nargs="+", default=default, help="text files, or JSON lines (.jsonl.gz)")
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=SHAPES)
    parser.add_argument("--count", type=int, nargs="+", default=[4000, 400], help="texts, one number a shape")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory-lines", type=int, nargs="*", default=[20_000, 80_000])
    parser.add_argument("--json", type=Path, help="write every round's figures here")
    parser.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory_of is not None:
        embed_and_report(options.memory_of)
        return 0
    found = []
    for shape, count in zip(options.shapes, options.count, strict=True):
        found.append(measure(shape, read_lines(options.texts, count), options.rounds))
        print_speeds(found[-1])
    closeness = shipped(read_lines(options.texts, min(options.count[0], 2000)))
    rows = [[name, *(f"{value:.6f}" for value in cosines.values())] for name, cosines in closeness.items()]
    print(f"\nShipped weights, bfloat16\n\n{markdown(('model, pooling', 'lowest cosine', 'centred, mean'), rows)}")
    if options.memory_lines:
        memory = peak_memory(options.texts, options.memory_lines)
        print(f"\nWhole command, char-tiny\n\n{markdown(('lines', 'peak MB'), memory)}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
