"""The report of a comparison: one HTML page that needs no network and no other file, its plot drawn as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from nlpx.report.tables import ABSENT, Column, Table

WIDTH, ROW, LEFT, RIGHT, TOP, BOTTOM = 760, 44, 260, 24, 8, 34  # pixels
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 900px; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse; margin: 1em 0 } th, td { padding: .3em .8em; border-bottom: 1px solid #e4e4e4 }
td + td, th + th { text-align: right } svg { max-width: 100%; height: auto } code { background: #f4f4f4 }
"""


def table(found: Mapping[str, Any]) -> Table:
    """A row a column: mean and deviation of the score, the difference with its interval, cost, verdict."""
    rows = [
        {
            "column": column["name"],
            "runs": f"{column['num_runs']} of {len(found['seeds'])}",
            "mean": column["mean"],
            "deviation": column["deviation"],
            "difference": _signed((column.get("difference") or {}).get("mean")),
            "interval": _interval(column.get("difference") or {}),
            "p": (column.get("difference") or {}).get("adjusted_p_value"),
            "time": _ratio(column["seconds_ratio"]),
            "memory": _ratio(column["memory_ratio"]),
            "verdict": column.get("verdict"),
        }
        for column in found["columns"]
    ]
    columns = (
        Column("column"),
        Column("runs"),
        Column("mean", f"mean {found['score']}"),
        Column("deviation"),
        Column("difference"),
        Column("interval", f"{found['level']:.0%} interval"),
        Column("p", "p (Holm)", digits=3),
        Column("time"),
        Column("memory"),
        Column("verdict"),
    )
    return Table(rows, columns)


def page(found: Mapping[str, Any]) -> str:
    """The page, as a whole HTML document."""
    first = found["columns"][0]["name"]
    title = f"{found['task']}: {found['score']} on {found['split']} rows, {len(found['seeds'])} seeds"
    parts = [
        f"<h1>{escape(title)}</h1>",
        _list(column["sentence"] for column in found["columns"][1:]),
        _html_table(table(found)),
        f"<p>{escape(_explained(found, first))}</p>",
        plot(found),
        "<p>A dot is a run, the bar its column's mean. Lines join the runs of one seed.</p>",
        "<h2>Scores by seed</h2>",
        _html_table(_by_seed(found)),
    ]
    if found["failed"]:
        parts += ["<h2>Runs without a result</h2>", _list(f"{run}: {why}" for run, why in found["failed"].items())]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(parts) + "\n</body></html>\n"


def plot(found: Mapping[str, Any]) -> str:
    """An SVG with a row a column: a dot a run, a bar at the mean, thin lines between the runs of a seed."""
    columns = found["columns"]
    scores = [score for column in columns for score in column["scores"] if score is not None]
    low, high = float(min(scores)), float(max(scores))
    span: float = (high - low) or 1.0

    def across(score: float) -> float:
        return LEFT + (score - low) / span * (WIDTH - LEFT - RIGHT)

    def down(row: int) -> float:
        return TOP + ROW * (row + 0.5)

    height = TOP + ROW * len(columns) + BOTTOM
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="img" font-size="13" fill="#222">']
    for number in range(len(found["seeds"])):
        line = [(c["scores"][number], row) for row, c in enumerate(columns) if c["scores"][number] is not None]
        points = " ".join(f"{across(score):.1f},{down(row):.1f}" for score, row in line)
        parts.append(f'<polyline points="{points}" fill="none" stroke="#e4e4e4"/>')
    for row, column in enumerate(columns):
        middle = down(row)
        parts.append(f'<text x="{LEFT - 14}" y="{middle + 4:.1f}" text-anchor="end">{escape(column["name"])}</text>')
        if column["mean"] is not None:
            at = across(column["mean"])
            ends = f'x1="{at:.1f}" x2="{at:.1f}" y1="{middle - 13:.1f}" y2="{middle + 13:.1f}"'
            parts.append(f'<line {ends} stroke="#c8501e" stroke-width="3"/>')
        dots = [across(score) for score in column["scores"] if score is not None]
        parts += [f'<circle cx="{at:.1f}" cy="{middle:.1f}" r="4" fill="#0b5fa5" opacity="0.7"/>' for at in dots]
    for score, anchor in ((low, "start"), (high, "end")):
        parts.append(f'<text x="{across(score):.1f}" y="{height - 8}" text-anchor="{anchor}">{score:.4f}</text>')
    return "\n".join([*parts, "</svg>"])


def _explained(found: Mapping[str, Any], first: str) -> str:
    level = f"{found['level']:.0%}"
    return (
        f"{found['remark']} Differences are those to {first} with the same seed; intervals are Student's t over the "
        f"seeds, at {level} each. A difference counts as more than noise where its p-value, corrected after Holm over "
        f"the columns, is below {1 - found['level']:.2f}. Time is that of the updates, memory the largest of a run "
        f"(of the accelerator where there is one, else of the whole process), both as ratios to {first}."
    )


def _by_seed(found: Mapping[str, Any]) -> Table:
    rows = [
        {"seed": seed} | {column["name"]: column["scores"][number] for column in found["columns"]}
        for number, seed in enumerate(found["seeds"])
    ]
    return Table(rows, ("seed", *(column["name"] for column in found["columns"])))


def _html_table(shown: Table) -> str:
    columns = [column if isinstance(column, Column) else Column(column) for column in shown.columns]
    head = "".join(f"<th>{escape(column.title or column.name)}</th>" for column in columns)
    rows = ["".join(f"<td>{escape(_cell(row.get(c.name), c))}</td>" for c in columns) for row in shown.rows]
    return "<table>\n" + "\n".join(f"<tr>{row}</tr>" for row in [head, *rows]) + "\n</table>"


def _cell(value: object, column: Column) -> str:
    if value is None:
        return ABSENT
    return f"{value:.{column.digits}f}" if isinstance(value, float) else str(value)


def _list(sentences: Sequence[str] | Any) -> str:
    return "<ul>" + "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences) + "</ul>"


def _signed(value: float | None) -> str | None:
    return None if value is None else f"{value:+.4f}"


def _ratio(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f}"


def _interval(difference: Mapping[str, Any]) -> str | None:
    low, high = difference.get("low"), difference.get("high")
    return None if low is None or high is None else f"{low:+.4f} to {high:+.4f}"
