"""Prints the lowest versions that pyproject.toml promises to users, as constraints for pip: `make test-lowest`.

The tools of development have no such promise, so they come as the newest.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
OF_DEVELOPERS = ("dev", "bench")


def constraints(project: dict) -> list[str]:
    """`name==version` for every requirement with a lower bound."""
    extras = project["optional-dependencies"]
    groups = [project["dependencies"], *(extras[name] for name in extras if name not in OF_DEVELOPERS)]
    requirements = [Requirement(text) for group in groups for text in group]
    return [
        f"{requirement.name}=={bound.version}"
        for requirement in requirements
        for bound in requirement.specifier
        if bound.operator == ">="
    ]


if __name__ == "__main__":
    print("\n".join(constraints(tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"])))
