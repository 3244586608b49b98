"""Names of repositories on the hub: `org/model`, or `org/model@revision`."""

from __future__ import annotations

from typing import NamedTuple


class Name(NamedTuple):
    """A repository, and a branch, tag or commit of it; None for its main branch."""

    repository: str
    revision: str | None

    @classmethod
    def parse(cls, name: str) -> Name:
        """The parts of `org/model@revision`; a revision may have slashes, a repository no `@`."""
        repository, _, revision = name.partition("@")
        return cls(repository, revision or None)

    def __str__(self) -> str:
        return self.repository if self.revision is None else f"{self.repository}@{self.revision}"


def looks_like_hub_name(name: str) -> bool:
    """`org/model` or `model`, with `@revision` or without, and without the characters of a file path."""
    repository, at, revision = name.partition("@")
    parts = repository.split("/")
    if at and not revision:
        return False
    return len(parts) <= 2 and all(parts) and not name.startswith((".", "~")) and "\\" not in name
