"""Everything that nlpx may say, read whole from its source, and the options, commands and settings that it names."""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from typing import Any

import pytest

import documents
from documents import ROOT
from nlpx.configuration import registry
from nlpx.models.config import ModelConfig
from nlpx_cli.hints import options_of
from sentences import Module, Sentence, faults

SOURCES = [*sorted((ROOT / "toolkit" / "nlpx").rglob("*.py")), *sorted((ROOT / "cli" / "nlpx_cli").glob("*.py"))]
PREFIXES = ("Next: ", "Note: ")  # what the console puts before a sentence
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
OTHER_PROGRAM = re.compile(r"\b(pip|git|jq|iconv|tar|unzip|sqlite3|torchrun|hf) ")
TRAINED = ("finetune", "pretrain", "chess_lm")  # the jobs with settings


@cache
def said() -> list[Sentence]:
    """Each line of each text, once."""
    found = {
        Sentence(sentence.place, line, sentence.is_hint)
        for path in SOURCES
        for sentence in Module(path).sentences()
        for line in sentence.text.splitlines()
    }
    return sorted(found)


@cache
def options() -> dict[tuple[str, ...], set[str]]:
    """The options of every command, by its words; those of all of them under no words."""
    found = {words: options_of(words) for words in documents.commands() if words}
    return found | {(): {option for each in found.values() for option in each}}


def test_what_is_looked_for_is_found(tmp_path):
    """The reader of the sources follows conditions, names and functions, and the rules see what they name."""
    source = tmp_path / "module.py"
    source.write_text(
        "HINT = 'one way out'\n"
        "def problem(found):\n"
        "    if found:\n"
        "        return 'holds a NUL'\n"
        "    return f'is {found}'\n"
        "def check(place, found):\n"
        "    name = 'row' if found else 'file'\n"
        "    raise InputError(f'{place}: {name} holds {problem(found)}', hint=HINT)\n"
    )
    found = [sentence.text for sentence in Module(source).sentences()]
    rows = [f"¤: {name} holds {what}" for name in ("row", "file") for what in ("holds a NUL", "is ¤")]
    assert sorted(found) == sorted([*rows, "one way out"])
    assert faults(rows[0]) == ["a word twice"]
    assert len(said()) > 1000


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("the row is is empty", "a word twice"),
        ("no field {name} in it", "a placeholder"),
        ("no field %s in it", "a placeholder"),
        (" no field", "blanks around it, or two in a row"),
        ("no  field", "blanks around it, or two in a row"),
        ("No field", "begins with a capital"),
        ("no field.", "ends with a mark"),
        ("no field `text", "an odd number of backticks"),
        ("no field (text", "brackets that do not match"),
        ("no field: KeyError", "the name of an exception"),
    ],
)
def test_each_rule_sees_its_fault(text, fault):
    assert faults(text) == [fault]
    assert faults("no field `text` in (0, 1]; is it JSON?") == []


def test_every_sentence_is_one():
    wrong = [(sentence.place, sentence.text, found) for sentence in said() if (found := faults(_bare(sentence.text)))]
    assert wrong == []


def _bare(text: str) -> str:
    for prefix in PREFIXES:
        text = text.removeprefix(prefix)
    return text


def test_every_option_that_is_named_exists():
    wrong = []
    for place, text, _ in said():
        for way in re.split(r"; |`", text):
            missing = set(OPTION.findall(way)) - options()[_command(way)]
            wrong += [f"{place}: {sorted(missing)} in {text}"] if missing and not OTHER_PROGRAM.search(way) else []
    assert wrong == []


def _command(way: str) -> tuple[str, ...]:
    """The command that a way out spells, no words if it spells none."""
    spelt = re.search(r"\bnlpx ([a-z-]+)(?: ([a-z-]+))?", way)
    words = tuple(word for word in spelt.groups() if word) if spelt else ()
    return next((known for known in (words, words[:1]) if known in options()), ())


def test_every_command_that_is_named_exists():
    known = {words[0] for words in options() if words}
    # Else the name of the program stands in a sentence about it.
    found = [
        (place, text, re.findall(r"(?:`|^|: |with )nlpx ([a-z][a-z-]*)(?= |`|$)", text)) for place, text, _ in said()
    ]
    found = [(place, text, words) for place, text, words in found if "nlpx has" not in text]
    assert [(place, text) for place, text, words in found if not set(words) <= known] == []


def test_every_setting_that_is_named_exists():
    wrong = []
    for place, text, _ in said():
        for key in re.findall(r"--set ([a-z_]+(?:\.[a-z_]+)*)=", text):
            sections = [import_module(f"nlpx.jobs.{job}.config").Config for job in TRAINED] + [
                ModelConfig
            ]  # of convert
            wrong += [] if any(_has(section, key.split(".")) for section in sections) else [f"{place}: {key}"]
    assert wrong == []


def _has(section: Any, key: list[str]) -> bool:
    """Whether a configuration has a key; what lies below a plug-in's name is the plug-in's."""
    for number, part in enumerate(key):
        if not hasattr(section, "model_fields") or part not in section.model_fields:
            return number > 0 and key[number - 1] in PLUGINS and _plugin_has(key[number - 1], key[number:])
        section = ModelConfig if part == "choices" else section.model_fields[part].annotation
    return True


PLUGINS = {"tricks": "tricks", "objectives": "objectives", "task_options": "tasks"}


def _plugin_has(kind: str, key: list[str]) -> bool:
    folder = PLUGINS[kind]
    names = registry.names(folder)
    chosen, rest = (names, key) if kind == "task_options" else ([key[0]] if key[0] in names else [], key[1:])
    return any(not rest or rest[0] in registry.load(folder, name).Config.model_fields for name in chosen)
