"""Which part may know which: read from the source, so that a wrong import fails here and not at a user's."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"nlpx": ROOT / "toolkit" / "nlpx", "nlpx_cli": ROOT / "cli" / "nlpx_cli"}
FILES = sorted(path for folder in PACKAGES.values() for path in folder.rglob("*.py"))

HEAVY = {
    *("torch", "transformers", "numpy", "safetensors", "tokenizers", "huggingface_hub", "jieba", "rjieba"),
    *("yaml", "rich", "pydantic", "sklearn", "scipy", "matplotlib", "tensorboard"),
}

# Part of the toolkit -> parts it must not import, anywhere in its files. The order of the layers is
# nlpx_cli -> jobs -> tasks -> train -> {objectives, tricks, optim} -> models -> {config, errors, io}.
ABOVE_MODELS = {"jobs", "tasks", "train", "objectives", "tricks", "optim"}
ABOVE_TRAIN = {"jobs", "tasks"}
FORBIDDEN = {
    "models": ABOVE_MODELS | {"data", "report"},
    "objectives": {"jobs", "tasks", "train", "tricks", "optim", "report"},
    "tricks": {"jobs", "tasks", "train", "optim", "objectives", "data", "report", "models/families"},
    "optim": {"jobs", "tasks", "train", "tricks", "objectives", "data", "report", "models", "tokenizers"},
    "train": {"jobs", "tasks", "report"},
    "tasks": {"jobs"},
    "data": ABOVE_MODELS | {"models", "report"},
    "counting": ABOVE_MODELS | {"models", "report"},
    "tokenizers": ABOVE_MODELS | {"report", "data"},
    "report": ABOVE_MODELS | {"models", "tokenizers"},
    "embed": {"jobs", "tasks", "tricks", "optim", "objectives", "report"},
    "decode": {"jobs", "tasks", "tricks", "optim", "objectives", "report", "embed"},
    "xiangqi": {"jobs", "tasks", "train", "tricks", "optim", "report", "embed"},
    "": ABOVE_MODELS | {"models", "data", "counting", "tokenizers", "report"},
}

# Read for `--help`, presets and listings, so no heavy import at their top: what lies in the package itself, the
# configuration of models, optimizer and training, and every plug-in or job, told by its `class Config`.
TORCH_FREE = ["optim/config.py", "train/config.py", "models/config.py"]

# `from nlpx import load_model` is a promise of the package; it is kept by imports inside functions.
LAZY_FACADE = PACKAGES["nlpx"] / "__init__.py"


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imports(path: Path, *, top_level: bool) -> Iterator[str]:
    """Imported modules as dotted names; at the top level only what runs on import (not under TYPE_CHECKING)."""
    nodes = _on_import(_tree(path).body) if top_level else ast.walk(_tree(path))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _on_import(body: list[ast.stmt]) -> Iterator[ast.AST]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from _on_import(node.orelse)
            continue
        yield node
        for inner in (getattr(node, part, []) for part in ("body", "orelse", "finalbody")):
            yield from _on_import(inner)


def _part(path: Path) -> str:
    relative = path.relative_to(PACKAGES["nlpx"])
    return relative.parts[0] if len(relative.parts) > 1 else ""


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


TOOLKIT = [path for path in FILES if path.is_relative_to(PACKAGES["nlpx"]) and path != LAZY_FACADE]


@pytest.mark.parametrize("path", TOOLKIT, ids=_name)
def test_dependencies_point_one_way(path):
    forbidden = {f"nlpx.{part.replace('/', '.')}" for part in FORBIDDEN.get(_part(path), set())}
    wrong = [
        name
        for name in _imports(path, top_level=False)
        if any(name == part or name.startswith(f"{part}.") for part in forbidden) or name.startswith("nlpx_cli")
    ]
    assert wrong == []


@pytest.mark.parametrize("path", [path for path in FILES if "nlpx_cli" in path.parts], ids=_name)
def test_the_command_line_imports_nothing_heavy_at_the_top(path):
    assert {name.split(".")[0] for name in _imports(path, top_level=True)} & HEAVY == set()


def _torch_free_files() -> list[Path]:
    root = PACKAGES["nlpx"]
    plugins = [
        path for path in root.glob("*/*.py") if "Config" in {getattr(node, "name", "") for node in _tree(path).body}
    ]
    return sorted({*root.glob("*.py"), *plugins, *(root / part for part in TORCH_FREE)})


@pytest.mark.parametrize("path", _torch_free_files(), ids=_name)
def test_configuration_is_read_without_torch(path):
    heavy = {name.split(".")[0] for name in _imports(path, top_level=True)} & HEAVY
    # pydantic and yaml are what configuration is made of; the modules that need them are imported late.
    assert heavy <= {"pydantic", "yaml"}


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_files_stay_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_public_things_have_docstrings(path):
    missing = []
    for node in _tree(path).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            missing += [node.name] if ast.get_docstring(node) is None else []
            if isinstance(node, ast.ClassDef):
                missing += _undocumented_methods(node)
    assert missing == []


def _undocumented_methods(owner: ast.ClassDef) -> list[str]:
    # A method of a class with a base may be described there; a property is a name that should speak for itself.
    if owner.bases:
        return []
    methods = [node for node in owner.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    return [f"{owner.name}.{m.name}" for m in methods if not m.decorator_list and ast.get_docstring(m) is None]


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_no_star_imports(path):
    imports = [node for node in ast.walk(_tree(path)) if isinstance(node, ast.ImportFrom)]
    assert all(alias.name != "*" for node in imports for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_nothing_is_unpickled(path):
    calls = [node for node in ast.walk(_tree(path)) if isinstance(node, ast.Call)]
    names = {ast.unparse(call.func) for call in calls}
    assert not names & {"pickle.load", "pickle.loads", "pickle.Unpickler", "Unpickler", "joblib.load"}
    for call in calls:
        if ast.unparse(call.func) == "torch.load":
            assert {"weights_only=True"} <= {f"{word.arg}={ast.unparse(word.value)}" for word in call.keywords}
        if ast.unparse(call.func) in ("np.load", "numpy.load"):
            assert "allow_pickle=True" not in ast.unparse(call)


def test_no_drawer_for_everything():
    assert [path for path in FILES if path.stem in ("utils", "helpers", "misc", "common")] == []


def test_package_imports_nothing_heavy():
    assert {name.split(".")[0] for name in _imports(LAZY_FACADE, top_level=True)} <= {"__future__", "typing"}
