"""What a sentence-transformers directory says of its vectors: pooling, layers after it, length, prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from nlpx.embed.pooling import Pooling
from nlpx.errors import InputError, UsageError
from nlpx.models.checkpoints.checkpoint import open_checkpoint, parse_config
from nlpx.sentence_modules import FILE, Module, read_modules

PROMPTS = "config_sentence_transformers.json"
POOLING_MODES: dict[str, Pooling] = {"cls": "cls", "mean": "mean", "lasttoken": "last"}
_SWITCHES = {  # the older spelling: one switch for each
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "Identity": lambda vectors: vectors,
    "Tanh": torch.tanh,
    "ReLU": functional.relu,
    "GELU": functional.gelu,
    "Sigmoid": torch.sigmoid,
}


@dataclass(frozen=True, slots=True)
class Dense:
    """A linear layer and its activation, (N, in) to (N, out)."""

    weight: Tensor  # (out, in), float32
    bias: Tensor | None  # (out,)
    activation: str

    def __call__(self, vectors: Tensor) -> Tensor:
        """The layer's output, in float32."""
        return ACTIVATIONS[self.activation](functional.linear(vectors, self.weight, self.bias))


class Normalize:
    """Vectors of length 1; one of zeros stays."""

    def __call__(self, vectors: Tensor) -> Tensor:
        """(N, D) to (N, D)."""
        return functional.normalize(vectors, dim=1)


Step = Dense | Normalize


@dataclass(frozen=True, slots=True)
class Published:
    """The settings of a directory. `modes` are its ways of pooling as it spells them; `steps` come after pooling."""

    folder: Path
    modes: tuple[str, ...]
    steps: tuple[Step, ...] = ()
    max_length: int | None = None
    lower_case: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    pools_prompt: bool = True

    def pooling(self) -> Pooling:
        """The pooling as nlpx names it. Raises `InputError` for one without a counterpart."""
        if len(self.modes) == 1 and self.modes[0] in POOLING_MODES:
            return POOLING_MODES[self.modes[0]]
        raise InputError(
            f"{self.folder}: its pooling is {' + '.join(self.modes) or 'not named'}, which nlpx does not have",
            hint="--pooling NAME takes another one, but the vectors are then not those of the published model",
        )

    def prompt(self, name: str | None) -> str:
        """What goes before every text: the prompt of that name, the default one for None, none for an empty name.

        Raises `UsageError` for a name that the directory does not have.
        """
        chosen = self.default_prompt if name is None else name
        if not chosen:
            return ""
        if chosen not in self.prompts:
            known = ", ".join(self.prompts) or "it has none"
            raise UsageError(f"{self.folder}: no prompt `{chosen}`", hint=f"its prompts: {known}")
        return self.prompts[chosen]


def read(folder: Path) -> Published | None:
    """The settings of a directory, None if it is no sentence-transformers one.

    Raises `InputError` naming a module without a counterpart, and for files that are not as they were written.
    """
    modules = read_modules(folder)
    if not modules:
        return None
    for module, place in zip(modules, range(len(modules)), strict=True):
        allowed = {0: ("Transformer",), 1: ("Pooling",)}.get(place, ("Dense", "Normalize", "Dropout"))
        if module.kind not in allowed:
            raise InputError(
                f"{folder / FILE}: nlpx has no counterpart of the module `{module.kind}` in place {place}",
                hint=f"in this place it knows {', '.join(allowed)}; sentence-transformers itself runs the others",
            )
    if len(modules) < 2:
        raise InputError(f"{folder / FILE}: there is no Pooling after the Transformer", hint="download it again")
    pooling = _config(modules[1])
    length, lower_case = _of_tokenizer(modules[0].folder)
    prompts, default = _prompts(folder)
    return Published(
        folder,
        _modes(pooling),
        tuple(_step(module) for module in modules[2:] if module.kind != "Dropout"),
        length,
        lower_case,
        prompts,
        default,
        bool(pooling.get("include_prompt", True)),
    )


def _config(module: Module) -> dict[str, Any]:
    path = module.folder / "config.json"
    if not path.is_file():
        raise InputError(f"{path}: missing, and {FILE} lists it", hint="copy or download it again")
    return parse_config(path)


def _modes(config: Mapping[str, Any]) -> tuple[str, ...]:
    named = config.get("pooling_mode")
    if named is not None:
        return tuple(map(str, named)) if isinstance(named, list) else (str(named),)
    return tuple(mode for switch, mode in _SWITCHES.items() if config.get(switch))


def _step(module: Module) -> Step:
    if module.kind == "Normalize":
        return Normalize()
    config, checkpoint = _config(module), open_checkpoint(module.folder)
    activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh")).rpartition(".")[2]
    if activation not in ACTIVATIONS:
        raise InputError(
            f"{module.folder}: the activation {activation} of its Dense is none that nlpx has",
            hint=f"it has {', '.join(ACTIVATIONS)}",
        )
    names = checkpoint.names()
    if "linear.weight" not in names:
        raise InputError(f"{module.folder}: no tensor linear.weight", hint="copy or download it again")
    bias = checkpoint.read("linear.bias").float() if "linear.bias" in names else None
    return Dense(checkpoint.read("linear.weight").float(), bias, activation)


def _of_tokenizer(folder: Path) -> tuple[int | None, bool]:
    """Length limit and lower-casing of `sentence_bert_config.json`, which older releases name after the model."""
    for path in sorted(folder.glob("sentence_*_config.json")):
        config = parse_config(path)
        length = config.get("max_seq_length")
        if length is not None and (not isinstance(length, int) or length < 1):
            raise InputError(f"{path}: `max_seq_length` is {length!r}, no number of tokens")
        return length, bool(config.get("do_lower_case", False))
    return None, False


def _prompts(folder: Path) -> tuple[dict[str, str], str | None]:
    path = folder / PROMPTS
    if not path.is_file():
        return {}, None
    config = parse_config(path)
    prompts, default = config.get("prompts") or {}, config.get("default_prompt_name")
    if not isinstance(prompts, dict) or not all(isinstance(text, str | None) for text in prompts.values()):
        raise InputError(f"{path}: `prompts` must be texts by name", hint="copy or download it again")
    return {str(name): text or "" for name, text in prompts.items()}, None if default is None else str(default)
