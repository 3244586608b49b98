"""A sentence encoder: texts that mean the same get near vectors, as a stronger teacher has them.

The vector of a text is the mean of its states, or the state of [CLS]. Score: Spearman's correlation of the model's
cosines with the teacher's, over all pairs among the first dev texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from nlpx.configuration.section import Section
from nlpx.data.rows.splits import Paths, Splits
from nlpx.data.rows.taught import TaughtText, read_taught, read_texts
from nlpx.errors import UsageError
from nlpx.report.tables import Column, Table
from nlpx.tasks import EncodedRows, Evaluation
from nlpx.tokenizers.padding import padded

if TYPE_CHECKING:
    from torch import Tensor

    from nlpx.data.rows.reading import OnBadRow, RowReport
    from nlpx.models.encoder import Encoder
    from nlpx.tokenizers.base import Tokenizer

MAX_COMPARED = 1000  # dev texts: half a million pairs
COLUMNS = (Column("texts"), Column("pairs"), Column("spearman"))


class Config(Section):
    """What only this task has."""

    teacher: str | None = Field(None, description="the array (.npy) of its vectors, row i that of text i")
    text_field: str | None = Field(None, description="of the rows; null: `text`")
    pooling: Literal["mean", "cls"] = Field("mean", description="which states make the vector")


class EncodedText(NamedTuple):
    """One text as ids, and its teacher's vector."""

    token_ids: list[int]
    teacher: Any


class Task:
    """Vectors of texts, taught by vectors."""

    primary_metric = "spearman"
    heads: tuple[str, ...] = ()
    outputs = ("vectors",)
    targets = "vectors"
    loss = "distillation"
    alternatives: ClassVar[Mapping[str, str]] = {}
    example = '{"text": "..."}, and --teacher VECTORS.npy'

    def __init__(self, config: Config) -> None:
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
    ) -> Splits[TaughtText]:
        """Texts with their teacher's vectors; a tenth of them, by a hash, becomes dev."""
        if self.config.teacher is None:
            raise UsageError(
                "similarity has no teacher",
                hint="`--teacher VECTORS.npy` names one; `nlpx embed FILE -o VECTORS.npy --model TEACHER` makes it",
            )
        if dev or test:
            raise UsageError(
                "the rows of an array belong to the texts of --data alone", hint="leave out --dev and --test"
            )
        how: dict[str, Any] = {"encoding": encoding, "format": format, "on_bad_row": on_bad_row, "report": report}
        return read_taught(data, self.config.teacher, self.config.text_field, **how)

    def read_rows(
        self, source: str, *, encoding: str, format: Any, on_bad_row: OnBadRow, report: RowReport
    ) -> Iterator[TaughtText]:
        """Texts in file order, without a teacher."""
        field = self.config.text_field
        return read_texts(source, field, encoding=encoding, format=format, on_bad_row=on_bad_row, report=report)

    def texts(self, rows: Iterable[TaughtText]) -> Iterator[str]:
        """The texts."""
        return (row.text for row in rows)

    def model_parts(self) -> dict[str, Any]:
        """No head: what is learned are the states."""
        return {"pooler": "none"}

    def encode(self, rows: Sequence[TaughtText], tokenizer: Tokenizer, max_length: int) -> EncodedRows:
        """[CLS] text [SEP]."""
        encodings = tokenizer.encode_batch([row.text for row in rows], max_length=max_length)
        items = [EncodedText(encoding.token_ids, row.teacher) for encoding, row in zip(encodings, rows, strict=True)]
        return EncodedRows(items, [len(item.token_ids) for item in items])

    def collate(self, encoded: EncodedRows, rows: Sequence[int], pad_token_id: int) -> dict[str, Any]:
        """token_ids, segment_ids, attention_mask (B, T), targets (B, K) where there is a teacher, num_targets."""
        import numpy as np
        import torch

        items: list[EncodedText] = [encoded.items[row] for row in rows]
        ids = [item.token_ids for item in items]
        arrays = padded(ids, [len(row) for row in ids], pad_token_id)
        taught = {"targets": np.stack([item.teacher for item in items])} if items[0].teacher is not None else {}
        tensors = {name: torch.from_numpy(array) for name, array in (arrays | taught).items()}
        return {**tensors, "num_targets": len(items)}

    def forward(self, model: Encoder, batch: dict[str, Any]) -> dict[str, Tensor]:
        """`vectors` (B, D), float32."""
        from nlpx.embed.pooling import States, pool

        mask = batch["attention_mask"]
        states = model(batch["token_ids"], batch["segment_ids"], mask, heads=()).last_hidden_state  # (B, T, D)
        return {"vectors": pool(States(states, states, mask), self.config.pooling)}

    def predict(self, model: Encoder, batch: dict[str, Any]) -> list[Any]:
        """The vector of each text, (D,) float32."""
        return list(self.forward(model, batch)["vectors"].cpu().numpy())

    def evaluate(self, rows: Sequence[TaughtText], predictions: Sequence[Any]) -> Evaluation:
        """Spearman's correlation with the teacher over the pairs of the first `MAX_COMPARED` rows."""
        import numpy as np
        from scipy.stats import spearmanr

        count = min(len(rows), MAX_COMPARED)
        above = np.triu_indices(count, k=1)
        ours = _cosines(np.stack(predictions[:count]))[above]
        theirs = _cosines(np.stack([row.teacher for row in rows[:count] if row.teacher is not None]))[above]
        # Equal cosines have no ranks: a model that has collapsed agrees with nobody.
        is_defined = len(ours) > 1 and np.ptp(ours) > 0 and np.ptp(theirs) > 0
        score = float(spearmanr(ours, theirs).statistic) if is_defined else 0.0
        record = {"score": score, "score_is": "Spearman with the teacher", "texts": count, "pairs": len(ours)}
        return Evaluation(score, record, [_figures(record)], [column.name for column in COLUMNS])

    def tables(self, record: Mapping[str, Any]) -> list[Table]:
        """The correlation, and over how many pairs."""
        return [Table([_figures(record)], COLUMNS)]

    def predicted_row(self, row: TaughtText, prediction: Any) -> dict[str, Any]:
        """The row with `vector`."""
        return row.row | {"vector": [round(value, 6) for value in prediction.tolist()]}

    def publish(self, directory: Path, max_length: int) -> None:
        """Say in the checkpoint how its vectors are made, as sentence-transformers does."""
        from nlpx.models.checkpoints.modules import write_modules

        write_modules(directory, pooling=self.config.pooling, max_length=max_length)

    def state(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Nothing."""


def _cosines(vectors: Any) -> Any:
    """(N, D) -> (N, N)."""
    from nlpx.embed.unit_vectors import to_unit

    unit, _ = to_unit(vectors)
    return unit @ unit.T


def _figures(record: Mapping[str, Any]) -> dict[str, Any]:
    return {"texts": record["texts"], "pairs": record["pairs"], "spearman": record["score"]}
