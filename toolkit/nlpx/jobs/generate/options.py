"""What `nlpx generate` is asked for, checked without torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from nlpx.errors import UsageError

if TYPE_CHECKING:
    from nlpx.decode.generation.settings import GenerationSettings

Precision = Literal["auto", "float32", "bfloat16", "int8"]
EngineName = Literal["auto", "nlpx", "ctranslate2"]

# What the options are called whose settings have longer names.
_FLAGS = {"num_beams": "--beams", "num_return": "--n-best", "typical_p": "--typical"}


@dataclass(frozen=True, slots=True)
class Options:
    """What goes around the search: constraints, batches, and what comes back."""

    copy_source: bool = False
    allowed: str | None = None  # a file
    prefix: str = ""
    explain: bool = False
    max_length: int | None = None  # tokens of a source; None: as the run was trained, else too long ones are refused
    batch_size: int = 16
    seed: int = 7
    restore_punctuation: bool = False  # full-width marks, where the tokenizer has none

    def only_of_ours(self) -> str | None:
        """The option, if one is given, that needs our own search."""
        given = {
            "--copy-source": self.copy_source,
            "--allowed": self.allowed is not None,
            "--prefix": self.prefix,
            "--explain": self.explain,
        }
        return next((option for option, value in given.items() if value), None)


def settings_of(*, temperature: float | None, **given: Any) -> GenerationSettings:
    """The settings of a search; what is None is left at its default.

    Without a temperature, options that narrow a draw mean 1, else 0, which takes the likeliest token. Raises
    `UsageError` in the words of the command line.
    """
    from pydantic import ValidationError

    from nlpx.decode.generation.settings import GenerationSettings

    chosen = {name: value for name, value in given.items() if value is not None}
    if temperature is None:
        temperature = 1.0 if {"top_k", "top_p", "typical_p"} & set(chosen) else 0.0
    if chosen.get("num_return", 1) > 1 and "num_beams" not in chosen and temperature == 0:
        raise UsageError(
            f"--n-best {chosen['num_return']} needs as many answers to choose from",
            hint=f"--beams {chosen['num_return']} searches for them, --temperature 1 draws them",
        )
    try:
        return GenerationSettings(temperature=temperature, **chosen)
    except ValidationError as error:
        raise UsageError(_sentence(error.errors(include_url=False)[0])) from None


def for_target(settings: GenerationSettings, num_tokens: int) -> GenerationSettings:
    """The settings with room for a target of so many tokens and its end, unless they say how long an answer may be.

    Raises `UsageError` if the shortest answer that they ask for is longer.
    """
    if "max_new_tokens" in settings.model_fields_set:
        return settings
    chosen = {name: getattr(settings, name) for name in settings.model_fields_set} | {"max_new_tokens": num_tokens + 1}
    return settings_of(**chosen)


def _sentence(details: Any) -> str:
    """What is wrong, with the names of options in place of keys."""
    message = details["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if details["loc"]:
        return f"{_flag(details['loc'][0])} {details['input']} {message}"
    keys = "|".join(sorted(_fields(), key=len, reverse=True))
    return re.sub(rf"\b({keys})\b", lambda found: _flag(found[0]), message)


def _fields() -> list[str]:
    from nlpx.decode.generation.settings import GenerationSettings

    return list(GenerationSettings.model_fields)


def _flag(key: str) -> str:
    return _FLAGS.get(key, f"--{key.replace('_', '-')}")
