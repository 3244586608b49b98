"""Plug-ins by file name: `tricks/rdrop.py` is the trick `rdrop`. No table to edit, nothing registers itself.

Names and summaries come from the directory listing and from the source text, so that listing a folder of
modules that need torch costs no import of torch.
"""

from __future__ import annotations

import ast
import difflib
import importlib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from nlpx.errors import UsageError

_PACKAGE = Path(__file__).resolve().parent.parent
_KINDS = {"optim": "optimizer", "data": "data"}


def names(folder: str) -> list[str]:
    """The module names of `nlpx.<folder>` in alphabetical order, without importing any; no `_private` ones.

    `folder` is a path below the package, such as `tricks` or `models/families`.
    """
    return sorted(_modules(folder))


def plugins(folder: str) -> list[str]:
    """Those of `names(folder)` that can be configured: their source defines `class Config`."""
    return [name for name, path in sorted(_modules(folder).items()) if _defines_config(path)]


def summary(folder: str, name: str) -> str:
    """The first docstring line of `nlpx.<folder>.<name>`, read from the source; empty where there is none.

    Raises `UsageError` for an unknown name.
    """
    tree = ast.parse(_find(folder, name).read_text(encoding="utf-8"))
    lines = (ast.get_docstring(tree) or "").splitlines()
    return lines[0].strip() if lines else ""


def load(folder: str, name: str) -> ModuleType:
    """Import `nlpx.<folder>.<name>`; an unknown name is a `UsageError` with near names and then the list."""
    _find(folder, name)
    return importlib.import_module(f"nlpx.{folder.replace('/', '.')}.{name}")


def spelt_out(folder: str, name: str) -> str:
    """The plug-in of a folder that `name` means: `rdrop`, `R-Drop` and `r_drop` are one. Unknown names stay."""

    def plain(word: str) -> str:
        return word.lower().replace("_", "").replace("-", "")

    known = plugins(folder)
    return name if name in known else next((other for other in known if plain(other) == plain(name)), name)


def did_you_mean(name: str, names: Iterable[str]) -> str | None:
    """A question naming what looks like `name`, such as "did you mean `rdrop`?"; None if nothing is near."""
    originals = {candidate.lower(): candidate for candidate in names}
    near = difflib.get_close_matches(name.lower(), originals, n=3, cutoff=0.6)
    if not near:
        return None
    return f"did you mean {' or '.join(f'`{originals[match]}`' for match in near)}?"


def unknown(kind: str, name: str, names: Iterable[str]) -> tuple[str, str]:
    """Message and hint for a name that is in no list: near names first, then the whole list."""
    known = list(names)
    near = did_you_mean(name, known)
    listing = f"known: {', '.join(known)}" if known else "there is none yet"
    return f"unknown {kind} `{name}`", listing if near is None else f"{near}\n{listing}"


def singular(folder: str) -> str:
    """What one module of a folder is called in messages: `tricks` -> trick, `models/families` -> family."""
    if folder in _KINDS:
        return _KINDS[folder]
    last = folder.rsplit("/", 1)[-1]
    return last.removesuffix("ies") + "y" if last.endswith("ies") else last.removesuffix("s")


def _defines_config(path: Path) -> bool:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return any(isinstance(node, ast.ClassDef) and node.name == "Config" for node in body)


def _modules(folder: str) -> dict[str, Path]:
    root = _PACKAGE / folder
    files = {path.stem: path for path in root.glob("*.py")}
    packages = {path.parent.name: path for path in root.glob("*/__init__.py")}
    return {name: path for name, path in (files | packages).items() if not name.startswith("_")}


def _find(folder: str, name: str) -> Path:
    modules = _modules(folder)
    if name not in modules:
        message, hint = unknown(singular(folder), name, sorted(modules))
        raise UsageError(message, hint=hint)
    return modules[name]
