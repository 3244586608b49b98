"""Questions with their passages as ids: [CLS] passage [SEP] question [SEP] answer [SEP] for each passage."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nlpx.tasks._writing import Written

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nlpx.data.rows.questions import Question
    from nlpx.tokenizers.base import Tokenizer

_SEPARATORS = re.compile("[ 、；，]")


class EncodedPassage(NamedTuple):
    """A passage or a window of a long one: the tokens that answers come from, and the sequence with its question."""

    number: int  # of the passage, from 0
    text: str  # the whole of it
    content: list[int]
    spans: NDArray[Any]  # (T, 2): where each token of the content stands in the text
    written: Written


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens at most, without special ones."""

    passage: int
    question: int
    answer: int
    overlap: int | None = None  # of the windows that a longer passage is read in; None: its end is lost


def normalized(text: str) -> str:
    """A passage with commas in place of blanks and of 、；，; as long as it was."""
    return _SEPARATORS.sub(",", text)


def target_of(answers: Sequence[str], passage: str) -> str:
    """What a normalized passage teaches to write: the first answer all of whose parts stand in it, or nothing."""
    for answer in answers:
        parts = [normalized(part) for part in answer.split()]
        if parts and all(part in passage for part in parts):
            return ",".join(parts)
    return ""


def encode_questions(
    rows: Sequence[Question], tokenizer: Tokenizer, lengths: Lengths, end: Sequence[int]
) -> list[list[EncodedPassage]]:
    """The passages of each question, every text truncated at its end, or in windows; targets end with `end`."""
    frame = tokenizer.frame
    questions = [_cut(ids, lengths.question) for ids in _contents([row.question for row in rows], tokenizer)]
    texts = [normalized(passage.text) for row in rows for passage in row.passages]
    contents = iter(_contents(texts, tokenizer))
    windows = [
        [(number, window) for number, _ in enumerate(row.passages) for window in _windows(next(contents), lengths)]
        for row in rows
    ]
    targets = [
        target_of(row.passages[number].answers, normalized(row.passages[number].text)[window.start : window.end])
        for row, found in zip(rows, windows, strict=True)
        for number, window in found
    ]
    answers = (_cut(ids, lengths.answer) for ids in _contents(targets, tokenizer))

    def encoded(row: Question, question: _Content, number: int, window: _Content) -> EncodedPassage:
        source = [*frame.pair_start, *window.ids, *frame.middle, *question.ids, *frame.middle]
        answer = next(answers)
        written = Written(source, [*answer.ids, *end], (window.num_cut, answer.num_cut))
        return EncodedPassage(number, row.passages[number].text, window.ids, window.spans, written)

    return [
        [encoded(row, question, number, window) for number, window in found]
        for row, question, found in zip(rows, questions, windows, strict=True)
    ]


def notes(rows: Sequence[Question], read: Sequence[Sequence[EncodedPassage]], lengths: Lengths) -> Iterator[str]:
    """What was truncated, and how many answers no passage holds."""
    passages = [passage for found in read for passage in found]
    limits = {"passages": lengths.passage, "answers": lengths.answer}
    ways_out = {"passages": "; task_options.overlap=64 reads them in windows"}
    for index, (name, limit) in enumerate(limits.items()):
        if num_cut := sum(passage.written.num_cut[index] > 0 for passage in passages):
            what = f"{num_cut:,} of {len(passages):,} {name} are longer than {limit} tokens and lose their end"
            yield what + ways_out.get(name, "")
    answered = [any(len(passage.written.target) > 1 for passage in found) for found in read]
    if lost := sum(bool(row.answers) and not is_there for row, is_there in zip(rows, answered, strict=True)):
        yield (
            f"{lost:,} of {len(rows):,} questions have no passage in which their answer stands, as far as passages are "
            "read: they teach to answer nothing"
        )


class _Content(NamedTuple):
    """A text without special tokens."""

    ids: list[int]
    spans: NDArray[Any]  # (T, 2)
    num_cut: int = 0

    @property
    def start(self) -> int:
        """Where the first token begins in the text."""
        return int(self.spans[0, 0]) if self.ids else 0

    @property
    def end(self) -> int:
        """Where the last token ends in the text."""
        return int(self.spans[-1, 1]) if self.ids else 0


def _contents(texts: Sequence[str], tokenizer: Tokenizer) -> list[_Content]:
    before, after = len(tokenizer.frame.start), len(tokenizer.frame.end)
    found = []
    for encoding in tokenizer.encode_batch(texts, return_offsets=True):
        end = len(encoding.token_ids) - after
        spans = np.array((encoding.offsets or [])[before:end], dtype=np.int32).reshape(-1, 2)
        found.append(_Content(encoding.token_ids[before:end], spans))
    return found


def _cut(content: _Content, limit: int) -> _Content:
    return _Content(content.ids[:limit], content.spans[:limit], max(len(content.ids) - limit, 0))


def _windows(content: _Content, lengths: Lengths) -> list[_Content]:
    """The passage as it is read: truncated, or in windows, each of which shares `overlap` tokens with the last one."""
    limit, length = lengths.passage, len(content.ids)
    if lengths.overlap is None or length <= limit:
        return [_cut(content, limit)]
    starts = range(0, length - lengths.overlap, limit - lengths.overlap)
    return [_Content(content.ids[start : start + limit], content.spans[start : start + limit]) for start in starts]
