"""The documentation is true: its command lines and Python run, its tables name what the code has."""

from __future__ import annotations

import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import pytest
import typer

import documents
import tiny
import warm_nlpx
from documents import CHINESE, DOCUMENTS, README, ROOT

CATALOGUE = ROOT / "docs" / "catalogue.md"
COMMAND_PAGES = {path.stem: path for path in (ROOT / "docs" / "commands").glob("*.md")}
WORDS = ["春风", "秋雨", "山川", "湖海", "日月", "星云"]
BUNDLES = {"chinese_L-12_H-768_A-12": "bert", "chinese_roformer_L-12": "roformer"}
HUB_NAME = "hfl/chinese-roberta-wwm-ext"

# Lines that set up a machine; each is checked in another way below, or is pip's.
SET_UP = ("make ", "pip ", "python bench/")

# What makes a run small; a line's own settings come later and win.
SMALL = tiny.settings(
    "model.new={hidden_size: 16, num_layers: 1, num_attention_heads: 2, intermediate_size: 16}",
    "task_options={condition_size: 4}",
    "data.max_length=16",
    "train.epochs=1",
    "train.precision=float32",
)


def _commands() -> dict[tuple[str, ...], Any]:
    """Every command by its words; () is `nlpx` itself."""
    from nlpx_cli.app import build

    def walk(command: Any, words: tuple[str, ...]) -> dict[tuple[str, ...], Any]:
        found = {words: command}
        for name, child in getattr(command, "commands", {}).items():
            found |= walk(child, (*words, name))
        return found

    return walk(build(), ())


COMMANDS = _commands()


def _examples(command: Any) -> list[str]:
    """The lines under `Examples:` of a command's help."""
    _, _, after = (command.help or "").partition("Examples:\n")
    return [line.strip() for line in after.split("\n\n")[0].splitlines() if line.strip()]


SOURCES = {documents.name(document): documents.command_lines(document) for document in DOCUMENTS if document != CHINESE}
SOURCES |= {f"{' '.join(('nlpx', *words))} --help": _examples(command) for words, command in COMMANDS.items()}
LINES = [
    (source, number)
    for source, lines in SOURCES.items()
    for number, line in enumerate(lines)
    if not line.startswith(SET_UP)
]


# --- running what is written -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An environment in which `nlpx` is warm, the hub is a cache with one model, and no window opens."""
    folder = tmp_path_factory.mktemp("tools")
    address = f"{tempfile.mkdtemp(prefix='nlpx-')}/socket"  # pytest's own folders may be too deep for a socket
    warm_nlpx.write_client(folder / "bin" / "nlpx", address=address, settings=SMALL)
    torchrun = shlex.join([sys.executable, "-m", "torch.distributed.run"]), shlex.join(SMALL)
    _script(folder / "bin" / "torchrun", f'{torchrun[0]} "$@" {torchrun[1]}')
    for viewer in ("xdg-open", "open"):
        _script(folder / "bin" / viewer, ":")
    environment = os.environ | {
        "PATH": os.pathsep.join([str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "HF_HOME": str(folder / "hub"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "NLPX_DEBUG": "0",
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
    tiny.contest(folder / "sohu2021")
    tiny.write_rows(folder / "test_with_id.txt", tiny.rows(8))
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
        self.lines, self.folder, self.environment = SOURCES[source], folder, environment
        self.num_typed = 0

    def type(self, number: int) -> subprocess.CompletedProcess[str]:
        """The line of that number, after those before it: a reader would have typed them too."""
        for line in self.lines[self.num_typed : number]:
            if _runs_here(line):
                _shell(line, self.folder, self.environment)
        self.num_typed = number + 1
        return _shell(self.lines[number], self.folder, self.environment)


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory, prepared: Path, tools: dict[str, str]) -> dict[str, Reader]:
    found = {}
    for source in SOURCES:
        folder = tmp_path_factory.mktemp("reader") / "work"
        shutil.copytree(prepared, folder)
        found[source] = Reader(source, folder, tools)
    return found


def _runs_here(line: str) -> bool:
    return not line.startswith(SET_UP) and ("jq" not in line.split() or shutil.which("jq") is not None)


@pytest.mark.parametrize(("source", "number"), LINES, ids=[f"{source}: {SOURCES[source][n]}" for source, n in LINES])
def test_command_lines_run(source, number, readers):
    if not _runs_here(SOURCES[source][number]):
        pytest.skip("jq is not installed")
    readers[source].type(number)


@pytest.mark.parametrize(
    "document", [d for d in DOCUMENTS if d != CHINESE and documents.blocks(d, "python")], ids=documents.name
)
def test_python_runs(document, prepared, tmp_path, monkeypatch):
    shutil.copytree(prepared, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    namespace: dict[str, Any] = {"__name__": "example"}
    for block in documents.blocks(document, "python"):
        exec(compile(block.text, documents.name(document), "exec"), namespace)


@pytest.mark.parametrize("block", documents.blocks(ROOT / "docs" / "commands" / "presets.md", "yaml"))
def test_the_written_preset_is_one(block, tmp_path):
    from nlpx.jobs.finetune import Config
    from nlpx.presets import resolve

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


# --- what is written is what there is --------------------------------------------------------------------------


def _literals(annotation: Any) -> set[str]:
    return {value for value in get_args(annotation) if value is not NoneType}


def _model_key(name: str) -> set[str]:
    from nlpx.models.config import ModelConfig

    return _literals(ModelConfig.model_fields[name].annotation)


def _catalogued() -> dict[str, set[str]]:
    """Section of the catalogue -> the names that the code has for it."""
    from nlpx import registry
    from nlpx.models.config import Head
    from nlpx.optim.config import ScheduleConfig, optimizer_names
    from nlpx.tokenizers.vocab import Kind

    decays = ScheduleConfig.model_fields["decay"].annotation
    return {
        "Positions": _model_key("position"),
        "Masks": _model_key("mask"),
        "Families": set(registry.names("models/families")),
        "Tokenizers": _literals(Kind),
        "Tasks": set(registry.plugins("tasks")),
        "Objectives": set(registry.names("objectives")),
        "Tricks": set(registry.plugins("tricks")),
        "Optimizers": set(optimizer_names()),
        "Schedules": {name for part in get_args(decays) for name in get_args(part)},
        "Norms": _model_key("norm") | {"norm_place", "norm_scale", "embedding_norm", "condition_size"},
        "Heads": _literals(Head) | {"pooler", "classification_pooling"} | _lm_keys(),
    }


def _model_keys() -> set[str]:
    from nlpx.models.config import ModelConfig

    return set(ModelConfig.model_fields)


def _lm_keys() -> set[str]:
    return {"lm_transform", "lm_bias", "tie_word_embeddings"}


@pytest.mark.parametrize(("title", "names"), _catalogued().items(), ids=_catalogued())
def test_the_catalogue_names_what_the_code_has(title, names):
    rows = documents.first_column(documents.section(CATALOGUE, title))
    assert sorted(rows) == sorted(names)


def test_the_catalogue_names_every_key_and_choice_of_a_model():
    written = set(re.findall(r"`([^`]+)`", CATALOGUE.read_text(encoding="utf-8")))
    keys = _model_keys()
    choices = {choice for key in keys for choice in _model_key(key) if isinstance(choice, str)}
    assert (keys | choices) - written == set()


@pytest.mark.parametrize("document", [README, CHINESE], ids=documents.name)
def test_the_readme_names_what_the_code_has(document):
    names = set(re.findall(r"`([^`]+)`", documents.prose(document)))
    sections = {key: value for key, value in _catalogued().items() if key not in ("Norms", "Heads", "Schedules")}
    assert {name for found in sections.values() for name in found} - names == set()


def test_every_command_has_a_page_with_its_options():
    names = {words[0] for words in COMMANDS if words}
    assert set(COMMAND_PAGES) == names
    for words, command in COMMANDS.items():
        page = COMMAND_PAGES[words[0]].read_text(encoding="utf-8") if words else ""
        options = [option for parameter in command.params for option in parameter.opts if option.startswith("--")]
        missing = [option for option in options if words and option != "--help" and f"`{option}`" not in page]
        assert missing == [], words
        assert len(words) < 2 or f"## {words[1]}" in page


@pytest.mark.parametrize("document", [README, CHINESE], ids=documents.name)
def test_the_readme_links_every_command(document):
    assert {f"docs/commands/{words[0]}.md" for words in COMMANDS if words} <= set(documents.links(document))


def test_every_setting_is_described():
    from nlpx.jobs.finetune import Config
    from nlpx.presets import flatten, resolve

    resolved = resolve(Config, preset="finetune/sohu").to_dict()
    keys = {"tricks" if key.startswith("tricks.") else key for key in flatten(resolved)}
    assert set(documents.first_column(documents.section(COMMAND_PAGES["finetune"], "Settings"))) == keys


def test_every_preset_is_listed():
    from nlpx.preset_files import preset_names

    opening = COMMAND_PAGES["presets"].read_text(encoding="utf-8").partition("\n## ")[0]
    assert documents.first_column(opening) == preset_names()


@pytest.mark.parametrize("document", [README, CHINESE], ids=documents.name)
def test_every_exit_code_is_listed(document):
    from nlpx import errors

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.UserError)]
    codes = {0, errors.EXIT_BUG, errors.EXIT_INTERRUPTED, *(kind.exit_code for kind in kinds)}
    listed = re.findall(r"^\| (\d+) \|", document.read_text(encoding="utf-8"), re.MULTILINE)
    assert [int(code) for code in listed] == sorted(codes)


@pytest.mark.parametrize("command", COMMANDS.values(), ids=[" ".join(("nlpx", *words)) for words in COMMANDS])
def test_help_has_examples(command):
    assert _examples(command) or isinstance(command, typer.core.TyperGroup)


def test_written_signatures():
    from nlpx import load_model
    from nlpx.models.transformer import Transformer
    from nlpx.tokenizers.base import Tokenizer

    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    for name, function in (("load_model", load_model), ("model", Transformer.forward), ("encode", Tokenizer.encode)):
        written = re.search(rf"`{name}\((.*?)\)`", text)
        names = [re.split("[=*]+", part)[-1 if part.startswith("*") else 0] for part in written[1].split(", ")]
        expected = [parameter for parameter in inspect.signature(function).parameters if parameter != "self"]
        assert [found for found in names if found and found != ")"] == expected
    loading = set(documents.first_column(documents.section(CATALOGUE, "At load time")))
    assert loading - _model_keys() <= set(inspect.signature(load_model).parameters)


@pytest.mark.parametrize("document", [README, CHINESE], ids=documents.name)
def test_the_written_run_folder_is_one(document, prepared):
    block = next(b for b in documents.blocks(document, "text") if "manifest.json" in b.text)
    assert re.fullmatch(r"runs/\d{4}-\d\d-\d\d_\d{4}-finetune-sohu-7/", block.text.splitlines()[0])
    named = re.findall(r"[\w.]+/[\w]*|\w+\.(?:jsonl?|yaml|txt|md)", "\n".join(block.text.splitlines()[1:]))
    assert {path.split("/")[0] for path in named} == {path.name for path in (prepared / "runs" / "first").iterdir()}
    assert all((prepared / "runs" / "first" / path).exists() for path in named)


def test_the_written_layout_is_the_layout():
    layout = documents.blocks(ROOT / "docs" / "architecture.md", "text")[0].text
    package, command_line = ROOT / "toolkit" / "nlpx", ROOT / "cli" / "nlpx_cli"
    there = {path.name for root in (package, command_line) for path in root.rglob("*.py")}
    assert set(re.findall(r"\w+\.py", layout)) - there == set()
    files = {path.name for root in (package, command_line) for path in root.glob("*.py")}
    inits = [*package.glob("*/__init__.py"), *package.glob("models/*/__init__.py")]
    folders = {f"{path.parent.name}/" for path in inits}
    assert {name for name in files | folders if name not in layout} == set()


def test_make_targets_and_scripts_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for lines in SOURCES.values():
        for line in lines:
            if line.startswith("make "):
                assert line.split()[1] in targets
            if line.startswith("python bench/"):
                assert (ROOT / line.split()[1]).is_file()


@pytest.mark.parametrize("document", DOCUMENTS, ids=documents.name)
def test_links_lead_somewhere(document):
    for target in documents.links(document):
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        assert file.exists(), target
        assert not anchor or anchor in documents.anchors(file), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=documents.name)
def test_named_files_exist(document):
    for path in re.findall(r"`((?:bench|tests|presets|toolkit|cli|docs)/[\w/.-]+)`", documents.prose(document)):
        assert (ROOT / path).exists(), path


def test_the_chinese_readme_has_the_same_commands():
    assert documents.command_lines(CHINESE) == documents.command_lines(README)


def test_the_chinese_readme_has_the_same_blocks_and_links():
    def without_comments(document: Path) -> list[str]:
        return [re.sub(r"\s*#.*", "", block.text) for block in documents.blocks(document, "python", "json")]

    assert without_comments(CHINESE) == without_comments(README)
    assert [block.language for block in documents.blocks(CHINESE)] == [b.language for b in documents.blocks(README)]
    ours, theirs = ([link.partition("#")[0] for link in documents.links(document)] for document in (README, CHINESE))
    assert [link for link in theirs if link != "README.md"] == [link for link in ours if link != CHINESE.name]
