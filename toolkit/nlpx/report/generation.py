"""How the metrics of generated texts are shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nlpx.report.tables import Column, Table

UNITS = ("characters", "words")
ROUGE = (
    Column("by", " "),
    Column("rouge_1", "ROUGE-1"),
    Column("rouge_2", "ROUGE-2"),
    Column("rouge_l", "ROUGE-L"),
    Column("main"),
)
FIELDS = tuple(column.name for column in ROUGE)
OTHER = (
    Column("bleu", "BLEU"),
    Column("sentence_bleu", "mean of texts"),
    Column("exact_match", "equal"),
    Column("predicted_length", "characters written", digits=1),
    Column("reference_length", "wanted", digits=1),
    Column("empty"),
    Column("unfinished"),
    Column("rows"),
)


def rows(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the ROUGE of a record by characters and by words."""
    return [{"by": f"by {unit}", **record[unit]} for unit in UNITS]


def tables(record: Mapping[str, Any]) -> list[Table]:
    """Return ROUGE, and below it BLEU, equality and lengths."""
    counted = f"F of ROUGE, n-grams as {record['ngrams_as']}; main: {record['score_is'].partition(',')[0]}."
    bleu = f"BLEU over all texts by sacrebleu ({record['bleu_tokenize']}), and as a mean over texts, by characters:"
    return [Table(rows(record), ROUGE, above=counted), Table([record], OTHER, above=bleu)]
