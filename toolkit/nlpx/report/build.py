"""`report.md` of a run: headline, the command that repeats it, what was changed, curve, tables, plots.

Everything is read from the run folder (`manifest.json`, `config.yaml`, `metrics.jsonl`), so that a report can be
made while the run goes on, afterwards, or on another machine. Without matplotlib the curves become block characters.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from nlpx.errors import install_hint
from nlpx.io import write_text
from nlpx.report import classes, plots
from nlpx.report.changes import changes
from nlpx.report.history import History, sparkline
from nlpx.report.tables import Column, render
from nlpx.runs.folder import RunFolder

FIGURES = (
    Column("variant"),
    Column("f1", "F1"),
    Column("precision"),
    Column("recall"),
    Column("accuracy"),
    Column("positives"),
    Column("support", "pairs"),
)
CONFUSION = (
    Column("variant"),
    Column("true_positive", "true +"),
    Column("false_positive", "false +"),
    Column("false_negative", "false −"),
    Column("true_negative", "true −"),
)


def build(run: RunFolder) -> Path:
    """Write `report.md` and, where matplotlib is installed, `plots/*.png` into the run folder; return the report."""
    manifest, history = run.manifest, History(list(run.records()))
    sections = [
        _headline(run, manifest, history),
        _repeat(run, manifest),
        _changes(run),
        _curves(run, history),
        *_evaluations(run, history),
    ]
    write_text(run.report, "\n\n".join(section for section in sections if section) + "\n")
    return run.report


def evaluation_table(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of an evaluation's table: its variants, then A and B pooled, then the score."""
    rows = [{"variant": name, **figures} for name, figures in record.get("variants", {}).items()]
    rows += [{"variant": name, **record[name]} for name in ("A", "B") if record.get(name)]
    if rows:
        rows.append({"variant": "score", "f1": record.get("score")})
    return rows


# --- sections --------------------------------------------------------------------------------------------------


def _headline(run: RunFolder, manifest: Mapping[str, Any], history: History) -> str:
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
    return f"# {title}: {_result(manifest, history)}\n\n{table}"


def _result(manifest: Mapping[str, Any], history: History) -> str:
    best = history.best
    if best is not None:
        how = f" ({best['score_is']})" if best.get("score_is") else ""
        return f"score {best['score']:.4f} on dev{how}, step {best.get('step')}"
    headline = manifest.get("headline")
    return f"{headline['name']} {headline['value']:.4f}" if headline else "no evaluation yet"


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


def _evaluations(run: RunFolder, history: History) -> list[str]:
    sections = []
    dev, test = history.best, next(reversed(history.split("test")), None)
    if dev is not None and (tables := _tables(dev)):
        sections.append(f"## Dev, step {dev.get('step')}\n\n{tables}")
    if test is not None and (tables := _tables(test)):
        sections.append(f"## Test\n\n{tables}")
    if dev is not None and dev.get("reliability"):
        sections.append(_reliability(run, dev))
    return sections


def _tables(record: Mapping[str, Any]) -> str:
    """What a kind of evaluation shows is told by what it recorded."""
    if record.get("classes"):
        return classes.sections(record)
    return _figures(record) if record.get("variants") else ""


def _figures(record: Mapping[str, Any]) -> str:
    parts = [render(evaluation_table(record), FIGURES, form="markdown")]
    thresholds = record.get("thresholds")
    if thresholds:
        named = ", ".join(f"{name} {value:.3f}" for name, value in thresholds.items())
        parts.append(f"A pair counts as a match from this probability on: {named}.")
    if record.get("confusion"):
        rows = [{"variant": name, **counts} for name, counts in record["confusion"].items()]
        parts.append(render(rows, CONFUSION, form="markdown"))
    return "\n\n".join(parts)


def _reliability(run: RunFolder, record: Mapping[str, Any]) -> str:
    bins = record["reliability"]
    share, unit = ("share of right answers", "rows") if record.get("classes") else ("share of positives", "pairs")
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
