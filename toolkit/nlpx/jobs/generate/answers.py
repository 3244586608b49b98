"""From texts to answers: what goes into the search, what is counted, and the rows that come out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nlpx.errors import InputError
from nlpx.jobs.generate.constraints import Constraints
from nlpx.jobs.generate.model import GeneratingModel
from nlpx.jobs.generate.options import Options

if TYPE_CHECKING:
    from nlpx.data.rows.texts import Text
    from nlpx.decode.generation.hypothesis import Hypothesis
    from nlpx.decode.generation.settings import GenerationSettings

PROMPT = "--prompt"  # the place of a text that is no row; it may be empty, for a model that then begins by itself
END = "<end>"  # stands for the end token where tokens are listed
_DIGITS = 6


@dataclass(slots=True)
class Report:
    """What was chosen, and what happened to texts that are not simply answered."""

    arrangement: str = ""
    precision: str = ""
    num_texts: int = 0
    num_empty: int = 0
    num_shortened: int = 0
    num_unfinished: int = 0
    num_beyond_training: int = 0
    trained_length: int = 0
    max_length: int | None = None  # tokens that a text is cut to, and what says so
    cut_by: str = ""

    def add(self, num_tokens: int, answers: Sequence[Hypothesis]) -> None:
        """Count a text of so many tokens, and its answers, none if it had no text."""
        self.num_texts += 1
        if not answers:
            self.num_empty += 1
            return
        self.num_unfinished += not answers[0].is_finished
        self.num_beyond_training += num_tokens + len(answers[0].token_ids) > self.trained_length

    def unfinished(self) -> str:
        """How many answers stopped without an end, which continuations do as a rule."""
        what = "did not end within --max-new-tokens, or the model's positions"
        return f"{self.num_unfinished:,} of {self.num_texts:,} answers {what}"

    def warnings(self) -> Iterator[str]:
        """A sentence for each kind of text that was not simply answered."""
        for count, what in (
            (self.num_empty, "without text, answered by nothing"),
            (self.num_shortened, f"cut to {self.max_length} tokens, {self.cut_by}"),
            (self.num_beyond_training, f"longer than the {self.trained_length} tokens the model was made for"),
        ):
            if count:
                yield f"{count:,} of {self.num_texts:,} texts {what}"


class Run:
    """A loaded model with the settings of one command."""

    def __init__(
        self,
        model: GeneratingModel,
        settings: GenerationSettings,
        options: Options,
        constraints: Constraints,
        report: Report,
    ) -> None:
        import torch

        self.model, self.settings, self.options = model, settings, options
        self.constraints, self.report = constraints, report
        self._generator = torch.Generator().manual_seed(options.seed)

    def answer(self, batch: Sequence[Text]) -> Iterator[dict[str, Any]]:
        """The texts of a batch in order, with their answers."""
        bodies = [self._body(text) for text in batch]
        asked = [index for index, body in enumerate(bodies) if body or batch[index].place == PROMPT]
        found = self.model.write(
            [self.model.frame(bodies[index]) for index in asked],
            self.settings,
            self.constraints.processors([bodies[index] for index in asked]),
            self._generator,
        )
        answers = dict(zip(asked, found, strict=True))
        for index, text in enumerate(batch):
            of_text = answers.get(index, [])
            self.report.add(len(self.model.frame(bodies[index])), of_text)
            yield self._row(text, of_text)

    def _body(self, text: Text) -> list[int]:
        """The ids of a text. Raises `InputError` if it is longer than the model's positions."""
        body = self.model.body_of(text.text)
        limit, room = self.report.max_length, self._room()
        if limit is not None and len(body) > limit:
            # What is continued is the end of a prompt; what is answered begins at its beginning.
            body = body[len(body) - limit :] if self.model.continues else body[:limit]
            self.report.num_shortened += 1
        if room is not None and len(body) > room:
            raise InputError(
                f"{text.place}: {len(body)} tokens, and the model has positions for {room} beside an answer",
                hint=f"--max-length {max(1, room - self.settings.max_new_tokens)} cuts texts, or shorten this one",
            )
        return body

    def _room(self) -> int | None:
        """Tokens that a text may have if an answer of one token is to fit behind it."""
        longest = self.model.decoder.max_length
        return None if longest is None else longest - len(self.model.frame([])) - 1

    def _row(self, text: Text, answers: Sequence[Hypothesis]) -> dict[str, Any]:
        row: dict[str, Any] = dict(text.row) if text.row is not None else {"text": text.text}
        row["generated"] = self._text(answers[0]) if answers else ""
        row["score"] = round(answers[0].score, _DIGITS) if answers else None
        if self.settings.num_return > 1 or self.options.explain:
            row["hypotheses"] = [self._hypothesis(answer) for answer in answers]
        return row

    def _hypothesis(self, answer: Hypothesis) -> dict[str, Any]:
        found: dict[str, Any] = {
            "generated": self._text(answer),
            "score": round(answer.score, _DIGITS),
            "finished": answer.is_finished,
        }
        if self.options.explain:
            tokens = [self.model.tokenizer.vocab.tokens[token_id] for token_id in answer.token_ids]
            tokens += [END] * answer.is_finished
            pairs = zip(tokens, answer.log_probabilities, strict=True)
            found["tokens"] = [{"token": token, "probability": round(math.exp(log), _DIGITS)} for token, log in pairs]
        return found

    def _text(self, answer: Hypothesis) -> str:
        from nlpx.tokenizers.punctuation import restore_punctuation

        text = self.model.tokenizer.decode(answer.token_ids)
        return restore_punctuation(text) if self.options.restore_punctuation else text
