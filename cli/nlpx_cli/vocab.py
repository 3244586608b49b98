"""`nlpx vocab`: build, extend, trim and show vocabularies, with the rows of a checkpoint."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nlpx_cli.console import Console
from nlpx_cli.inspect import Family
from nlpx_cli.options import Encoding, Field, InputFormat, Json, Quiet, complete_models, writable

if TYPE_CHECKING:
    from nlpx.jobs.vocab.sources import Corpus

Kind = Literal["char", "word"]
Weights = Literal["equal", "characters", "rarity"]
Format = Literal["nlpx", "hf"]

Base = Annotated[
    str,
    typer.Argument(
        help="A checkpoint directory, run or name, or a vocab.txt.", metavar="BASE", autocompletion=complete_models
    ),
]
Target = Annotated[Path, typer.Option("--out", "-o", callback=writable, help="The directory to write.", metavar="DIR")]
To = Annotated[Format, typer.Option("--to", help="nlpx: keeps everything; hf: plain transformers.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the vocabulary that is in --out.")]
MinCount = Annotated[int, typer.Option("--min-count", help="Leave out what occurs less often.", min=1)]
Data = Annotated[
    list[str] | None,
    typer.Option("--data", help="Texts: a file, a folder, a pattern, or - for stdin. Repeatable.", metavar="FILE"),
]

app = typer.Typer(no_args_is_help=True, help="Build, extend, trim and show vocabularies.")


def register(parent: typer.Typer) -> None:
    """Add `nlpx vocab`."""
    parent.add_typer(app, name="vocab")


@app.command("build")
def build(
    files: Annotated[
        list[str] | None,
        typer.Argument(help="Texts, or one table of `nlpx wordfreq`; - for stdin.", metavar="[FILE...|-]"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            callback=writable,
            help="A directory, or one .txt file.  [default: stdout]",
            metavar="DIR|FILE",
        ),
    ] = None,
    size: Annotated[int, typer.Option("--size", help="Entries at most.", min=1)] = 8000,
    kind: Annotated[Kind, typer.Option("--kind", help="char: characters; word: and words of the segmenter.")] = "char",
    min_count: MinCount = 1,
    coverage: Annotated[
        float | None,
        typer.Option(
            "--coverage",
            help="Share of the text that single characters must cover before words follow.  [default: 0.9995 of word]",
            min=0,
            max=1,
        ),
    ] = None,
    field: Field = "text",
    input_format: InputFormat = None,
    encoding: Encoding = "utf-8",
    overwrite: Overwrite = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Build a vocabulary from texts or counts and write it.

    Special tokens first, then Latin letters and digits with their `##` forms,
    then characters by frequency, then, with --kind word, words by frequency.

    \b
    Examples:
      nlpx vocab build corpus.txt -o my-vocab
      nlpx vocab build corpus.txt --kind word --size 12000 -o my-words
      cat corpus.txt | nlpx vocab build - | head -5
    """
    from nlpx.errors import UsageError
    from nlpx.jobs.vocab import build, write_built

    if not files and sys.stdin.isatty():
        raise UsageError("no texts: stdin is a terminal", hint="name a file, or pipe texts into the command")
    console = Console(json=json, quiet=quiet)
    corpus = _corpus(files or ["-"], field, input_format, encoding)
    built = build(corpus, console, kind=kind, size=size, min_count=min_count, coverage=coverage)
    facts = {
        "path": None if out is None else str(out),
        "size": len(built.vocab),
        "characters": built.num_characters,
        "words": built.num_words,
        "coverage": built.coverage,
    }
    console.note(
        f"{len(built.vocab):,} entries, {built.num_words:,} of them words; "
        f"single characters cover {built.coverage:.4%} of the text"
    )
    if out is not None:
        write_built(built, out, kind=kind, overwrite=overwrite)
        console.result(facts, value=out)
    elif json:
        console.result(facts | {"entries": built.vocab.tokens}, value="")
    else:
        console.text(built.vocab.text())


@app.command("extend")
def extend(
    base: Base,
    out: Target,
    words: Annotated[
        str, typer.Option("--words", help="A table of `nlpx wordfreq`, or jieba: its dictionary.", metavar="FILE|jieba")
    ] = "jieba",
    size: Annotated[int, typer.Option("--size", help="Words to add, the most frequent first.", min=0)] = 20_000,
    min_count: MinCount = 1,
    weights: Annotated[
        Weights, typer.Option("--weights", help="Of a word's pieces in the mean that its row starts as.")
    ] = "equal",
    teach: Annotated[
        bool, typer.Option("--teach", help="Teach the segmenter words it would not find, instead of leaving them out.")
    ] = False,
    keep_unused: Annotated[bool, typer.Option("--keep-unused", help="Keep entries such as [unused1].")] = False,
    add_special: Annotated[bool, typer.Option("--add-special", help="Add special tokens that are missing.")] = False,
    to: To = "nlpx",
    family: Family = None,
    overwrite: Overwrite = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Add words to a vocabulary and to its checkpoint.

    The recipe of WoBERT: entries that no text can use go, kept rows stay as
    they are, a new word starts as the mean of its pieces. Train it further
    with masked language modelling.

    \b
    Examples:
      nlpx vocab extend path/to/checkpoint --size 1000 -o wobert
      nlpx vocab extend vocab.txt --words words.tsv --teach -o domain
    """
    from nlpx.jobs.vocab import extend

    console = Console(json=json, quiet=quiet)
    written = extend(
        base,
        out,
        words=words,
        size=size,
        min_count=min_count,
        weights=weights,
        teach=teach,
        keep_unused=keep_unused,
        add_special=add_special,
        to=to,
        family=family,
        overwrite=overwrite,
    )
    skipped = ", ".join(f"{count:,} {reason}" for reason, count in written["skipped"].items())
    console.note(f"left out: {skipped or 'no word'}")
    _note_written(console, written)
    console.result(written, value=out)


@app.command("trim")
def trim(
    context: typer.Context,
    base: Base,
    out: Target,
    data: Data = None,
    counts: Annotated[
        str | None, typer.Option("--counts", help="A table of `nlpx wordfreq` instead of texts.", metavar="FILE")
    ] = None,
    min_count: MinCount = 1,
    size: Annotated[
        int | None, typer.Option("--size", help="Entries at most, the most frequent.  [default: all used]", min=1)
    ] = None,
    field: Field = "text",
    input_format: InputFormat = None,
    encoding: Encoding = "utf-8",
    to: To = "nlpx",
    family: Family = None,
    overwrite: Overwrite = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Trim a vocabulary to what a corpus uses.

    Special tokens and single ASCII characters stay, of sentencepiece (T5, mT5)
    special pieces, bytes and sentinels. No text of the corpus changes its
    tokens, and a checkpoint's scores of what is kept stay equal.

    \b
    Examples:
      nlpx vocab trim path/to/checkpoint --data corpus.txt -o small
      nlpx vocab trim vocab.txt --counts words.tsv --min-count 2 -o fewer
    """
    from nlpx.jobs.vocab import trim

    console = Console(json=json, quiet=quiet)
    if context.info_name == "cut":
        console.note("`nlpx vocab cut` is now called `nlpx vocab trim`; the old name still works")
    written = trim(
        base,
        out,
        console,
        corpus=_corpus(data, field, input_format, encoding) if data else None,
        counts=counts,
        min_count=min_count,
        size=size,
        to=to,
        family=family,
        overwrite=overwrite,
    )
    _note_written(console, written)
    console.result(written, value=out)


app.command("cut", hidden=True)(trim)  # an earlier name


@app.command("show")
def show(
    vocabulary: Annotated[
        str,
        typer.Argument(
            help="A vocab.txt, or the directory or name of a checkpoint.",
            metavar="VOCAB",
            autocompletion=complete_models,
        ),
    ],
    other: Annotated[str | None, typer.Argument(help="Another one to compare it with.", metavar="[OTHER]")] = None,
    data: Data = None,
    field: Field = "text",
    input_format: InputFormat = None,
    encoding: Encoding = "utf-8",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Count the entries of a vocabulary by kind.

    Also says which special tokens are missing, what stands there twice, and,
    with --data, how many tokens a character takes and how many are unknown.

    \b
    Examples:
      nlpx vocab show path/to/checkpoint
      nlpx vocab show vocab.txt path/to/checkpoint --data corpus.txt
    """
    from nlpx.jobs.vocab import show

    console = Console(json=json, quiet=quiet)
    corpus = _corpus(data, field, input_format, encoding) if data else None
    facts = show(vocabulary, console, other=other, corpus=corpus)
    if json:
        console.result(facts, value="")
    elif quiet:
        console.result(facts, value=facts["size"])
    else:
        console.listing(_table([facts, *([facts["other"]] if other else [])]))
        for note in _remarks(facts):
            console.note(note)


def _corpus(files: list[str], field: str, input_format: str | None, encoding: str) -> Corpus:
    from nlpx.jobs.vocab.sources import Corpus

    return Corpus(files, field=field, encoding=encoding, format=input_format)


def _note_written(console: Console, written: dict[str, Any]) -> None:
    console.note(
        f"{written['old_size']:,} entries before: {written['kept']:,} kept, {written['added']:,} added, "
        f"{written['size']:,} now"
    )
    for name in written.get("unexpected", ()):
        console.note(f"left out: {name}")
    if written["checkpoint"]:
        console.note(f"family {written['family']}, {written['parameters']:,} parameters")


def _table(vocabularies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = [{"size": facts["size"], "level": facts["kind"]} | facts["entries"] for facts in vocabularies]
    for row, facts in zip(rows, vocabularies, strict=True):
        row |= {"redundant": facts["redundant"]} | facts.get("corpus", {})
    keys = dict.fromkeys(key for row in rows for key in row)
    columns = [facts["vocabulary"] for facts in vocabularies]
    if len(set(columns)) < len(columns):
        columns = ["first", "second"]
    return [
        {"entries": key.replace("_", " ")} | {name: row.get(key, 0) for name, row in zip(columns, rows, strict=True)}
        for key in keys
    ]


def _remarks(facts: dict[str, Any]) -> list[str]:
    remarks = []
    for one in filter(None, (facts, facts.get("other"))):
        if one["missing_special_tokens"]:
            remarks.append(f"{one['vocabulary']}: missing {', '.join(one['missing_special_tokens'])}")
        if one["duplicates"]:
            shown = ", ".join(one["duplicates"][:8])
            remarks.append(f"{one['vocabulary']}: {len(one['duplicates'])} entries stand there twice: {shown}")
    if "compared" in facts:
        shared = facts["compared"]
        remarks.append(
            f"{shared['shared']:,} entries in both, {shared['only_here']:,} only in the first, "
            f"{shared['only_there']:,} only in the second"
        )
    return remarks
