"""What the commands that train share: from options to the configuration of a run, and what is shown of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlpx.configuration.presets import Resolved
    from nlpx.configuration.section import Section
    from nlpx.runs.running import Finished, Plan, RunOptions
    from nlpx_cli.console import Console

# What a resumed run may change; everything else would make it another run.
BESIDE = ("model", "dev", "test")  # columns of the table of baselines
CHANGEABLE = (
    "train.steps",
    "train.epochs",
    "train.eval_every",
    "train.log_every",
    "train.save_every",
    "train.patience",
)


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command that trains: its configuration, what it runs, and what it says at its end."""

    schema: type[Section]
    default_preset: Callable[[], str]  # where neither --preset nor --resume is given
    plan: Callable[[Resolved, RunOptions, Console], Plan]
    run: Callable[[Resolved, RunOptions, Console], Finished | None]
    score: str  # what its score is called
    following: Callable[[str], str]  # the command to try next, from the run folder


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options that all of them have, as they were given."""

    preset: str | None
    set_: Sequence[str] | None
    epochs: int | None
    steps: int | None
    learning_rate: float | None
    batch_size: int | None
    max_length: int | None
    seed: int | None
    device: str | None
    out: Path | None
    resume: str | None
    overwrite: bool
    dry_run: bool
    require: float | None = None

    @property
    def overrides(self) -> Sequence[str]:
        """The arguments of --set."""
        return self.set_ or ()

    def flags(self) -> dict[str, Any]:
        """The keys that these options set."""
        from nlpx.configuration.presets import Flag

        return {
            "train.epochs": Flag(self.epochs, "--epochs"),
            "train.steps": Flag(self.steps, "--steps"),
            "train.batch_size": Flag(self.batch_size, "--batch-size"),
            "optim.learning_rate": Flag(self.learning_rate, "--learning-rate"),
            "data.max_length": Flag(self.max_length, "--max-length"),
            "seed": self.seed,
            "device": self.device,
        }


def train(command: Command, options: Options, flags: Mapping[str, Any], console: Console) -> None:
    """Resolve the configuration, then print the plan, or run and print the result; `flags` are the command's own."""
    from nlpx.runs.running import RunOptions

    run_options = RunOptions(
        out=options.out, overwrite=options.overwrite, resume=options.resume, require=options.require
    )
    given = options.flags() | dict(flags)
    if options.resume is None:
        preset = options.preset
        if preset is None:
            preset = command.default_preset()
            console.note(f"preset {preset}")
        resolved = resolve_new(command.schema, preset, options.overrides, given)
    else:
        refuse_beside_resume(preset=options.preset, out=options.out, overwrite=options.overwrite)
        resolved = resolve_resumed(command.schema, options.resume, options.overrides, given)
    if options.dry_run:
        show_plan(command.plan(resolved, run_options, console), console)
        return
    finished = command.run(resolved, run_options, console)
    if finished is not None:
        show_finished(finished, console, score=command.score, following=command.following(finished.run))


def resolve_new(schema: type[Section], preset: str, overrides: Sequence[str], flags: Mapping[str, Any]) -> Resolved:
    """Resolve the configuration of a new run; a run folder will do as a preset."""
    from nlpx.configuration.presets import resolve

    of_run = Path(preset) / "config.yaml"
    return resolve(schema, preset=str(of_run) if of_run.is_file() else preset, overrides=overrides, flags=flags)


def resolve_resumed(
    schema: type[Section],
    resume: str,
    overrides: Sequence[str],
    flags: Mapping[str, Any],
    *,
    changeable: Sequence[str] = CHANGEABLE,
) -> Resolved:
    """Resolve the configuration of a run to resume. Raises UsageError where it would become another run."""
    from nlpx.configuration.presets import differences, resolve
    from nlpx.errors import UsageError
    from nlpx.runs.folder import RunFolder

    before = str(RunFolder.open(resume).config)
    resolved = resolve(schema, preset=before, overrides=overrides, flags=flags)
    earlier = resolve(schema, preset=before).to_dict()
    for key, old, new in differences(earlier, resolved.to_dict()):
        if key not in (*changeable, "device"):
            raise UsageError(
                f"`{key}` is {old} in the run to resume and {new} here",
                hint=f"a resumed run may change only: {', '.join(changeable)}, device",
            )
    return resolved


def refuse_beside_resume(*, preset: str | None, out: Path | None, overwrite: bool) -> None:
    """Raise UsageError for an option that says where or how a run starts."""
    from nlpx.errors import UsageError

    for option, given in (("--preset", preset), ("--out", out), ("--overwrite", overwrite)):
        if given:
            raise UsageError(
                f"--resume and {option} contradict each other", hint="a run continues as it is, in its folder"
            )


def overridden(overrides: Sequence[str], key: str) -> str | None:
    """Return the value that `--set` gives a key, the last one if several do."""
    values = [value for name, _, value in (argument.partition("=") for argument in overrides) if name.strip() == key]
    return values[-1].strip() if values else None


def show_plan(plan: Plan, console: Console) -> None:
    """Print what `--dry-run` found."""
    show_plan_of(plan.facts, console)


def show_plan_of(facts: Mapping[str, Any], console: Console) -> None:
    """The same of facts by name."""
    console.result(facts, value="\n".join(f"{name}: {value}" for name, value in facts.items()))


def show_finished(finished: Finished, console: Console, *, score: str, following: str) -> None:
    """Print a run that came to its end: its table, its score by that name, the command that follows, its folder."""
    cells = [[row.get(name) for name in finished.columns] for row in finished.table]
    if cells:
        console.table(finished.columns, cells)
    if finished.beside:
        console.table(BESIDE, [[row[name] for name in BESIDE] for row in finished.beside])
    if finished.score is not None:
        console.note(f"{score} {finished.score:.4f}; report: {finished.run}/report.md")
    console.hint(following)
    beside = {"baselines": finished.beside} if finished.beside else {}
    facts = {"run": finished.run, "score": finished.score, "table": finished.table}
    console.result(facts | beside, value=finished.run)
