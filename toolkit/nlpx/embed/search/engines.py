"""Search engines: the exact products of `search.py`, or a library that is installed, behind one call."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nlpx.embed.search.exact import INDEX_ROWS, search
from nlpx.embed.unit_vectors import UnitVectors, exactly_unit
from nlpx.errors import MachineError, UsageError

Matrix = NDArray[Any]


class Engine(Protocol):
    """Finds the nearest rows of the index it was made from."""

    def search(self, queries: Matrix, k: int) -> tuple[Matrix, Matrix]:
        """Of queries (Q, d): cosines and indices (Q, k), best first; index -1 where fewer were found."""
        ...


def open_engine(name: str, index: UnitVectors) -> Engine:
    """`exact`, `faiss` or `usearch`. Raises MachineError if the library is not installed."""
    engines: dict[str, Callable[[UnitVectors], Engine]] = {"exact": _Exact, "faiss": _Faiss, "usearch": _Usearch}
    if name not in engines:
        raise UsageError(f"unknown engine `{name}`", hint=f"engines: {', '.join(engines)}")
    return engines[name](index)


class _Exact:
    def __init__(self, index: UnitVectors) -> None:
        self.index = index

    def search(self, queries: Matrix, k: int) -> tuple[Matrix, Matrix]:
        return search(queries, self.index, k)


class _Faiss:
    """Its flat index: exact too, in float32, with all vectors in memory."""

    def __init__(self, index: UnitVectors) -> None:
        self.index = _library("faiss", "faiss-cpu").IndexFlatIP(index.columns)
        for _, block in index.blocks(INDEX_ROWS):
            self.index.add(block)

    def search(self, queries: Matrix, k: int) -> tuple[Matrix, Matrix]:
        cosines, indices = self.index.search(exactly_unit(queries).astype(np.float32), k)
        return np.clip(cosines, -1, 1), indices


class _Usearch:
    """Its graph: approximate, and fast once it is built."""

    def __init__(self, index: UnitVectors) -> None:
        library = _library("usearch.index", "usearch")
        self.index = library.Index(ndim=index.columns, metric="ip", dtype="f32")
        for first, block in index.blocks(INDEX_ROWS):
            self.index.add(np.arange(first, first + len(block), dtype=np.uint64), block)

    def search(self, queries: Matrix, k: int) -> tuple[Matrix, Matrix]:
        indices = np.full((len(queries), k), -1, dtype=np.int64)
        cosines = np.zeros((len(queries), k), dtype=np.float32)
        for row, query in enumerate(exactly_unit(queries).astype(np.float32)):
            found = self.index.search(query, k)
            indices[row, : len(found)] = found.keys
            cosines[row, : len(found)] = np.clip(1 - found.distances, -1, 1)
        return cosines, indices


def _library(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        message = f"--engine {name} needs {name}, which cannot be imported ({error})"
        raise MachineError(message, hint=f"pip install {package}") from None
