from __future__ import annotations

from pathlib import Path

import pytest

from nlpx.configuration import registry
from nlpx.errors import UsageError


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tricks"
    (folder / "packaged").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "_private.py").touch()
    (folder / "packaged" / "__init__.py").write_text('"""A folder of its own.\n\nMore."""\n')
    (folder / "rdrop.py").write_text(
        '"""Two passes, one answer. 一致。"""\nimport module_that_is_nowhere\n', encoding="utf-8"
    )
    (folder / "silent.py").write_text("x = 1\n")
    monkeypatch.setattr(registry, "_PACKAGE", tmp_path)
    return tmp_path


@pytest.mark.usefixtures("package")
def test_names_and_summaries_import_nothing():
    assert registry.names("tricks") == ["packaged", "rdrop", "silent"]
    assert registry.summary("tricks", "rdrop") == "Two passes, one answer. 一致。"
    assert registry.summary("tricks", "packaged") == "A folder of its own."
    assert registry.summary("tricks", "silent") == ""


def test_plugins_are_the_modules_with_a_config(package):
    (package / "tricks" / "ema.py").write_text("class Config:\n    pass\n")
    assert registry.plugins("tricks") == ["ema"]


@pytest.mark.usefixtures("package")
def test_unknown_names_give_near_ones_first():
    with pytest.raises(UsageError, match="unknown trick `rdorp`") as caught:
        registry.load("tricks", "rdorp")
    assert caught.value.hint == "did you mean `rdrop`?\nknown: packaged, rdrop, silent"
    with pytest.raises(UsageError):
        registry.summary("tricks", "../rdrop")


def test_load_imports_by_file_name():
    assert registry.load("models/families", registry.names("models/families")[0]).__name__.startswith("nlpx.models.")


def test_did_you_mean():
    assert registry.did_you_mean("RDROP", ["rdrop", "ema"]) == "did you mean `rdrop`?"
    assert registry.did_you_mean("zzz", ["rdrop", "ema"]) is None


@pytest.mark.parametrize(
    ("folder", "kind"), [("tricks", "trick"), ("models/families", "family"), ("data", "data"), ("optim", "optimizer")]
)
def test_singular(folder, kind):
    assert registry.singular(folder) == kind
