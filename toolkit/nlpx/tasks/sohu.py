"""Text matching in six variants with one network whose norms know the variant (Sohu 2021; kexue.fm/archives/8337).

Each variant t in 0..5 has a vector c = E[t] that modulates every norm, starting from zero. The head reads the mean over
real tokens: of both texts in one sequence by one linear map, or of each by itself by comparing the two. Score: F1 over
the loose variants A and the strict variants B, averaged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from nlpx.configuration.section import Section
from nlpx.data.rows.sohu import VARIANTS, Pair, Splits, read_pairs, read_splits
from nlpx.data.rows.splits import Paths
from nlpx.metrics.binary import best_threshold
from nlpx.metrics.sohu import CRITERIA, evaluate
from nlpx.report.tables import Column, Table
from nlpx.tasks import EncodedRows, Evaluation
from nlpx.tasks._pairs import ARRANGEMENTS, ArrangementName, Sequences

if TYPE_CHECKING:
    from torch import Tensor

    from nlpx.baselines import Baseline
    from nlpx.baselines.tfidf import TfidfClassifier
    from nlpx.data.rows.reading import OnBadRow, RowReport
    from nlpx.models.encoder import Encoder
    from nlpx.tokenizers.base import Tokenizer


FIGURES = (
    Column("variant"),
    Column("f1", "F1"),
    Column("precision"),
    Column("recall"),
    Column("accuracy"),
    Column("support", "pairs"),
    Column("positives"),
)
CONFUSION = (
    Column("variant"),
    Column("true_positive", "true +"),
    Column("false_positive", "false +"),
    Column("false_negative", "false −"),
    Column("true_negative", "true −"),
)


class Config(Section):
    """What only this task has."""

    pair: ArrangementName = Field(
        "joint", description="both texts in one sequence, or towers: each by itself, and their vectors compared"
    )
    conditional: bool = Field(True, description="the variant modulates every norm; false: one model blind to it")
    condition_size: int = Field(128, gt=0, description="width of the variant's vector")
    condition_hidden_size: int = Field(0, ge=0, description="width of a projection of that vector; 0: none")
    pooling: Literal["mean", "first"] = Field("mean", description="which states the classifier reads")
    threshold: float | Literal["best"] = Field(
        0.5, description="probability from which a pair matches; best: the highest F1 on dev, for A and B each"
    )


class EncodedPair(NamedTuple):
    """One pair as ids."""

    sequences: Sequences
    variant: int
    label: int  # -1 if unknown


class Task:
    """Six-variant matching."""

    primary_metric = "score"
    outputs = ("logits",)
    targets = "classes"
    loss = "cross_entropy"
    alternatives: ClassVar = {
        "condition_size": "task_options.conditional=false",
        "heads": "task_options.pair=joint",
    }
    example = '{"source": "...", "target": "...", "variant": "ssA", "labelA": 1}'

    def __init__(self, config: Config) -> None:
        self.config = config
        self.arrangement = ARRANGEMENTS[config.pair]
        self.heads = (self.arrangement.head,)
        self.thresholds = dict.fromkeys(CRITERIA, 0.5 if config.threshold == "best" else config.threshold)

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
    ) -> Splits[Pair]:
        """Train, dev and test pairs of contest folders, files of rows or stdin."""
        how: dict[str, Any] = {"encoding": encoding, "format": format, "on_bad_row": on_bad_row, "report": report}
        splits = read_splits(data, dev=dev, test=test, **how)
        if self.config.pair == "towers":
            splits.notes.append(
                "pairs: each text is read by itself (towers); task_options.pair=joint reads both in one sequence"
            )
        return splits

    def read_rows(
        self, source: str, *, encoding: str, format: Any, on_bad_row: OnBadRow, report: RowReport
    ) -> Iterator[Pair]:
        """Pairs in file order, labelled or not."""
        return read_pairs(
            source, require_label=False, encoding=encoding, format=format, on_bad_row=on_bad_row, report=report
        )

    def texts(self, rows: Iterable[Pair]) -> Iterator[str]:
        """Sources and targets."""
        for pair in rows:
            yield pair.source
            yield pair.target

    def model_parts(self) -> dict[str, Any]:
        """Two classes over the pooled states; a condition table unless the task is unconditional."""
        parts: dict[str, Any] = {
            "num_labels": 2,
            "labels": (),
            "classification_transform": "none",
            "classification_pooling": self.config.pooling,
            "pooler": "none",
        }
        if self.config.conditional:
            parts |= {
                "num_conditions": len(VARIANTS),
                "condition_size": self.config.condition_size,
                "condition_hidden_size": self.config.condition_hidden_size,
            }
        return parts

    def encode(self, rows: Sequence[Pair], tokenizer: Tokenizer, max_length: int) -> EncodedRows:
        """Sources and targets in the chosen arrangement."""
        sources, targets = [pair.source for pair in rows], [pair.target for pair in rows]
        encoded = self.arrangement.encode(sources, targets, tokenizer, max_length)
        encoded.items = [
            EncodedPair(sequences, pair.variant, -1 if pair.label is None else pair.label)
            for sequences, pair in zip(encoded.items, rows, strict=True)
        ]
        return encoded

    def collate(self, encoded: EncodedRows, rows: Sequence[int], pad_token_id: int) -> dict[str, Any]:
        """token_ids, segment_ids, attention_mask and condition of the sequences (B or 2B), labels (B,), num_targets."""
        import torch

        items: list[EncodedPair] = [encoded.items[row] for row in rows]
        return {
            **self.arrangement.tensors([item.sequences for item in items], pad_token_id),
            "condition": torch.tensor([item.variant for item in items] * self.arrangement.sequences),
            "labels": torch.tensor([item.label for item in items]),
            "num_targets": len(items),
        }

    def forward(self, model: Encoder, batch: dict[str, Any]) -> dict[str, Tensor]:
        """`logits` (B, 2)."""
        condition = batch["condition"] if self.config.conditional else None
        output = model(
            batch["token_ids"], batch["segment_ids"], batch["attention_mask"], condition=condition, heads=self.heads
        )
        return {"logits": output.heads[self.arrangement.head]}

    def is_labelled(self, rows: Iterable[Pair]) -> bool:
        """Whether every pair has a label; a contest's test pairs have none."""
        return all(pair.label is not None for pair in rows)

    def label_counts(self, rows: Iterable[Pair]) -> list[int]:
        """How many pairs do not match and do."""
        counts = Counter(pair.label for pair in rows)
        return [counts[0], counts[1]]

    def predict(self, model: Encoder, batch: dict[str, Any]) -> list[float]:
        """Probability of a match, a row each."""
        probabilities: list[float] = self.forward(model, batch)["logits"].float().softmax(-1)[:, 1].tolist()
        return probabilities

    def baselines(self, rows: Sequence[Pair]) -> list[Baseline]:
        """Always a match, and TF-IDF with a regression for each variant."""
        from nlpx.baselines import Baseline, tfidf

        always = Baseline("always a match", lambda judged: [1.0] * len(judged))
        return [always, Baseline(tfidf.NAME, _TfidfByVariant(rows).predict)]

    def class_probabilities(self, prediction: float) -> list[tuple[int, float]]:
        """That a pair does not match, and that it does."""
        return [(0, 1 - prediction), (1, prediction)]

    def calibrate(self, rows: Sequence[Pair], predictions: Sequence[float]) -> None:
        """Choose the thresholds of A and of B on dev pairs, if the configuration asks for the best."""
        if self.config.threshold != "best":
            return
        for bit, name in enumerate(CRITERIA):
            chosen = [index for index, pair in enumerate(rows) if pair.variant % 2 == bit]
            if chosen:
                labels = [rows[index].label or 0 for index in chosen]
                self.thresholds[name] = best_threshold([predictions[index] for index in chosen], labels)

    def evaluate(self, rows: Sequence[Pair], predictions: Sequence[float]) -> Evaluation:
        """F1 per variant, of A and of B, and their mean; confusion counts and reliability."""
        variants = [pair.variant for pair in rows]
        labels = [pair.label or 0 for pair in rows]
        record = evaluate(predictions, labels, variants, thresholds=self.thresholds)
        return Evaluation(record["score"], record, _figures(record), [column.name for column in FIGURES])

    def tables(self, record: Mapping[str, Any]) -> list[Table]:
        """Figures by variant, thresholds and confusion counts."""
        limits = ", ".join(f"{name} {value:.3f}" for name, value in record["thresholds"].items())
        counts = [{"variant": name, **counted} for name, counted in record["confusion"].items()]
        return [
            Table(_figures(record), FIGURES, below=f"A pair counts as a match from this probability on: {limits}."),
            Table(counts, CONFUSION),
        ]

    def predicted_row(self, row: Pair, prediction: float) -> dict[str, Any]:
        """The row with `label` and `probability`."""
        label = int(prediction >= self.thresholds[CRITERIA[row.variant % 2]])
        # A row of type ss, sl or ll stands for two pairs, and a folder's rows name no variant: say which this is.
        name = VARIANTS[row.variant]
        variant = {} if name in (row.row.get("variant"), row.row.get("type")) else {"variant": name}
        return row.row | variant | {"label": label, "probability": round(prediction, 6)}

    def state(self) -> dict[str, Any]:
        """The thresholds in force."""
        return {"thresholds": self.thresholds}

    def load_state(self, state: dict[str, Any]) -> None:
        """The thresholds of a finished run."""
        self.thresholds = dict(state["thresholds"])


def _figures(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The variants, then all of A and all of B, then the score."""
    rows = [{"variant": name, **figures} for name, figures in record["variants"].items()]
    rows += [{"variant": f"all {name}", **record[name]} for name in CRITERIA if record[name]]
    return [*rows, {"variant": record["score_is"], "f1": record["score"]}]


class _TfidfByVariant:
    """A regression a variant; all pairs teach the one for variants that training lacks, or has one class of."""

    def __init__(self, rows: Sequence[Pair]) -> None:
        groups = {variant: [pair for pair in rows if pair.variant == variant] for variant in range(len(VARIANTS))}
        whole = {variant: group for variant, group in groups.items() if len({pair.label for pair in group}) == 2}
        self.fitted = {variant: _fit_tfidf(group) for variant, group in whole.items()}
        self.other = None if len(whole) == len(groups) else _fit_tfidf(rows)

    def predict(self, rows: Sequence[Pair]) -> list[float]:
        """Probability of a match, a row each."""
        found = [0.0] * len(rows)
        for variant in {pair.variant for pair in rows}:
            chosen = [index for index, pair in enumerate(rows) if pair.variant == variant]
            classifier = self.fitted.get(variant) or self.other
            assert classifier is not None
            pairs = [rows[index].source for index in chosen], [rows[index].target for index in chosen]
            matches = classifier.probabilities(*pairs)[:, classifier.classes.index(1)]
            for index, probability in zip(chosen, matches.tolist(), strict=True):
                found[index] = probability
        return found


def _fit_tfidf(rows: Sequence[Pair]) -> TfidfClassifier:
    from nlpx.baselines.tfidf import TfidfClassifier

    texts = [pair.source for pair in rows], [pair.target for pair in rows]
    # Balanced: a strict variant has 12 % positives, and F1 at 0.5 would otherwise measure the prior.
    return TfidfClassifier(*texts, [pair.label for pair in rows], balanced=True)
