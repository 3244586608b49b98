"""`nlpx runs`: what was run, with which outcome; reads manifests only."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nlpx_cli.console import Console
from nlpx_cli.options import Json, Quiet, Root, Run

if TYPE_CHECKING:
    from nlpx.runs.folder import RunFolder

app = typer.Typer(no_args_is_help=True, help="List, show and report past runs.")


def register(parent: typer.Typer) -> None:
    """Add `nlpx runs`."""
    parent.add_typer(app, name="runs")


@app.command("list")
def list_runs(root: Root = Path("runs"), json: Json = False, quiet: Quiet = False) -> None:
    """List the runs, oldest first, with state and score.

    A run whose process is gone although it never finished is `killed`, one
    whose manifest cannot be read `unreadable`.

    \b
    Examples:
      nlpx runs list
      nlpx runs list --json | jq -r 'select(.state == "finished") | .run'
    """
    from nlpx.runs.folder import list_runs

    console = Console(json=json, quiet=quiet)
    console.listing([_row(run, console, json=json) for run in list_runs(root)])


@app.command("show")
def show(run: Run = "last", root: Root = Path("runs"), json: Json = False) -> None:
    """Print the facts of one run; with --json its whole manifest.

    \b
    Examples:
      nlpx runs show last
      nlpx runs show last --json | jq .libraries
    """
    from nlpx.runs.folder import RunFolder

    folder = RunFolder.open(run, root=root)
    console = Console(json=json)
    manifest = folder.manifest | {"state": folder.state, "path": str(folder.path)}
    if json:
        console.result(manifest, value="")
    else:
        console.text("\n".join(f"{name}: {value}" for name, value in _facts(folder, manifest)))


@app.command("report")
def report(
    run: Run = "last",
    root: Root = Path("runs"),
    open_: Annotated[bool, typer.Option("--open", help="Open it with the system's viewer.")] = False,
    json: Json = False,
) -> None:
    """Write report.md and plots of a run anew and print the path.

    \b
    Examples:
      nlpx runs report last
      nlpx runs report last --open
    """
    from nlpx.jobs.runs import rebuild
    from nlpx.runs.folder import RunFolder

    folder = RunFolder.open(run, root=root)
    path = rebuild(folder)
    Console(json=json).result({"run": str(folder.path), "report": str(path)}, value=path)
    if open_:
        typer.launch(path.resolve().as_uri())


def _row(run: RunFolder, console: Console, *, json: bool) -> dict[str, Any]:
    from nlpx.errors import UserError

    try:
        manifest = run.manifest
    except UserError as error:  # one spoilt folder does not hide the others
        console.warn(error.message)
        row: dict[str, Any] = {"run": run.path.name, "state": "unreadable", "score": None, "start": None}
        return row if json else row | {"score": "-", "start": "-", "took": "-"}
    metric = run.primary_metric
    row = {"run": run.path.name, "state": run.state, "score": metric, "start": manifest.get("start")}
    if not json:
        row["score"] = _score(metric)
        row["start"] = (manifest.get("start") or "")[:16].replace("T", " ")
        row["took"] = _duration(manifest)
    return row


def _facts(run: RunFolder, manifest: dict[str, Any]) -> list[tuple[str, Any]]:
    peak = manifest.get("peak_memory")
    git = manifest.get("git")
    facts = {
        "run": manifest.get("path", str(run.path)),
        "state": manifest.get("state"),
        "exit code": manifest.get("exit_code"),
        "score": _score(run.primary_metric),
        "command": " ".join(manifest.get("command_line", [])),
        "presets": ", ".join(manifest.get("presets", [])),
        "seed": manifest.get("seed"),
        "device": manifest.get("device"),
        "version": manifest.get("version"),
        "commit": git and git["commit"][:12] + (", with changes" if git.get("dirty") else ""),
        "start": manifest.get("start"),
        "took": _duration(manifest),
        "peak memory": peak and f"{peak / 2**20:.0f} MiB",
        "inputs": ", ".join(item["path"] for item in manifest.get("inputs", [])),
    }
    return [(name, value) for name, value in facts.items() if value not in (None, "", "-")]


def _score(metric: dict[str, Any] | None) -> str:
    if metric is None:
        return "-"
    value = metric["value"]
    return f"{metric['name']} {'-' if value is None else format(value, '.4f')}"


def _duration(manifest: dict[str, Any]) -> str:
    if not manifest.get("start") or not manifest.get("end"):
        return "-"
    seconds = datetime.fromisoformat(manifest["end"]) - datetime.fromisoformat(manifest["start"])
    return str(seconds)
