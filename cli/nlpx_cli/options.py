"""Options that several commands share, declared once, and what the shell completes for them.

Completion reads file names only: it must answer at once, so it has no heavy import.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from nlpx.configuration import registry
from nlpx.configuration.files import preset_names
from nlpx.seed import LARGEST_SEED


def complete_presets(incomplete: str) -> list[str]:
    """Names of shipped presets; files are left to the shell."""
    return [name for name in preset_names() if name.startswith(incomplete)]


def complete_tasks(incomplete: str) -> list[str]:
    """Names of tasks."""
    return [name for name in registry.plugins("tasks") if name.startswith(incomplete)]


def complete_tricks(incomplete: str) -> list[str]:
    """Names of tricks behind those that are there."""
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in registry.plugins("tricks") if name.startswith(last)]


def complete_overrides(context: typer.Context, incomplete: str) -> list[str]:
    """Keys of the command's configuration, and behind a `=` the values of a choice."""
    from nlpx_cli.set_keys import completions

    return completions(" ".join(context.command_path.split()[1:]), incomplete, context.params)


def complete_runs(incomplete: str) -> list[str]:
    """`last` and the run folders below `runs`."""
    names = ["last", *sorted(manifest.parent.name for manifest in Path("runs").glob("*/manifest.json"))]
    return [name for name in names if name.startswith(incomplete)]


def complete_devices(incomplete: str) -> list[str]:
    """The forms a device may take."""
    return [name for name in ("auto", "cpu", "cuda", "cuda:0", "mps") if name.startswith(incomplete)]


def two_fields(names: list[str] | None) -> list[str] | None:
    """The fields of a pair: `--field` given twice, or not at all."""
    from nlpx.errors import UsageError

    if names and len(names) != 2:
        raise UsageError(f"--field is given {len(names)} times where a pair is read", hint="--field NAME --field NAME")
    return names or None


def complete_models(incomplete: str) -> list[str]:
    """Models that ship; folders are left to the shell."""
    from nlpx.bundled import models

    return [name for name in models() if name.startswith(incomplete)]


def writable(target: Any) -> Any:
    """Check before the work that an output can be written: the callback of every --out."""
    from nlpx.faults import refuse_unwritable

    if target is not None and str(target) != "-":
        refuse_unwritable(target)
    return target


def writable_file(target: Any) -> Any:
    """The same for what is one file: a folder of that name cannot be written either."""
    from nlpx.errors import UsageError

    if target is not None and Path(str(target)).is_dir():
        raise UsageError(f"{target} is a folder", hint="name a file in it")
    return writable(target)


Task = Annotated[
    str | None, typer.Option("--task", help="What to learn.", metavar="NAME", autocompletion=complete_tasks)
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        help="Settings to start from: a name of `nlpx presets list`, a YAML file, or a run folder.",
        metavar="NAME|FILE",
        autocompletion=complete_presets,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Change one setting, such as optim.learning_rate=2e-5; null clears it. Repeatable.",
        metavar="KEY=VALUE",
        autocompletion=complete_overrides,
    ),
]
Epochs = Annotated[
    int | None, typer.Option("--epochs", help="Passes over the data.  [default: the preset's]", min=1, metavar="N")
]
Steps = Annotated[int | None, typer.Option("--steps", help="Updates, instead of --epochs.", min=1, metavar="N")]
LearningRate = Annotated[
    float | None,
    typer.Option("--learning-rate", help="What the schedule multiplies.  [default: the preset's]", metavar="RATE"),
]
BatchSize = Annotated[
    int | None, typer.Option("--batch-size", help="Rows in a batch.  [default: the preset's]", min=1, metavar="N")
]
MaxLength = Annotated[
    int | None,
    typer.Option("--max-length", help="Tokens of a row at most.  [default: the preset's]", min=1, metavar="N"),
]
InputFormatName = Literal["txt", "jsonl", "csv", "tsv", "parquet"]
InputFormat = Annotated[
    InputFormatName | None, typer.Option("--input-format", help="What the input is in.  [default: by suffix]")
]
Encoding = Annotated[str, typer.Option("--encoding", help="Of the input, such as gb18030.", metavar="NAME")]
PairFields = Annotated[
    list[str] | None,
    typer.Option("--field", help="Which holds a text; give it twice.  [default: by name]", metavar="NAME"),
]
Field = Annotated[str, typer.Option("--field", help="The field of rows that holds the text.", metavar="NAME")]
Encoder = Annotated[
    str,
    typer.Option(
        "--model",
        help="A checkpoint directory, a run, a shipped model, or a hub name.",
        metavar="MODEL",
        autocompletion=complete_models,
    ),
]
PoolingName = Literal["first-last-avg", "mean", "cls", "last", "pooler"]
Pooling = Annotated[
    PoolingName | None,
    typer.Option("--pooling", help="How tokens become one vector.  [default: the model's own, else first-last-avg]"),
]
PromptName = Annotated[
    str | None,
    typer.Option("--prompt-name", help="The model's prompt for texts.  [default: its own default]", metavar="NAME"),
]
TextLength = Annotated[
    int | None,
    typer.Option("--max-length", help="Tokens of a text at most.  [default: the model's own, else 128]", min=3),
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", help="Seed of every random choice.  [default: the preset's]", min=0, max=LARGEST_SEED),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="auto, cpu, cuda, cuda:N or mps.  [default: the preset's]",
        metavar="NAME",
        autocompletion=complete_devices,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", "-o", callback=writable, help="The run folder itself.  [default: a new one in runs/]", metavar="DIR"
    ),
]
Resume = Annotated[
    str | None,
    typer.Option("--resume", help="Resume this run: a folder, or `last`.", metavar="RUN", autocompletion=complete_runs),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run that is in --out.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything and print the plan; write nothing.")]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout, and errors as JSON on stderr.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="One value on stdout, only errors on stderr.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Add timings and the weight report on stderr.")]
Run = Annotated[
    str,
    typer.Argument(help="A run folder, its name in runs/, or `last`.", metavar="RUN", autocompletion=complete_runs),
]
Root = Annotated[Path, typer.Option("--root", help="The folder that holds the runs.", metavar="DIR")]
