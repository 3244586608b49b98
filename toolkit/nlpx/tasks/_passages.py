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
    """A passage: its text, the tokens that answers come from, and the sequence it is read in with its question."""

    text: str
    content: list[int]
    spans: NDArray[Any]  # (T, 2): where each token of the content stands in the text
    written: Written


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens at most, without special ones."""

    passage: int
    question: int
    answer: int


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
    """The passages of each question, every text truncated at its end; targets end with `end`."""
    frame = tokenizer.frame
    questions = _contents([row.question for row in rows], tokenizer, lengths.question)
    asked = [(passage, question) for row, question in zip(rows, questions, strict=True) for passage in row.passages]
    texts = [normalized(passage.text) for passage, _ in asked]
    contents = _contents(texts, tokenizer, lengths.passage)
    targets = [
        target_of(passage.answers, text[: content.end])
        for (passage, _), text, content in zip(asked, texts, contents, strict=True)
    ]
    answers = _contents(targets, tokenizer, lengths.answer)
    encoded = (
        EncodedPassage(
            passage.text,
            content.ids,
            content.spans,
            Written(
                [*frame.pair_start, *content.ids, *frame.middle, *question.ids, *frame.middle],
                [*answer.ids, *end],
                (content.num_cut, answer.num_cut),
            ),
        )
        for (passage, question), content, answer in zip(asked, contents, answers, strict=True)
    )
    return [[next(encoded) for _ in row.passages] for row in rows]


def notes(rows: Sequence[Question], read: Sequence[Sequence[EncodedPassage]], lengths: Lengths) -> Iterator[str]:
    """What was truncated, and how many answers no passage holds."""
    passages = [passage for found in read for passage in found]
    for index, (name, limit) in enumerate((("passages", lengths.passage), ("answers", lengths.answer))):
        if num_cut := sum(passage.written.num_cut[index] > 0 for passage in passages):
            yield f"{num_cut:,} of {len(passages):,} {name} are longer than {limit} tokens and lose their end"
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
    num_cut: int

    @property
    def end(self) -> int:
        """Where the last token ends in the text."""
        return int(self.spans[-1, 1]) if self.ids else 0


def _contents(texts: Sequence[str], tokenizer: Tokenizer, limit: int) -> list[_Content]:
    before, after = len(tokenizer.frame.start), len(tokenizer.frame.end)
    found = []
    for encoding in tokenizer.encode_batch(texts, return_offsets=True):
        end = len(encoding.token_ids) - after
        ids, spans = encoding.token_ids[before:end], (encoding.offsets or [])[before:end]
        kept = np.array(spans[:limit], dtype=np.int32).reshape(-1, 2)
        found.append(_Content(ids[:limit], kept, max(len(ids) - limit, 0)))
    return found
