"""What nlpx may say to a user, taken from its source: every error, hint, note and warning, and rules for all of them.

A text is followed to where it is put together: through conditions, names that are assigned near by, and functions of
the same file that return it. What only a run knows is a `¤` in it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cached_property
from itertools import islice, product
from pathlib import Path
from typing import NamedTuple

HOLE = "¤"
ERRORS = {"UserError", "UsageError", "InputError", "MachineError", "ResultError", "Interrupted", "ShownWarning"}
METHODS = {"note", "detail", "warn", "hint"}  # of messages, and functions of those names
MOST = 64  # ways to put one text together

# What a sentence may begin with in capitals: names.
NAMES = {"Ctrl-C", "DhtmlXQ", "Parquet", "PyTorch", "Python", "TensorFlow", "Xiangqi"}
DOUBLED = re.compile(r"\b([A-Za-z]{2,}) \1\b", re.IGNORECASE)
PLACEHOLDER = re.compile(r"(?<!\{)\{[a-z_][a-z_.]*\}(?!\})|%[sdr]\b|\bTODO\b|\bFIXME\b|\bXXX\b")


class Sentence(NamedTuple):
    """A text, where it stands, and whether it is a way out."""

    place: str
    text: str
    is_hint: bool


def faults(text: str) -> list[str]:
    """What is wrong with a sentence, as one that stands in a message."""
    first, word = text[:1], re.match(r"[\w-]*", text).group()  # type: ignore[union-attr]
    begins_well = not first.isupper() or word.isupper() or word in NAMES
    found = {
        "a word twice": DOUBLED.search(text),
        "a placeholder": PLACEHOLDER.search(text),
        "blanks around it, or two in a row": text != text.strip() or re.search(r"\S  +\S", text),
        "begins with a capital": not begins_well,
        "ends with a mark": re.search(r"(?<!\.)[.!,;:]$|(?<!\.)\.\.$", text),
        "an odd number of backticks": text.count("`") % 2,
        "brackets that do not match": sum(text.count(a) for a in "([") != sum(text.count(b) for b in ")]"),
        "the name of an exception": re.search(r"\b[A-Z]\w*(?:Error|Exception)\b", text),
    }
    return [name for name, fault in found.items() if fault]


class Module:
    """A file of the source, and the texts that it puts together."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tree = ast.parse(path.read_text(encoding="utf-8"))

    def sentences(self) -> Iterator[Sentence]:
        """Whatever it hands to an error, a hint or a message."""
        for call, scope in self._calls(self.tree, self.tree):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            place = f"{self.path.name}:{call.lineno}"
            if name in ERRORS | METHODS and call.args:
                yield from (Sentence(place, text, name == "hint") for text in self._texts(call.args[0], scope))
            for keyword in call.keywords:
                if keyword.arg == "hint":
                    yield from (Sentence(place, text, True) for text in self._texts(keyword.value, scope))

    def _calls(self, node: ast.AST, scope: ast.AST) -> Iterator[tuple[ast.Call, ast.AST]]:
        for child in ast.iter_child_nodes(node):
            inner = child if isinstance(child, ast.FunctionDef) else scope
            if isinstance(child, ast.Call):
                yield child, scope
            yield from self._calls(child, inner)

    def _texts(self, node: ast.expr, scope: ast.AST) -> list[str]:
        return [text for text in self._ways(node, scope, 4) if text.strip(HOLE)]

    def _ways(self, node: ast.expr | None, scope: ast.AST, depth: int) -> list[str]:
        """Every text that an expression may give."""
        if depth == 0:
            return [HOLE]
        match node:
            case ast.Constant(value=None):
                return []
            case ast.Constant(value=value):
                return [str(value)]
            case ast.JoinedStr(values=values):
                return self._product([self._ways(value, scope, depth) for value in values])
            case ast.FormattedValue(value=value):
                return self._ways(value, scope, depth - 1) or [HOLE]
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self._product([self._ways(part, scope, depth) for part in (left, right)])
            case ast.IfExp(body=body, orelse=orelse):
                return self._ways(body, scope, depth) + self._ways(orelse, scope, depth)
            case ast.BoolOp(values=values):
                return [text for value in values for text in self._ways(value, scope, depth)]
            case ast.Name(id=name):
                return self._assigned(name, scope, depth - 1) or [HOLE]
            case ast.Call(func=ast.Attribute(value=value, attr="format")):
                return [re.sub(r"\{\w*\}", HOLE, text) for text in self._ways(value, scope, depth - 1)]
            case ast.Call(func=ast.Name(id=name)) if name in self._functions:
                function = self._functions[name]
                returns = [part.value for part in ast.walk(function) if isinstance(part, ast.Return)]
                return [text for value in returns for text in self._ways(value, function, depth - 1)] or [HOLE]
            case _:
                return [HOLE]

    def _product(self, parts: list[list[str]]) -> list[str]:
        return ["".join(words) for words in islice(product(*parts), MOST)]

    def _assigned(self, name: str, scope: ast.AST, depth: int) -> list[str]:
        for place in (scope, self.tree):
            body = ast.walk(place) if place is scope and scope is not self.tree else self.tree.body
            values = [
                part.value
                for part in body
                if isinstance(part, ast.Assign) and any(getattr(target, "id", None) == name for target in part.targets)
            ]
            if values:
                return [text for value in values for text in self._ways(value, place, depth)]
        return []

    @cached_property
    def _functions(self) -> dict[str, ast.FunctionDef]:
        return {node.name: node for node in self.tree.body if isinstance(node, ast.FunctionDef)}
