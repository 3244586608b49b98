"""`nlpx inspect --cost`: disk space, memory and time of a model, beside a BERT of the same shape."""

from __future__ import annotations

import statistics
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpx.errors import InputError, UsageError
from nlpx.models.config import ModelConfig

if TYPE_CHECKING:
    from torch import nn

LENGTHS = (128, 512)
ROUNDS = 5  # of measurement; the median counts
_WEIGHT_FILES = ("*.safetensors", "*.bin", "*.ckpt*.data-*")


def cost(
    name: str,
    *,
    family: str | None = None,
    lengths: Sequence[int] = LENGTHS,
    rounds: int = ROUNDS,
    device: str = "cpu",
) -> dict[str, Any]:
    """The cost card of a checkpoint, or of the new model of a preset, as JSON values.

    Forward time and memory are measured with random weights in float32, one text at a time (with a target as long
    where the model has a decoder): the model and the BERT take turns, and the median of `rounds` counts. Memory is the
    weights and the most that tensors took at once in one pass; scratch space inside kernels is not counted. Lengths
    beyond the model's positions are limited to them.
    Raises `UsageError` for an unknown preset and `InputError` for a model that is none of nlpx's families.
    """
    import torch

    from nlpx.device import choose
    from nlpx.models.checkpoints.load import build
    from nlpx.models.cost import bert_like, config_warnings

    config, disk = configuration(name, family=family)
    chosen = torch.device(choose(device).device)
    usable = _usable_lengths(config, lengths)
    configs = {"model": config, "bert": bert_like(config, max(usable))}
    models = {role: build(one).eval().to(chosen) for role, one in configs.items()}
    cards = {role: _card(models[role], usable) for role in configs}
    cards["model"]["bytes"]["disk"] = disk or cards["model"]["bytes"]["float32"]
    for length in usable:
        for role, measured in measure(models, length, rounds=rounds, device=chosen).items():
            cards[role]["lengths"][str(length)] |= measured
    return {
        "name": name,
        "family": config.family,
        "is_preset": disk is None,
        "config": config.model_dump(mode="json"),
        **cards,
        "ratio": _ratio(cards["model"], cards["bert"]),
        "remarks": config_warnings(config),
        "measured_on": {"device": str(chosen), "threads": torch.get_num_threads(), "rounds": rounds},
    }


def configuration(name: str, *, family: str | None = None) -> tuple[ModelConfig, int | None]:
    """The model's configuration, and the bytes of its weight files; None for the new model of a preset."""
    from nlpx.configuration.files import preset_names

    if name in preset_names() or name.endswith((".yaml", ".yml")):
        return _of_preset(name)
    from nlpx.models.checkpoints.load import describe
    from nlpx.models.checkpoints.resolve import resolve

    path = resolve(name)
    described = describe(path, family)
    if described is None:
        hint = "the cost card covers the parts of nlpx's families only; `nlpx inspect` without --cost counts it"
        raise InputError(f"{path}: none of nlpx's families", hint=hint)
    folder = path if path.is_dir() else path.parent
    return described.config, _bytes_of_weights(folder)


def measure(models: Mapping[str, nn.Module], length: int, *, rounds: int, device: Any) -> dict[str, dict[str, float]]:
    """Median seconds of one forward pass over one text, and peak bytes, of models that take turns."""
    import torch

    seconds: dict[str, list[float]] = {role: [] for role in models}
    peaks: dict[str, int] = {}
    with torch.inference_mode():
        inputs = {role: _inputs(model, length, device) for role, model in models.items()}
        for role, model in models.items():  # also the first pass, whose time does not count
            peaks[role] = peak_bytes(model, inputs[role])
        for _ in range(rounds):
            for role, model in models.items():
                seconds[role].append(_timed(model, inputs[role], device))
    return {role: {"seconds": statistics.median(seconds[role]), "peak_bytes": peaks[role]} for role in models}


def peak_bytes(model: nn.Module, inputs: dict[str, Any]) -> int:
    """Bytes of the weights and of all tensors that one forward pass holds at its worst moment."""
    weights = [*model.parameters(), *model.buffers()]
    with _living_tensors(weights) as living:
        model(**inputs)
    return sum(weight.nbytes for weight in weights) + int(living.peak)


def _living_tensors(known: Sequence[Any]) -> Any:
    """A context that adds up the memory of every tensor made in it, until it is freed; `known` ones do not count.

    It agrees with the log of torch's CPU allocator byte for byte, needs no profiler, and is the same on all devices.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class LivingTensors(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]  # torch's
            self.seen = {tensor.untyped_storage()._cdata for tensor in known}
            self.now = self.peak = 0

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = function(*args, **(kwargs or {}))
            for leaf in tree_leaves(result):
                if isinstance(leaf, torch.Tensor):
                    self._add(leaf.untyped_storage())
            return result

        def _add(self, storage: Any) -> None:
            if storage._cdata in self.seen:
                return
            self.seen.add(storage._cdata)
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._free, storage._cdata, storage.nbytes())

        def _free(self, key: int, size: int) -> None:
            self.seen.discard(key)
            self.now -= size

    return LivingTensors()


def _timed(model: nn.Module, inputs: dict[str, Any], device: Any) -> float:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    model(**inputs)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def _inputs(model: Any, length: int, device: Any) -> dict[str, Any]:
    import torch

    config = model.config
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(config.vocab_size, (1, length), generator=generator).to(device)
    if config.is_encoder_decoder:
        return {"source_ids": ids, "target_ids": ids}
    inputs = {"token_ids": ids, "segment_ids": torch.zeros_like(ids)}
    if config.condition_size:
        inputs["condition"] = torch.zeros(1, config.condition_size, device=device)
    return inputs


def _card(model: Any, lengths: Sequence[int]) -> dict[str, Any]:
    from nlpx.models import cost as formulas

    parameters = formulas.count_parameters(model.named_parameters(), model.config)
    total = parameters.total
    flops = {length: formulas.flops_per_token(model.config, length) for length in lengths}
    return {
        "parameters": {
            "total": total,
            "embeddings": parameters.embeddings,
            "blocks": parameters.blocks,
            "heads": parameters.heads,
            "as_computed": parameters.computed,
        },
        "bytes": {
            "disk": total * formulas.BYTES_FLOAT32,
            "float32": total * formulas.BYTES_FLOAT32,
            "bfloat16": total * formulas.BYTES_BFLOAT16,
            "training": total * formulas.BYTES_ADAMW,
        },
        "lengths": {
            str(length): {"flops_forward": found.forward, "flops_training": found.training}
            for length, found in flops.items()
        },
    }


def _ratio(card: Any, other: Any) -> Any:
    """`card` with every number divided by that of `other`; None over zero."""
    if isinstance(card, dict):
        return {key: _ratio(card[key], other[key]) for key in card}
    return card / other if other else None


def _usable_lengths(config: ModelConfig, lengths: Sequence[int]) -> list[int]:
    rows = config.max_position_embeddings
    longest = {"learned": rows, "hierarchical": rows * rows}.get(config.position)
    return list(dict.fromkeys(length if longest is None else min(length, longest) for length in lengths))


def _of_preset(name: str) -> tuple[ModelConfig, int | None]:
    from nlpx.configuration.files import find, group_of
    from nlpx.configuration.presets import resolve, schema_of
    from nlpx.runs.model_section import NEW

    group = group_of(find(name))
    if group is None:
        hint = "put it into a folder named after its command, or extend a shipped preset"
        raise UsageError(f"{name}: which command is this preset for?", hint=hint)
    chosen = resolve(schema_of(group), preset=name).config
    section, parts = getattr(chosen, "model", None), _parts(group, chosen)
    if section is None:
        raise UsageError(f"{name}: a preset of {group} names no model")
    if section.name != NEW:
        stored, disk = configuration(section.name, family=section.family)
        return stored.with_choices(**(parts | section.choices)), disk
    return _new_model(section, parts, chosen.data.max_length), None


def _new_model(section: Any, parts: dict[str, Any], max_length: int) -> ModelConfig:
    """As a run would build it, with as large a vocabulary as the preset allows."""
    values = section.new.model_dump()
    choices = values.pop("choices")
    family = "roformer" if values["position"] == "rotary" else "bert"
    return ModelConfig(**(values | {"family": family, "max_position_embeddings": max_length} | parts | choices))


def _parts(group: str, chosen: Any) -> dict[str, Any]:
    """The heads that the run needs: that of the task, or those of the objectives."""
    from nlpx.configuration import registry

    if group == "finetune":
        task = registry.load("tasks", chosen.task).Task(chosen.task_options)
        return {"heads": task.heads, **task.model_parts()}
    found = [head for name in chosen.objectives for head in registry.load("objectives", name).Objective.HEADS]
    return {"heads": tuple(dict.fromkeys(found))}


def _bytes_of_weights(folder: Path) -> int:
    files = next((found for pattern in _WEIGHT_FILES if (found := list(folder.glob(pattern)))), [])
    return sum(file.stat().st_size for file in files)
