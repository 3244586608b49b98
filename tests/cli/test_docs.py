"""What the documentation says to type works: command lines, Python, the preset and the trick written out."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import documents
import processes
import tiny
import warm_nlpx
import xiangqi_games
import xiangqi_samples
from documents import CHINESE, DOCUMENTS, README, ROOT, TRANSLATIONS
from nlpx.jobs.samples import write_samples

WORDS = ["春风", "秋雨", "山川", "湖海", "日月", "星云"]
PAIR = ("text1", "text2", "score", "split")
BUNDLES = {"chinese_L-12_H-768_A-12": "bert", "chinese_roformer_L-12": "roformer"}
HUB_NAME = "hfl/chinese-roberta-wwm-ext"

# Lines that set up a machine; each is checked in another way below, or is pip's.
SET_UP = ("make ", "pip ", "python bench/")

# What makes a run small; a line's own settings come later and win.
SMALL = tiny.settings(
    "model.new={hidden_size: 16, num_layers: 1, num_attention_heads: 2, intermediate_size: 16}",
    "data.max_length=16",
    "train.epochs=1",
    "train.precision=float32",
)
SMALL_PRETRAIN = tiny.settings(
    "model.new={hidden_size: 16, num_layers: 1, num_attention_heads: 2, intermediate_size: 16}",
    "data.max_length=16",
    "data.held_out=0.2",
    "data.workers=1",
    "train.epochs=null",
    "train.steps=4",
    "train.precision=float32",
)


SOURCES = {
    documents.name(document): documents.command_lines(document)
    for document in DOCUMENTS
    if document not in TRANSLATIONS
}
SOURCES |= {
    f"{' '.join(('nlpx', *words))} --help": documents.examples(command)
    for words, command in documents.commands().items()
}


def _first_places() -> Iterator[tuple[str, int]]:
    """Where each command line stands first, by source and number; most examples of a help stand on its page too."""
    seen: set[str] = set()
    for source, lines in SOURCES.items():
        new = [(source, number) for number, line in enumerate(lines) if line not in seen]
        yield from (place for place in new if not lines[place[1]].startswith(SET_UP))
        seen |= set(lines)


LINES = list(_first_places())


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An environment in which `nlpx` is warm, the hub is a cache with one model, and no window opens."""
    folder = tmp_path_factory.mktemp("tools")
    address = f"{tempfile.mkdtemp(prefix='nlpx-')}/socket"  # pytest's own folders may be too deep for a socket
    settings = {
        "finetune": ["--model", "new", *SMALL],
        "compare": ["--model", "new", *SMALL],
        "pretrain": SMALL_PRETRAIN,
        "chess-lm train": tiny.settings(*xiangqi_games.SMALL_MOVES),
    }
    warm_nlpx.write_client(folder / "bin" / "nlpx", address=address, settings=settings)
    torchrun = shlex.join(processes.TORCHRUN)
    cases = "".join(f'*" {name} "*) set -- "$@" {shlex.join(words)};; ' for name, words in settings.items())
    _script(folder / "bin" / "torchrun", f'case " $* " in {cases}esac\n{torchrun} "$@"')
    for viewer in ("xdg-open", "open"):
        _script(folder / "bin" / viewer, ":")
    environment = os.environ | {
        "PATH": os.pathsep.join([str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "HF_HOME": str(folder / "hub"),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        **processes.environment(),
        "NLPX_DEBUG": "0",
        "NLPX_CACHE": str(folder / "cache"),
    }
    repository = folder / "hub" / "hub" / f"models--{HUB_NAME.replace('/', '--')}"
    tiny.bert(repository / "snapshots" / "1")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("1")
    server = subprocess.Popen([sys.executable, warm_nlpx.__file__, address], env=environment)
    try:
        while not Path(address).exists():
            assert server.poll() is None, "the server did not start"
            time.sleep(0.05)
        yield environment
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(Path(address).parent)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, tools: dict[str, str]) -> Path:
    """The files that the documentation speaks of, small."""
    folder = tmp_path_factory.mktemp("prepared")
    tiny.write_rows(folder / "rows.jsonl", tiny.rows(60))
    tiny.write_rows(folder / "titles.jsonl", tiny.labelled(60))
    sets = [row | {"label": [row["label"], "晴"][: number % 3]} for number, row in enumerate(tiny.labelled(60))]
    tiny.write_rows(folder / "tagged.jsonl", sets)
    joined = [f"{row['text']},{'|'.join(row['label'])}" for row in sets if row["label"]]
    tiny.write_rows(folder / "tagged.csv", ["text,label", *joined])
    asked = [
        {"id": row["id"], "question": "谁来", "context": row["text"], "answers": [row["text"][:2]]}
        for row in tiny.labelled(40)
    ]
    tiny.write_rows(folder / "questions.jsonl", asked)
    articles = [f"{row['text']},{row['label']}" for row in tiny.labelled(60)]
    tiny.write_rows(folder / "articles.csv", ["title,category", *articles])
    summaries = [{"text": f"{row['source']}，{row['target']}。", "summary": row["source"]} for row in tiny.rows(40)]
    tiny.write_rows(folder / "articles.jsonl", summaries)
    tiny.contest(folder / "sohu2021")
    tiny.write_rows(folder / "test_with_id.txt", tiny.rows(8))
    texts = [f"{row['source']}。{row['target']}" for row in tiny.rows(200, seed=1)]
    tiny.write_rows(folder / "corpus.txt", texts)
    pairs = [(row["source"], row["target"], number % 2) for number, row in enumerate(tiny.rows(200))]
    tiny.write_rows(folder / "pairs.tsv", [f"{one}\t{two}\t{score}" for one, two, score in pairs])
    tiny.write_rows(folder / "pairs.jsonl", [dict(zip(PAIR, (*pair, "dev"), strict=True)) for pair in pairs])
    tiny.write_rows(folder / "texts.txt", [f"{row['source']}，{row['target']}" for row in tiny.rows(400, seed=2)])
    tiny.write_rows(folder / "corpus.jsonl", [{"text": text, "domain": "ab"[len(text) % 2]} for text in texts])
    tiny.write_rows(folder / "words.tsv", [f"{word}\t{9 - number}" for number, word in enumerate([*WORDS, "风", "云"])])
    tiny.write_vocab(folder)
    write_samples(folder / "samples")
    xiangqi_samples.write(folder)
    xiangqi_games.write_samples(folder)  # more games, enough to train on
    for number, name in enumerate(("emb", "new")):
        np.save(folder / f"{name}.npy", np.random.default_rng(number).normal(size=(400, 16)).astype("float32"))
    tiny.bert(folder / "path" / "to" / "checkpoint")
    tiny.checkpoint(folder / "path" / "to" / "other-encoder", "XLMRobertaConfig", "XLMRobertaModel")
    tiny.bert(
        folder / "path" / "to" / "word-level", vocab_size=len(tiny.VOCAB) + len(WORDS), vocab=[*tiny.VOCAB, *WORDS]
    )
    for name, family in BUNDLES.items():
        shutil.copytree(ROOT / "tests" / "fixtures" / "bert4keras" / family, folder / name)
    (folder / "mine.yaml").write_text("extends: finetune/sohu\noptim:\n  learning_rate: 3e-5\n")
    for name, seed in (("first", 1), ("second", 2), ("my-run", 7)):
        _shell(f"nlpx finetune --task sohu --data rows.jsonl --seed {seed} --out runs/{name}", folder, tools)
    return folder


def _script(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


def _shell(line: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, f"{line}\nexit code {done.returncode}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    return done


class Reader:
    """Types the command lines of a document one after the other, each once, in a folder of its own."""

    def __init__(self, source: str, folder: Path, environment: dict[str, str]) -> None:
        self.source, self.lines = source, SOURCES[source]
        self.folder, self.environment = folder, environment
        self.num_typed = 0

    def type(self, number: int) -> subprocess.CompletedProcess[str]:
        """The line of that number, after those before it: a reader would have typed them too."""
        for line in self.lines[self.num_typed : number]:
            if _runs_here(line):
                _shell(line, self.folder, self.environment)
        self.num_typed = number + 1
        return _shell(self.lines[number], self.folder, self.environment)


@pytest.fixture(scope="module")
def reader_of(
    tmp_path_factory: pytest.TempPathFactory, prepared: Path, tools: dict[str, str]
) -> Iterator[Callable[[str], Reader]]:
    """The reader of a document. When the next one begins, what the last one made is thrown away."""
    folder = tmp_path_factory.mktemp("reader") / "work"
    readers: list[Reader] = []

    def reader(source: str) -> Reader:
        if not readers or readers[-1].source != source:
            shutil.rmtree(folder, ignore_errors=True)
            if any(line.split()[:2] == ["nlpx", "samples"] for line in SOURCES[source]):
                folder.mkdir()  # who writes the samples needs nothing else
            else:
                shutil.copytree(prepared, folder)
            readers.append(Reader(source, folder, tools))
        return readers[-1]

    yield reader
    shutil.rmtree(folder, ignore_errors=True)


def _runs_here(line: str) -> bool:
    return not line.startswith(SET_UP) and ("jq" not in line.split() or shutil.which("jq") is not None)


@pytest.mark.parametrize(("source", "number"), LINES, ids=[f"{source}: {SOURCES[source][n]}" for source, n in LINES])
def test_command_lines_run(source, number, reader_of):
    if not _runs_here(SOURCES[source][number]):
        pytest.skip("jq is not installed")
    reader_of(source).type(number)


@pytest.mark.parametrize(
    "document", [d for d in DOCUMENTS if d not in TRANSLATIONS and documents.blocks(d, "python")], ids=documents.name
)
def test_python_runs(document, prepared, tmp_path, monkeypatch):
    shutil.copytree(prepared, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    namespace: dict[str, Any] = {"__name__": "example"}
    for block in documents.blocks(document, "python"):
        exec(compile(block.text, documents.name(document), "exec"), namespace)


@pytest.mark.parametrize("block", documents.blocks(ROOT / "docs" / "commands" / "presets.md", "yaml"))
def test_the_written_preset_is_one(block, tmp_path):
    from nlpx.configuration.presets import resolve
    from nlpx.jobs.finetune import Config

    (tmp_path / "mine.yaml").write_text(block.text, encoding="utf-8")
    assert resolve(Config, preset=str(tmp_path / "mine.yaml")).config.data.max_length == 256


def test_the_written_trick_works(tmp_path, prepared, tools):
    """A copy of the toolkit with one more file knows one more trick: nothing else has to be edited."""
    block = next(
        b for b in documents.blocks(ROOT / "docs" / "architecture.md", "python") if b.text.startswith("# toolkit")
    )
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "toolkit", tmp_path / "toolkit", ignore=ignored)
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    (tmp_path / block.text.splitlines()[0].removeprefix("# ")).write_text(block.text, encoding="utf-8")
    shutil.copytree(prepared, tmp_path / "work")
    environment = tools | {"PYTHONPATH": str(tmp_path / "toolkit")}

    def final_loss(level: float) -> float:
        flags = (
            f"--task sohu --data rows.jsonl {shlex.join(SMALL)} --set tricks.flooding.level={level} --out runs/{level}"
        )
        _shell(f"python -m nlpx_cli finetune {flags}", tmp_path / "work", environment)
        return tiny.metrics(tmp_path / "work" / "runs" / str(level))[0]["loss"]

    # Far above the loss L, what is trained on and recorded is |L - level| + level = 2 level - L.
    assert final_loss(2.0) == pytest.approx(4.0 - final_loss(0.0), abs=1e-4)


@pytest.mark.parametrize("document", [README, CHINESE], ids=documents.name)
def test_the_written_run_folder_is_one(document, prepared):
    block = next(b for b in documents.blocks(document, "text") if "manifest.json" in b.text)
    assert re.fullmatch(r"runs/\d{4}-\d\d-\d\d_\d{4}-finetune-sohu-7/", block.text.splitlines()[0])
    named = re.findall(r"[\w.]+/[\w]*|\w+\.(?:jsonl?|yaml|txt|md)", "\n".join(block.text.splitlines()[1:]))
    assert {path.split("/")[0] for path in named} == {path.name for path in (prepared / "runs" / "first").iterdir()}
    assert all((prepared / "runs" / "first" / path).exists() for path in named)


def test_make_targets_and_scripts_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for lines in SOURCES.values():
        for line in lines:
            if line.startswith("make "):
                assert line.split()[1] in targets
            if line.startswith("python bench/"):
                assert (ROOT / line.split()[1]).is_file()
