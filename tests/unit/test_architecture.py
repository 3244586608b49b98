"""What holds for the whole source tree: read from its text, so that a wrong import fails here and not at a user's.

Every test walks the tree once and names all offenders.
"""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"nlpx": ROOT / "toolkit" / "nlpx", "nlpx_cli": ROOT / "cli" / "nlpx_cli"}
TOOLKIT, COMMAND_LINE = PACKAGES["nlpx"], PACKAGES["nlpx_cli"]
FILES = sorted(path for folder in PACKAGES.values() for path in folder.rglob("*.py"))

HEAVY = {
    *(
        "torch",
        "transformers",
        "numpy",
        "safetensors",
        "tokenizers",
        "sentencepiece",
        "huggingface_hub",
        "jieba",
        "rjieba",
    ),
    *("yaml", "rich", "pydantic", "sklearn", "scipy", "matplotlib", "tensorboard"),
}

# Part of the toolkit -> parts it must not import, anywhere in its files. The order of the layers is nlpx_cli -> jobs ->
# runs -> tasks -> train -> {objectives, tricks, optim} -> {losses, models} -> {metrics, configuration, errors, io}.
ABOVE_MODELS = {"jobs", "runs", "tasks", "train", "objectives", "tricks", "optim"}
EVERYTHING_ABOVE = ABOVE_MODELS | {"models", "losses", "data", "counting", "tokenizers", "report", "embed", "decode"}
RUNNING = {f"runs/{name}" for name in ("running", "following", "inference", "starting_model", "starting_pair")}
FORBIDDEN = {
    "models": ABOVE_MODELS | {"data", "report", "losses", "metrics"},
    "models/families": {"models/checkpoints/load", "tokenizers"},
    "losses": EVERYTHING_ABOVE - {"losses"},
    "metrics": EVERYTHING_ABOVE - {"data"},
    "baselines": EVERYTHING_ABOVE,
    "objectives": {"jobs", "runs", "tasks", "train", "tricks", "optim", "report"},
    "tricks": {"jobs", "runs", "tasks", "train", "optim", "objectives", "data", "report", "models/families"},
    "optim": {"jobs", "runs", "tasks", "train", "tricks", "objectives", "data", "report", "models", "tokenizers"},
    "train": {"jobs", "runs", "tasks", "report"},
    "tasks": {"jobs", "runs"},
    "data": ABOVE_MODELS | {"models", "report"},
    "counting": ABOVE_MODELS | {"models", "report"},
    "tokenizers": ABOVE_MODELS | {"report", "data"},
    "report": (ABOVE_MODELS - {"runs"}) | {"models", "tokenizers"},
    "embed": ABOVE_MODELS - {"train"} | {"report"},
    "decode": ABOVE_MODELS - {"train"} | {"report", "embed"},
    "spaces": (ABOVE_MODELS - {"train"}) | {"report"},
    "xiangqi": RUNNING | {"jobs", "tasks", "train", "tricks", "optim", "report", "embed"},
    "configuration": EVERYTHING_ABOVE | {"metrics"},
    "": EVERYTHING_ABOVE | {"metrics", "xiangqi"},
}
# Folders that import each other, and no others do: a model saves and loads itself.
CIRCLES = ({"models", "models/checkpoints", "models/encoder_decoder"},)

# Read for `--help`, presets and listings, so no heavy import at their top: what lies in the package itself, the
# configuration of models, optimizer and training, and every plug-in or job, told by its `class Config`.
TORCH_FREE = ["optim/config.py", "train/config.py", "models/config.py"]

# `from nlpx import load_model` is a promise of the package; it is kept by imports inside functions.
LAZY_FACADE = TOOLKIT / "__init__.py"

MOST_LINES = 400
MOST_FILES = 20
A_FILE_EACH = {"cli/nlpx_cli"}  # folders with one file for each command


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _statements(body: Iterable[ast.AST], *, functions: bool) -> Iterator[ast.AST]:
    """Every statement that runs: when the module is imported, and with `functions` also when one is called."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not functions:
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from _statements(node.orelse, functions=functions)
            continue
        yield node
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            inner = getattr(node, part, [])
            yield from _statements(inner if isinstance(inner, list) else [], functions=functions)


@cache
def _imports(path: Path, *, top_level: bool, types: bool = False) -> tuple[str, ...]:
    """Imported modules as dotted names; with `types` also those that only a type checker imports."""
    nodes = ast.walk(_tree(path)) if types else _statements(_tree(path).body, functions=not top_level)
    names: list[str] = []
    for node in nodes:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return tuple(names)


def _heavy(path: Path) -> set[str]:
    return {name.split(".")[0] for name in _imports(path, top_level=True)} & HEAVY


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _module(path: Path) -> str:
    package = next(name for name, folder in PACKAGES.items() if path.is_relative_to(folder))
    return ".".join([package, *path.relative_to(PACKAGES[package]).with_suffix("").parts]).removesuffix(".__init__")


MODULES = {_module(path): path for path in FILES}


def _imported_files(path: Path, *, top_level: bool) -> set[Path]:
    """The files of ours that a file imports; the packages that lie around them are left out."""
    found = set()
    for name in _imports(path, top_level=top_level):
        while name and name not in MODULES:
            name = name.rpartition(".")[0]
        found |= {MODULES[name]} if name else set()
    return found - {path, LAZY_FACADE}


def _circle(graph: dict[str, set[str]]) -> list[str]:
    """The nodes of one circle, if the graph has any."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def _toolkit_files() -> list[Path]:
    return [path for path in FILES if path.is_relative_to(TOOLKIT) and path != LAZY_FACADE]


def test_dependencies_point_one_way():
    wrong = []
    for path in _toolkit_files():
        folder = path.relative_to(TOOLKIT).parent.as_posix()
        parts = ["" if folder == "." else folder.split("/")[0], folder]
        forbidden = {part for name in parts for part in FORBIDDEN.get(name, ())}
        prefixes = (*(f"nlpx.{part.replace('/', '.')}." for part in forbidden), "nlpx_cli")
        names = _imports(path, top_level=False, types=True)
        wrong += [f"{_name(path)}: {name}" for name in names if f"{name}.".startswith(prefixes)]
    assert wrong == []


def test_every_part_has_a_place_among_the_layers():
    parts = {path.relative_to(TOOLKIT).parts[0] for path in TOOLKIT.rglob("*.py") if path.parent != TOOLKIT}
    assert parts - FORBIDDEN.keys() == {"api", "bundled", "jobs", "runs"}


def test_no_module_is_in_a_circle_of_imports():
    graph = {_name(path): {_name(other) for other in _imported_files(path, top_level=True)} for path in FILES}
    assert " -> ".join(_circle(graph)) == ""


def test_no_other_folder_is_in_a_circle_of_imports():
    graph: dict[str, set[str]] = defaultdict(set)
    for path in _toolkit_files():
        folder = path.parent.relative_to(TOOLKIT).as_posix()
        folders = {other.parent.relative_to(TOOLKIT).as_posix() for other in _imported_files(path, top_level=False)}
        graph[folder] |= folders - {folder}
    for circle in CIRCLES:
        for folder in circle:
            graph[folder] -= circle
    assert " -> ".join(_circle(graph)) == ""


def test_the_command_line_imports_nothing_heavy_at_the_top():
    assert [_name(path) for path in FILES if path.is_relative_to(COMMAND_LINE) and _heavy(path)] == []


def test_configuration_is_read_without_torch():
    plugins = {path for path in FILES if "Config" in {getattr(node, "name", "") for node in _tree(path).body}}
    files = {
        *TOOLKIT.glob("*.py"),
        *(TOOLKIT / "configuration").glob("*.py"),
        *plugins,
        *map(TOOLKIT.joinpath, TORCH_FREE),
    }
    # pydantic and yaml are what configuration is made of; the modules that need them are imported late.
    assert [f"{_name(path)}: {_heavy(path)}" for path in sorted(files) if _heavy(path) - {"pydantic", "yaml"}] == []


def test_the_package_imports_nothing_heavy():
    assert {name.split(".")[0] for name in _imports(LAZY_FACADE, top_level=True)} <= {
        "__future__",
        "importlib",
        "typing",
    }


def test_files_stay_short():
    lengths = {_name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_folders_stay_small():
    sizes = Counter(_name(path.parent) for path in FILES)
    assert {name: size for name, size in sizes.items() if size > MOST_FILES and name not in A_FILE_EACH} == {}


def test_public_things_have_docstrings():
    missing = []
    for path in FILES:
        for node in _tree(path).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                names = [node.name] if ast.get_docstring(node) is None else []
                names += _undocumented_methods(node) if isinstance(node, ast.ClassDef) else []
                missing += [f"{_name(path)}: {name}" for name in names]
    assert missing == []


def _undocumented_methods(owner: ast.ClassDef) -> list[str]:
    # A method of a class with a base may be described there; a property is a name that should speak for itself.
    if owner.bases:
        return []
    methods = [node for node in owner.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    return [f"{owner.name}.{m.name}" for m in methods if not m.decorator_list and ast.get_docstring(m) is None]


def test_no_star_imports():
    assert [
        _name(path) for path in FILES if any(n.endswith(".*") for n in _imports(path, top_level=False, types=True))
    ] == []


def test_nothing_is_unpickled():
    forbidden = {"pickle.load", "pickle.loads", "pickle.Unpickler", "Unpickler", "joblib.load"}
    wrong = []
    for path in FILES:
        for call in (node for node in ast.walk(_tree(path)) if isinstance(node, ast.Call)):
            name, text = ast.unparse(call.func), ast.unparse(call)
            is_wrong = (
                name in forbidden
                or (name == "torch.load" and "weights_only=True" not in text)
                or (name in ("np.load", "numpy.load") and "allow_pickle=True" in text)
            )
            wrong += [f"{_name(path)}:{call.lineno}: {text}"] if is_wrong else []
    assert wrong == []


def test_no_drawer_for_everything():
    assert [_name(path) for path in FILES if path.stem in ("utils", "helpers", "misc", "common")] == []
