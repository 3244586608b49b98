"""How a model's vectors are made: as the user says, else as its directory says, else as usual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nlpx.embed import sentence_transformers
from nlpx.embed.sentence_transformers import Dense, Normalize, Published, Step
from nlpx.errors import InputError, UsageError

DEFAULT_POOLING, DEFAULT_LENGTH = "first-last-avg", 128
_PER_TOKEN = frozenset({"mean", "first-last-avg"})  # poolings in which the tokens of a prompt count


@dataclass(frozen=True, slots=True)
class Settings:
    """What was chosen; `notes` say in sentences what the user did not ask for."""

    poolings: tuple[str, ...]
    max_length: int
    steps: tuple[Step, ...] = ()
    prompt: str = ""
    lower_case: bool = False
    notes: list[str] = field(default_factory=list)


def choose_settings(
    folder: Path,
    poolings: Sequence[str] | None,
    *,
    max_length: int | None,
    normalize: bool | None,
    prompt_name: str | None,
) -> Settings:
    """The settings for the model of a directory; what is None is not asked for.

    Raises `InputError` for a sentence-transformers directory without a counterpart here, `UsageError` for a prompt
    that it does not have.
    """
    published = sentence_transformers.read(folder) if folder.is_dir() else None
    if published is None:
        if prompt_name:
            hint = f"only sentence-transformers directories name prompts, in {sentence_transformers.PROMPTS}"
            raise UsageError(f"{folder}: no prompt `{prompt_name}`", hint=hint)
        scaled = (Normalize(),) if normalize else ()
        return Settings(tuple(poolings or (DEFAULT_POOLING,)), max_length or DEFAULT_LENGTH, scaled)
    chosen = tuple(poolings) if poolings else (published.pooling(),)
    prompt = published.prompt(prompt_name)
    if prompt and not published.pools_prompt and _PER_TOKEN & set(chosen):
        raise InputError(
            f"{folder}: its pooling leaves the tokens of the prompt out, which nlpx does not",
            hint="--prompt-name '' embeds the texts without a prompt",
        )
    steps = _steps(published, normalize)
    length = max_length or published.max_length or DEFAULT_LENGTH
    notes = [_said(published, chosen, steps, length)]
    if prompt:
        notes.append(f"before every text comes the prompt `{prompt}` (--prompt-name '' leaves it out)")
    return Settings(chosen, length, steps, prompt, published.lower_case, notes)


def own_pooling(folder: Path) -> str | None:
    """The pooling that a directory names, if it does. Raises `InputError` for one without a counterpart."""
    published = sentence_transformers.read(folder) if folder.is_dir() else None
    return None if published is None else published.pooling()


def _steps(published: Published, normalize: bool | None) -> tuple[Step, ...]:
    if normalize is None:
        return published.steps
    others = tuple(step for step in published.steps if not isinstance(step, Normalize))
    return (*others, Normalize()) if normalize else others


def _said(published: Published, poolings: Sequence[str], steps: Sequence[Step], length: int) -> str:
    """What the directory decided and what the user did, in one sentence."""
    named = [sentence_transformers.POOLING_MODES.get(mode) for mode in published.modes]
    asked = "" if named == list(poolings) else f" as asked (it names {' + '.join(published.modes) or 'none'})"
    layers = [f"a linear layer to {len(step.weight)} numbers" for step in steps if isinstance(step, Dense)]
    norm = "vectors of length 1" if any(isinstance(step, Normalize) for step in steps) else "lengths as they are"
    parts = [f"pooling {', '.join(poolings)}{asked}", *layers, norm]
    parts += [f"texts of up to {length} tokens"] if length == published.max_length else []
    return f"{published.folder} is a sentence-transformers directory: {', '.join(parts)}"
