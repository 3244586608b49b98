"""What the commands that train share: from options to the configuration of a run, and what is shown of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlpx.configuration.presets import Resolved
    from nlpx.configuration.section import Section
    from nlpx.runs.running import Finished, Plan
    from nlpx_cli.console import Console

# What a resumed run may change; everything else would make it another run.
CHANGEABLE = (
    "train.steps",
    "train.epochs",
    "train.eval_every",
    "train.log_every",
    "train.save_every",
    "train.patience",
)


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
    console.result(plan.facts, value="\n".join(f"{name}: {value}" for name, value in plan.facts.items()))


def show_finished(finished: Finished, console: Console, *, score: str, following: str) -> None:
    """Print a run that came to its end: its table, its score by that name, the command that follows, its folder."""
    cells = [[row.get(name) for name in finished.columns] for row in finished.table]
    if cells:
        console.table(finished.columns, cells)
    if finished.score is not None:
        console.note(f"{score} {finished.score:.4f}; report: {finished.run}/report.md")
    console.hint(following)
    console.result({"run": finished.run, "score": finished.score, "table": finished.table}, value=finished.run)
