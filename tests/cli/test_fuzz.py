"""Every reader meets files that are almost right: what comes of it is an answer or a sentence, never a bug.

Each target is a command and the files it reads. Their faults follow from the target, the file and a number, so
that a failure can be seen again: `content` below, with what the failure names. The short form tries a few of each; the
long one, `pytest -m slow`, some hundred.
"""

from __future__ import annotations

import gzip
import io
import lzma
import random
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

import fuzzing
import tiny
from fuzz_folders import FAMILIES, NEW, make

OUT = ("-o", "out.npy")
CODES = {0, 2, 3}  # done, usage or configuration, input: a damaged file is no fault of the machine's


@dataclass(frozen=True)
class Target:
    """A command in a folder of good files, and those it reads; `-` is what it finds on stdin, in the file `stdin`."""

    folder: str
    words: tuple[str, ...]
    files: tuple[str, ...]
    codes: set[int] = field(default_factory=lambda: CODES)


def embedding(folder: str, *files: str) -> Target:
    return Target(folder, ("embed", "texts.txt", "--model", "model", *OUT), tuple(f"model/{file}" for file in files))


FINETUNE = ("finetune", "--task", "classify", *NEW, "--dry-run", "--data")
TARGETS = {
    **{
        f"rows {name}": Target("rows", (*FINETUNE, name), (name,))
        for name in ("rows.jsonl", "rows.json", "rows.csv", "rows.tsv", "rows.parquet", "rows.jsonl.gz", "rows.csv.xz")
    },
    "rows of pairs": Target("rows", ("finetune", *tiny.settings(*tiny.SMALL), "--dry-run", "--data", "pairs.jsonl"),
                            ("pairs.jsonl",)),
    **{
        f"texts {name}": Target("rows", ("wordfreq", name, "--unit", "char"), (name,))
        for name in ("texts.txt", "rows.jsonl", "rows.csv", "rows.tsv", "rows.parquet", "rows.jsonl.gz", "rows.csv.xz")
    },
    "texts to embed": Target("rows", ("embed", "rows.jsonl", *OUT), ("rows.jsonl",)),
    "texts to complete": Target("rows", ("sample", "--rewrite", "texts.txt", "--steps", "1"), ("texts.txt",)),
    "texts with a vocabulary": Target("rows", ("vocab", "build", "rows.csv"), ("rows.csv",)),
    "counts": Target("rows", ("wordfreq", "--merge", "counts.tsv", "counts.jsonl"), ("counts.tsv", "counts.jsonl")),
    "counts for a vocabulary": Target("rows", ("vocab", "build", "counts.tsv"), ("counts.tsv",)),
    "user dictionary": Target("rows", ("wordfreq", "texts.txt", "--user-dictionary", "words.txt"), ("words.txt",)),
    "vocabulary": Target("rows", ("vocab", "show", "vocab.txt", "--corpus", "texts.txt"), ("vocab.txt",)),
    "words to add": Target("rows", ("vocab", "extend", "vocab.txt", "--words", "counts.tsv", "--teach", "-o", "out"),
                           ("vocab.txt", "counts.tsv")),
    "scored pairs": Target("rows", ("evaluate", "sts", "pairs.tsv", "--pooling", "mean"), ("pairs.tsv",)),
    "pairs to score": Target("rows", ("similar", "score", "pairs.tsv"), ("pairs.tsv",)),
    "array to whiten": Target("arrays", ("whiten", "emb.npy", "--dim", "3", *OUT), ("emb.npy",), CODES | {5}),
    "array to compare": Target("arrays", ("similar", "pairs", "emb.npy"), ("emb.npy",)),
    "arrays to search": Target("arrays", ("similar", "search", "emb.npy", "--index", "emb.npy"), ("emb.npy",)),
    "whitening": Target("arrays", ("whiten", "emb.npy", "--load", "map.safetensors", *OUT), ("map.safetensors",)),
    "whitening to look at": Target("arrays", ("whiten", "--inspect", "map.safetensors"), ("map.safetensors",)),
    "whitening to add": Target("arrays", ("whiten", "emb.npy", "--merge", "map.safetensors", *OUT),
                               ("map.safetensors",)),
    "checkpoint": embedding("bert", "config.json", "model.safetensors", "vocab.txt"),
    "checkpoint to look at": Target("bert", ("inspect", "model"), ("model/config.json", "model/model.safetensors")),
    "checkpoint to convert": Target("bert", ("convert", "model", "out", "--to", "nlpx"),
                                    ("model/config.json", "model/model.safetensors", "model/vocab.txt")),
    **{
        f"checkpoint of {family}": Target(family, ("inspect", "model"), ("model/config.json",))
        for family in FAMILIES
    },
    "checkpoint of our own": embedding("own", "config.json", "model.safetensors", "nlpx_tokenizer.json", "vocab.txt"),
    "checkpoint of torch": embedding("torch", "pytorch_model.bin"),
    "checkpoint of TensorFlow": embedding("tensorflow", "bert_config.json", "bert_model.ckpt.index",
                                          "bert_model.ckpt.data-00000-of-00001"),
    "checkpoint in parts": embedding("parts", "model.safetensors.index.json"),
    "sentence-transformers": embedding("sentences", "modules.json", "1_Pooling/config.json",
                                       "config_sentence_transformers.json", "sentence_bert_config.json",
                                       "2_Dense/config.json", "2_Dense/model.safetensors"),
    "added tokens": embedding("added", "added_tokens.json", "tokenizer_config.json", "special_tokens_map.json"),
    "other encoder": embedding("other", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
    "sentencepiece": embedding("pieces", "sentencepiece.bpe.model", "config.json"),
    "run to predict with": Target("run", ("predict", "run", "rows.jsonl"),
                                  ("run/checkpoints/best/task.json", "run/checkpoints/best/config.json",
                                   "run/checkpoints/best/vocab.txt", "rows.jsonl")),
    "run to go on with": Target("run", ("finetune", "--resume", "run", "--set", "train.epochs=3"),
                                ("run/checkpoints/last/training.json", "run/checkpoints/last/training.safetensors",
                                 "run/config.yaml", "run/manifest.json")),
    "run to report": Target("run", ("runs", "report", "run"),
                            ("run/metrics.jsonl", "run/config.yaml", "run/manifest.json")),
    "run to show": Target("run", ("runs", "show", "run"), ("run/manifest.json", "run/metrics.jsonl")),
    "runs to list": Target("run", ("runs", "list", "--root", "."), ("run/manifest.json",)),
    "preset to check": Target("presets", ("presets", "check", "preset.yaml"), ("preset.yaml",)),
    "preset to show": Target("presets", ("presets", "show", "preset.yaml"), ("preset.yaml",)),
    "preset to train by": Target(
        "presets", ("finetune", "--preset", "preset.yaml", "--data", "rows.jsonl", "--dry-run"), ("preset.yaml",)),
    **{
        f"games {name}": Target("games", ("chess-lm", "import", name, "-o", "out"), (name,))
        for name in ("games.pgn", "games.jsonl", "moves.txt", "chinese.txt", "dhtmlxq.txt", "gb.pgn")
    },
    "games to count": Target("games", ("chess-lm", "stats", "games.jsonl"), ("games.jsonl",)),
    "games to continue": Target("games", ("chess-lm", "best", "-", "--model", "tiny"), ("stdin",)),
    "positions": Target("games", ("chess-lm", "evaluate", "positions.jsonl", "--positions", "--model", "tiny"),
                        ("positions.jsonl",)),
    "model of moves": Target("games", ("chess-lm", "best", "h2e2", "--model", "tiny"),
                             ("tiny/xiangqi.json", "tiny/config.json")),
    "engine": Target("engine", ("chess-lm", "uci", "--model", "tiny", "--search", "0"), ("stdin",)),
}  # fmt: skip


def content(name: str, file: str, number: int, good: bytes) -> bytes:
    """What the file holds the `number`-th time."""
    chance = random.Random(f"{name} {file} {number}")
    ways: dict[str, Callable[[bytes, random.Random], bytes]] = {
        ".json": fuzzing.misvalued,
        ".jsonl": fuzzing.misvalued,
        ".yaml": fuzzing.misvalued_yaml,
        ".safetensors": fuzzing.safetensors,
        ".npy": fuzzing.numpy_array,
        ".gz": lambda good, chance: gzip.compress(fuzzing.damaged(gzip.decompress(good), chance)),
        ".xz": lambda good, chance: lzma.compress(fuzzing.damaged(lzma.decompress(good), chance)),
    }
    way = ways.get(Path(file).suffix, fuzzing.damaged)
    return (way if chance.random() < 0.7 else fuzzing.damaged)(good, chance)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders of good files, each made when it is first asked for."""
    root, made = tmp_path_factory.mktemp("good"), set[str]()

    def folder(name: str) -> Path:
        if name not in made:
            made.add(name)
            make(name, root / name)
        return root / name

    return folder


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NLPX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def tried(nlpx, monkeypatch, folder: Path, name: str, numbers: range) -> None:
    """Run the command once for every file and number, in a copy of the folder."""
    target = TARGETS[name]
    shutil.copytree(folder, "work")
    monkeypatch.chdir("work")
    before = set(Path.cwd().rglob("*"))
    for file in target.files:
        kept = Path(file).read_bytes()
        for number in numbers:
            Path(file).write_bytes(content(name, file, number, kept))
            stdin = io.BytesIO(Path("stdin").read_bytes() if Path("stdin").exists() else b"")
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stdin, encoding="utf-8", errors="replace"))
            outcome = nlpx(*target.words)
            where = f"{name}, {file}, {number}: exit code {outcome.code}\n{outcome.err}"
            assert outcome.code in target.codes, where
            assert outcome.code == 0 or "Error: " in outcome.err, where
            assert not re.search(r"Traceback|\b[A-Z]\w*(?:Error|Exception)\b", outcome.err), where
            for path in set(Path.cwd().rglob("*")) - before:  # what it wrote
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        Path(file).write_bytes(kept)


@pytest.mark.parametrize("name", TARGETS)
def test_good_files_are_read(nlpx, monkeypatch, good, name):
    """Else the faults below would not be the reason."""
    folder = good(TARGETS[name].folder)
    shutil.copytree(folder, "work")
    monkeypatch.chdir("work")
    stdin = io.BytesIO(Path("stdin").read_bytes() if Path("stdin").exists() else b"")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stdin, encoding="utf-8"))
    outcome = nlpx(*TARGETS[name].words)
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files(nlpx, monkeypatch, good, name):
    tried(nlpx, monkeypatch, good(TARGETS[name].folder), name, range(2))


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_many_damaged_files(nlpx, monkeypatch, good, name):
    tried(nlpx, monkeypatch, good(TARGETS[name].folder), name, range(2, 300))
