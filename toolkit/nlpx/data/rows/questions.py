"""Questions with the passages that may answer them, in the layouts of the published sets.

- WebQA and SogouQA: `question` and `passages`, a list of {`passage`, `answer`}, where an empty answer says that the
  passage answers nothing;
- CMRC 2018, DRCD and SQuAD: `data` of `paragraphs` of `context` and `qas`, or any part of that, down to a row with
  `question`, `context` and `answers`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nlpx.data.rows.in_splits import read_in_splits, read_items
from nlpx.data.rows.reading import Row, RowReport, Shape, bad_row
from nlpx.data.rows.splits import Paths, Split, SplitFile, Splits

QUESTIONS = ("question", "query_text", "query")
CONTEXTS = ("context", "context_text")
IDS = ("id", "query_id", "qid")
ANSWERS = ("answers", "answer")
UNANSWERABLE = ("unanswerable", "is_impossible")


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage, and the answers that it is said to hold; none: it answers nothing, or nothing is known."""

    text: str
    answers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """A question, its passages, and all answers that count as right: none where nothing is, None where unknown."""

    question: str
    passages: tuple[Passage, ...]
    answers: tuple[str, ...] | None
    split: Split | None
    row: dict[str, Any]  # what is given back with the answer


def read_splits(data: Paths, **options: Any) -> Splits[Question]:
    """Read train, dev and test questions; `options` are those of `read_in_splits`. Test questions need no answers.

    Raises InputError for rows of no known layout, without a question or passages, and nothing to train on.
    """

    def parse(row: Row, split: Split | None) -> Iterator[Question]:
        for question in questions_of(row, split):
            if not question.passages:
                raise bad_row(row.place, f"no passage for `{question.question}`", row=row.values)
            if question.answers is None and split != "test":
                hint = 'an answer may be "" and `answers` empty, where nothing answers the question'
                raise bad_row(row.place, f"no `answers` for `{question.question}`", row=row.values, hint=hint)
            yield question

    # By the passage: the questions of one text stay together.
    return read_in_splits(
        data, parse, shape=Shape(), key=lambda q: q.passages[0].text, items="questions", key_name="passage", **options
    )


def read_questions(data: str, *, report: RowReport, **options: Any) -> Iterator[Question]:
    """Yield the questions of `data` in file order. Raises InputError."""
    found = read_items([SplitFile(data)], questions_of, shape=Shape(), report=report, **options)
    return (question for _, question in found)


def questions_of(row: Row, split: Split | None) -> Iterator[Question]:
    """The questions of a row of any layout. Raises InputError for other rows."""
    yield from _questions(row.values, row, split)


def _questions(values: Mapping[str, Any], row: Row, split: Split | None) -> Iterator[Question]:
    for name in ("data", "paragraphs"):
        if name in values:
            for inner in _dictionaries(values[name], name, row):
                yield from _questions(inner, row, split)
            return
    context = next((name for name in CONTEXTS if name in values), None)
    if "passages" in values:
        yield _of_passages(values, row, split)
    elif context is not None and "qas" in values:
        for inner in _dictionaries(values["qas"], "qas", row):
            yield _of_context(inner, _text(values, (context,), row), row, split)
    elif context is not None:
        yield _of_context(values, _text(values, (context,), row), row, split)
    else:
        hint = "a row has `question` and `passages`, or `question`, `context` and `answers`"
        raise bad_row(row.place, "has no `passages` and no `context`", row=row.values, hint=hint)


def _of_context(values: Mapping[str, Any], context: str, row: Row, split: Split | None) -> Question:
    """A question about one text."""
    answers = _answers(values, row)
    own = row.values if values is row.values else {name: values[name] for name in (*IDS, *QUESTIONS) if name in values}
    return Question(_text(values, QUESTIONS, row), (Passage(context, answers or ()),), answers, split, dict(own))


def _of_passages(values: Mapping[str, Any], row: Row, split: Split | None) -> Question:
    """A question with passages, each with answers of its own; all of them count as right."""
    passages, is_annotated = [], False
    given = values["passages"]
    for found in given if isinstance(given, list) else [None]:
        if isinstance(found, str):
            passages.append(Passage(found))
            continue
        if not isinstance(found, dict):
            raise bad_row(row.place, "`passages` is no list of passages", row=row.values)
        answers = _answers(found, row)
        is_annotated = is_annotated or answers is not None
        passages.append(Passage(_text(found, ("passage", "text"), row, needed=False), answers or ()))
    accepted = _answers(values, row)
    if accepted is not None or is_annotated:
        held = [answer for passage in passages for answer in passage.answers]
        accepted = tuple(dict.fromkeys([*(accepted or ()), *held]))
    return Question(_text(values, QUESTIONS, row), tuple(passages), accepted, split, dict(values))


def _answers(values: Mapping[str, Any], row: Row) -> tuple[str, ...] | None:
    """The answers that are not empty; None if nothing is said of answers."""
    if any(values.get(name) is True for name in UNANSWERABLE):
        return ()
    name = next((name for name in ANSWERS if values.get(name) is not None), None)
    if name is None:
        return None
    given = values[name]
    if isinstance(given, dict):  # {"text": [...], "answer_start": [...]}
        given = given.get("text")
    listed = given if isinstance(given, list) else [given]
    texts = [item.get("text") if isinstance(item, dict) else item for item in listed]
    found = [text for text in texts if isinstance(text, str)]
    if len(found) < len(texts):
        raise bad_row(row.place, f"`{name}` is no text and no list of texts", row=row.values)
    return tuple(dict.fromkeys(text for text in found if text.strip()))


def _text(values: Mapping[str, Any], names: Sequence[str], row: Row, *, needed: bool = True) -> str:
    value = next((values[name] for name in names if name in values), None)
    if not isinstance(value, str) or (needed and not value.strip()):
        raise bad_row(row.place, f"lacks a text in `{names[0]}`", row=row.values)
    return value


def _dictionaries(value: Any, name: str, row: Row) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise bad_row(row.place, f"`{name}` is no list of objects", row=row.values)
    return value
