"""Reading checkpoints of every kind as named tensors: safetensors, PyTorch files (weights only), TensorFlow bundles."""

from __future__ import annotations

import json
import pickle
from abc import ABC, abstractmethod
from collections.abc import Iterable
from glob import escape
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nlpx.errors import InputError
from nlpx.first_bytes import refuse_placeholder
from nlpx.models.checkpoints.tf_checkpoint import TFCheckpoint, find_bundle

CONFIG_NAMES = ("config.json", "bert_config.json", "albert_config.json", "electra_config.json")
SAFETENSORS, PYTORCH = "model.safetensors", "pytorch_model.bin"
ONNX_MODEL_TYPE = "nlpx_onnx"  # of a directory with a graph in place of weights


class Checkpoint(ABC):
    """Named tensors of one file or a set of shards, read one at a time, with the configuration beside them."""

    layout: Literal["torch", "tensorflow"] = "torch"

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        self.path = path
        self.config = config

    @abstractmethod
    def names(self) -> list[str]: ...

    @abstractmethod
    def shape(self, name: str) -> tuple[int, ...]: ...

    @abstractmethod
    def dtype(self, name: str) -> str: ...

    @abstractmethod
    def read(self, name: str) -> Tensor:
        """The tensor; raises `InputError` with its name if the file is truncated or corrupt."""


class SafetensorsCheckpoint(Checkpoint):
    """One `.safetensors` file or the shards of its index."""

    def __init__(self, path: Path, config: dict[str, Any], files: Iterable[Path]) -> None:
        super().__init__(path, config)
        self._files: dict[str, Any] = {}
        self._places: dict[str, tuple[Path, int]] = {}
        for file in files:
            handle = _open_safetensors(file)
            self._files.update((name, handle) for name in handle.keys())  # noqa: SIM118 (no mapping)
            self._places.update((name, (file, offset)) for name, offset in _offsets(file).items())

    def names(self) -> list[str]:
        return list(self._files)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._files[name].get_slice(name).get_shape())

    def dtype(self, name: str) -> str:
        return str(self._files[name].get_slice(name).get_dtype())

    def read(self, name: str) -> Tensor:
        # The library maps the file, where tensors lie at any multiple of eight bytes: matrix products then round
        # otherwise than in memory of torch's own, and a model saved and read again would give other last digits.
        if self.dtype(name) != "F32":
            tensor: Tensor = self._files[name].get_tensor(name)
            return tensor
        file, offset = self._places[name]
        tensor = torch.empty(self.shape(name))
        with file.open("rb") as stream:
            stream.seek(offset)
            stream.readinto(tensor.view(-1).numpy().data)
        return tensor


class TorchCheckpoint(Checkpoint):
    """PyTorch `.bin` files, loaded with `weights_only`: code inside a file is refused, never run."""

    def __init__(self, path: Path, config: dict[str, Any], files: Iterable[Path]) -> None:
        super().__init__(path, config)
        self._tensors: dict[str, Tensor] = {}
        for file in files:
            self._tensors.update(_load_weights_only(file))

    def names(self) -> list[str]:
        return list(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._tensors[name].shape)

    def dtype(self, name: str) -> str:
        return str(self._tensors[name].dtype).removeprefix("torch.")

    def read(self, name: str) -> Tensor:
        return self._tensors[name]


class TensorflowCheckpoint(Checkpoint):
    """A TensorFlow bundle (`.index` and data shards), read without TensorFlow."""

    layout = "tensorflow"

    def __init__(self, path: Path, config: dict[str, Any], prefix: Path) -> None:
        super().__init__(path, config)
        for file in prefix.parent.glob(f"{escape(prefix.name)}.*"):
            refuse_placeholder(file)
        self._bundle = TFCheckpoint(prefix)

    def names(self) -> list[str]:
        return self._bundle.names()

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._bundle.shape(name))

    def dtype(self, name: str) -> str:
        return str(self._bundle.dtype(name))

    def read(self, name: str) -> Tensor:
        return torch.from_numpy(self._bundle.read(name).copy())


def open_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in a directory, or the one a file belongs to.

    Raises `InputError` if there is no configuration, no weights, or a file that cannot be read.
    """
    if not path.exists() and find_bundle(path) is None:
        raise InputError(f"{path}: no such file or directory", hint="give a checkpoint directory or a hub name")
    folder = path if path.is_dir() else path.parent
    config = read_config(folder)
    for name, kind in ((SAFETENSORS, SafetensorsCheckpoint), (PYTORCH, TorchCheckpoint)):
        files = _weight_files(path, folder, name)
        if files:
            return kind(path, config, files)
    prefix = find_bundle(path)
    if prefix is not None:
        return TensorflowCheckpoint(path, config, prefix)
    if config.get("model_type") == ONNX_MODEL_TYPE:
        raise InputError(
            f"{folder}: an ONNX graph, which only embed, similar and evaluate sts run",
            hint="for everything else, name the checkpoint it was converted from",
        )
    raise InputError(
        f"{path}: no weights found",
        hint=f"expected {SAFETENSORS}, {PYTORCH}, or a TensorFlow bundle (bert_model.ckpt.index and its data file)",
    )


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration beside the weights: `config.json`, or the `*_config.json` of TensorFlow releases."""
    for name in CONFIG_NAMES:
        file = folder / name
        if file.exists():
            return parse_config(file)
    others = [found for file in sorted(folder.glob("*config*.json")) if "hidden_size" in (found := parse_config(file))]
    if len(others) == 1:  # releases for TensorFlow name it after the model: bert_config_rbt3.json
        return others[0]
    if others:
        raise InputError(
            f"{folder}: {len(others)} configurations beside the weights, and none is called {CONFIG_NAMES[0]}",
            hint=f"copy the one of these weights to {folder / CONFIG_NAMES[0]}",
        )
    expected = f"expected one of {', '.join(CONFIG_NAMES)}"
    raise InputError(f"{folder}: no configuration beside the weights", hint=expected)


def parse_config(file: Path) -> dict[str, Any]:
    """One JSON object. Raises `InputError` with the line if it is anything else."""
    refuse_placeholder(file)
    try:
        config = json.loads(file.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise InputError(f"{file}:{error.lineno}:{error.colno}: not JSON: {error.msg}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise InputError(f"{file}: nested too deeply for a configuration") from None
    except ValueError as error:  # a number of thousands of digits
        raise InputError(f"{file}: not a configuration: {error}") from None
    except OSError as error:
        raise _unreadable(file, error) from None
    if not isinstance(config, dict):
        raise InputError(f"{file}: expected one JSON object, found {type(config).__name__}")
    return config


def _weight_files(path: Path, folder: Path, name: str) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix == Path(name).suffix else []
    index = folder / f"{name}.index.json"
    if index.exists():
        return _shards(index)
    return [folder / name] if (folder / name).exists() else []


def _shards(index: Path) -> list[Path]:
    weight_map = parse_config(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise InputError(f"{index}: `weight_map` is no table of file names", hint="copy or download it again")
    files = [index.parent / name for name in sorted(set(weight_map.values()))]
    for file in files:
        if not file.is_file():
            raise InputError(f"{file}: shard is missing", hint=f"{index.name} lists it; download the checkpoint again")
    return files


def _open_safetensors(file: Path) -> Any:
    _refuse_unreadable(file)
    refuse_placeholder(file)
    try:
        return safe_open(file, framework="pt")
    except SafetensorError as error:
        raise InputError(
            f"{file}: truncated or not a safetensors file ({error})", hint="copy or download it again"
        ) from None


def _offsets(file: Path) -> dict[str, int]:
    """Where the bytes of each tensor begin in a file whose header the library has checked."""
    with file.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(size))
    return {name: 8 + size + entry["data_offsets"][0] for name, entry in header.items() if name != "__metadata__"}


def _refuse_unreadable(file: Path) -> None:
    # The libraries' own errors do not tell a file that may not be read from one that is damaged or not there.
    try:
        with file.open("rb"):
            pass
    except OSError as error:
        raise _unreadable(file, error) from None


def _unreadable(file: Path, error: OSError) -> InputError:
    return InputError(f"{file}: cannot be read: {(error.strerror or str(error)).lower()}", hint="look at its rights")


def _load_weights_only(file: Path) -> dict[str, Tensor]:
    _refuse_unreadable(file)
    refuse_placeholder(file)
    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True, mmap=_is_zip(file))
    except pickle.UnpicklingError:
        raise InputError(
            f"{file}: holds more than plain weights, and nlpx runs no code from a checkpoint",
            hint="convert it to safetensors where you trust it, and load that",
        ) from None
    except MemoryError:
        raise
    except Exception as error:  # a truncated or foreign file makes the reader raise errors of many classes
        reason = (str(error).splitlines() or ["it ends too early"])[0]
        raise InputError(
            f"{file}: truncated or not a PyTorch file ({reason})", hint="copy or download it again"
        ) from None
    tensors = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else loaded
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in tensors.items()
    ):
        raise InputError(f"{file}: expected a table of named tensors", hint="save `model.state_dict()`, not the model")
    return tensors


def _is_zip(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(2) == b"PK"
