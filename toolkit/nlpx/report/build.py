"""`report.md` of a run: primary metric, the command that repeats it, what was changed, curve, tables, plots.

Everything is read from the run folder (`manifest.json`, `config.yaml`, `metrics.jsonl`), so that a report can be
made while the run goes on, afterwards, or on another machine. Without matplotlib the curves become block characters.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpx.errors import install_hint
from nlpx.io import write_text
from nlpx.report import baselines, plots
from nlpx.report.changes import changes
from nlpx.report.history import History, sparkline
from nlpx.report.tables import Column, Table, render

if TYPE_CHECKING:
    from nlpx.runs.folder import RunFolder

Tables = Callable[[Mapping[str, Any]], Sequence[Table]]


def build(run: RunFolder, tables: Tables = lambda _: ()) -> Path:
    """Write `report.md` and, where matplotlib is installed, `plots/*.png` into the run folder; return the report.

    `tables` makes the tables of an evaluation from its record, as the task of the run has them.
    """
    manifest, history = run.manifest, History(list(run.records()))
    sections = [
        _first_line(run, manifest, history),
        _repeat(run, manifest),
        _changes(run),
        _curves(run, history),
        *_evaluations(run, history, tables),
    ]
    write_text(run.report, "\n\n".join(section for section in sections if section) + "\n")
    return run.report


# --- sections --------------------------------------------------------------------------------------------------


def _first_line(run: RunFolder, manifest: Mapping[str, Any], history: History) -> str:
    title = " ".join(str(manifest[key]) for key in ("command", "name") if manifest.get(key)) or run.path.name
    facts = {
        "state": run.state,
        "started": manifest.get("start"),
        "took": _duration(manifest.get("start"), manifest.get("end")),
        "seed": manifest.get("seed"),
        "device": manifest.get("device"),
        "peak memory": _megabytes(manifest.get("peak_memory")),
        "nlpx": manifest.get("version"),
        "commit": _commit(manifest.get("git")),
    }
    rows = [{"fact": name, "value": value} for name, value in facts.items() if value is not None]
    table = render(rows, (Column("fact", " "), Column("value", " ")), form="markdown")
    return f"# {title}: {_result(run, history)}\n\n{table}"


def _result(run: RunFolder, history: History) -> str:
    best = history.best
    if best is not None:
        how = f" ({best['score_is']})" if best.get("score_is") else ""
        return f"score {best['score']:.4f} on dev{how}, step {best.get('step')}"
    metric = run.primary_metric
    return f"{metric['name']} {metric['value']:.4f}" if metric else "no evaluation yet"


def _repeat(run: RunFolder, manifest: Mapping[str, Any]) -> str:
    line = manifest.get("command_line")
    command = shlex.join(line) if isinstance(line, list) else str(line or "")
    chain = " → ".join(f"`{name}`" for name in manifest.get("presets", []))
    config = f"The resolved configuration is `{run.config.name}`" + (f" (from {chain})." if chain else ".")
    return f"## Repeat\n\n```\n{command}\n```\n\n{config}"


def _changes(run: RunFolder) -> str:
    found = changes(run)
    if found is None:
        return ""
    columns = (Column("key"), Column("value", "this run"), Column("preset"))
    table = render(found, columns, form="markdown") if found else "None."
    return f"## Differences from the preset\n\n{table}"


def _curves(run: RunFolder, history: History) -> str:
    if plots.available():
        drawn = [("loss", plots.plot_loss(history, run.plots / "loss.png"))]
        drawn += [("score", plots.plot_score(history, run.plots / "score.png"))]
        lines = [_image(name) for name, shown in drawn if shown]
    else:
        lines = [line for series in CURVES if (line := _block_curve(history, *series))]
        lines = ["```\n" + "\n".join(lines) + f"\n```\n\nPlots as pictures: `{install_hint('plot')}`"] if lines else []
    return "## Curve\n\n" + ("\n\n".join(lines) or "Nothing recorded yet.")


CURVES = (("train", "loss"), ("dev", "loss"), ("dev", "score"))


def _block_curve(history: History, split: str, name: str) -> str:
    _, values = history.points(split, name)
    if not values:
        return ""
    return f"{split:<5} {name:<5} {values[0]:.4f} {sparkline(values)} {values[-1]:.4f}"


def _evaluations(run: RunFolder, history: History, tables: Tables) -> list[str]:
    sections = []
    dev, test = history.best, next(reversed(history.split("test")), None)
    if dev is not None and (shown := _shown(tables(dev))):
        sections.append(f"## Dev, step {dev.get('step')}\n\n{shown}{_pictures(run, dev)}")
    if test is not None and (shown := _shown(tables(test))):
        sections.append(f"## Test\n\n{shown}")
    if (beside := next(reversed(history.split(baselines.SPLIT)), None)) is not None:
        sections.append(f"## Beside the plain ways\n\n{baselines.table(beside).markdown()}")
    if dev is not None and dev.get("reliability"):
        sections.append(_reliability(run, dev))
    return sections


def _pictures(run: RunFolder, record: Mapping[str, Any]) -> str:
    """Of a classifier of many classes: what is taken for what, and each class."""
    if not plots.available():
        return ""
    from nlpx.report.confusion import plot_classes, plot_confusion

    drawn = [("confusion", plot_confusion(record, run.plots / "confusion.png"))]
    drawn += [("classes", plot_classes(record, run.plots / "classes.png"))]
    return "".join(f"\n\n{_image(name)}" for name, shown in drawn if shown)


def _shown(tables: Sequence[Table]) -> str:
    return "\n\n".join(table.markdown() for table in tables)


def _reliability(run: RunFolder, record: Mapping[str, Any]) -> str:
    bins = record["reliability"]
    share, unit = record.get("reliability_of", "share of positives"), "rows"
    parts = ["## Reliability", _reliability_table(bins, share, unit)]
    if record.get("calibration_error") is not None:
        parts.insert(1, f"Expected calibration error {record['calibration_error']:.4f}.")
    picture = run.plots / "reliability.png"
    if plots.available() and plots.plot_reliability(bins, picture, share=share, unit=unit):
        parts.insert(1, _image("reliability"))
    return "\n\n".join(parts)


def _reliability_table(bins: Sequence[Mapping[str, Any]], share: str, unit: str) -> str:
    rows = [{"range": f"{row['bin'] / 10:.1f} to {(row['bin'] + 1) / 10:.1f}", **row} for row in bins]
    columns = (
        Column("range"),
        Column("mean_probability", "mean probability", digits=3),
        Column("positive_share", share, digits=3),
        Column("count", unit),
    )
    return render(rows, columns, form="markdown")


# --- small forms -----------------------------------------------------------------------------------------------


def _image(name: str) -> str:
    return f"![{name}](plots/{name}.png)"


def _duration(start: str | None, end: str | None) -> str | None:
    if not start or not end:
        return None
    seconds = round((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds())
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"


def _megabytes(size: int | None) -> str | None:
    return None if size is None else f"{size / 2**20:,.0f} MiB"


def _commit(git: Mapping[str, Any] | None) -> str | None:
    return None if not git else git["commit"][:12] + (" with changes" if git.get("dirty") else "")
