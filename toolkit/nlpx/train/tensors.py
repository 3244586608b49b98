"""A tree of plain values and tensors in files: JSON with `{"$tensor": name}` where a tensor stands, and safetensors.

Sharded tensors (`{"$parts": name, "of": n}`) lie in one file for each process, which writes its own
rows; read in the order of the files they are the whole tensor, so that any number of processes can read it. Tensors
are read on access, and only the rows in question. Nothing is ever unpickled.

A seal over the JSON and over the names, types and shapes of the tensors says whether both are what was written: a value
that is wrong or missing would come out many steps later, if at all. Files of earlier versions have none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor

from nlpx.train import distributed
from nlpx.train.sharding import as_shard, own_rows, shard_bounds

SEAL = "$seal"


@dataclass(frozen=True)
class Stored:
    """A tensor that is still in its files, in rows one after the other."""

    files: tuple[Path, ...]
    name: str

    @cached_property
    def shapes(self) -> list[list[int]]:
        """The shape of the part in each file."""
        return [self._in(file, lambda opened: opened.get_slice(self.name).get_shape()) for file in self.files]

    @property
    def shape(self) -> torch.Size:
        """Of the whole."""
        first = self.shapes[0]
        rows = [sum(shape[0] for shape in self.shapes)] if first else []
        return torch.Size(rows + first[1:])

    def whole(self) -> Tensor:
        """All of it, on the CPU."""
        parts = [self._in(file, lambda opened: opened.get_tensor(self.name)) for file in self.files]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def rows(self, start: int, stop: int) -> Tensor:
        """Some of its rows; of the files only what holds them is read."""
        found, first = [], 0
        for file, shape in zip(self.files, self.shapes, strict=True):
            low, high = max(start - first, 0), min(stop - first, shape[0])
            if low < high:
                found.append(self._in(file, partial(_rows, name=self.name, start=low, stop=high)))
            first += shape[0]
        return torch.cat(found) if found else self.whole()[:0]

    def like(self, other: Tensor | None) -> Tensor:
        """As `other` has it: this process's shard where that is one, else all."""
        if other is not None and distributed.is_shard(other) and other.shape == self.shape:
            return as_shard(self.rows(*shard_bounds(len(other))), other)
        return self.whole()

    def _in(self, file: Path, look: Callable[[Any], Any]) -> Any:
        with safe_open(file, framework="pt") as opened:
            return look(opened)


def _rows(opened: Any, *, name: str, start: int, stop: int) -> Tensor:
    rows: Tensor = opened.get_slice(name)[start:stop]
    return rows


def write_tree(value: Any, directory: Path, name: str) -> None:
    """Write `name`.json and `name`.safetensors, and in each process the file of its parts if there are any."""
    tensors: dict[str, Tensor] = {}
    parts: dict[str, Tensor] = {}
    skeleton = _pack(value, "", tensors, parts)
    if parts:
        safetensors.torch.save_file(parts, _part_files(directory, name, distributed.world_size())[distributed.rank()])
    if distributed.is_main():
        safetensors.torch.save_file(tensors, directory / f"{name}.safetensors")
        if isinstance(skeleton, dict):
            skeleton[SEAL] = _seal(skeleton, directory / f"{name}.safetensors")
        (directory / f"{name}.json").write_text(json.dumps(skeleton, ensure_ascii=False), encoding="utf-8")


def read_tree(directory: Path, name: str) -> Any:
    """What `write_tree` wrote, a `Stored` for each tensor. Raises what Python and safetensors raise."""
    skeleton = json.loads((directory / f"{name}.json").read_text(encoding="utf-8"))
    with safe_open(directory / f"{name}.safetensors", framework="pt"):
        seal = skeleton.pop(SEAL, None) if isinstance(skeleton, dict) else None
        if seal is not None and seal != _seal(skeleton, directory / f"{name}.safetensors"):
            raise ValueError("something in it has changed since it was written")
        return _unpack(skeleton, directory, name)


def load_tree(value: Any, owners: Mapping[Any, Tensor] | None = None, like: Tensor | None = None) -> Any:
    """The tree with its tensors read: shards where they lie under the key of a sharded owner, else whole tensors.

    `owners`: parameters by name and by their number in the optimizer.
    """
    if isinstance(value, Stored):
        return value.like(like)
    if isinstance(value, dict):
        known = owners or {}
        return {key: load_tree(item, known, known.get(key, like)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(load_tree(item, owners, like) for item in value)
    return value


def _part_files(directory: Path, name: str, number: int) -> tuple[Path, ...]:
    return tuple(directory / f"{name}-{rank:05}-of-{number:05}.safetensors" for rank in range(number))


def _seal(skeleton: Any, tensors: Path) -> str:
    with tensors.open("rb") as file:
        header = file.read(int.from_bytes(file.read(8), "little"))
    return hashlib.sha256(json.dumps(skeleton).encode() + header).hexdigest()


def _pack(value: Any, name: str, tensors: dict[str, Tensor], parts: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor) and distributed.is_shard(value):
        parts[name] = own_rows(value).detach().contiguous()
        return {"$parts": name, "of": distributed.world_size()}
    if isinstance(value, Tensor):
        tensors[name] = value.detach().contiguous()
        return {"$tensor": name}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _pack(item, f"{name}/{key}", tensors, parts) for key, item in value.items()}
    if isinstance(value, dict):
        return {"$items": [[key, _pack(item, f"{name}/{key}", tensors, parts)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        items = [_pack(item, f"{name}/{index}", tensors, parts) for index, item in enumerate(value)]
        return {"$tuple": items} if isinstance(value, tuple) else items
    return value


def _unpack(value: Any, directory: Path, name: str) -> Any:
    def again(item: Any) -> Any:
        return _unpack(item, directory, name)

    if isinstance(value, list):
        return [again(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "$parts" in value:
        return Stored(_part_files(directory, name, value["of"]), value["$parts"])
    if "$tensor" in value:
        return Stored((directory / f"{name}.safetensors",), value["$tensor"])
    if "$tuple" in value:
        return tuple(again(item) for item in value["$tuple"])
    if "$items" in value:
        return {key: again(item) for key, item in value["$items"]}
    return {key: again(item) for key, item in value.items()}
