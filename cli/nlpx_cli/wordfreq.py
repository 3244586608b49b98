"""`nlpx wordfreq`: exact counts of words, characters, n-grams or tokens."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from nlpx_cli.options import Encoding, InputFormat, Json, Quiet
from nlpx_cli.wordfreq_options import Options

Files = Annotated[
    list[str] | None, typer.Argument(help="Files, folders, patterns, URLs, or - for stdin.", metavar="FILE|DIR|-")
]
Unit = Annotated[Literal["word", "char", "ngram", "token"] | None, typer.Option(help="What to count.  [default: word]")]
Ngram = Annotated[int | None, typer.Option(help="Length of the n-grams.  [default: 2]", min=1, max=5, metavar="1..5")]
Of = Annotated[Literal["char", "word"] | None, typer.Option(help="What n-grams are made of.", hidden=True)]
Tokenizer = Annotated[str | None, typer.Option(help="Checkpoint whose tokens to count.", metavar="DIR", hidden=True)]
Top = Annotated[int | None, typer.Option(help="Only the most frequent.  [default: all]", min=1, metavar="N")]
MinCount = Annotated[int, typer.Option(help="Leave out what occurs less often.", min=1, metavar="N")]
Out = Annotated[str | None, typer.Option("--out", "-o", help="Write here, not to stdout.", metavar="FILE")]
Format = Annotated[
    Literal["tsv", "jsonl", "vocab"] | None,
    typer.Option(help="Rows word<TAB>count, JSON lines, or a vocab.txt.  [default: tsv]"),
]
WordsOnly = Annotated[bool, typer.Option("--words-only", help="Leave out punctuation and digits.")]
NoHmm = Annotated[bool, typer.Option("--no-hmm", help="Dictionary words only; guess no new ones.")]
Segmenter = Annotated[Literal["auto", "rjieba", "jieba"], typer.Option(help="The segmenter.", hidden=True)]
UserDictionary = Annotated[str | None, typer.Option(help="More words, a file in jieba's format.", metavar="FILE")]
Field = Annotated[str | None, typer.Option(help="Field or column of the texts.  [default: text]", metavar="NAME")]
Errors = Annotated[Literal["strict", "replace"], typer.Option(help="Of undecodable bytes.", hidden=True)]
Workers = Annotated[int | None, typer.Option(help="Processes.  [default: cores]", min=1, metavar="N", hidden=True)]
Memory = Annotated[str, typer.Option(help="Bound of all processes, such as 500MB.", metavar="SIZE", hidden=True)]
Checkpoint = Annotated[
    str | None, typer.Option(help="Keep what is counted here; continue after a kill.", metavar="DIR", hidden=True)
]
Engine = Annotated[Literal["local", "dask"], typer.Option(help="Where workers run.", hidden=True)]
Scheduler = Annotated[str | None, typer.Option(help="Of a Dask cluster.", metavar="ADDRESS", hidden=True)]
Merge = Annotated[bool, typer.Option("--merge", help="Add up the files, which are earlier outputs.")]
Plot = Annotated[str | None, typer.Option(help="Draw rank and frequency, fitted by Zipf's law.", metavar="FILE.png")]
Timings = Annotated[bool, typer.Option("--timings", help="Measure against plain jieba on a sample first.")]


def register(app: typer.Typer) -> None:
    """Add `nlpx wordfreq`."""
    app.command("wordfreq")(wordfreq)


def wordfreq(
    files: Files = None,
    unit: Unit = None,
    ngram: Ngram = None,
    of: Of = None,
    tokenizer: Tokenizer = None,
    top: Top = None,
    min_count: MinCount = 1,
    out: Out = None,
    format: Format = None,
    words_only: WordsOnly = False,
    no_hmm: NoHmm = False,
    segmenter: Segmenter = "auto",
    user_dictionary: UserDictionary = None,
    field: Field = None,
    input_format: InputFormat = None,
    encoding: Encoding = "utf-8",
    errors: Errors = "strict",
    workers: Workers = None,
    memory: Memory = "2GiB",
    checkpoint: Checkpoint = None,
    engine: Engine = "local",
    scheduler: Scheduler = None,
    merge: Merge = False,
    plot: Plot = None,
    timings: Timings = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Count words, characters, n-grams or tokens exactly.

    Prints word<TAB>count, the most frequent first, and a table with bars
    on a terminal. Reads text, JSON lines, CSV, TSV and Parquet, also
    packed. `nlpx help wordfreq` has the rarer options.

    \b
    Examples:
      nlpx wordfreq corpus.txt --top 50
      cat corpus.txt | nlpx wordfreq - --unit char > characters.tsv
      nlpx wordfreq rows.jsonl --field source -o rows.tsv
      nlpx wordfreq corpus.txt -o text.tsv
      nlpx wordfreq --merge rows.tsv text.tsv --top 10
    """
    given = dict(locals())
    from nlpx_cli.wordfreq_run import run

    run(Options(**given | {"files": tuple(files or ())}))
