"""Metropolis-Hastings over texts: replace, insert and delete tokens by a score, so that the length can change.

A step proposes one change; what is inserted comes from the masked model, as does the probability of the reverse move.
It is accepted with probability min(1, exp(score(new) / t - score(old) / t) q(old | new) / q(new | old)). In contrast to
Gibbs sampling by a model's conditionals this has an exact target, exp(score / t), whatever the proposals are; the score
is the pseudo-log-likelihood of the text, the sum of log p(token | all others) (arXiv 2106.02736; moves as in
kexue.fm/archives/8194). With a true joint distribution for a score, and its conditionals for proposals, replacing is
Gibbs sampling and always accepted.

Positions that are still [MASK] are filled first, by Gibbs steps: a text with gaps has no score.

Longer texts have lower sums. So a text of n tokens in a chain that began with m gets the factor (m / n)^0.8, after the
length exponent of that post; at equal lengths it is 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import torch

from nlpx.data.batches.masking import row_generator
from nlpx.decode.batch_slots import BatchSlots, side_by_side
from nlpx.decode.conditionals import Conditionals
from nlpx.decode.gibbs.draw import Draw
from nlpx.decode.pseudo_likelihood import PseudoLikelihood

Move = Literal["fill", "replace", "insert", "delete"]
MOVE_PROBABILITIES: tuple[tuple[Move, float], ...] = (("replace", 0.5), ("insert", 0.25), ("delete", 0.25))
LENGTH_EXPONENT = 0.8  # of the post: see above


class Token(NamedTuple):
    """A token of a text, its place in the given one or that of the token it replaced, and whether it is to stay."""

    token_id: int
    origin: int | None = None
    is_kept: bool = False


Text = tuple[Token, ...]  # without special tokens
Score = Callable[["MovingChain", Text], float]


@dataclass(slots=True)
class MovingChain:
    """One text that changes its length between `shortest` and `longest` tokens."""

    number: int
    text: Text
    shortest: int
    longest: int
    width: int
    seed: int = 7
    num_steps: int = 0
    num_changed: int = 0  # accepted
    first_length: int = field(init=False)
    score: float | None = field(init=False, default=None)
    random: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.first_length = len(self.text)
        self.random = row_generator(self.seed, 0, self.number, "moves")


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change of one place: the text with that place hidden, and how often the move itself is proposed, in logs."""

    move: Move
    place: int
    hidden: tuple[Token | None, ...]  # None is [MASK]
    log_forward: float
    log_backward: float


def propose(text: Text, move: Move, number: float, *, shortest: int, longest: int) -> Proposal | None:
    """The proposal that `number` in [0, 1) picks, or None where the move is impossible from here or has no reverse."""
    if move == "insert":
        gaps = _gaps(text)
        if len(text) >= longest or not gaps:
            return None
        place = gaps[int(number * len(gaps))]
        num_reverse = _num_free(text) + 1
        return Proposal(move, place, (*text[:place], None, *text[place:]), -math.log(len(gaps)), -math.log(num_reverse))
    free = [place for place, token in enumerate(text) if not token.is_kept]
    if not free:
        return None
    place = free[int(number * len(free))]
    hidden = (*text[:place], None, *text[place + 1 :])
    if move == "replace":
        return Proposal(move, place, hidden, 0.0, 0.0)
    gaps = _gaps((*text[:place], *text[place + 1 :]))
    if len(text) <= shortest or place not in gaps:
        return None
    return Proposal(move, place, hidden, -math.log(len(free)), -math.log(len(gaps)))


def accept_probability(change: float, *, log_forward: float, log_backward: float, temperature: float = 1.0) -> float:
    """min(1, exp(change / temperature) q(back) / q(forward)); at temperature 0 whether the score does not fall."""
    if log_backward == -math.inf:
        return 0.0
    if temperature == 0:
        return float(change >= 0)
    return math.exp(min(0.0, change / temperature + log_backward - log_forward))


class PseudoScore:
    """The pseudo-log-likelihood of a text, with the factor for its length."""

    def __init__(self, likelihood: PseudoLikelihood, *, start: Sequence[int], end: Sequence[int]) -> None:
        self.likelihood, self.start, self.end = likelihood, list(start), list(end)

    def __call__(self, chain: MovingChain, text: Text) -> float:
        """The score that `chain` gives to `text`; 0 for an empty one."""
        if not text:
            return 0.0
        token_ids = [*self.start, *(token.token_id for token in text), *self.end]
        places = range(len(self.start), len(self.start) + len(text))
        total = math.fsum(self.likelihood(token_ids, places, width=chain.width))
        factor: float = (chain.first_length / len(text)) ** LENGTH_EXPONENT
        return total * factor


@dataclass(frozen=True, slots=True)
class Mover:
    """Runs chains by moves; `start` and `end` are the special tokens around every text."""

    conditionals: Conditionals
    draw: Draw
    score: Score
    mask_token_id: int
    pad_token_id: int
    start: Sequence[int]
    end: Sequence[int]
    slots: int = 16

    def run(
        self, chains: Sequence[MovingChain], num_steps: int, temperature: Callable[[int], float]
    ) -> Iterator[MovingChain]:
        """Step all chains `num_steps` times, and yield each after each of its steps."""
        groups = side_by_side(chains, self.slots)
        for step in range(1, num_steps + 1):
            for group in groups:
                self._step(group, temperature(step))
                yield from group.values()

    def _step(self, chains: dict[int, MovingChain], temperature: float) -> None:
        proposals = {}
        for slot, chain in chains.items():
            found = self._propose(chain)
            if found is not None:
                proposals[slot] = found
        log_probabilities = self._ask(proposals, next(iter(chains.values())).width) if proposals else None
        for slot, chain in chains.items():
            if slot in proposals and log_probabilities is not None:
                self._decide(chain, proposals[slot], log_probabilities[slot], temperature)
            chain.num_steps += 1

    def _propose(self, chain: MovingChain) -> Proposal | None:
        gaps = [place for place, token in enumerate(chain.text) if token.token_id == self.mask_token_id]
        if gaps:
            place = gaps[int(chain.random.random() * len(gaps))]
            return Proposal("fill", place, (*chain.text[:place], None, *chain.text[place + 1 :]), 0.0, 0.0)
        move = _pick_move(chain.random.random())
        return propose(chain.text, move, chain.random.random(), shortest=chain.shortest, longest=chain.longest)

    def _ask(self, proposals: dict[int, Proposal], width: int) -> torch.Tensor:
        """Log probabilities (slots, V) of what may stand at the hidden place of each proposal."""
        rows = BatchSlots(self.slots, width, pad_token_id=self.pad_token_id)
        places = torch.zeros(self.slots, 1, dtype=torch.long)
        for slot, proposal in proposals.items():
            body = (self.mask_token_id if token is None else token.token_id for token in proposal.hidden)
            rows.write(slot, [*self.start, *body, *self.end])
            places[slot] = len(self.start) + proposal.place
        logits = self.conditionals(rows.token_ids, rows.attention_mask, places)[:, 0]
        return self.draw.allowed(logits).log_softmax(dim=-1)

    def _decide(
        self, chain: MovingChain, proposal: Proposal, log_probabilities: torch.Tensor, temperature: float
    ) -> None:
        place, log_forward, log_backward = proposal.place, proposal.log_forward, proposal.log_backward
        if proposal.move in ("replace", "delete"):
            log_backward += float(log_probabilities[chain.text[place].token_id])
        before, after = proposal.hidden[:place], proposal.hidden[place + 1 :]
        middle: tuple[Token, ...] = ()
        if proposal.move != "delete":
            uniform = torch.tensor([chain.random.random()], dtype=torch.float64)
            at = temperature if proposal.move == "fill" else 1.0
            token_id = int(self.draw(log_probabilities[None], uniform, temperature=at))
            log_forward += float(log_probabilities[token_id])
            middle = (Token(token_id, None if proposal.move == "insert" else chain.text[place].origin),)
        changed: Text = (*(t for t in before if t), *middle, *(t for t in after if t))
        if proposal.move == "fill":
            chain.text = changed
        else:
            self._accept(chain, changed, log_forward, log_backward, temperature)

    def _accept(
        self, chain: MovingChain, changed: Text, log_forward: float, log_backward: float, temperature: float
    ) -> None:
        if chain.score is None:
            chain.score = self.score(chain, chain.text)
        score = self.score(chain, changed) if log_backward > -math.inf else -math.inf
        probability = accept_probability(
            score - chain.score, log_forward=log_forward, log_backward=log_backward, temperature=temperature
        )
        if chain.random.random() < probability:
            chain.text, chain.score = changed, score
            chain.num_changed += 1


def _pick_move(number: float) -> Move:
    for move, share in MOVE_PROBABILITIES:
        if number < share:
            return move
        number -= share
    return MOVE_PROBABILITIES[-1][0]


def _num_free(text: Text) -> int:
    return sum(not token.is_kept for token in text)


def _gaps(text: Text) -> list[int]:
    """Where a token may be inserted: beside one that may change, never inside or around what is kept."""
    kept = [True, *(token.is_kept for token in text), True]
    return [place for place in range(len(text) + 1) if not (kept[place] and kept[place + 1])]
