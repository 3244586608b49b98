"""Help, version, completion and listings import nothing heavy: a user, or a Tab key, should not wait for torch.

Modules are asserted rather than seconds: clocks lie.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

HEAVY = {
    "torch",
    "transformers",
    "numpy",
    "jieba",
    "rjieba",
    "tokenizers",
    "sklearn",
    "scipy",
    "matplotlib",
    "rich",
    "yaml",
}

_WRAPPER = """
import atexit, sys
heavy = set(sys.argv.pop(1).split(","))
atexit.register(lambda: print("HEAVY", *sorted(heavy & set(sys.modules)), file=sys.stderr))
from nlpx_cli.__main__ import main
sys.exit(main())
"""


def _commands() -> list[tuple[str, ...]]:
    """Every command and sub-command there is, by its words."""
    from nlpx_cli.app import build

    def walk(command: Any, words: tuple[str, ...]) -> list[tuple[str, ...]]:
        below = [walk(child, (*words, name)) for name, child in getattr(command, "commands", {}).items()]
        return [words, *(item for items in below for item in items)]

    return walk(build(), ())


COMMANDS = _commands()
EARLIER_NAMES = {("vocab", "cut")}  # they work, and their help is that of the new name
LEAVES = [
    words for words in COMMANDS if words not in EARLIER_NAMES and not any(other[:-1] == words for other in COMMANDS)
]


def _run(*words: str, cwd: Path, **environment: str) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    done = subprocess.run(
        [sys.executable, "-c", _WRAPPER, ",".join(HEAVY), *words],
        capture_output=True,
        encoding="utf-8",
        cwd=cwd,
        env=os.environ | {"COLUMNS": "80", "PYTHONIOENCODING": "utf-8"} | environment,
        check=False,
    )
    *_, last = done.stderr.splitlines()
    assert last.startswith("HEAVY"), done.stderr
    return done, set(last.split()[1:])


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words) or "nlpx")
def test_help_is_light_and_fits_80_columns(words, tmp_path):
    done, heavy = _run(*words, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Usage: nlpx {' '.join(words)}".rstrip())
    assert heavy == set()
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    "words",
    [
        ("--version",),
        ("runs", "list"),
        ("runs", "show", "nowhere"),
        ("presets", "list"),
        ("presets", "nowhere"),
    ],
    ids=" ".join,
)
def test_light_commands(words, tmp_path):
    done, heavy = _run(*words, cwd=tmp_path)
    assert heavy == set()
    assert "Traceback" not in done.stderr


def test_version_does_not_even_import_typer():
    code = "import sys; from nlpx_cli.__main__ import main; main(['--version']); print('typer' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("words", [("presets", "show"), ("presets", "check"), ("presets", "show", "--origin")])
def test_presets_need_yaml_and_nothing_else(words, tmp_path):
    from nlpx.configuration import files as preset_files

    names = [name for name in preset_files.preset_names() if name.split("/")[0] in preset_files.groups()]
    if not names:
        pytest.skip("no preset is shipped yet")
    done, heavy = _run(*words, names[0], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert heavy <= {"yaml"}


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("nlpx ru", {"runs"}),
        ("nlpx runs sh", {"show"}),
        ("nlpx runs show la", {"last"}),
        ("nlpx runs list --ro", {"--root"}),
        ("nlpx embed --model ch", {"char-tiny"}),
        ("nlpx inspect wo", {"word-tiny"}),
        ("nlpx finetune --set tricks.em", {"tricks.ema.decay="}),
        ("nlpx finetune --task classify --set task_options.po", {"task_options.pooling="}),
        ("nlpx finetune --set optim.wrappers.ada", set()),  # no optimizer is a wrapper
        ("nlpx pretrain --set objectives.mlm.ra", {"objectives.mlm.rate=", "objectives.mlm.random_fraction="}),
        ("nlpx chess-lm train --set data.tok", {"data.tokens="}),
        ("nlpx presets show finetune/classify --set train.epo", {"train.epochs="}),
        ("nlpx convert model out --set posi", {"position="}),
    ],
)
def test_completion_is_light(typed, expected, tmp_path):
    words = typed.split(" ")
    done, heavy = _run(
        cwd=tmp_path,
        _NLPX_COMPLETE="complete_bash",
        COMP_WORDS=typed,
        COMP_CWORD=str(len(words) - 1),
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == expected
    assert heavy == set()


def test_dynamic_completions_read_file_names(tmp_path, monkeypatch):
    from nlpx.configuration import registry
    from nlpx_cli import options

    (tmp_path / "runs" / "2026-a").mkdir(parents=True)
    (tmp_path / "runs" / "2026-a" / "manifest.json").write_text("{}")
    (tmp_path / "runs" / "no-run").mkdir()
    monkeypatch.chdir(tmp_path)
    assert options.complete_runs("") == ["last", "2026-a"]
    assert options.complete_runs("20") == ["2026-a"]
    assert options.complete_devices("cu") == ["cuda", "cuda:0"]
    assert options.complete_tasks("") == registry.plugins("tasks")
    assert options.complete_models("char") == ["char-tiny"]


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_help_is_complete(words):
    from nlpx_cli.app import build

    command: Any = build()
    for word in words:
        command = command.commands[word]
    text = command.help or ""
    first = text.strip().splitlines()[0]
    assert len(first) <= 60, "the first line says in under 60 characters what comes out"
    assert first.endswith(".")
    assert f"nlpx {' '.join(words)}" in text.partition("Examples:")[2], "examples show the command itself"
    shown = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
    assert len(shown) <= 30  # of commands that train; the rest of the settings is reached by --set
    # Typer 0.25 with a newer Click loses the help of arguments; that of options is there in every version.
    assert all(parameter.help for parameter in shown if parameter.param_type_name == "option")


def test_only_public_names_of_typer_and_never_click():
    folder = Path(sys.modules["nlpx_cli"].__file__ or "").parent
    for path in folder.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "import click" not in text
        assert "from click" not in text
        assert "typer._" not in text
    assert typer.main.get_command


def test_completion_knows_every_key_that_a_preset_shows():
    from nlpx.configuration.presets import flatten, resolve, schema_of
    from nlpx_cli.set_keys import completions

    for command, preset in (("finetune", "finetune/sohu"), ("pretrain", "pretrain/mlm"), ("chess-lm train", "train")):
        group = command.partition(" ")[0]
        name = preset if "/" in preset else "chess-lm/continue"
        shown = flatten(resolve(schema_of(group), preset=name).to_dict())
        keys = {key.removesuffix("=") for key in completions(command, "", {"task": "sohu"})}
        missing = {key for key in shown if key not in keys and not any(key.startswith(f"{one}.") for one in keys)}
        assert {key for key in missing if shown[key] not in ({}, [])} == set()


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("data.on_bad_row=", ["data.on_bad_row=fail", "data.on_bad_row=skip"]),
        ("optim.name=mu", ["optim.name=muon"]),
        ("deterministic=t", ["deterministic=true"]),
        ("data.format=nu", ["data.format=null"]),
        ("no.such.key=", []),
    ],
)
def test_completion_knows_the_values_of_a_choice(typed, expected):
    from nlpx_cli.set_keys import completions

    assert completions("finetune", typed, {}) == expected


@pytest.mark.parametrize(("greeting", "answer"), [("uci", "uciok"), ("ucci", "ucciok")])
def test_an_engine_greets_before_torch_is_there(greeting, answer, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", _WRAPPER, "torch,transformers", "chess-lm", "uci"],
        input=f"{greeting}\nposition startpos moves h3e3\nquit\n",
        capture_output=True,
        encoding="utf-8",
        cwd=tmp_path,
        check=False,
    )
    assert answer in done.stdout.splitlines()
    assert done.stderr.splitlines()[-1] == "HEAVY"
