"""A folder of small samples to try every command on: texts, labelled rows, pairs, questions, games.

The texts ship in `bundled/samples`, each once; what holds the same rows in another form is made from them here.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from nlpx import bundled
from nlpx.errors import UsageError
from nlpx.io import write_atomically

SPLITS = ("train", "dev", "test")
EVERY = 8  # of the 3,180 pairs that ship for `sohu`: enough to see a run from end to end in a minute


class Sample(NamedTuple):
    """A file that was written, how many rows or games it holds, and what they are."""

    file: str
    rows: int
    what: str


class _File(NamedTuple):
    what: str
    text: Callable[[], str]
    rows: Callable[[str], int] = lambda text: text.count("\n")


def write_samples(folder: Path, *, overwrite: bool = False) -> list[Sample]:
    """Write the samples into `folder` and return them in order.

    Raises UsageError if one of the files is there already, unless `overwrite`.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", hint="name a folder")
    there = [name for name in FILES if (folder / name).exists()]
    if there and not overwrite:
        raise UsageError(f"{folder / there[0]} exists already", hint="name another folder, or give --overwrite")
    written = []
    for name, file in FILES.items():
        text = file.text()
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(target) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
        written.append(Sample(name, file.rows(text), file.what))
    return written


def _shipped(name: str) -> str:
    return (bundled.path("samples") / name).read_text(encoding="utf-8")


def _plain_corpus() -> str:
    return "".join(json.loads(line)["text"] + "\n" for line in _shipped("corpus.jsonl").splitlines())


def _topics(split: str) -> Callable[[], str]:
    def text() -> str:
        table = io.StringIO()
        writer = csv.DictWriter(table, ["id", "text", "label"], extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for row in csv.DictReader(_shipped("topics.csv").splitlines()) if row["split"] == split)
        return table.getvalue()

    return text


def _matching() -> str:
    lines = (bundled.path("sohu") / "sample.jsonl").read_text(encoding="utf-8").splitlines()[::EVERY]
    rows = ({"id": str(number)} | json.loads(line) for number, line in enumerate(lines, start=1))
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _below_header(text: str) -> int:
    return text.count("\n") - 1


FILES: dict[str, _File] = {
    "corpus.txt": _File("texts, one a line", _plain_corpus),
    "corpus.jsonl": _File("the same with `text` and `domain`", lambda: _shipped("corpus.jsonl")),
    **{
        f"topics/{split}.csv": _File(f"headlines with one of six labels, {split}", _topics(split), _below_header)
        for split in SPLITS
    },
    "pairs.tsv": _File("pairs of sentences, similarity 0 to 5", lambda: _shipped("pairs.tsv"), _below_header),
    "questions.txt": _File("questions to search the corpus with", lambda: _shipped("questions.txt")),
    "matching.jsonl": _File("pairs of texts for the task `sohu`", _matching),
    "games.pgn": _File("Xiangqi games", lambda: _shipped("games.pgn"), lambda text: text.count("[Game ")),
}
