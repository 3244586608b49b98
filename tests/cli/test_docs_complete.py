"""The documentation is complete and says what is there: catalogue, options, settings, exit codes, layout, links."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import pytest
import typer

import documents
from documents import CHINESE, DOCUMENTS, README, ROOT, TRANSLATIONS

CATALOGUE = ROOT / "docs" / "catalogue.md"
COMMAND_PAGES = {path.stem: path for path in (ROOT / "docs" / "commands").glob("*.md")}
COMMANDS = documents.commands()


def _literals(annotation: Any) -> set[str]:
    return {value for value in get_args(annotation) if value is not NoneType}


def _model_key(name: str) -> set[str]:
    from nlpx.models.config import ModelConfig

    return _literals(ModelConfig.model_fields[name].annotation)


def _catalogued() -> dict[str, set[str]]:
    """Section of the catalogue -> the names that the code has for it."""
    from nlpx.configuration import registry
    from nlpx.models.config import Head
    from nlpx.optim.config import ScheduleConfig, optimizer_names, wrapper_names
    from nlpx.tokenizers.vocab import Kind

    decays = ScheduleConfig.model_fields["decay"].annotation
    return {
        "Positions": _model_key("position"),
        "Masks": _model_key("mask"),
        "Families": set(registry.names("models/families")),
        "Tokenizers": _literals(Kind),
        "Tasks": set(registry.plugins("tasks")),
        "Losses": set(registry.plugins("losses")),
        "Objectives": set(registry.names("objectives")),
        "Tricks": set(registry.plugins("tricks")),
        "Optimizers": set(optimizer_names()),
        "Optimizer wrappers": set(wrapper_names()),
        "Schedules": {name for part in get_args(decays) for name in get_args(part)},
        "Norms": _model_key("norm") | {"norm_place", "norm_scale", "embedding_norm", "condition_size"},
        "Heads": _literals(Head) | {"pooler", "classification_pooling", "classification_transform"} | _lm_keys(),
    }


def _model_keys() -> set[str]:
    from nlpx.models.config import ModelConfig

    return set(ModelConfig.model_fields)


def _lm_keys() -> set[str]:
    return {"lm_transform", "lm_bias", "lm_scale", "tie_word_embeddings"}


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
    from nlpx.configuration.presets import flatten, resolve
    from nlpx.jobs.finetune import Config

    resolved = resolve(Config, preset="finetune/sohu").to_dict()
    keys = {"tricks" if key.startswith("tricks.") else key for key in flatten(resolved)}
    assert set(documents.first_column(documents.section(COMMAND_PAGES["finetune"], "Settings"))) == keys


def test_every_preset_is_listed():
    from nlpx.configuration.files import preset_names

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
    assert documents.examples(command) or isinstance(command, typer.core.TyperGroup)


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


def test_the_written_layout_is_the_layout():
    layout = documents.blocks(ROOT / "docs" / "architecture.md", "text")[0].text
    package, command_line = ROOT / "toolkit" / "nlpx", ROOT / "cli" / "nlpx_cli"
    there = {path.name for root in (package, command_line) for path in root.rglob("*.py")}
    assert set(re.findall(r"\w+\.py", layout)) - there == set()
    files = {path.name for root in (package, command_line) for path in root.glob("*.py")}
    inits = [*package.glob("*/__init__.py"), *package.glob("models/*/__init__.py")]
    folders = {f"{path.parent.name}/" for path in inits}
    assert {name for name in files | folders if name not in layout} == set()


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


@pytest.mark.parametrize(("chinese", "english"), TRANSLATIONS.items(), ids=map(documents.name, TRANSLATIONS))
def test_the_chinese_pages_have_the_same_commands(chinese, english):
    assert documents.command_lines(chinese) == documents.command_lines(english)


def test_the_chinese_readme_has_the_same_blocks_and_links():
    def without_comments(document: Path) -> list[str]:
        return [re.sub(r"\s*#.*", "", block.text) for block in documents.blocks(document, "python", "json")]

    assert without_comments(CHINESE) == without_comments(README)
    assert [block.language for block in documents.blocks(CHINESE)] == [b.language for b in documents.blocks(README)]
    ours, theirs = (
        [link.partition("#")[0].replace("/zh/", "/") for link in documents.links(document)]
        for document in (README, CHINESE)
    )
    assert [link for link in theirs if link != "README.md"] == [link for link in ours if link != CHINESE.name]
