"""What `classify` does with rows that have several labels: each class is decided by itself, at one threshold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from nlpx.data.rows.label_sets import labels_in
from nlpx.metrics.label_sets import evaluate
from nlpx.report import label_sets
from nlpx.tasks import Evaluation

if TYPE_CHECKING:
    from torch import Tensor

    from nlpx.data.rows.labelled import Label, Labelled


class SetPrediction(NamedTuple):
    """The classes of a row at or above the threshold, likeliest first, and the probability of every class."""

    labels: list[int]
    probabilities: list[float]


@dataclass(frozen=True, slots=True)
class LabelSets:
    """Classes by their place in `labels`, each with a probability of its own."""

    labels: Sequence[Label]
    threshold: float

    def target(self, row: Labelled) -> list[int]:
        """1 for each class that the row has, else 0; labels that no training row has are left out."""
        given = set(map(str, labels_in(row.label)))
        return [int(str(label) in given) for label in self.labels]

    def counts(self, rows: Iterable[Labelled]) -> list[int]:
        """How many rows have each class."""
        counts = Counter(str(label) for row in rows for label in labels_in(row.label))
        return [counts[str(label)] for label in self.labels]

    def predict(self, logits: Tensor) -> list[SetPrediction]:
        """Of logits (B, C)."""
        every = logits.float().sigmoid().tolist()
        return [SetPrediction(self._chosen(probabilities), probabilities) for probabilities in every]

    def evaluate(self, rows: Sequence[Labelled], predictions: Sequence[SetPrediction]) -> Evaluation:
        """Micro F1 and the rest, over the rows whose labels are known; a label never trained on counts as missed."""
        pairs = [(row, found) for row, found in zip(rows, predictions, strict=True) if row.label is not None]
        record = evaluate(
            [[str(self.labels[number]) for number in found.labels] for _, found in pairs],
            [[str(label) for label in labels_in(row.label)] for row, _ in pairs],
            known=list(map(str, self.labels)),
        )
        return Evaluation(record["score"], record, label_sets.rows(record), label_sets.FIELDS)

    def predicted(self, prediction: SetPrediction) -> dict[str, Any]:
        """`label` and `probability`: lists of the same length, likeliest first; both empty where no class is likely."""
        return {
            "label": [self.labels[number] for number in prediction.labels],
            "probability": [round(prediction.probabilities[number], 6) for number in prediction.labels],
        }

    def _chosen(self, probabilities: Sequence[float]) -> list[int]:
        chosen = [number for number, probability in enumerate(probabilities) if probability >= self.threshold]
        return sorted(chosen, key=lambda number: -probabilities[number])
