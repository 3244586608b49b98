"""The settings of `nlpx sample-gibbs`, checked without torch."""

from __future__ import annotations

from dataclasses import dataclass

from nlpx.errors import UsageError

SMALLEST_THIN = 10  # steps between printed states: fewer would print nearly the same text
ANNEALED_FRACTION = 0.8  # of the steps, over which the temperature falls to 0; the rest settles


@dataclass(frozen=True, slots=True)
class Settings:
    """What is sampled and how; None leaves the choice to the command. Contradictions raise `UsageError`."""

    steps: int = 100
    fraction: float | None = None  # of a line's free tokens, drawn anew each: in place of `steps`
    chains: int | None = None
    length: str | None = None
    text: str | None = None
    keep: tuple[str, ...] = ()
    temperature: float = 1.0
    anneal: bool = False
    top_k: int | None = None
    top_p: float | None = None
    burn_in: int | None = None
    thin: int | None = None
    block: int = 1
    moves: bool = False
    allow: tuple[str, ...] = ()
    ban: tuple[str, ...] = ()
    unique: bool = False
    energy: bool = False  # of every sample
    seed: int = 7

    def __post_init__(self) -> None:
        self._check_numbers()
        for wrong, message, hint in (
            (
                self.burn_in is not None and not 0 <= self.burn_in < self.steps,
                f"--burn-in {self.burn_in} of {self.steps} steps leaves no sample",
                f"--burn-in is from 0 to {self.steps - 1}, or take more --steps",
            ),
            (
                self.moves and (self.top_k is not None or self.top_p is not None),
                "--moves cannot go with --top-k or --top-p",
                "a change to what could not be drawn back would never be accepted",
            ),
            (self.moves and self.block > 1, "--moves cannot go with --block", "it changes one token a step"),
            (
                self.text is not None and self.length is not None and not self.moves,
                "--length has no effect with a text to start from",
                "its length stays, unless --moves may change it",
            ),
        ):
            if wrong:
                raise UsageError(message, hint=hint)

    def _check_numbers(self) -> None:
        for name in ("steps", "chains", "top_k", "thin", "block"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"--{name.replace('_', '-')} {value}: at least 1 is needed")
        if not 0 <= self.temperature < float("inf"):
            hint = "0 takes the most probable token, 1 draws as the model says, more is bolder"
            raise UsageError(f"--temperature {self.temperature:g} is below 0 or no number", hint=hint)
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UsageError(f"--top-p {self.top_p:g} is no probability", hint="above 0, at most 1")

    def steps_for(self, num_free: int, *, is_open: bool) -> int:
        """Steps of a chain with so many free positions; all of them are drawn where they are open."""
        if self.fraction is None:
            return self.steps
        return max(1, round((1 if is_open else self.fraction) * num_free / self.block))

    def temperature_at(self, step: int) -> float:
        """The temperature of a step, from 1."""
        if not self.anneal:
            return self.temperature
        return self.temperature * max(0.0, 1 - step / max(1.0, ANNEALED_FRACTION * self.steps))

    @property
    def first_shown(self) -> int:
        """The first step whose state may be shown: by default after half of them, with annealing the last one."""
        if self.burn_in is not None:
            return self.burn_in + 1
        return self.steps if self.anneal else self.steps // 2 + 1

    def is_measured(self, step: int, *, sweep: int) -> bool:
        """Whether a step is one of every `thin`, counted back from the last; by default a sweep, ten at least."""
        return (self.steps - step) % (self.thin or max(SMALLEST_THIN, sweep)) == 0

    def for_lines(self) -> None:
        """Raise `UsageError` for what has no effect where each line comes back once."""
        given = {
            "from": self.text,
            "chains": self.chains,
            "burn-in": self.burn_in,
            "thin": self.thin,
            "unique": self.unique or None,
        }
        for name, value in given.items():
            if value is not None:
                raise UsageError(f"--{name} has no effect with --rewrite", hint="each line comes back once, in order")
        if self.anneal and self.fraction is not None:
            raise UsageError("--anneal lets the temperature fall over --steps", hint="give --steps, such as 20")
        if self.length is not None and not self.moves:
            raise UsageError("--length has no effect with --rewrite", hint="a line keeps its length without --moves")
