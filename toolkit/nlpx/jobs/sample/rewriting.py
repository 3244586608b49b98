"""`nlpx sample --rewrite`: lines, or one field of rows, each as the last state of a chain that began with it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from itertools import islice
from typing import TYPE_CHECKING, Any

from nlpx.data.rows.texts import Text, Texts, read_texts
from nlpx.jobs.sample.settings import Settings
from nlpx.train.config import Precision

if TYPE_CHECKING:
    from nlpx.decode.gibbs.draw import Draw
    from nlpx.decode.prompts import Prompt
    from nlpx.jobs.sample.chains import Run, Start, State

LINES_AT_ONCE = 64  # chains of one call, and memory for an endless stream
# Unless --steps and --temperature say otherwise: as few words change, and as likely ones come, as leaves a sentence.
# What has no letter stays, and nothing without a letter comes in: marks and numbers carry a sentence's build.
FRACTION = 0.1
TEMPERATURE = 0.5


@dataclass(slots=True)
class Report:
    """How far the texts that came out are from those that went in; likelihoods only where `is_measured`."""

    is_measured: bool = False
    num_texts: int = 0
    num_changed: int = 0
    num_without_text: int = 0
    num_characters: int = 0
    num_kept: int = 0
    nats: dict[str, float] = field(default_factory=lambda: {"before": 0.0, "after": 0.0})
    tokens: dict[str, int] = field(default_factory=lambda: {"before": 0, "after": 0})

    def add(self, before: str, after: str) -> None:
        """Compare a text with what became of it."""
        blocks = SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks()
        self.num_texts += 1
        self.num_changed += before != after
        self.num_characters += len(before)
        self.num_kept += sum(block.size for block in blocks)

    def measure(self, when: str, log_likelihood: float, num_tokens: int) -> None:
        """Add a text's pseudo-log-likelihood, `before` or `after`."""
        self.nats[when] += log_likelihood
        self.tokens[when] += num_tokens

    def facts(self) -> dict[str, Any]:
        """Texts, changed ones, the fraction of characters kept, and pseudo-perplexities; None where not measured."""
        found: dict[str, Any] = {
            "texts": self.num_texts,
            "changed": self.num_changed,
            "kept": self.num_kept / self.num_characters if self.num_characters else None,
        }
        for when, count in self.tokens.items():
            found[f"pseudo_perplexity_{when}"] = math.exp(-self.nats[when] / count) if count else None
        return found


def rewrite(
    model: str,
    given: Texts,
    settings: Settings,
    *,
    device: str = "auto",
    precision: Precision = "auto",
    report: Report | None = None,
) -> Iterator[dict[str, Any]]:
    """Every line or row in order, with a new text: the last state of a chain that began with the old one.

    A line comes as `text`, `chain`, `step`, `changed`; a row with all its fields, one of them rewritten. What has no
    text stays. The result depends on the text, its number and the seed alone. Raises `UsageError` and `InputError`.
    """
    from nlpx.decode.prompts import parse_length, parse_span
    from nlpx.jobs.sample.chains import Run

    settings.for_lines()
    keep = [parse_span(span) for span in settings.keep]
    bounds = None if settings.length is None else parse_length(settings.length)
    windows = _windows(given)
    run = Run.load(model, settings, device=device, precision=precision)
    if settings.fraction is not None:
        run.draw = _of_letters(run)
    report = Report() if report is None else report
    return (row for window in windows for row in _rewritten(run, window, keep, bounds, given, report))


def _rewritten(
    run: Run,
    window: list[Text],
    keep: list[slice],
    bounds: tuple[int, int] | None,
    given: Texts,
    report: Report,
) -> Iterator[dict[str, Any]]:
    from nlpx.decode.prompts import read_prompt

    starts: dict[int, Start] = {}
    for line in window:
        if line.text.strip():
            prompt = read_prompt(line.text, run.model.tokenizer, run.model.special, keep, place=line.place)
            if run.settings.fraction is not None:
                prompt = _with_marks_held(prompt, run)
            if any(prompt.is_free):
                starts[line.number] = run.from_prompt(prompt, bounds, place=line.place)
    last = {state.chain: state for state in run.states(starts) if state.step <= run.steps_of(state.start)}
    for line in window:
        yield _answer(run, line, last.get(line.number), given.field, report)


def _with_marks_held(prompt: Prompt, run: Run) -> Prompt:
    """The prompt with tokens that have no letter held, unless there are [MASK]s to fill."""
    tokens, mask = run.model.tokenizer.vocab.tokens, run.model.special.mask
    if mask in prompt.token_ids:
        return prompt
    is_free = [
        free and _has_letter(tokens[token_id]) for free, token_id in zip(prompt.is_free, prompt.token_ids, strict=True)
    ]
    return replace(prompt, is_free=is_free)


def _of_letters(run: Run) -> Draw:
    """The draw without tokens that have no letter, unless the user allows one."""
    import torch

    tokens = run.model.tokenizer.vocab.tokens
    marks = torch.zeros(run.model.vocab_size, dtype=torch.bool)
    marks[: len(tokens)] = torch.tensor([not _has_letter(token) for token in tokens])
    for token in run.settings.allow:
        marks[run.model.tokenizer.vocab.ids.get(token, 0)] = False
    return replace(run.draw, banned=marks if run.draw.banned is None else run.draw.banned | marks)


def _has_letter(token: str) -> bool:
    return any(map(str.isalpha, token))


def _answer(run: Run, line: Text, state: State | None, name: str, report: Report) -> dict[str, Any]:
    blank: dict[str, Any] = {"text": line.text, "chain": line.number, "step": 0, "changed": []}
    row = blank if state is None else run.row(state)
    if state is None:
        report.num_without_text += line.row is not None and not line.text.strip()
    else:
        report.add(line.text, row["text"])
        if report.is_measured:
            report.measure("before", run.pseudo_log_likelihood_of_start(state.start), len(state.start.prompt.token_ids))
            report.measure("after", run.pseudo_log_likelihood(state), len(state.tokens))
    if line.row is None:
        return row
    return {**line.row, name: line.row[name] if state is None else row["text"]}


def _windows(given: Texts) -> Iterator[list[Text]]:
    """Some lines or rows at a time; from stdin those that have arrived."""
    from nlpx.jobs.predict import as_they_arrive, detach_stdin

    if given.source == "-":
        detach_stdin()
        return as_they_arrive(read_texts(given), LINES_AT_ONCE)
    lines = read_texts(given)
    return iter(lambda: list(islice(lines, LINES_AT_ONCE)), [])
