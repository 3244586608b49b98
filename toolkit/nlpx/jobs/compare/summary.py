"""What the runs of a comparison say together: a row a column, and a sentence on each difference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from nlpx.jobs.compare.cells import measured, split_of
from nlpx.metrics.paired import LEVEL, POWER, Difference, holm, paired_difference, seeds_needed

if TYPE_CHECKING:
    from nlpx.jobs.compare.cells import Cell, Measured, Split


def summary(cells: Sequence[Cell], failed: Mapping[str, str]) -> dict[str, Any]:
    """`task`, `score`, `split`, `seeds` and `columns`, the first of which the others are compared with.

    `failed` are folders of runs without a result: their seeds are left out of the pairs, and counted. A column has its
    name, scores by seed (None: no result), mean, deviation, time and memory as ratios to the first; the others also
    have `difference`, with Holm's adjusted p-value over the columns, `verdict` and `sentence`.
    """
    from nlpx.configuration import registry

    finished = [cell for cell in cells if str(cell.folder) not in failed]
    split = split_of(finished)
    figures = {(cell.column, cell.seed): measured(cell, split) for cell in finished}
    names, seeds = (list(dict.fromkeys(getattr(cell, key) for cell in cells)) for key in ("column", "seed"))
    columns = [_column(name, seeds, figures) for name in names]
    _compare_with_first(columns)
    config = cells[0].resolved.config
    task = registry.load("tasks", config.task).Task(config.task_options)
    return {
        "task": config.task,
        "score": task.primary_metric,
        "split": split,
        "level": LEVEL,
        "power": POWER,
        "seeds": seeds,
        "columns": columns,
        "failed": dict(failed),
        "remark": _remark(split),
    }


def _remark(split: Split) -> str:
    if split == "test":
        return "Scores are those of the test rows, answered by the checkpoint that was best on dev."
    return "Scores are those of the dev rows, which also chose the checkpoint: they flatter, every column alike."


def _column(name: str, seeds: Sequence[int], figures: Mapping[tuple[str, int], Measured]) -> dict[str, Any]:
    runs = [figures.get((name, seed)) for seed in seeds]
    scores = [None if run is None or run.score is None or math.isnan(run.score) else run.score for run in runs]
    given = [score for score in scores if score is not None]
    there = [run for run in runs if run is not None]
    memory = [run.memory for run in there if run.memory is not None]
    return {
        "name": name,
        "scores": scores,
        "num_runs": len(given),
        "mean": fmean(given) if given else None,
        "deviation": stdev(given) if len(given) > 1 else None,
        "seconds": fmean(run.seconds for run in there) if there else None,
        "memory": fmean(memory) if memory else None,
    }


def _compare_with_first(columns: Sequence[dict[str, Any]]) -> None:
    """Add to each column what it costs as a ratio, and to all but the first their difference and verdict."""
    first, others = columns[0], columns[1:]
    for column in columns:
        for key in ("seconds", "memory"):
            column[f"{key}_ratio"] = column[key] / first[key] if column[key] and first[key] else None
    differences = [_difference(first["scores"], column["scores"]) for column in others]
    adjusted = holm([None if found is None else found.p_value for found in differences])
    for column, found, p_value in zip(others, differences, adjusted, strict=True):
        column["difference"] = None if found is None else _facts(found, p_value)
        needed = None if found is None else seeds_needed(found.mean, found.deviation, num_comparisons=len(others))
        column["seeds_needed"] = needed
        column["verdict"] = _verdict(found, p_value)
        column["sentence"] = _sentence(column, first["name"])


def _difference(first: Sequence[float | None], second: Sequence[float | None]) -> Difference | None:
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    return paired_difference([a for a, _ in pairs], [b for _, b in pairs]) if len(pairs) > 1 else None


def _facts(found: Difference, adjusted: float | None) -> dict[str, Any]:
    return {
        "num_pairs": found.num_pairs,
        "mean": found.mean,
        "deviation": found.deviation,
        "low": found.low,
        "high": found.high,
        "p_value": found.p_value,
        "adjusted_p_value": adjusted,
    }


def _verdict(found: Difference | None, adjusted: float | None) -> str:
    if found is None:
        return "too few runs"
    if adjusted is None:
        return "no difference" if found.mean == 0 else "the same difference every time"
    if adjusted >= 1 - LEVEL:
        return "within noise"
    return "better" if found.mean > 0 else "worse"


def _sentence(column: Mapping[str, Any], first: str) -> str:
    name, found, verdict = column["name"], column["difference"], column["verdict"]
    if found is None:
        return f"{name} and {first} have fewer than two seeds with a result in both: nothing can be said."
    if verdict == "no difference":
        return f"{name} scores exactly as {first} with every seed."
    if found["low"] is None:
        return (
            f"{name} differs from {first} by {found['mean']:+.4f} with every seed: "
            "scores so coarse, or seeds so few, give no interval."
        )
    shown = f"{found['mean']:+.4f} ({LEVEL:.0%} interval {found['low']:+.4f} to {found['high']:+.4f})"
    if verdict != "within noise":
        return f"{name} is {verdict} than {first} by {abs(found['mean']):.4f}: {shown}."
    return f"{name} against {first}: {shown}, within noise; {_way_to_show(column)}."


def _way_to_show(column: Mapping[str, Any]) -> str:
    needed, pairs = column["seeds_needed"], column["difference"]["num_pairs"]
    if needed is None:
        return "no number of seeds that can be trained would show a difference as small"
    if needed <= pairs:  # what was found is just short of the level
        return f"a difference of this size is at the edge of what {pairs} seeds show"
    return f"about {needed:,} seeds would show a difference of this size in {POWER:.0%} of comparisons"
