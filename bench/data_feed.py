"""The way of pretraining data: building shards, packing rows, assembling batches.

Shards: CPU seconds of one process for everything (reading, sentences, tokens, words, checksums, writing) against
`encode_batch` alone on the same texts in memory, both with a fresh tokenizer (goal: at least 0.8 of its speed without
whole words; with them, the segmenter is what counts). Unpacking is the work of the process that reads a packed file.
Packing: share of the positions of a batch that hold text, on short texts, against padding to a fixed length and to
the longest text of a batch (goal: 2x the first; the time of a step follows its positions). Feed: CPU seconds to read,
draw and mask the rows of one batch.

    python bench/data_feed.py [--data FILE] [--short FILE] [--rounds 5] [--length 128] [--batch 32]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from copy import copy
from pathlib import Path

import numpy as np
from rounds import SHARED, Variant, in_process, markdown, ratios, spread

from nlpx.data.batches.bucketing import sequential_batches
from nlpx.data.batches.masking import SpecialIds, mask_words, row_generator
from nlpx.data.batches.packing import PackedRows, pack
from nlpx.data.corpus.flatten import documents_of
from nlpx.data.corpus.texts import Reading, Source, find_sources, read_texts
from nlpx.data.shards.build import build_shards
from nlpx.data.shards.reading import Shards
from nlpx.messages import Silent
from nlpx.tokenizers.base import Tokenizer
from nlpx.tokenizers.char import CharTokenizer
from nlpx.tokenizers.segment import jieba_engine
from nlpx.tokenizers.vocab import Vocab
from nlpx.tokenizers.vocabulary.from_texts import character_vocabulary
from nlpx.tokenizers.word import WordTokenizer

NUM_WORDS = 20_000


def read(source: Source, field: str) -> list[str]:
    """All texts of a source."""
    return list(read_texts(source, Reading(field=field)))


def word_tokenizer(characters: Vocab) -> WordTokenizer:
    """The characters and the most frequent words of jieba's dictionary."""
    frequencies = jieba_engine().FREQ
    words = sorted((word for word in frequencies if len(word) > 1), key=lambda word: -frequencies[word])
    return WordTokenizer(Vocab([*characters.tokens, *words[:NUM_WORDS]]))


def build(source: Source, tokenizer: Tokenizer, folder: str, *, whole_words: bool = True) -> Shards:
    """Shards in `folder`, made by this process."""
    path, options = Path(folder) / "shards", {"workers": 1, "held_out": 0.01, "messages": Silent()}
    return build_shards([source], tokenizer, reading=Reading(), directory=path, whole_words=whole_words, **options)


def measure_shards(packed: Source, tokenizer: Tokenizer, num_rounds: int) -> None:
    """Building against tokenizing alone."""
    texts = read(packed, "text")
    num_bytes = sum(len(text.encode()) for text in texts)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "corpus.jsonl"
        rows = (json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
        plain.write_text("".join(rows), encoding="utf-8")
        (source,) = find_sources([str(plain)])
        _measure_shards(packed, source, texts, tokenizer, num_rounds, num_bytes)


def _measure_shards(
    packed: Source, source: Source, texts: list[str], tokenizer: Tokenizer, num_rounds: int, num_bytes: int
) -> None:
    def built(source: Source, *, whole_words: bool) -> int:
        with tempfile.TemporaryDirectory() as folder:
            return build(source, copy(tokenizer), folder, whole_words=whole_words).num_tokens

    variants: list[Variant] = [
        ("`encode_batch` alone", lambda: copy(tokenizer).encode_batch(texts)),
        ("shards", lambda: built(source, whole_words=False)),
        ("shards, packed corpus", lambda: built(packed, whole_words=False)),
        ("shards, whole words", lambda: built(source, whole_words=True)),
    ]
    seconds = in_process(variants, time.process_time, num_rounds)
    rows = [
        [name, f"{num_bytes / statistics.median(times) / 1e6:.1f}", spread(ratios(seconds[0], times))]
        for (name, _), times in zip(variants, seconds, strict=True)
    ]
    columns = ("work", "MB of text a CPU second", "speed against `encode_batch` (median, smallest-largest)")
    print(f"\nShards, {tokenizer.kind} level, one process\n\n{markdown(columns, rows)}")


def measure_packing(source: Source, tokenizer: Tokenizer, *, length: int, batch: int) -> None:
    """How many positions of a batch hold a token of the text."""
    texts = read(source, "text")
    lengths = np.minimum([len(row.token_ids) for row in tokenizer.encode_batch(texts)], length)
    text = int(lengths.sum()) - 2 * len(lengths)
    limits = {"batch_tokens": length * batch}
    by_length = sum(len(rows) * int(lengths[rows].max()) for rows in sequential_batches(lengths, **limits))
    in_order = [lengths[start : start + batch] for start in range(0, len(lengths), batch)]
    fixed, longest = len(lengths) * length, sum(len(part) * int(part.max()) for part in in_order)
    documents, special = documents_of(texts, tokenizer, whole_words=False), SpecialIds.of(tokenizer)
    shares = [("padded to the length", text / fixed), ("padded to the longest of a batch", text / longest)]
    shares.append(("in batches of similar length", text / by_length))
    for name, keep_apart in (("packed, run on", False), ("packed, documents apart", True)):
        start = time.process_time()
        rows = pack(documents, max_length=length, special=special, keep_apart=keep_apart, seed=0)
        name += f" ({len(rows) / (time.process_time() - start) / 1e6:.1f} million rows planned a second)"
        shares.append((name, documents.num_tokens / (len(rows) * length)))
    table = [[name, f"{share:.1%}", f"{share / shares[0][1]:.2f}"] for name, share in shares]
    mean = f"{text / len(lengths):.0f} tokens a text, length {length}"
    columns = ("rows", "positions that hold text", "real tokens at equal positions")
    print(f"\nPacking, {mean}\n\n{markdown(columns, table)}")


def measure_feed(rows: PackedRows, special: SpecialIds, *, batch: int, num_rounds: int) -> None:
    """Drawing, reading and masking the rows of a batch."""
    random = np.random.default_rng(0)
    chosen = random.integers(len(rows), size=(200, batch)).tolist()
    whole = [[rows.row(index) for index in indices] for indices in chosen]
    generators = [[row_generator(7, 0, index, "mlm") for index in indices] for indices in chosen]

    def mask() -> None:
        for some, own in zip(whole, generators, strict=True):
            for row, generator in zip(some, own, strict=True):
                mask_words(row, generator, special)

    variants: list[Variant] = [
        ("rows from the shards", lambda: [[rows.row(index) for index in some] for some in chosen]),
        ("generators", lambda: [[row_generator(7, 0, index, "mlm") for index in some] for some in chosen]),
        ("masks", mask),
    ]
    seconds = in_process(variants, time.process_time, num_rounds)
    medians = [statistics.median(times) / len(chosen) for times in seconds]
    table = [
        [name, f"{1e3 * median:.2f}", f"{1e6 * median / batch:.0f}"]
        for (name, _), median in zip([*variants, ("all", None)], [*medians, sum(medians)], strict=True)
    ]
    columns = ("work", f"ms a batch of {batch}", "µs a row")
    print(f"\nFeed, rows of {rows.lengths.mean():.0f} tokens\n\n{markdown(columns, table)}")


def main() -> None:
    """Print three tables for each tokenizer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED / "corpus_0.jsonl.gz")
    parser.add_argument("--short", type=Path, default=SHARED / "cls_shopping10.jsonl.gz")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    given = parser.parse_args()
    long, short = (find_sources([str(path)])[0] for path in (given.data, given.short))
    characters = character_vocabulary(read(long, "text"))
    for tokenizer in (CharTokenizer(characters), word_tokenizer(characters)):
        measure_shards(long, tokenizer, given.rounds)
        measure_packing(short, tokenizer, length=given.length, batch=given.batch)
        special = SpecialIds.of(tokenizer)
        with tempfile.TemporaryDirectory() as folder:
            rows = pack(
                build(long, tokenizer, folder).train, max_length=given.length, special=special, keep_apart=True, seed=0
            )
            measure_feed(rows, special, batch=given.batch, num_rounds=given.rounds)


if __name__ == "__main__":
    main()
