"""Reading comprehension: an answer to a question, written from its passages, or nothing where none of them has one.

One encoder with a UniLM mask learns [CLS] passage [SEP] question [SEP] answer [SEP] (Su Jianlin's seq2seq reader). In
training each question meets one of its passages, drawn anew each time; a passage without an answer teaches to end at
once. How several passages give one answer is `decode/generation/reading.py`. Score: the mean of accuracy and the F1 of
characters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field, PositiveInt

from nlpx.configuration.section import Section
from nlpx.data.rows.questions import Question, read_questions, read_splits
from nlpx.data.rows.splits import Paths, Splits
from nlpx.errors import UsageError
from nlpx.metrics.reading import SCORE, evaluate
from nlpx.report import reading
from nlpx.report.tables import Table
from nlpx.tasks import EncodedRows, Evaluation
from nlpx.tasks._writing import ARRANGEMENTS, WritingTask, shown, thin_out

if TYPE_CHECKING:
    from nlpx.baselines import Baseline
    from nlpx.data.rows.reading import OnBadRow, RowReport
    from nlpx.decode.generation.reading import Answer
    from nlpx.models.encoder import Encoder
    from nlpx.tasks._passages import EncodedPassage, Lengths
    from nlpx.tokenizers.base import Tokenizer

NUM_SAMPLES = 3  # answers shown at each evaluation
MOST_PASSAGES = 64  # read together


class Config(Section):
    """What only this task has."""

    max_question_length: PositiveInt = Field(64, description="tokens; a passage has what `data.max_length` leaves")
    max_answer_length: PositiveInt = Field(32, description="tokens of an answer")
    overlap: int | None = Field(
        None, ge=0, description="long passages are read in windows that share so many tokens; null: their end is lost"
    )
    extractive: bool = Field(True, description="an answer stands in one of the passages, word for word")
    scoring: Literal["vote", "length_aware"] = Field(
        "vote", description="of the passages for each token; length_aware: long answers are not held back"
    )
    num_beams: PositiveInt = Field(1, description="of the search for an answer; 1: greedy")
    evaluation_rows: PositiveInt = Field(200, description="dev questions that are answered; more are left out")


class Found(NamedTuple):
    """An answer, its score, and the numbers of the passages that had a say."""

    text: str
    score: float | None = None
    passages: Sequence[int] = ()


class Task(WritingTask):
    """Answering questions from passages."""

    primary_metric = SCORE
    example = '{"question": "...", "context": "...", "answers": ["..."]}, or `passages` with an `answer` each'

    def __init__(self, config: Config) -> None:
        super().__init__(ARRANGEMENTS["prefix"])
        self.config = config

    def read(
        self,
        data: Paths,
        *,
        dev: Paths = (),
        test: Paths = (),
        encoding: str,
        format: str | None = None,
        on_bad_row: OnBadRow,
        report: RowReport,
    ) -> Splits[Question]:
        """Train, dev and test questions; of dev no more than `evaluation_rows`, spread evenly."""
        options: dict[str, Any] = {"encoding": encoding, "format": format, "on_bad_row": on_bad_row, "report": report}
        splits = read_splits(data, dev=dev, test=test, **options)
        thin_out(splits, self.config.evaluation_rows, "questions")
        return splits

    def read_rows(
        self, source: str, *, encoding: str, format: Any, on_bad_row: OnBadRow, report: RowReport
    ) -> Iterator[Question]:
        """Questions in file order, answers optional."""
        return read_questions(source, encoding=encoding, format=format, on_bad_row=on_bad_row, report=report)

    def texts(self, rows: Iterable[Question]) -> Iterator[str]:
        """Questions and passages."""
        for row in rows:
            yield row.question
            yield from (passage.text for passage in row.passages)

    def encode(self, rows: Sequence[Question], tokenizer: Tokenizer, max_length: int) -> EncodedRows:
        """Each question with all its passages; a passage is truncated to what question and answer leave."""
        from nlpx.tasks._passages import encode_questions, notes

        self.tokenizer = tokenizer  # what is predicted are ids, and what is asked for texts
        lengths = self._lengths(tokenizer, max_length)
        read = encode_questions(rows, tokenizer, lengths, [*self.arrangement.end_ids(tokenizer)])
        longest = [max((p.written.num_tokens for p in found), default=1) for found in read]
        return EncodedRows(read, longest, truncated=list(notes(rows, read, lengths)))

    def collate(self, encoded: EncodedRows, rows: Sequence[int], pad_token_id: int) -> dict[str, Any]:
        """One passage of each question, drawn by torch's generator, as a batch to learn from; `num_targets`.

        Where nothing is learned, in inference mode, all passages instead: what answers depend on is not drawn, and
        chance goes on as if nobody had asked.
        """
        import torch

        read: list[list[EncodedPassage]] = [encoded.items[row] for row in rows]
        if torch.is_inference_mode_enabled():
            return {"passages": read, "num_targets": 0}
        drawn = [passages[int(torch.randint(len(passages), ()))].written for passages in read]
        batch = self.arrangement.tensors(drawn, pad_token_id)
        return {**batch, "num_targets": len(batch["targets"])}

    def predict(self, model: Encoder, batch: dict[str, Any]) -> list[Found]:
        """An answer to each question from all its passages."""
        from nlpx.decode.generation.reading import Passages, ReadingSettings, read

        settings = ReadingSettings(
            max_new_tokens=self.config.max_answer_length + 1,  # and the end token
            num_beams=self.config.num_beams,
            is_extractive=self.config.extractive,
            scoring=self.config.scoring,
        )
        (end_id,) = self.arrangement.end_ids(self.tokenizer)
        decoder, answers = self.arrangement.decoder(model, self.tokenizer), []
        for part in _parts(batch["passages"]):
            questions = [Passages([p.written.source for p in found], [p.content for p in found]) for found in part]
            answers += read(decoder, questions, settings, end_id=end_id)
        return [
            Found(self._text(answer, found), answer.score, sorted({found[index].number for index in answer.kept}))
            for answer, found in zip(answers, batch["passages"], strict=True)
        ]

    def is_labelled(self, rows: Iterable[Question]) -> bool:
        """Whether every question comes with its answers."""
        return all(row.answers is not None for row in rows)

    def baselines(self, rows: Sequence[Question]) -> list[Baseline]:
        """The sentence nearest to the question, and never an answer."""
        from nlpx.baselines import Baseline, best_sentence

        nearest = best_sentence.BestSentence([passage.text for row in rows for passage in row.passages])

        def predict(judged: Sequence[Question]) -> list[Found]:
            return [Found(nearest.answer(row.question, [passage.text for passage in row.passages])) for row in judged]

        return [Baseline(best_sentence.NAME, predict), Baseline("no answer", lambda judged: [Found("")] * len(judged))]

    def evaluate(self, rows: Sequence[Question], predictions: Sequence[Found]) -> Evaluation:
        """Accuracy, F1 of characters, CMRC's figures over the questions with known answers; the first few answers."""
        pairs = [(row, found) for row, found in zip(rows, predictions, strict=True) if row.answers is not None]
        record = evaluate([found.text for _, found in pairs], [row.answers or () for row, _ in pairs])
        samples = [
            f"{shown(row.question)} → {shown(found.text) or '(nothing)'} "
            f"(wanted: {shown(' / '.join(row.answers or ())) or '(nothing)'})"
            for row, found in pairs[:NUM_SAMPLES]
        ]
        return Evaluation(record["score"], record, reading.rows(record), reading.FIELDS, samples)

    def tables(self, record: Mapping[str, Any]) -> list[Table]:
        """The figures by both measures."""
        return reading.tables(record)

    def predicted_row(self, row: Question, prediction: Found) -> dict[str, Any]:
        """The row with `generated`, the `score` of its search, and `passages_used`, numbers from 0."""
        score = None if prediction.score is None else round(prediction.score, 4)
        return row.row | {"generated": prediction.text, "score": score, "passages_used": list(prediction.passages)}

    def _text(self, answer: Answer, passages: Sequence[EncodedPassage]) -> str:
        """An extractive answer as it stands in its passage, any other from its tokens."""
        if answer.place is None:
            return self.tokenizer.decode(answer.token_ids)
        number, start = answer.place
        spans = passages[number].spans[start : start + len(answer.token_ids)]
        return passages[number].text[int(spans[0, 0]) : int(spans[-1, 1])]

    def _lengths(self, tokenizer: Tokenizer, max_length: int) -> Lengths:
        from nlpx.tasks._passages import Lengths

        special = self.arrangement.room(tokenizer) + len(tokenizer.frame.middle)
        question, answer = self.config.max_question_length, self.config.max_answer_length
        room = max_length - special - question - answer
        if room < 1:
            raise UsageError(
                f"data.max_length {max_length} leaves no token of a passage beside {question} of a question, {answer} "
                f"of an answer and {special} special ones",
                hint="--max-length N makes rows longer, --set task_options.max_question_length=N questions shorter",
            )
        overlap = self.config.overlap
        if overlap is not None and overlap >= room:
            raise UsageError(
                f"task_options.overlap {overlap} is as long as a window, {room} tokens", hint="make it shorter"
            )
        return Lengths(room, question, answer, overlap)


def _parts(read: Sequence[list[EncodedPassage]]) -> Iterator[list[list[EncodedPassage]]]:
    """The questions in order, as many at a time as have `MOST_PASSAGES` passages in all; one at least."""
    part: list[list[EncodedPassage]] = []
    for passages in read:
        if part and sum(map(len, part)) + len(passages) > MOST_PASSAGES:
            yield part
            part = []
        part.append(passages)
    if part:
        yield part
