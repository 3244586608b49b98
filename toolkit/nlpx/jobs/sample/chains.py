"""The chains of `nlpx sample-gibbs`: made from prompts, run by Gibbs steps or by moves, written as rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

from nlpx.data.batches.masking import row_generator
from nlpx.decode.batch_slots import num_slots, width_for
from nlpx.decode.gibbs.chains import Chain, Sampler
from nlpx.decode.gibbs.draw import Draw
from nlpx.decode.gibbs.moves import Mover, MovingChain, PseudoScore, Token
from nlpx.decode.gibbs.vocabulary import banned_ids
from nlpx.decode.prompts import Prompt, check_length, open_prompt, write_text
from nlpx.decode.pseudo_likelihood import PseudoLikelihood
from nlpx.errors import InputError
from nlpx.jobs.sample.model import SampledModel, load
from nlpx.train.config import Precision

if TYPE_CHECKING:
    from nlpx.jobs.sample.settings import Settings

FRAME = 2  # [CLS] and [SEP]
FEWEST, MOST = 8, 32  # tokens of a text from nothing, as in kexue.fm/archives/8119
Bounds = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Start:
    """What one chain begins with, the fewest and the most tokens it may have, and the width of its row.

    The width is a function of the options and of the chain itself, never of the chains beside it.
    """

    prompt: Prompt
    bounds: Bounds
    width: int


@dataclass(frozen=True, slots=True)
class State:
    """A chain after a step: (id, place in the prompt or None) of its tokens, and how many changes it has seen."""

    chain: int
    step: int
    tokens: list[tuple[int, int | None]]
    start: Start
    num_visits: int
    num_changed: int
    has_gaps: bool

    @property
    def token_ids(self) -> list[int]:
        return [token_id for token_id, _ in self.tokens]


@dataclass(slots=True)
class Run:
    """A model with the settings of one command."""

    model: SampledModel
    settings: Settings
    draw: Draw
    slots: int
    likelihood: PseudoLikelihood
    _shown: dict[int, list[int]] = field(default_factory=dict)  # what each chain showed last

    @classmethod
    def load(cls, name: str, settings: Settings, *, device: str, precision: Precision) -> Run:
        """Load the model and determine which tokens may be drawn."""
        model = load(name, device=device, precision=precision)
        banned = banned_ids(
            model.tokenizer, model.special, vocab_size=model.vocab_size, allow=settings.allow, ban=settings.ban
        )
        slots = num_slots(model.device)
        likelihood = PseudoLikelihood(model.conditionals, model.special.mask, model.special.pad, slots)
        return cls(model, settings, Draw(banned, settings.top_k, settings.top_p), slots, likelihood)

    def from_nothing(self, number: int, bounds: Bounds | None) -> Start:
        """The start of a chain of [MASK]s, its length uniform between the bounds. Raises `InputError`."""
        longest = self.model.longest
        low, high = bounds or (min(FEWEST, longest), min(MOST, longest))
        self._check_positions(high)
        length = int(row_generator(self.settings.seed, 0, number, "length").integers(low, high + 1))
        width = width_for(high + FRAME, exact=low == high and not self.settings.moves)
        return self._checked(Start(open_prompt(length, self.model.special.mask), (low, high), width), "--length")

    def from_prompt(self, prompt: Prompt, bounds: Bounds | None, *, place: str = "--from") -> Start:
        """The start of a chain with this text; `place` is for errors. Raises `InputError`."""
        size, longest = len(prompt.token_ids), self.model.longest
        check_length(size, longest, place=place)
        if not self.settings.moves:
            # Lines of other lengths run beside this one in rows of a common width; chains of one text need no padding.
            width = width_for(size + FRAME, exact=self.settings.text is not None)
            return self._checked(Start(prompt, (size, size), width), place)
        low, high = bounds or (-(-size // 2), min(2 * size, longest))
        self._check_positions(high)
        if not low <= size <= high:
            raise InputError(f"{place}: --length {low}:{high}, and the text to start from has {size} tokens")
        return self._checked(Start(prompt, (low, high), width_for(high + FRAME)), place)

    def states(self, starts: Mapping[int, Start]) -> Iterator[State]:
        """Every state of the chains of these numbers, in the order in which they are drawn.

        Those of fewer steps than others go on until all have theirs.
        """
        if not starts:
            return
        temperature, steps = self.settings.temperature_at, max(map(self.steps_of, starts.values()))
        if self.settings.moves:
            moving = [self._moving_chain(number, start) for number, start in starts.items()]
            for moved in self._mover().run(moving, steps, temperature):
                yield self._moved(moved, starts[moved.number])
            return
        chains = [self._chain(number, start) for number, start in starts.items()]
        for chain in self._sampler().run(chains, steps, temperature):
            yield self._stepped(chain, starts[chain.number])

    def steps_of(self, start: Start) -> int:
        """The steps of a chain with this start."""
        is_open = self.model.special.mask in start.prompt.token_ids
        return self.settings.steps_for(sum(start.prompt.is_free), is_open=is_open)

    def sweep(self, start: Start) -> int:
        """Steps in which every free position is visited once."""
        return -(-sum(start.prompt.is_free) // self.settings.block)

    def pseudo_log_likelihood(self, state: State) -> float:
        """Sum over the tokens of a state of log p(token | all others), in nats."""
        token_ids = [self.model.special.cls, *state.token_ids, self.model.special.sep]
        return math.fsum(self.likelihood(token_ids, range(1, len(token_ids) - 1), width=state.start.width))

    def pseudo_log_likelihood_of_start(self, start: Start) -> float:
        """The same of the text that a chain begins with."""
        token_ids = [self.model.special.cls, *start.prompt.token_ids, self.model.special.sep]
        return math.fsum(self.likelihood(token_ids, range(1, len(token_ids) - 1), width=start.width))

    def row(self, state: State) -> dict[str, Any]:
        """What is printed of a state."""
        before = self._shown.get(state.chain, state.start.prompt.token_ids)
        self._shown[state.chain] = state.token_ids
        row: dict[str, Any] = {
            "text": write_text(state.start.prompt, state.tokens, self.model.tokenizer),
            "chain": state.chain,
            "step": state.step,
            "changed": changed_places(before, state.token_ids),
        }
        if self.settings.energy:
            row["pseudo_energy"] = -self.pseudo_log_likelihood(state)
        return row

    def _check_positions(self, high: int) -> None:
        if high > self.model.longest:
            message = f"--length: {high} tokens, and the model has positions for {self.model.longest}"
            raise InputError(message, hint="beside [CLS] and [SEP]; take a smaller length, or another model")

    def _checked(self, start: Start, place: str) -> Start:
        """The start itself. Raises `InputError` if the steps of the run cannot fill every [MASK] of it."""
        is_open = self.model.special.mask in start.prompt.token_ids
        most = start.bounds[1] if not start.prompt.spans else sum(start.prompt.is_free)
        needed = -(-most // self.settings.block)
        steps = self.settings.steps_for(most, is_open=is_open)
        if is_open and steps < needed:
            message = f"{place}: {steps} steps cannot fill {most} open positions"
            raise InputError(message, hint=f"--steps {needed} or more")
        return start

    def _sampler(self) -> Sampler:
        special, settings = self.model.special, self.settings
        return Sampler(self.model.conditionals, self.draw, special.mask, special.pad, self.slots, settings.block)

    def _chain(self, number: int, start: Start) -> Chain:
        special, prompt, settings = self.model.special, start.prompt, self.settings
        free = [place for place, is_free in enumerate(prompt.is_free, start=1) if is_free]
        token_ids = [special.cls, *prompt.token_ids, special.sep]
        return Chain(number, token_ids, free, start.width, seed=settings.seed, block=settings.block)

    def _stepped(self, chain: Chain, start: Start) -> State:
        body = chain.token_ids[1:-1]
        tokens: list[tuple[int, int | None]] = [(token_id, place) for place, token_id in enumerate(body)]
        has_gaps = self.model.special.mask in body
        return State(chain.number, chain.num_steps, tokens, start, chain.num_visits, chain.num_changed, has_gaps)

    def _mover(self) -> Mover:
        special = self.model.special
        score = PseudoScore(self.likelihood, start=[special.cls], end=[special.sep])
        frame = ([special.cls], [special.sep])
        return Mover(self.model.conditionals, self.draw, score, special.mask, special.pad, *frame, self.slots)

    def _moving_chain(self, number: int, start: Start) -> MovingChain:
        prompt, (shortest, longest) = start.prompt, start.bounds
        text = tuple(
            Token(token_id, place, not is_free)
            for place, (token_id, is_free) in enumerate(zip(prompt.token_ids, prompt.is_free, strict=True))
        )
        return MovingChain(number, text, shortest, longest, start.width, seed=self.settings.seed)

    def _moved(self, chain: MovingChain, start: Start) -> State:
        tokens = [(token.token_id, token.origin) for token in chain.text]
        has_gaps = any(token_id == self.model.special.mask for token_id, _ in tokens)
        return State(chain.number, chain.num_steps, tokens, start, chain.num_steps, chain.num_changed, has_gaps)


def changed_places(before: Sequence[int], after: Sequence[int]) -> list[int]:
    """Where tokens of `after` differ from `before`, or have come in between, from 0."""
    if len(before) == len(after):
        return [place for place, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    found = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    return [place for kind, _, _, start, end in found if kind != "equal" for place in range(start, end)]
