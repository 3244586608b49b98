"""The complete state of a run, and its directory: what is needed to continue as if nothing had happened.

Tensors lie in `training.safetensors`, all else in `training.json`, where `{"$tensor": name}` stands for
each tensor: nothing is ever unpickled. The model's own files lie beside them. Where the model is sharded, each
process writes its own shard of weights and moments instead, and any number of processes can resume from that. A
directory is written under a temporary name and renamed, so a kill at any moment leaves the last one whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.optim import Optimizer

from nlpx.data.batches.bucketing import BucketedBatches
from nlpx.errors import InputError, reason_of
from nlpx.io import full_disk_named, recover_directory, replace_directory
from nlpx.models.checkpoints.plain import load_weights, save_weights
from nlpx.optim.schedule import Schedule
from nlpx.seed import random_state, restore_random_state
from nlpx.train import distributed
from nlpx.train.early_stopping import EarlyStopping
from nlpx.train.sharding import whole
from nlpx.train.step import NamedTrick
from nlpx.train.tensors import load_tree, read_tree, write_tree
from nlpx.train.watch import LossWatch

FORMAT = 1  # of the files; raised when an older reader would misunderstand them
NAME = "training"

ModelFiles = Callable[[nn.Module, Path], None]


@dataclass(kw_only=True)
class Training:
    """One run: the model with all that moves beside it."""

    model: nn.Module  # as it is, never a replica: its parameter names are the checkpoint's
    optimizer: Optimizer
    schedule: Schedule
    batches: BucketedBatches
    total_steps: int
    tricks: Sequence[NamedTrick] = ()
    loss: Any = None  # one with a `state_dict`, such as a loss that averages over batches
    early_stopping: EarlyStopping = field(default_factory=EarlyStopping)
    watch: LossWatch = field(default_factory=LossWatch)
    step: int = 0  # updates made
    interrupted: bool = False

    def save(self, directory: str | Path, *, save_model: ModelFiles = save_weights) -> None:
        """Write the run's state in place of `directory`; every process must call it, the first one writes.

        `save_model(model, directory)` writes the model's own files; a sharded model goes into the
        processes' parts instead. Raises `ResultError` instead if a step since the last check has gone wrong, and
        `MachineError` if the disk is full; the previous directory is whole either way.
        """
        self.watch.flush()
        randoms = distributed.gather(_random_state_as_json())
        if distributed.is_sharded(self.model):
            self._save_shards(Path(directory), randoms)
        elif distributed.is_main():
            with replace_directory(directory) as temporary:
                save_model(self.model, temporary)
                write_state(self._state() | {"random": randoms}, temporary)
        distributed.barrier()

    def load(self, directory: str | Path, *, load_model: ModelFiles = load_weights) -> None:
        """Go on from `directory`: a run built in the same way continues bit for bit."""
        if distributed.is_main():
            recover_directory(directory)
        distributed.barrier()
        path = Path(directory)
        with _damage_named(path):
            stored = read_tree(path, NAME)
        with _damage_named(path):
            self._refuse_another_run(stored, path)
            state = load_tree(stored, self._owners())
        self._load_weights(state.get("weights"), path, load_model)
        with _damage_named(path):
            self._restore(state)

    def _save_shards(self, directory: Path, randoms: list[Any]) -> None:
        state = self._state() | {"random": randoms, "weights": _separate(self.model)}
        if not distributed.is_main():
            with full_disk_named(directory, "the previous one is untouched"):
                write_state(state, Path(distributed.from_main(None)))
            distributed.barrier()
            return
        with replace_directory(directory) as temporary:
            write_state(state, Path(distributed.from_main(str(temporary.resolve()))))
            distributed.barrier()  # now the parts of all processes are there

    def _load_weights(self, weights: dict[str, Tensor] | None, directory: Path, load_model: ModelFiles) -> None:
        if weights is None:
            with whole(self.model, everywhere=True):
                load_model(self.model, directory)
            return
        try:
            self.model.load_state_dict(weights)
        except RuntimeError as error:
            raise InputError(f"{directory}: not the weights of this model ({reason_of(error)})") from error

    def _owners(self) -> dict[Any, Tensor]:
        """Parameters by name, and by number as the optimizer's state has them."""
        numbered = enumerate(parameter for group in self.optimizer.param_groups for parameter in group["params"])
        return dict(self.model.named_parameters(remove_duplicate=False)) | dict(numbered)

    def _state(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "step": self.step,
            "optimizer": self.optimizer.state_dict(),
            "tricks": {named.name: named.trick.state_dict() for named in self.tricks},
            "loss": None if self.loss is None else self.loss.state_dict(),
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
        if self.loss is not None:
            self.loss.load_state_dict(state["loss"])
        # With another number of processes no generator has a saved state of its own: the run's seed stands.
        if len(state["random"]) == distributed.world_size():
            _restore_random_state(state["random"][distributed.rank()])


def write_state(state: Any, directory: Path) -> None:
    """Nested dicts, lists and tuples of numbers, texts and tensors as two files, and one for each process's shards."""
    write_tree(state, directory, NAME)


def read_state(directory: Path) -> Any:
    """What `write_state` wrote, tensors whole and on the CPU; a missing or damaged file is an `InputError`."""
    with _damage_named(directory):
        return load_tree(read_tree(directory, NAME))


@contextmanager
def _damage_named(directory: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        if (directory / f"{NAME}.json").exists() and (directory / f"{NAME}.safetensors").exists():
            raise InputError(
                f"{directory}: the part of one process is missing ({reason_of(error)})",
                hint="copy the whole directory, or resume from another checkpoint of the run",
            ) from error
        raise InputError(
            f"{directory}: no state of a training run here, `{NAME}.json` or `{NAME}.safetensors` is missing",
            hint="give the directory of a checkpoint such as RUN/checkpoints/last",
        ) from error
    except (
        *(OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError, SafetensorError),
    ) as error:
        raise InputError(
            f"{directory}: the saved state is damaged ({reason_of(error)})",
            hint="resume from another checkpoint of the run",
        ) from error


def _separate(model: nn.Module) -> dict[str, Tensor]:
    """The state of a model with a copy for each further name of a tied parameter, as safetensors wants it."""
    named = dict(model.named_parameters())
    tied = {name for name, _ in model.named_parameters(remove_duplicate=False)} - set(named)
    return {name: tensor.clone() if name in tied else tensor for name, tensor in model.state_dict().items()}


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
