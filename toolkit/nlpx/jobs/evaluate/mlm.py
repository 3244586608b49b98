"""`nlpx evaluate mlm`: accuracy at hidden words and pseudo-perplexity, in all, by length, and by a field."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from nlpx.errors import InputError

if TYPE_CHECKING:
    import torch

    from nlpx.data.batches.masking import SpecialIds
    from nlpx.data.batches.packing import PackedRow
    from nlpx.data.rows.reading import Row, RowReport
    from nlpx.decode.masked import Scores
    from nlpx.messages import Messages
    from nlpx.tokenizers.base import Tokenizer

LENGTHS = (16, 32, 64, 128, 256, 512, 1024)  # upper bounds of the bands, in tokens
TEXTS_AT_ONCE = 512  # tokenized and sorted by length together


@dataclass(frozen=True, slots=True)
class Settings:
    """What is hidden from the model, and how the texts are read.

    `held_out`: only the texts that `nlpx pretrain` holds out at this fraction.
    """

    field: str = "text"
    by: str | None = None
    rate: float = 0.15
    max_length: int = 128
    pseudo_rows: int = 100
    limit: int | None = None
    held_out: float | None = None
    encoding: str = "utf-8"
    input_format: str | None = None
    seed: int = 7


@dataclass(slots=True)
class Tally:
    """Sums over the rows of a group."""

    rows: int = 0
    targets: int = 0
    hits: int = 0
    log_probability: float = 0.0
    pseudo_targets: int = 0
    pseudo_characters: int = 0
    pseudo_log_probability: float = 0.0

    def add(self, scores: Scores) -> None:
        """Count a row with some of its words hidden."""
        self.rows += 1
        self.targets += len(scores.is_first_choice)
        self.hits += sum(scores.is_first_choice)
        self.log_probability += math.fsum(scores.log_probabilities)

    def add_pseudo(self, log_probabilities: Sequence[float], num_characters: int) -> None:
        """Count a row whose tokens were hidden one at a time."""
        self.pseudo_targets += len(log_probabilities)
        self.pseudo_characters += num_characters
        self.pseudo_log_probability += math.fsum(log_probabilities)

    def figures(self) -> dict[str, Any]:
        """Accuracy, and perplexities per token; None where nothing was measured."""
        bits = -self.pseudo_log_probability / math.log(2)
        return {
            "rows": self.rows,
            "targets": self.targets,
            "accuracy": self.hits / self.targets if self.targets else None,
            "perplexity": _perplexity(self.log_probability, self.targets),
            "pseudo_targets": self.pseudo_targets,
            "pseudo_perplexity": _perplexity(self.pseudo_log_probability, self.pseudo_targets),
            "bits_per_character": bits / self.pseudo_characters if self.pseudo_characters else None,
        }


@dataclass(slots=True)
class Tallies:
    """One tally over everything, one per band of lengths, one per value of the field."""

    all: Tally = field(default_factory=Tally)
    groups: dict[str, dict[str, Tally]] = field(default_factory=dict)

    def of(self, length: int, by: str | None, value: str | None) -> list[Tally]:
        """The tallies a row counts in."""
        names = [("tokens", _band(length))] + ([] if by is None else [(by, str(value))])
        return [self.all, *(self.groups.setdefault(kind, {}).setdefault(name, Tally()) for kind, name in names)]

    def figures(self) -> dict[str, Any]:
        """All of it as JSON values; bands by length, values by name."""
        order = {_band(bound): index for index, bound in enumerate((*LENGTHS, math.inf))}
        groups = {
            kind: {
                name: tally.figures()
                for name, tally in sorted(found.items(), key=lambda item: (order.get(item[0], 0), item[0]))
            }
            for kind, found in self.groups.items()
        }
        return self.all.figures() | {"groups": groups}


@dataclass(frozen=True, slots=True)
class _GroupedRow:
    """A row of a text, and the value of the field it is grouped by."""

    row: PackedRow
    value: str | None


def evaluate(
    name: str, sources: Sequence[str], settings: Settings, *, device: str, messages: Messages
) -> dict[str, Any]:
    """Score the texts of `sources` with a masked language model.

    Which words are hidden depends on the seed and on the number of the row, not on the model. Raises `InputError`
    for a model without a language-model head and for texts that cannot be read.
    """
    import torch

    from nlpx.data.batches.masking import SpecialIds
    from nlpx.data.corpus.flatten import Flattener
    from nlpx.data.rows.reading import RowReport
    from nlpx.device import choose
    from nlpx.models.checkpoints.load import load_model
    from nlpx.tokenizers.load import load_tokenizer

    chosen = torch.device(choose(device).device)
    tokenizer = load_tokenizer(name)
    special = SpecialIds.of(tokenizer)
    model = load_model(name, head="mlm").to(chosen)
    tokenizer.require_rows(model.config.vocab_size, name=name)
    scorer = _Scorer(model, tokenizer, special, settings, chosen)
    flatten = Flattener(tokenizer, whole_words=True)
    report = RowReport()
    rows = (row for source in sources for row in islice(_rows(source, settings, report), settings.limit))
    with messages.progress(None, "scoring texts") as progress:
        while texts := list(islice(rows, TEXTS_AT_ONCE)):
            scorer.add(list(_grouped_rows(texts, flatten, special, settings)))
            progress.update(advance=len(texts))
    if report.num_without_text:
        messages.warn(f"{report.num_without_text:,} rows have no text and are not scored")
    if not scorer.num_rows:
        raise InputError(f"{', '.join(sources)}: no text in it", hint="--field NAME names the field with the text")
    return {"model": name, "seed": settings.seed, "rate": settings.rate} | scorer.tallies.figures()


class _Scorer:
    """Hides words of row after row, and keeps the tallies."""

    def __init__(
        self, model: Any, tokenizer: Tokenizer, special: SpecialIds, settings: Settings, device: torch.device
    ) -> None:
        self.model, self.special, self.settings, self.device = model, special, settings, device
        self.tallies, self.num_rows = Tallies(), 0
        tokens = (token.removeprefix("##") for token in tokenizer.vocab.tokens)
        self.widths = [1 if index == special.unk else len(token) for index, token in enumerate(tokens)]

    def add(self, items: Sequence[_GroupedRow]) -> None:
        """Score some rows, and of the first ones also every token by itself."""
        from nlpx.data.batches.masking import mask_words, row_generator
        from nlpx.decode.masked import MaskedRow, one_at_a_time

        hidden = []
        for number, item in enumerate(items, start=self.num_rows):
            random = row_generator(self.settings.seed, 0, number, "evaluate")
            token_ids, positions = mask_words(item.row, random, self.special, rate=self.settings.rate)
            hidden.append(MaskedRow(token_ids.tolist(), positions.tolist(), item.row.token_ids[positions].tolist()))
        for item, scores in zip(items, self._score(hidden), strict=True):
            for tally in self._tallies(item):
                tally.add(scores)
        left = max(0, self.settings.pseudo_rows - self.num_rows)
        for item in items[:left]:
            token_ids = item.row.token_ids.tolist()
            places = (~item.row.is_special).nonzero()[0].tolist()
            found = self._score(one_at_a_time(token_ids, places, mask_token_id=self.special.mask))
            log_probabilities = [value for scores in found for value in scores.log_probabilities]
            for tally in self._tallies(item):
                tally.add_pseudo(log_probabilities, sum(self.widths[token_ids[place]] for place in places))
        self.num_rows += len(items)

    def _score(self, rows: Sequence[Any]) -> list[Scores]:
        from nlpx.decode.masked import score

        return score(self.model, rows, pad_token_id=self.special.pad, device=self.device)

    def _tallies(self, item: _GroupedRow) -> list[Tally]:
        return self.tallies.of(len(item.row.token_ids), self.settings.by, item.value)


def _rows(source: str, settings: Settings, report: RowReport) -> Iterator[Row]:
    """The rows with a text; those without one are counted. Raises InputError for a text that is none."""
    from nlpx.data.corpus.flatten import digest, held_out_bound
    from nlpx.data.rows.reading import bad_row, read_rows

    format_ = settings.input_format or ("txt" if source == "-" else None)
    for row in read_rows(source, encoding=settings.encoding, format=format_):
        for field_ in (settings.field, settings.by):
            if field_ is not None and field_ not in row.values:
                known = ", ".join(row.values)
                raise bad_row(row.place, f"has no field `{field_}`", row=row.values, hint=f"its fields: {known}")
        text = row.values[settings.field]
        if text is not None and not isinstance(text, str):
            raise bad_row(row.place, f"field `{settings.field}` is no text", row=row.values)
        if text is None or not text.strip():
            report.num_without_text += 1
        elif settings.held_out is None or digest(text) < held_out_bound(settings.held_out):
            yield row


def _grouped_rows(texts: Sequence[Row], flatten: Any, special: SpecialIds, settings: Settings) -> Iterator[_GroupedRow]:
    """The rows of some texts, each at most `max_length` tokens; no row holds two texts."""
    from nlpx.data.batches.packing import pack
    from nlpx.data.corpus.documents import Documents

    for row in texts:
        value = None if settings.by is None else str(row.values[settings.by])
        arrays, _ = flatten([str(row.values[settings.field])])
        if len(arrays.digests):
            documents = Documents([arrays])
            packed = pack(documents, max_length=settings.max_length, special=special, keep_apart=True, seed=0)
            yield from (_GroupedRow(packed.row(index), value) for index in range(len(packed)))


def _band(length: float) -> str:
    bound = next((bound for bound in LENGTHS if length <= bound), None)
    return f"> {LENGTHS[-1]}" if bound is None else f"<= {bound}"


def _perplexity(log_probability: float, count: int) -> float | None:
    return math.exp(-log_probability / count) if count else None
