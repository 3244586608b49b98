"""Text from text: a title, a summary, a paraphrase, any target that is to be written from a source.

Trained by teacher forcing on the target and its end token. Score: ROUGE by characters of what the model writes for dev
rows, 0.2 ROUGE-1 + 0.4 ROUGE-2 + 0.4 ROUGE-L.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field, PositiveInt

from nlpx.configuration.section import Section
from nlpx.data.rows.source_target import PairFields, SourceTarget, read_sources, read_splits
from nlpx.data.rows.splits import Paths, Splits
from nlpx.errors import UsageError
from nlpx.metrics.bleu import Tokenize
from nlpx.metrics.generation import SCORE, evaluate
from nlpx.metrics.rouge import Counting
from nlpx.report import generation
from nlpx.report.tables import Table
from nlpx.tasks import EncodedRows, Evaluation
from nlpx.tasks._writing import ARRANGEMENTS, ArrangementName, Limits, WritingTask, Written, shown, thin_out

if TYPE_CHECKING:
    from nlpx.baselines import Baseline
    from nlpx.data.rows.reading import OnBadRow, RowReport
    from nlpx.models.encoder import Encoder
    from nlpx.tokenizers.base import Tokenizer

NUM_SAMPLES = 3  # outputs shown at each evaluation


class Config(Section):
    """What only this task has."""

    source_field: str = Field("source", description="of the rows: what is read")
    target_field: str = Field("target", description="of the rows: what is to be written")
    arrangement: ArrangementName = Field(
        "prefix",
        description="prefix: the source is read in both directions (UniLM); causal: from left to right; "
        "encoder_decoder: by a stack of its own (T5)",
    )
    max_source_length: PositiveInt | None = Field(
        None, description="tokens of a source; null: what `data.max_length` leaves beside the target"
    )
    max_target_length: PositiveInt = Field(64, description="tokens of a target, also of one that is written")
    evaluation_rows: PositiveInt = Field(200, description="dev rows that targets are written for; more are left out")
    num_beams: PositiveInt = Field(1, description="of the search that writes; 1: greedy")
    length_penalty: float = Field(0.0, description="beams are ranked by log probability over length ** this")
    no_repeat_ngram: int = Field(0, ge=0, description="no sequence of so many tokens is written twice; 0: any may be")
    ngrams_as: Counting = Field("sets", description="of ROUGE: sets, as rouge-chinese counts, or multisets")
    bleu_tokenize: Tokenize = Field("zh", description="of BLEU: zh parts Chinese characters, char parts everything")


class Generated(NamedTuple):
    """What was written for a row: the text, its log probability in nats, and whether it came to an end by itself."""

    text: str
    log_probability: float | None = None
    is_finished: bool = True


class Task(WritingTask):
    """Writing a target from a source."""

    primary_metric = SCORE
    example = '{"source": "...", "target": "..."}'
    field_options = ("source_field", "target_field")
    hint_for_two_stacks = "--set task_options.arrangement=encoder_decoder"

    def __init__(self, config: Config) -> None:
        super().__init__(ARRANGEMENTS[config.arrangement])
        self.config = config
        self.fields = PairFields((config.source_field,), config.target_field)

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
    ) -> Splits[SourceTarget]:
        """Train, dev and test rows; of dev no more than `evaluation_rows`, spread evenly."""
        options: dict[str, Any] = {"encoding": encoding, "format": format, "on_bad_row": on_bad_row, "report": report}
        splits = read_splits(data, self.fields, dev=dev, test=test, **options)
        thin_out(splits, self.config.evaluation_rows)
        return splits

    def read_rows(
        self, source: str, *, encoding: str, format: Any, on_bad_row: OnBadRow, report: RowReport
    ) -> Iterator[SourceTarget]:
        """Rows in file order; targets are not looked at."""
        options: dict[str, Any] = {"encoding": encoding, "format": format, "on_bad_row": on_bad_row, "report": report}
        return read_sources(source, self.fields, **options)

    def texts(self, rows: Iterable[SourceTarget]) -> Iterator[str]:
        """Sources and targets."""
        for row in rows:
            yield row.source
            if row.target is not None:
                yield row.target

    def encode(self, rows: Sequence[SourceTarget], tokenizer: Tokenizer, max_length: int) -> EncodedRows:
        """[CLS] source [SEP] target [SEP], source and target each truncated to its own limit."""
        self.tokenizer = tokenizer  # what is predicted are ids, and what is asked for texts
        limits = self.limits(tokenizer, max_length)
        sources, targets = [row.source for row in rows], [row.target for row in rows]
        items = self.arrangement.encode(sources, targets, tokenizer, limits)
        lengths = [item.num_tokens for item in items]
        return EncodedRows(items, lengths, truncated=list(_notes(items, limits)))

    def collate(self, encoded: EncodedRows, rows: Sequence[int], pad_token_id: int) -> dict[str, Any]:
        """What the arrangement calls the model with; `sources`, lists of ids; `num_targets`, tokens of all targets."""
        items: list[Written] = [encoded.items[row] for row in rows]
        batch = self.arrangement.tensors(items, pad_token_id)
        return {**batch, "sources": [item.source for item in items], "num_targets": len(batch["targets"])}

    def predict(self, model: Encoder, batch: dict[str, Any]) -> list[Generated]:
        """The best target for each source, found by greedy or beam search."""
        from nlpx.decode.generation.generate import generate
        from nlpx.decode.generation.settings import GenerationSettings

        settings = GenerationSettings(
            max_new_tokens=self.config.max_target_length + 1,  # and the end token
            num_beams=self.config.num_beams,
            length_penalty=self.config.length_penalty,
            no_repeat_ngram=self.config.no_repeat_ngram,
        )
        ends = self.arrangement.end_ids(self.tokenizer)
        found = generate(self.arrangement.decoder(model, self.tokenizer), batch["sources"], settings, end_ids=ends)
        return [
            Generated(self.tokenizer.decode(best.token_ids), sum(best.log_probabilities), best.is_finished)
            for best, *_ in found
        ]

    def is_labelled(self, rows: Iterable[SourceTarget]) -> bool:
        """Whether every row has a target."""
        return all(row.target is not None for row in rows)

    def baselines(self, rows: Sequence[SourceTarget]) -> list[Baseline]:
        """The beginning of the source: its first sentence, or as much of it as targets are long."""
        from nlpx.baselines import Baseline, lead

        length = lead.mean_length([row.target for row in rows if row.target is not None])
        return [
            Baseline(
                lead.FIRST_SENTENCE,
                lambda judged: [Generated(lead.first_sentence(row.source)) for row in judged],
            ),
            Baseline(
                lead.BEGINNING.format(length=length),
                lambda judged: [Generated(lead.beginning(row.source, length)) for row in judged],
            ),
        ]

    def evaluate(self, rows: Sequence[SourceTarget], predictions: Sequence[Generated]) -> Evaluation:
        """ROUGE, BLEU and equality over the rows that have a target, and the first few outputs."""
        pairs = [(row, made) for row, made in zip(rows, predictions, strict=True) if row.target is not None]
        record = evaluate(
            [made.text for _, made in pairs],
            [row.target or "" for row, _ in pairs],
            words=self._words,
            counting=self.config.ngrams_as,
            bleu_tokenize=self.config.bleu_tokenize,
        )
        record["unfinished"] = sum(not made.is_finished for _, made in pairs)
        samples = [_shown(row, made) for row, made in pairs[:NUM_SAMPLES]]
        return Evaluation(record["score"], record, generation.rows(record), generation.FIELDS, samples)

    def tables(self, record: Mapping[str, Any]) -> list[Table]:
        """ROUGE by characters and words, BLEU, equality, lengths."""
        return generation.tables(record)

    def predicted_row(self, row: SourceTarget, prediction: Generated) -> dict[str, Any]:
        """The row with `generated`, its `log_probability`, and `is_finished`: false if it was cut at its longest."""
        score = prediction.log_probability
        added = {"generated": prediction.text, "log_probability": None if score is None else round(score, 4)}
        return row.row | added | {"is_finished": prediction.is_finished}

    @cached_property
    def _words(self) -> Any:
        from nlpx.tokenizers.segment import build_segmenter

        return build_segmenter("rjieba")

    def limits(self, tokenizer: Tokenizer, max_length: int) -> Limits:
        """Tokens of a source and of a target at most. Raises `UsageError` if rows of `max_length` cannot hold them."""
        self.arrangement.end_ids(tokenizer)
        target = self.config.max_target_length
        room = max_length - self.arrangement.room(tokenizer) - target
        source = self.config.max_source_length or room
        if not 0 < source <= room:
            wanted = self.config.max_source_length or 1
            raise UsageError(
                f"data.max_length {max_length} has no room for {wanted} tokens of a source, {target} of a target and "
                f"{self.arrangement.room(tokenizer)} special ones",
                hint="--set task_options.max_target_length=N makes targets shorter, --max-length N rows longer",
            )
        return Limits(source, target)


def _notes(items: Sequence[Written], limits: Limits) -> Iterator[str]:
    for index, (name, limit) in enumerate(zip(("sources", "targets"), limits, strict=True)):
        if num_cut := sum(item.num_cut[index] > 0 for item in items):
            yield f"{num_cut:,} of {len(items):,} {name} are longer than {limit} tokens and lose their end"


def _shown(row: SourceTarget, made: Generated) -> str:
    source, target, text = (shown(part) for part in (row.source, row.target or "", made.text))
    return f"{source} → {text or '(nothing)'} (wanted: {target})"
