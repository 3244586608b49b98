"""Counting words, characters and pairs of characters against plain Python, whole processes, alternately.

Words: a loop over jieba with one dictionary, and jieba under Pool.imap with a Counter for each 1,000 lines. Characters
and pairs: a loop with one Counter. In the first round all tables are compared line by line. Memory is the sum of the
proportional set sizes of a process and its children, looked at every 20 ms. A file of 1 kB is timed against a bare
process that imports rjieba and cuts it.

    python bench/wordfreq.py [--data DIR] [--megabytes 110] [--rounds 3] [--only words,memory,...]
"""

from __future__ import annotations

import argparse
import filecmp
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path

from rounds import SHARED, markdown, spread

PARTS = ("words", "words_no_hmm", "char", "ngram", "memory", "small")
BATCH_LINES = 1000
BARE = "import sys, rjieba; rjieba.cut(open(sys.argv[1], encoding='utf-8').read())"


# The peers: what a user would write, run as a process of its own


def peer(name: str, source: Path, target: Path, *, hmm: bool, workers: int) -> None:
    """Count the lines of a file in the peer's way and write the table in our order."""
    from nlpx.data.corpus.count_tables import escape

    with source.open(encoding="utf-8", newline="\n") as lines:
        if name == "naive":
            table = naive_words(lines, hmm)
        elif name == "pool":
            table = pooled_words(lines, hmm, workers)
        else:
            table = looped(lines, 1 if name == "char" else 2)
    rows = ((escape(item), count) for item, count in sorted_rows(table))
    with target.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(f"{item}\t{count}\n" for item, count in rows)


def sorted_rows(table: dict[str, int]) -> list[tuple[str, int]]:
    kept = (row for row in table.items() if not any(map(str.isspace, row[0])))
    return sorted(kept, key=lambda row: (-row[1], row[0]))


def naive_words(lines: Iterable[str], hmm: bool) -> dict[str, int]:
    import jieba

    jieba.setLogLevel(60)
    table: dict[str, int] = {}
    for line in lines:
        for word in jieba.lcut(line, HMM=hmm):
            table[word] = table.get(word, 0) + 1
    return table


def pooled_words(lines: Iterator[str], hmm: bool, workers: int) -> dict[str, int]:
    from multiprocessing import Pool

    import jieba

    jieba.setLogLevel(60)
    jieba.initialize()
    total: Counter[str] = Counter()
    batches = iter(lambda: (list(islice(lines, BATCH_LINES)), hmm), ([], hmm))
    with Pool(workers) as pool:
        for counter in pool.imap(count_batch, batches):
            total.update(counter)
    return total


def count_batch(work: tuple[Sequence[str], bool]) -> Counter[str]:
    import jieba

    lines, hmm = work
    return Counter(word for line in lines for word in jieba.lcut(line, HMM=hmm))


def looped(lines: Iterable[str], size: int) -> Counter[str]:
    counter: Counter[str] = Counter()
    for line in lines:
        text = line.rstrip("\n")
        counter.update(text if size == 1 else map("".join, pairwise(text)))
    return counter


# Running and looking on


def measured(words: Sequence[str]) -> tuple[float, float]:
    """Wall seconds and peak megabytes of a process with all its children."""
    started = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(map(proportional_bytes, family(process.pid))))
        time.sleep(0.02)
    seconds = time.perf_counter() - started
    assert process.stderr is not None
    if process.returncode:
        raise SystemExit(f"{' '.join(words)}\nended with {process.returncode}:\n{process.stderr.read().decode()}")
    return seconds, peak / 1e6


def family(process: int) -> list[int]:
    """A process and everything below it."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return []
    return [process, *(member for child in children for member in family(int(child)))]


def proportional_bytes(process: int) -> int:
    """Memory of a process; pages shared by several count in parts that add up to one."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def ours(source: Path, target: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "nlpx_cli", "wordfreq", str(source), "-o", str(target), "--quiet", *options]


def theirs(name: str, source: Path, target: Path, *, hmm: bool = True, workers: int = 1) -> list[str]:
    chosen = json.dumps({"name": name, "source": str(source), "target": str(target), "hmm": hmm, "workers": workers})
    return [sys.executable, __file__, "--peer", chosen]


def rounds(commands: dict[str, list[str]], num_rounds: int) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for number in range(num_rounds):
        for name, words in commands.items():
            found[name].append(measured(words))
            print(f"round {number + 1}, {name}: {found[name][-1][0]:.1f} s", file=sys.stderr, flush=True)
    return found


# The parts


def compare(title: str, commands: dict[str, list[str]], folder: Path, num_rounds: int) -> None:
    """Run the variants, check that they wrote the same table, print seconds and what ours is faster by."""
    found = rounds(commands, num_rounds)
    tables = sorted(folder.glob("*.tsv"))
    differing = [path.name for path in tables[1:] if not filecmp.cmp(tables[0], path, shallow=False)]
    fastest = [seconds for seconds, _ in found["nlpx, 2 workers"]]
    lines = []
    for name, values in found.items():
        seconds = [value for value, _ in values]
        ratio = spread([value / own for value, own in zip(seconds, fastest, strict=True)])
        lines.append([name, f"{statistics.median(seconds):.2f}", ratio, f"{max(peak for _, peak in values):.0f}"])
    print(f"\n{title}\n\n{markdown(('way', 's', 'nlpx with 2 is faster by', 'peak MB'), lines)}")
    print(f"\ntables: {'DIFFERENT: ' + ', '.join(differing) if differing else 'equal'}", flush=True)
    for path in tables:
        path.unlink()


def measure_words(text: Path, folder: Path, num_rounds: int, *, hmm: bool) -> None:
    options = () if hmm else ("--no-hmm",)
    commands = {
        "nlpx, 2 workers": ours(text, folder / "two.tsv", "--workers", "2", *options),
        "nlpx, 1 worker": ours(text, folder / "one.tsv", "--workers", "1", *options),
        "jieba, Pool.imap of 2": theirs("pool", text, folder / "pool.tsv", hmm=hmm, workers=2),
        "jieba, one loop": theirs("naive", text, folder / "naive.tsv", hmm=hmm),
    }
    compare(f"Words, HMM {'on' if hmm else 'off'}", commands, folder, num_rounds)


def measure_units(text: Path, folder: Path, num_rounds: int, unit: str) -> None:
    commands = {
        "nlpx, 2 workers": ours(text, folder / "two.tsv", "--workers", "2", "--unit", unit),
        "nlpx, 1 worker": ours(text, folder / "one.tsv", "--workers", "1", "--unit", unit),
        "one Counter": theirs(unit, text, folder / "counter.tsv"),
    }
    compare({"char": "Characters", "ngram": "Pairs of characters"}[unit], commands, folder, num_rounds)


def measure_memory(text: Path, folder: Path, num_rounds: int) -> None:
    """The same text once and four times over."""
    larger = folder / "larger.txt"
    with larger.open("wb") as stream:
        for _ in range(4):
            stream.write(text.read_bytes())
    commands = {path.stem: ours(path, folder / f"{path.stem}.tsv", "--workers", "2") for path in (text, larger)}
    found = rounds(commands, num_rounds)
    once, four = found[text.stem], found[larger.stem]
    lines = [
        [name, f"{statistics.median(s for s, _ in values):.2f}", f"{max(peak for _, peak in values):.0f}"]
        for name, values in (("once", once), ("four times", four))
    ]
    time_ratio = spread([b / a for (a, _), (b, _) in zip(once, four, strict=True)])
    memory_ratio = spread([b / a for (_, a), (_, b) in zip(once, four, strict=True)])
    lines.append(["ratio", time_ratio, memory_ratio])
    print(
        f"\nWords, 2 workers, the text once and four times\n\n{markdown(('text', 's', 'peak MB'), lines)}", flush=True
    )


def measure_small(text: Path, folder: Path, num_rounds: int) -> None:
    """A file of 1 kB, from the start of the process to its end."""
    small = folder / "small.txt"
    small.write_bytes(text.read_bytes()[:1000].decode("utf-8", "ignore").encode())
    commands = {
        "python that imports rjieba and cuts": [sys.executable, "-c", BARE, str(small)],
        "nlpx wordfreq": [sys.executable, "-m", "nlpx_cli", "wordfreq", str(small)],
        "nlpx wordfreq --quiet": [sys.executable, "-m", "nlpx_cli", "wordfreq", str(small), "--quiet"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(num_rounds * 7):
        for name, words in commands.items():
            started = time.perf_counter()
            subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
            seconds[name].append(time.perf_counter() - started)
    bare, *_ = seconds.values()
    lines = [
        [name, f"{statistics.median(values) * 1000:.0f}", spread([a / b for a, b in zip(values, bare, strict=True)])]
        for name, values in seconds.items()
    ]
    print(f"\nA file of 1 kB\n\n{markdown(('process', 'ms', 'times the bare one'), lines)}", flush=True)


def unpack(data: Path, target: Path, megabytes: float) -> int:
    """Write the texts of the corpus as lines, up to a size; returns the bytes written."""
    room = int(megabytes * 1e6)
    with target.open("wb") as stream:
        for path in sorted(data.glob("corpus_*.jsonl.gz")):
            with gzip.open(path, "rt", encoding="utf-8") as rows:
                for row in rows:
                    stream.write((json.loads(row)["text"] + "\n").encode())
                    if stream.tell() >= room:
                        return stream.tell()
        return stream.tell()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED, help="folder with corpus_*.jsonl.gz")
    parser.add_argument("--megabytes", type=float, default=200, help="use this much of it; default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        chosen = json.loads(options.peer)
        peer(
            chosen["name"], Path(chosen["source"]), Path(chosen["target"]), hmm=chosen["hmm"], workers=chosen["workers"]
        )
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder, text = Path(name), Path(name) / "corpus.txt"
        num_bytes = unpack(options.data, text, options.megabytes)
        if not num_bytes:
            print(f"no corpus_*.jsonl.gz in {options.data}: name the folder with --data", file=sys.stderr)
            return 3
        print(f"{num_bytes / 1e6:.1f} MB, {os.cpu_count()} cores, median of {options.rounds} rounds", flush=True)
        for part in options.only.split(","):
            if part in ("words", "words_no_hmm"):
                measure_words(text, folder, options.rounds, hmm=part == "words")
            elif part in ("char", "ngram"):
                measure_units(text, folder, options.rounds, part)
            else:
                {"memory": measure_memory, "small": measure_small}[part](text, folder, options.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
