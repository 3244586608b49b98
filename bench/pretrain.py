"""Masked language modelling against transformers' Trainer: tokens per CPU second, one thread, the same model.

4 layers x 256, 4 heads, dropout 0.1, learned positions, AdamW, gradients clipped to norm 1, batches of 32 rows of 128
tokens, the same rows as the same ids; 15 % of the tokens are predicted by everyone. `--shape base` is 12 x 768 with a
vocabulary of 21,128 and batches of 4. With `--texts short` the rows are single short texts: padded for the peer,
packed for us, and counted are real tokens. Every round starts a fresh process per variant, in turn.

    python bench/pretrain.py [--shape small|base] [--texts long|short] [--rounds 5] [--steps 30] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from pretrain_workers import LENGTH, SHAPES, WORKERS, Clock
from rounds import SHARED, in_processes, markdown, ratios, spread

CORPORA = {"long": ("corpus_0.jsonl.gz", "text"), "short": ("cls_waimai.jsonl.gz", "text")}
NUM_TEXTS = 3000

# What each variant is compared with.
PEERS = {
    "nlpx float32": ("trainer float32", "nlpx float32, one text a row"),
    "nlpx bfloat16": ("trainer bfloat16", "trainer float32"),
}
VARIANTS = ("nlpx float32", "trainer float32", "nlpx bfloat16", "trainer bfloat16")
ONE_A_ROW = "nlpx float32, one text a row"


def prepare_data(options: argparse.Namespace, out: Path) -> None:
    """Encode the texts once: as packed rows, and as single texts truncated to the length of a row."""
    import numpy as np

    from nlpx.data.batches.masking import SpecialIds
    from nlpx.data.batches.packing import pack
    from nlpx.data.corpus.flatten import documents_of
    from nlpx.data.corpus.texts import Reading, find_sources, read_texts
    from nlpx.tokenizers.char import CharTokenizer
    from nlpx.tokenizers.vocabulary.from_texts import character_vocabulary

    name, field = CORPORA[options.texts]
    texts = list(read_texts(find_sources([str(options.data / name)])[0], Reading(field=field)))[:NUM_TEXTS]
    tokenizer = CharTokenizer(character_vocabulary(texts, max_size=SHAPES[options.shape]["vocab_size"]))
    special = SpecialIds.of(tokenizer)
    packed = pack(documents_of(texts, tokenizer), max_length=LENGTH, special=special, keep_apart=False, seed=0)
    rows = [packed.row(index) for index in range(len(packed))]
    if options.texts == "long":  # full rows only, so that padding plays no part
        rows = [row for row in rows if len(row.token_ids) >= LENGTH - 8]
    rows = rows[: (options.warmup + options.steps) * SHAPES[options.shape]["rows"]]  # memory is measured, too
    single = [encoding.token_ids for encoding in tokenizer.encode_batch(texts, max_length=LENGTH)]
    kept = {
        "packed": [row.token_ids.tolist() for row in rows],
        "words": [row.word_starts.tolist() for row in rows],
        "single": single if options.texts == "short" else [row.token_ids.tolist() for row in rows],
    }
    (out / "rows.json").write_text(json.dumps(kept))
    tokenizer.save(out)
    print(f"{len(rows)} rows, {np.mean([len(row) for row in single]):.1f} tokens a text", file=sys.stderr)


def work(options: argparse.Namespace) -> None:
    """One variant in this process; the result is the last line."""
    import torch

    torch.set_num_threads(1)
    clock = Clock(options.warmup)
    model = WORKERS[options.worker.split()[0]](options, clock)
    print(json.dumps(clock.result(model) | {"loss": round(float(clock.loss), 4)}))


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    """Speed and peak memory of each variant, and by how much ours is faster than its peers."""
    speeds = {name: [result["tokens_per_second"] for result in results] for name, results in found.items()}
    rows = []
    for name, values in speeds.items():
        peers = [peer for peer in PEERS.get(name, ()) if peer in speeds]
        ratio = "; ".join(f"{spread(ratios(values, speeds[peer]))} x {peer}" for peer in peers)
        memory = statistics.median(result["peak_mebibytes"] for result in found[name])
        rows.append([name, f"{statistics.median(values):,.0f}", f"{memory:,.0f}", found[name][0]["parameters"], ratio])
    columns = ("variant", "real tokens per CPU second", "peak MiB", "parameters", "ratio (smallest-largest)")
    return markdown(columns, rows)


def main() -> int:
    """Parse, then measure all variants, or do the work of one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED, help="folder with the corpora")
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--texts", choices=CORPORA, default="long")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--warmup", type=int, default=5, help="steps before the clock starts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write every round's figures here")
    parser.add_argument("--variants", nargs="+", help=f"of {', '.join(VARIANTS)}, {ONE_A_ROW}")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options)
        return 0
    if not (options.data / CORPORA[options.texts][0]).is_file():
        print(f"no {CORPORA[options.texts][0]} in {options.data}: name the folder with --data", file=sys.stderr)
        return 3
    found = measure(options)
    print(f"{options.shape}, {options.texts} texts: median of {options.rounds} rounds of {options.steps} steps\n")
    print(table(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))
    return 0


def measure(options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Run every variant in its own process, round after round."""
    names = options.variants or [*VARIANTS, *([ONE_A_ROW] if options.texts == "short" else [])]
    with tempfile.TemporaryDirectory() as folder:
        prepare_data(options, Path(folder))
        shared = [__file__, "--data", folder, "--shape", options.shape, "--texts", options.texts]
        shared += ["--steps", str(options.steps), "--warmup", str(options.warmup), "--seed", "{round}", "--worker"]
        commands = {name: [sys.executable, *shared, name] for name in names}
        return in_processes(commands, options.rounds, say=lambda text: print(text, file=sys.stderr))


if __name__ == "__main__":
    sys.exit(main())
