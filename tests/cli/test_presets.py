"""`nlpx presets`, on a group of presets made for the test."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import pytest
import yaml
from pydantic import PositiveFloat

from nlpx.configuration import files as preset_files
from nlpx.configuration import registry
from nlpx.configuration.presets import Section


class Optim(Section):
    learning_rate: PositiveFloat = 2e-5
    name: Literal["adamw", "lamb"] = "adamw"


class Config(Section):
    text: str | None = None
    optim: Optim = Optim()


@pytest.fixture(autouse=True)
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "presets"
    (root / "demo").mkdir(parents=True)
    (root / "demo" / "small.yaml").write_text("# 小 and quick\ntext: 你好\n", encoding="utf-8")
    (root / "demo" / "large.yaml").write_text("extends: demo/small\noptim:\n  learning_rate: 1e-5\n", encoding="utf-8")
    monkeypatch.setattr(preset_files, "presets_folder", lambda: root)
    names = registry.names
    monkeypatch.setattr(registry, "names", lambda folder: ["demo"] if folder == "jobs" else names(folder))
    monkeypatch.setattr(registry, "load", lambda folder, name: SimpleNamespace(Config=Config))
    return root


def test_list(nlpx):
    assert nlpx("presets", "list") == (0, "preset      summary\ndemo/large\ndemo/small  小 and quick\n", "")
    rows = [json.loads(line) for line in nlpx("presets", "list", "--json").out.splitlines()]
    assert rows[1] == {"preset": "demo/small", "summary": "小 and quick"}


def test_show(nlpx, tmp_path):
    outcome = nlpx("presets", "show", "demo/large", "--set", "optim.name=lamb")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == "text: 你好\noptim:\n  learning_rate: 1.0e-05\n  name: lamb\n"
    copy = tmp_path / "copy.yaml"
    copy.write_text(outcome.out, encoding="utf-8")
    assert nlpx("presets", "show", str(copy), "--for", "demo").out == outcome.out


def test_show_a_section_with_origins(nlpx):
    arguments = ("presets", "show", "large", "--section", "optim", "--origin")
    assert nlpx(*arguments).out == (
        "key                  value  origin\n"
        "optim.learning_rate  1e-05  presets/demo/large.yaml:3\n"
        "optim.name           adamw  default\n"
    )
    rows = [json.loads(line) for line in nlpx(*arguments, "--json").out.splitlines()]
    assert rows[0] == {"key": "optim.learning_rate", "value": 1e-05, "origin": "presets/demo/large.yaml:3"}


def test_show_as_json(nlpx):
    shown = json.loads(nlpx("presets", "show", "demo/large", "--json").out)
    assert shown["presets"] == ["presets/demo/small.yaml", "presets/demo/large.yaml"]
    assert shown["config"]["optim"] == {"learning_rate": 1e-05, "name": "adamw"}


def test_show_of_a_broken_preset_shows_what_there_is(nlpx, shipped):
    (shipped / "demo" / "bad.yaml").write_text("text: x\noptim:\n  leraning_rate: 1\n")
    outcome = nlpx("presets", "show", "demo/bad", "--section", "optim")
    assert outcome.code == 2
    assert yaml.safe_load(outcome.out) == {"optim": {"learning_rate": 2e-05, "name": "adamw"}}
    assert outcome.err == (
        "Error: presets/demo/bad.yaml:3:3: unknown key `optim.leraning_rate`\n"
        "  did you mean `learning_rate`?\n"
        "  see: nlpx presets show demo/bad --section optim\n"
    )


@pytest.mark.usefixtures("shipped")
def test_check(nlpx, tmp_path):
    assert nlpx("presets", "check") == (0, "preset      state\ndemo/large  ok\ndemo/small  ok\n", "")
    bad = tmp_path / "bad.yaml"
    bad.write_text("extends: demo/small\ntxet: a\noptim:\n  name: adam\n")
    outcome = nlpx("presets", "check", "small", str(bad), "nowhere")
    assert outcome.code == 2
    assert [line.split()[-1] for line in outcome.out.splitlines()] == ["state", "ok", "wrong", "wrong"]
    assert outcome.err == (
        f"Error: {bad}:2:1: unknown key `txet`\n"
        "  did you mean `text`?\n"
        f"  see: nlpx presets show {bad}\n"
        f"Error: {bad}:4:3: `optim.name` should be 'adamw' or 'lamb', not 'adam'\n"
        "  did you mean `adamw`?\n"
        "Error: unknown preset `nowhere`\n"
        "  known: demo/large, demo/small\n"
    )


def test_diff(nlpx):
    outcome = nlpx("presets", "diff", "demo/small", "demo/large")
    assert outcome == (0, "key                  first  second\noptim.learning_rate  2e-05  1e-05\n", "")
    assert nlpx("presets", "diff", "demo/small", "demo/small") == (0, "", "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "demo/smal"), "Error: unknown preset `demo/smal`\n  did you mean `demo/small` or"),
        (("show", "small", "--for", "dmo"), "Error: unknown group of presets `dmo`\n  did you mean `demo`?\n"),
        (("show", "small", "--section", "optm"), "Error: unknown section `optm`\n  did you mean `optim`?\n"),
        (("show", "small", "--set", "x"), "Error: --set x: not of the form KEY=VALUE\n"),
    ],
)
def test_wrong_words(nlpx, words, said):
    outcome = nlpx("presets", *words)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(said)


def test_a_file_of_no_command_asks_for_it(nlpx, tmp_path):
    (tmp_path / "own.yaml").write_text("text: x\n")
    outcome = nlpx("presets", "show", str(tmp_path / "own.yaml"))
    assert outcome.code == 2
    assert outcome.err.endswith("which command is this preset for?\n  name it with --for: demo\n")
