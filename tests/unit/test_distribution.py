"""One name for what pip installs, which is not the name of the package."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib

import pytest

import nlpx
from documents import DOCUMENTS, ROOT
from nlpx.errors import install_hint

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SOURCES = [*(ROOT / "toolkit").rglob("*.py"), *(ROOT / "cli").rglob("*.py")]


def test_the_name_is_that_of_the_project():
    assert PROJECT["name"] == nlpx.DISTRIBUTION == "nlpx-zh"
    assert PROJECT["scripts"] == {"nlpx": "nlpx_cli.__main__:main"}


def test_hints_name_extras_that_exist_and_come_from_one_place():
    assert install_hint("plot") == "pip install 'nlpx-zh[plot]'"
    called = set()
    for source in SOURCES:
        text = source.read_text(encoding="utf-8")
        called |= set(re.findall(r"install_hint\([\"'](\w+)[\"']\)", text))
        assert not re.search(r"pip install '?nlpx[\[' ]", text), source
        assert "pip install '" not in text or source.name == "errors.py", source
    assert called
    assert called <= set(PROJECT["optional-dependencies"])


def test_no_page_installs_the_other_project():
    for document in DOCUMENTS:
        assert not re.search(r"pip install '?nlpx(?!-zh)", document.read_text(encoding="utf-8")), document


@pytest.mark.parametrize(
    ("source", "where"),
    [
        ("__version__ = '9'", r"is \S+__init__\.py"),
        ("import nlpx_wants_this", r"cannot be imported \(No module named 'nlpx_wants_this'\)"),
    ],
)
def test_the_other_nlpx_is_named(tmp_path, source, where):
    (tmp_path / "nlpx").mkdir()
    (tmp_path / "nlpx" / "__init__.py").write_text(source, encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), str(ROOT / "cli")])
    command = [sys.executable, "-m", "nlpx_cli", "--help"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=os.environ | {"PYTHONPATH": path})
    assert (done.returncode, done.stdout) == (4, "")
    first, hint = done.stderr.splitlines()
    assert re.fullmatch(rf"Error: the package `nlpx` {where}, not that of nlpx-zh, .*", first)
    assert hint == f"  pip uninstall nlpx, then pip install --force-reinstall --no-deps {nlpx.DISTRIBUTION}"
