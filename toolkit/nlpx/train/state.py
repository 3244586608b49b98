"""The complete state of a run, and its directory: what is needed to go on as if nothing had happened.

Tensors lie in `training.safetensors`, all else in `training.json`, where `{"$tensor": name}` stands for
each tensor: nothing is ever unpickled. The model's own files lie beside them. A directory is written aside
and renamed, so a kill at any moment leaves the last one whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.optim import Optimizer

from nlpx.data.bucketing import BucketedBatches
from nlpx.errors import InputError
from nlpx.io import recover_directory, replace_directory
from nlpx.optim.schedule import Schedule
from nlpx.seed import random_state, restore_random_state
from nlpx.train import distributed
from nlpx.train.early_stopping import EarlyStopping
from nlpx.train.step import NamedTrick
from nlpx.train.watch import LossWatch

FORMAT = 1
STATE_FILE = "training.json"
TENSOR_FILE = "training.safetensors"
WEIGHT_FILE = "model.safetensors"

ModelFiles = Callable[[nn.Module, Path], None]


def save_weights(model: nn.Module, directory: Path) -> None:
    """The weights of any module as `model.safetensors`, tied ones once."""
    safetensors.torch.save_model(model, str(directory / WEIGHT_FILE))


def load_weights(model: nn.Module, directory: Path) -> None:
    """What `save_weights` wrote, into a module of the same shape; anything else is an `InputError`."""
    path = directory / WEIGHT_FILE
    try:
        safetensors.torch.load_model(model, path)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{path}: not the weights of this model ({_first_line(error)})") from error


@dataclass(kw_only=True)
class Training:
    """One run: the model with all that moves beside it."""

    model: nn.Module  # as it is, never a replica: its parameter names are the checkpoint's
    optimizer: Optimizer
    schedule: Schedule
    batches: BucketedBatches
    total_steps: int
    tricks: Sequence[NamedTrick] = ()
    early_stopping: EarlyStopping = field(default_factory=EarlyStopping)
    watch: LossWatch = field(default_factory=LossWatch)
    step: int = 0  # updates made
    interrupted: bool = False

    def save(self, directory: str | Path, *, save_model: ModelFiles = save_weights) -> None:
        """Write the run's state in place of `directory`; every process must call it, the first one writes.

        `save_model(model, directory)` writes the model's own files. Raises `ResultError` instead if a step
        since the last check has gone wrong, and `MachineError` if the disk is full; the previous directory
        is whole either way.
        """
        self.watch.flush()
        randoms = distributed.gather(_random_state_as_json())
        if distributed.is_main():
            with replace_directory(directory) as temporary:
                save_model(self.model, temporary)
                write_state(self._state() | {"random": randoms}, temporary)
        distributed.barrier()

    def load(self, directory: str | Path, *, load_model: ModelFiles = load_weights) -> None:
        """Go on from `directory`: a run built in the same way continues bit for bit."""
        if distributed.is_main():
            recover_directory(directory)
        distributed.barrier()
        state = read_state(Path(directory))
        self._refuse_another_run(state, Path(directory))
        load_model(self.model, Path(directory))
        self._restore(state)

    def _state(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "step": self.step,
            "optimizer": self.optimizer.state_dict(),
            "tricks": {named.name: named.trick.state_dict() for named in self.tricks},
            "batches": self.batches.state_dict(),
            "early_stopping": self.early_stopping.state_dict(),
            "collapse": None if self.watch.collapse is None else self.watch.collapse.state_dict(),
        }

    def _refuse_another_run(self, state: dict[str, Any], directory: Path) -> None:
        if state.get("format") != FORMAT:
            raise InputError(
                f"{directory}: written by another version of nlpx", hint="resume with the version that started the run"
            )
        names = [named.name for named in self.tricks]
        _same(state["tricks"], names, f"{directory}: the checkpoint's tricks")
        saved, ours = _parameter_names(state["optimizer"]), _parameter_names(self.optimizer.state_dict())
        _same(saved, ours, f"{directory}: the checkpoint's trained parameters")

    def _restore(self, state: dict[str, Any]) -> None:
        self.batches.load_state_dict(state["batches"])
        self.step = state["step"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.early_stopping.load_state_dict(state["early_stopping"])
        if self.watch.collapse is not None and state["collapse"] is not None:
            self.watch.collapse.load_state_dict(state["collapse"])
        for named in self.tricks:
            named.trick.load_state_dict(state["tricks"][named.name])
        # With another number of processes no generator has a saved state of its own: the run's seed stands.
        if len(state["random"]) == distributed.world_size():
            _restore_random_state(state["random"][distributed.rank()])


def write_state(state: Any, directory: Path) -> None:
    """Nested dicts, lists and tuples of numbers, texts and tensors as two files."""
    tensors: dict[str, Tensor] = {}
    skeleton = _pack(state, "", tensors)
    safetensors.torch.save_file(tensors, directory / TENSOR_FILE)
    (directory / STATE_FILE).write_text(json.dumps(skeleton, ensure_ascii=False), encoding="utf-8")


def read_state(directory: Path) -> Any:
    """What `write_state` wrote, tensors on the CPU; a missing or damaged file is an `InputError`."""
    try:
        skeleton = json.loads((directory / STATE_FILE).read_text(encoding="utf-8"))
        tensors = safetensors.torch.load_file(directory / TENSOR_FILE)
        return _unpack(skeleton, tensors)
    except FileNotFoundError as error:
        raise InputError(
            f"{directory}: no state of a training run here, `{STATE_FILE}` or `{TENSOR_FILE}` is missing",
            hint="give the directory of a checkpoint such as RUN/checkpoints/last",
        ) from error
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(
            f"{directory}: the saved state is damaged ({_first_line(error)})",
            hint="resume from another checkpoint of the run",
        ) from error


def _pack(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[name] = value.detach().contiguous()
        return {"$tensor": name}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _pack(item, f"{name}/{key}", tensors) for key, item in value.items()}
    if isinstance(value, dict):
        return {"$items": [[key, _pack(item, f"{name}/{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        items = [_pack(item, f"{name}/{index}", tensors) for index, item in enumerate(value)]
        return {"$tuple": items} if isinstance(value, tuple) else items
    return value


def _unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if "$tensor" in value:
        return tensors[value["$tensor"]]
    if "$tuple" in value:
        return tuple(_unpack(item, tensors) for item in value["$tuple"])
    if "$items" in value:
        return {key: _unpack(item, tensors) for key, item in value["$items"]}
    return {key: _unpack(item, tensors) for key, item in value.items()}


def _parameter_names(state: dict[str, Any]) -> list[str]:
    return [name for group in state["param_groups"] for name in group.get("param_names", [])]


def _same(saved: Any, ours: Any, what: str) -> None:
    if list(saved) == list(ours):
        return
    differing = sorted(set(saved) ^ set(ours)) or ["their order"]
    raise InputError(
        f"{what} are not this run's; they differ in: {', '.join(differing[:5])}",
        hint="resume with the settings the run was started with",
    )


def _random_state_as_json() -> dict[str, Any]:
    state = random_state()
    return state | {"torch": _hex(state["torch"]), "cuda": [_hex(generator) for generator in state["cuda"]]}


def _restore_random_state(state: dict[str, Any]) -> None:
    cuda = [_from_hex(generator) for generator in state["cuda"]]
    restore_random_state(state | {"torch": _from_hex(state["torch"]), "cuda": cuda})


def _hex(state: Tensor) -> str:
    return bytes(state.tolist()).hex()


def _from_hex(text: str) -> Tensor:
    return torch.frombuffer(bytearray(bytes.fromhex(text)), dtype=torch.uint8)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
