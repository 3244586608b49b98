"""`nlpx generate`: answers of a sequence-to-sequence model, or continuations of a language model."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nlpx.seed import LARGEST_SEED
from nlpx_cli.console import Console
from nlpx_cli.options import Device, Encoding, Field, InputFormat, Json, Quiet, complete_models

if TYPE_CHECKING:
    from nlpx.data.rows.texts import Texts

Beams = Annotated[int | None, typer.Option("--beams", help="Answers followed side by side.  [default: 1, greedy]")]
NBest = Annotated[int | None, typer.Option("--n-best", help="Answers of a text, with scores, best first.", metavar="N")]
LengthPenalty = Annotated[
    float | None,
    typer.Option("--length-penalty", help="Rank beams by log probability over length to this power.  [default: 0]"),
]
MaxNewTokens = Annotated[
    int | None,
    typer.Option("--max-new-tokens", help="Tokens of an answer at most.  [default: 64, or a run's]", metavar="N"),
]
MinNewTokens = Annotated[
    int | None, typer.Option("--min-new-tokens", help="Tokens before an answer may end.", metavar="N")
]
Temperature = Annotated[
    float | None,
    typer.Option("--temperature", help="Draw tokens: 1 as the model says.  [default: 0, the likeliest token]"),
]
TopK = Annotated[int | None, typer.Option("--top-k", help="Draw from the K most probable tokens.", metavar="K")]
TopP = Annotated[
    float | None, typer.Option("--top-p", help="Draw from the most probable tokens of this mass.", metavar="P")
]
Typical = Annotated[
    float | None, typer.Option("--typical", help="Draw from the most typical tokens of this mass.", metavar="P")
]
RepetitionPenalty = Annotated[
    float | None, typer.Option("--repetition-penalty", help="Above 1: less of what stood before.", metavar="X")
]
NoRepeat = Annotated[
    int | None, typer.Option("--no-repeat-ngram", help="Never write N tokens in a row twice.", metavar="N")
]
CopySource = Annotated[bool, typer.Option("--copy-source", help="Write tokens of the text only.")]
Allowed = Annotated[
    str | None, typer.Option("--allowed", help="Write only these characters or words, one a line.", metavar="FILE")
]
Prefix = Annotated[str, typer.Option("--prefix", help="What every answer begins with.", metavar="TEXT")]
Explain = Annotated[bool, typer.Option("--explain", help="Show the probability of each token, on stderr or in --json.")]
MaxLength = Annotated[
    int | None,
    typer.Option(
        "--max-length",
        help="Cut texts to N tokens.  [default: as a run was trained; of other models too long ones are refused]",
        metavar="N",
        min=1,
    ),
]
RestorePunctuation = Annotated[
    bool, typer.Option("--restore-punctuation", help="Full-width marks in Chinese, which T5's pieces lack.")
]
OfTask = Annotated[Literal["qa"] | None, typer.Option("--task", help="qa: answer questions from their passages.")]
BatchSize = Annotated[int, typer.Option("--batch-size", help="Texts answered together.", min=1, metavar="N")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of what is drawn.", min=0, max=LARGEST_SEED)]
PrecisionName = Literal["auto", "float32", "bfloat16", "int8"]
Precision = Annotated[PrecisionName, typer.Option("--precision", help="Number format; int8 is for CPUs.")]

EngineName = Literal["auto", "nlpx", "ctranslate2"]
Engine = Annotated[
    EngineName,
    typer.Option(
        "--engine", help="ctranslate2 runs what convert --to ctranslate2 wrote.  [default: auto]", hidden=True
    ),
]


def register(app: typer.Typer) -> None:
    """Add `nlpx generate`."""
    app.command("generate")(generate)


def generate(
    model: Annotated[
        str,
        typer.Argument(
            help="A run, a checkpoint directory, a shipped model, or a hub name.",
            metavar="MODEL",
            autocompletion=complete_models,
        ),
    ],
    file: Annotated[str | None, typer.Argument(help="Lines or rows, or - for stdin.", metavar="[FILE|-]")] = None,
    prompt: Annotated[
        str | None, typer.Option("--prompt", help="The text itself, instead of a file.", metavar="TEXT")
    ] = None,
    field: Field = "text",
    input_format: InputFormat = None,
    encoding: Encoding = "utf-8",
    beams: Beams = None,
    n_best: NBest = None,
    length_penalty: LengthPenalty = None,
    max_new_tokens: MaxNewTokens = None,
    min_new_tokens: MinNewTokens = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    typical: Typical = None,
    repetition_penalty: RepetitionPenalty = None,
    no_repeat_ngram: NoRepeat = None,
    copy_source: CopySource = False,
    allowed: Allowed = None,
    prefix: Prefix = "",
    restore_punctuation: RestorePunctuation = False,
    task: OfTask = None,
    explain: Explain = False,
    max_length: MaxLength = None,
    batch_size: BatchSize = 16,
    seed: Seed = 7,
    precision: Precision = "auto",
    engine: Engine = "auto",
    device: Device = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write what a model answers to each text, or how it goes on.

    A model trained to answer (finetune --task seq2seq, pretrain --objective unilm) reads
    a text and writes another; a language model (GPT-2, pretrain --objective lm)
    continues it. Which of the two a model does is said on stderr. One line a
    text on stdout, in order; with --json the row with `generated` and `score`.

    \b
    Examples:
      nlpx generate char-tiny --prompt 今天天气很好 --max-new-tokens 20
      nlpx generate char-tiny texts.txt --beams 4 --copy-source
      echo 春天来了 | nlpx generate char-tiny - --top-p 0.9 --n-best 3
      nlpx generate char-tiny titles.jsonl --explain --json
    """
    from nlpx.data.rows.texts import Texts
    from nlpx.jobs.generate import generate
    from nlpx.jobs.generate.answers import Report
    from nlpx.jobs.generate.options import Options, settings_of

    console = Console(json=json, quiet=quiet)
    settings = settings_of(
        temperature=temperature,
        num_beams=beams,
        num_return=n_best,
        length_penalty=length_penalty,
        max_new_tokens=max_new_tokens,
        min_new_tokens=min_new_tokens,
        top_k=top_k,
        top_p=top_p,
        typical_p=typical,
        repetition_penalty=repetition_penalty,
        no_repeat_ngram=no_repeat_ngram,
    )
    options = Options(copy_source, allowed, prefix, explain, max_length, batch_size, seed, restore_punctuation)
    _refuse_silence(prompt, file)
    texts = Texts(file or "-", field, input_format, encoding)
    if task == "qa":
        is_plain = not settings.model_fields_set - {"temperature"} and options == Options(
            batch_size=batch_size, seed=seed
        )
        _answer_questions(console, model, texts, device, searches=not is_plain, prompt=prompt)
        return
    given = texts if prompt is None else prompt
    report = Report()
    rows = generate(
        model, given, settings, options, device=device or "auto", precision=precision, engine=engine, report=report
    )
    console.note(f"{model} {report.arrangement}; {report.precision}")
    if console.mode == "json":
        console.rows(rows)
    else:
        _print(console, rows, n_best=settings.num_return > 1, explain=explain)
    if report.num_unfinished:
        console.note(report.unfinished())
    for sentence in report.warnings():
        console.warn(sentence)


def _answer_questions(
    console: Console, run: str, questions: Texts, device: str | None, *, searches: bool, prompt: str | None
) -> None:
    from nlpx.data.rows.reading import RowReport
    from nlpx.errors import UsageError
    from nlpx.jobs.generate.questions import answer_questions

    if searches or prompt is not None:
        hint = "--set task_options.num_beams=4 and its neighbours say it to finetune"
        raise UsageError(
            "--task qa answers rows as its run was trained, without other options of the search", hint=hint
        )
    rows = answer_questions(run, questions, device=device or "auto", report=RowReport())
    if console.mode == "json":
        console.rows(rows)
        return
    for row in rows:
        console.text(_one_line(row["generated"]))
        sys.stdout.flush()


def _refuse_silence(prompt: str | None, file: str | None) -> None:
    from nlpx.errors import UsageError

    if prompt is not None and file is not None:
        raise UsageError(f"--prompt and {file} both say what to read", hint="give one of them")
    if prompt is None and file is None and sys.stdin.isatty():
        hint = "name a file, give --prompt TEXT, or pipe lines into the command"
        raise UsageError("no text: stdin is a terminal", hint=hint)


def _print(console: Console, rows: Iterable[Mapping[str, Any]], *, n_best: bool, explain: bool) -> None:
    """One line a text, or with n-best `number TAB score TAB text` a line for each of its answers."""
    for number, row in enumerate(rows, start=1):
        if n_best:
            for answer in row["hypotheses"]:
                console.text(f"{number}\t{answer['score']:.4f}\t{_one_line(answer['generated'])}")
        else:
            console.text(_one_line(row["generated"]))
        sys.stdout.flush()
        for answer in row["hypotheses"] if explain else ():
            found = " ".join(f"{part['token']} {part['probability']:.2f}" for part in answer["tokens"])
            console.note(f"probabilities in {number}: {found}")


def _one_line(text: str) -> str:
    return " ".join(text.split("\n"))
