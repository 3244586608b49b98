"""Classification of a text, or of a pair of texts, into any number of classes.

The classes are the labels of the training rows. Of several labels a row (`multi_label`) each is decided by itself. The
head is one linear map over the mean of the real tokens, or over the first one. Score: accuracy, of several labels micro
F1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from nlpx.configuration.section import Section
from nlpx.data.rows.labelled import Fields, Label, Labelled, labels_of, read_labelled, read_splits
from nlpx.data.rows.reading import Row
from nlpx.data.rows.splits import Paths, Splits
from nlpx.errors import InputError
from nlpx.metrics.classes import SCORE, evaluate
from nlpx.metrics.label_sets import SCORE as SET_SCORE
from nlpx.report import classes, label_sets
from nlpx.report.tables import Table
from nlpx.tasks import EncodedRows, Evaluation
from nlpx.tasks._label_sets import LabelSets
from nlpx.tokenizers.padding import padded

if TYPE_CHECKING:
    from torch import Tensor

    from nlpx.baselines import Baseline
    from nlpx.data.rows.reading import OnBadRow, RowReport
    from nlpx.models.encoder import Encoder
    from nlpx.tokenizers.base import Tokenizer

UNKNOWN = -1  # the class of rows without a label, or with one that no training row has


class Config(Section):
    """What only this task has."""

    text_field: str | None = Field(None, description="of the rows; null: `text`, or `text1` and `text2`")
    second_field: str | None = Field(None, description="the second text of a pair, beside `text_field`")
    label_field: str = Field("label", description="a text or a whole number")
    multi_label: bool = Field(False, description="rows have several labels, or none, in a list")
    label_separator: str | None = Field(None, min_length=1, description="between several labels in a text")
    threshold: float = Field(0.5, gt=0, lt=1, description="the probability from which one of several labels is given")
    pooling: Literal["mean", "first"] = Field("mean", description="which states the classifier reads")

    @model_validator(mode="after")
    def _refuse_half_a_pair(self) -> Self:
        if self.second_field is not None and self.text_field is None:
            raise ValueError("`second_field` needs `text_field` beside it")
        if self.label_separator is not None and not self.multi_label:
            raise ValueError("`label_separator` separates several labels: set `multi_label` beside it")
        return self


class EncodedText(NamedTuple):
    """One row as ids."""

    token_ids: list[int]
    second_start: int  # where segment 1 begins; the length, if there is one text
    label: int | list[int]  # a class, or of several labels 0 or 1 for each class


class Prediction(NamedTuple):
    """The likeliest class of a row and its probability; those of all classes where they were asked for."""

    label: int
    probability: float
    probabilities: Sequence[float] = ()


class Task:
    """Classification by the labels of the training rows."""

    primary_metric = SCORE
    heads = ("classification",)
    outputs = ("logits",)
    targets = "classes"
    loss = "cross_entropy"
    alternatives: ClassVar = {"classification_pooling": "task_options.pooling=mean"}
    example = '{"text": "...", "label": "..."}, or `text1` and `text2` for pairs'

    def __init__(self, config: Config) -> None:
        self.config = config
        texts = tuple(name for name in (config.text_field, config.second_field) if name is not None)
        self.fields = Fields(texts, config.label_field, config.multi_label, config.label_separator)
        self.labels: list[Label] = []
        self.decision_shift: list[float] | None = None  # added to the logits of an answer, by class
        if config.multi_label:
            self.primary_metric, self.targets, self.loss = SET_SCORE, "label_sets", "binary_cross_entropy"
        self.with_probabilities = False  # of all classes; many rows of many classes would fill the memory

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
    ) -> Splits[Labelled]:
        """Train, dev and test rows; the classes are learned from the training rows."""
        options: dict[str, Any] = {"encoding": encoding, "format": format, "on_bad_row": on_bad_row, "report": report}
        splits = read_splits(data, self.fields, dev=dev, test=test, **options)
        first = splits.train[0]
        self.fields = self.fields.settled(Row(first.row, first.place))
        self.labels = labels_of(splits.train)
        return splits

    def read_rows(
        self, source: str, *, encoding: str, format: Any, on_bad_row: OnBadRow, report: RowReport
    ) -> Iterator[Labelled]:
        """Rows in file order; labels are not looked at."""
        fields = Fields(self.fields.texts, label=None)
        return read_labelled(source, fields, encoding=encoding, format=format, on_bad_row=on_bad_row, report=report)

    def texts(self, rows: Iterable[Labelled]) -> Iterator[str]:
        """First and second texts."""
        for row in rows:
            yield row.text
            if row.second is not None:
                yield row.second

    def model_parts(self) -> dict[str, Any]:
        """As many classes as the training rows have, over the pooled states."""
        return {
            "num_labels": len(self.labels),
            "labels": tuple(map(str, self.labels)),
            "classification_transform": "none",
            "classification_pooling": self.config.pooling,
            "pooler": "none",
        }

    def encode(self, rows: Sequence[Labelled], tokenizer: Tokenizer, max_length: int) -> EncodedRows:
        """[CLS] text [SEP], or [CLS] text [SEP] second [SEP], the longer text truncated until both fit."""
        encodings = tokenizer.encode_batch(*_texts(rows), max_length=max_length)
        sets = self._sets
        classes = {str(label): number for number, label in enumerate(self.labels)}
        items = [
            EncodedText(
                encoding.token_ids,
                len(encoding.token_ids) - sum(encoding.segment_ids),
                classes.get(str(row.label), UNKNOWN) if sets is None else sets.target(row),
            )
            for encoding, row in zip(encodings, rows, strict=True)
        ]
        return EncodedRows(items, [len(item.token_ids) for item in items])

    def collate(self, encoded: EncodedRows, rows: Sequence[int], pad_token_id: int) -> dict[str, Any]:
        """token_ids, segment_ids, attention_mask (B, T), labels (B,), of several (B, C), num_targets."""
        import torch

        items: list[EncodedText] = [encoded.items[row] for row in rows]
        arrays = padded([item.token_ids for item in items], [item.second_start for item in items], pad_token_id)
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        return {**tensors, "labels": torch.tensor([item.label for item in items]), "num_targets": len(items)}

    def forward(self, model: Encoder, batch: dict[str, Any]) -> dict[str, Tensor]:
        """`logits` (B, C), in the order of the labels."""
        output = model(batch["token_ids"], batch["segment_ids"], batch["attention_mask"], heads=self.heads)
        return {"logits": output.heads["classification"]}

    def is_labelled(self, rows: Iterable[Labelled]) -> bool:
        """Whether every row has a label."""
        return all(row.label is not None for row in rows)

    def label_counts(self, rows: Iterable[Labelled]) -> list[int]:
        """How often each class occurs."""
        if self._sets is not None:
            return self._sets.counts(rows)
        counts = Counter(str(row.label) for row in rows)
        return [counts[str(label)] for label in self.labels]

    def predict(self, model: Encoder, batch: dict[str, Any]) -> list[Any]:
        """The likeliest class of each row, a `Prediction`; of several labels a `SetPrediction`."""
        logits = self.forward(model, batch)["logits"].float()  # (B, C)
        if self.decision_shift is not None:
            logits = logits + logits.new_tensor(self.decision_shift)
        if self._sets is not None:
            return self._sets.predict(logits)
        every = logits.softmax(-1)  # (B, C)
        probabilities, labels = every.max(-1)  # (B,) each
        columns = [labels.tolist(), probabilities.tolist()]
        return list(map(Prediction, *columns, *([every.tolist()] if self.with_probabilities else [])))

    def baselines(self, rows: Sequence[Labelled]) -> list[Baseline]:
        """Always the most frequent class, and TF-IDF. Raises InputError for several labels."""
        from nlpx.baselines import Baseline, tfidf

        if self.config.multi_label:
            raise InputError("there is none for rows with several labels", hint="leave out --baseline")

        counts = self.label_counts(rows)
        most = max(range(len(counts)), key=counts.__getitem__)
        frequent = Prediction(most, counts[most] / max(sum(counts), 1))
        classifier = tfidf.TfidfClassifier(*_texts(rows), [str(row.label) for row in rows])
        known = list(map(str, self.labels))
        numbers = [known.index(label) for label in classifier.classes]

        def predict(judged: Sequence[Labelled]) -> list[Prediction]:
            probabilities = classifier.probabilities(*_texts(judged))  # (B, C)
            best = probabilities.argmax(axis=1).tolist()
            return [
                Prediction(numbers[column], float(row[column])) for column, row in zip(best, probabilities, strict=True)
            ]

        return [
            Baseline(f"always {self.labels[most]}", lambda judged: [frequent] * len(judged)),
            Baseline(tfidf.NAME, predict),
        ]

    def class_probabilities(self, prediction: Any) -> list[tuple[Label, float]]:
        """Each class with its probability, of a prediction made `with_probabilities`."""
        return list(zip(self.labels, prediction.probabilities, strict=True))

    def calibrate(self, rows: Sequence[Labelled], predictions: Sequence[Prediction]) -> None:
        """Nothing is left open."""

    def evaluate(self, rows: Sequence[Labelled], predictions: Sequence[Any]) -> Evaluation:
        """Accuracy, macro F1 and each class, over the rows that have a label; one never trained on counts as wrong."""
        if self._sets is not None:
            return self._sets.evaluate(rows, predictions)
        known = list(map(str, self.labels))
        pairs = zip(rows, predictions, strict=True)
        labelled = [(row, prediction) for row, prediction in pairs if row.label is not None]
        record = evaluate(
            [known[prediction.label] for _, prediction in labelled],
            [prediction.probability for _, prediction in labelled],
            [str(row.label) for row, _ in labelled],
            known=known,
        )
        return Evaluation(record["score"], record, classes.rows(record), classes.FIELDS)

    def mistakes(self, rows: Sequence[Labelled], predictions: Sequence[Any]) -> list[dict[str, Any]]:
        """Rows with another label than the likeliest, by its probability; none of several labels, which have no one."""
        if self.config.multi_label:
            return []
        pairs = zip(rows, predictions, strict=True)
        wrong = [
            (row, found)
            for row, found in pairs
            if row.label is not None and str(row.label) != str(self.labels[found.label])
        ]
        wrong.sort(key=lambda pair: -pair[1].probability)
        return [self.predicted_row(row, found) | {"given_label": row.label} for row, found in wrong]

    def tables(self, record: Mapping[str, Any]) -> list[Table]:
        """Figures of each class, and the most frequent mistakes."""
        return label_sets.tables(record) if self.config.multi_label else classes.tables(record)

    def predicted_row(self, row: Labelled, prediction: Any) -> dict[str, Any]:
        """The row with `label` and `probability`; a label that it came with becomes `given_label`."""
        given = {"given_label": row.row["label"]} if "label" in row.row else {}
        if self._sets is not None:
            return given | row.row | self._sets.predicted(prediction)
        added = {"label": self.labels[prediction.label], "probability": round(prediction.probability, 6)}
        return given | row.row | added

    def state(self) -> dict[str, Any]:
        """The classes in the order of the logits, what is added to these, and the fields the texts came in."""
        shift = {} if self.decision_shift is None else {"decision_shift": self.decision_shift}
        return {"labels": self.labels, "text_fields": self.fields.texts, **shift}

    def load_state(self, state: dict[str, Any]) -> None:
        """The classes and fields of a finished run."""
        if not isinstance(state["labels"], list) or not all(isinstance(label, str | int) for label in state["labels"]):
            raise ValueError("`labels` is no list of classes")
        self.labels = list(state["labels"])
        self.decision_shift = state.get("decision_shift")
        self.fields = replace(self.fields, texts=tuple(state["text_fields"]))

    @property
    def _sets(self) -> LabelSets | None:
        """What to do with several labels; None where a row has one."""
        return LabelSets(self.labels, self.config.threshold) if self.config.multi_label else None


def _texts(rows: Sequence[Labelled]) -> tuple[list[str], list[str] | None]:
    """First texts, and second ones where rows are pairs."""
    seconds = [row.second for row in rows if row.second is not None]
    return [row.text for row in rows], seconds or None
