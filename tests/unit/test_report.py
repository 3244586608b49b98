"""Tables, curves, plots and `report.md` from a run folder, with and without matplotlib."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nlpx.configuration import presets
from nlpx.configuration.section import Section
from nlpx.errors import MachineError
from nlpx.metrics.binary import reliability
from nlpx.metrics.sohu import evaluate
from nlpx.report import plots
from nlpx.report.build import build
from nlpx.report.history import History, sparkline
from nlpx.report.tables import Column, display_width, render
from nlpx.runs.folder import RunFolder
from nlpx.tasks.sohu import Config as TaskConfig
from nlpx.tasks.sohu import Task

TASK = Task(TaskConfig())
PNG = b"\x89PNG\r\n\x1a\n"


def evaluation(seed: int) -> dict[str, Any]:
    generator = random.Random(seed)
    labels = [generator.randrange(2) for _ in range(300)]
    probabilities = [min(1.0, max(0.0, generator.gauss(0.3 + 0.1 * seed * label, 0.2))) for label in labels]
    return evaluate(probabilities, labels, [index % 6 for index in range(300)])


def records() -> Iterator[dict[str, Any]]:
    for step in range(10, 310, 10):
        yield {"step": step, "split": "train", "loss": 0.3 + math.exp(-step / 100), "learning_rate": 1e-4}
        if step % 100 == 0:
            yield {"step": step, "split": "dev", "loss": 0.5, **evaluation(step // 100)}


class TrainConfig(Section):
    steps: int = 100
    batch_size: int = 16


class Config(Section):
    task: str = "sohu"
    train: TrainConfig = TrainConfig()
    seed: int = 7


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.setattr(presets, "schema_of", lambda group: Config)
    preset = tmp_path / "small.yaml"
    preset.write_text("task: sohu\ntrain:\n  steps: 300\n")
    resolved = presets.resolve(Config, preset=str(preset), overrides=["train.batch_size=32"])
    run = RunFolder.create(
        command="finetune",
        name="sohu",
        config_yaml=resolved.to_yaml(),
        seed=7,
        device="cpu",
        chain=resolved.chain,
        out=tmp_path / "run",
    )
    for record in records():
        run.metrics(record)
    run.finish("finished")
    return run


def section(report: str, title: str) -> str:
    return report.split(f"\n## {title}", 1)[1].split("\n## ", 1)[0]


def test_report_has_every_section(run: RunFolder) -> None:
    path = build(run, TASK.tables)
    report = path.read_text(encoding="utf-8")
    best = evaluation(3)
    assert path == run.report
    assert report.startswith(f"# finetune sohu: score {best['score']:.4f} on dev (mean of F1 A and F1 B), step 300\n")
    assert "nlpx" in section(report, "Repeat")
    assert "small.yaml" in section(report, "Repeat")
    assert "| train.batch_size | `32`     | `16`   |" in section(report, "Differences")
    assert "train.steps" not in section(report, "Differences")
    assert f"{best['variants']['slB']['f1']:.4f}" in section(report, "Dev, step 300")
    assert str(best["confusion"]["llA"]["false_negative"]) in section(report, "Dev, step 300")
    assert f"{best['calibration_error']:.4f}" in section(report, "Reliability")
    for name in ("loss", "score", "reliability"):
        assert f"![{name}](plots/{name}.png)" in report
        assert (run.plots / f"{name}.png").read_bytes().startswith(PNG)


def test_report_without_matplotlib_draws_with_blocks(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "available", lambda: False)
    report = build(run, TASK.tables).read_text(encoding="utf-8")
    curve = section(report, "Curve")
    assert "▁" in curve
    assert "█" in curve
    assert "pip install 'nlpx-zh[plot]'" in curve
    assert "![" not in report
    assert not run.plots.exists()


def test_report_of_a_run_that_has_recorded_nothing(tmp_path: Path) -> None:
    run = RunFolder.create(
        command="finetune", name="sohu", config_yaml="seed: 1\n", seed=1, device="cpu", out=tmp_path / "run"
    )
    report = build(run, TASK.tables).read_text(encoding="utf-8")
    assert "no evaluation yet" in report
    assert "Nothing recorded yet" in report


def test_test_split_and_unreadable_preset(run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").unlink()
    run.metrics({"step": 300, "split": "test", **evaluation(2)})
    run.close()
    report = build(run, TASK.tables).read_text(encoding="utf-8")
    assert f"{evaluation(2)['score']:.4f}" in section(report, "Test")
    assert "Differences" not in report


def test_missing_matplotlib_is_one_sentence_with_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MachineError) as caught:
        plots.plot_reliability(reliability([0.5], [1]), tmp_path / "a.png")
    assert "nlpx-zh[plot]" in str(caught.value.hint)


def test_plots_repeat_byte_for_byte_and_refuse_nothing(tmp_path: Path) -> None:
    history = History(list(records()))
    for name in ("a.png", "b.png"):
        assert plots.plot_score(history, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    empty = History([])
    assert not plots.plot_loss(empty, tmp_path / "c.png")
    assert not plots.plot_score(empty, tmp_path / "c.png")
    assert not plots.plot_reliability([], tmp_path / "c.png")
    assert not (tmp_path / "c.png").exists()


def test_plots_survive_gaps_and_odd_names(tmp_path: Path) -> None:
    history = History(
        [
            {"step": 1, "split": "train", "loss": None},
            {"step": 2, "split": "train", "loss": 0.5},
            {"step": 2, "split": "dev", "score": 0.0, "variants": {"短短": {"f1": 0.0}}},
            {"step": 4, "split": "dev", "score": None},
        ]
    )
    assert plots.plot_loss(history, tmp_path / "loss.png")
    assert plots.plot_score(history, tmp_path / "score.png")
    assert history.best is not None
    assert history.best["step"] == 2


def test_labels_are_spread_without_leaving_the_axes() -> None:
    placed = plots.spread([0.5, 0.5, 0.51, 0.99, 1.0], gap=0.05)
    assert all(b - a >= 0.05 - 1e-9 for a, b in itertools.pairwise(placed))
    assert placed[-1] <= 1.0
    assert placed[0] >= 0.0
    assert plots.spread([0.1, 0.9], gap=0.05) == [0.1, 0.9]


def test_smoothing_is_corrected_for_the_start() -> None:
    assert plots.smoothed([2.0] * 5) == pytest.approx([2.0] * 5)
    assert plots.smoothed([1.0, 0.0]) == pytest.approx([1.0, 0.09 / 0.19])


def test_sparkline() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([3.0, 3.0]) == "▁▁"
    assert len(sparkline([float(number) for number in range(1000)], width=50)) == 50
    assert sparkline([]) == ""


def test_a_run_killed_while_writing_still_has_a_report(run: RunFolder) -> None:
    with run.metrics_file.open("a") as stream:
        stream.write('{"step": 400, "split": "dev", "sco')
    assert "step 300" in build(run, TASK.tables).read_text(encoding="utf-8")


def test_plain_table_aligns_wide_characters() -> None:
    rows = [{"name": "短短匹配", "f1": 0.5, "count": 3}, {"name": "ll", "f1": None, "count": 1200}]
    table = render(rows, ["name", Column("f1", "F1", digits=2), Column("count", "数量")])
    assert table.splitlines() == [
        "name        F1  数量",
        "--------  ----  ----",
        "短短匹配  0.50     3",
        "ll           –  1200",
    ]
    assert len({display_width(line) for line in table.splitlines()}) == 1


def test_markdown_table() -> None:
    rows = [{"name": "a|b\nc", "share": 0.125}]
    assert render(rows, ["name", Column("share", percent=True)], form="markdown").splitlines() == [
        "| name   |  share |",
        "| ------ | -----: |",
        "| a\\|b c | 12.5 % |",
    ]
    assert render([], ["a"]) == "a\n-"


def test_display_width() -> None:
    assert [display_width(text) for text in ("ab", "中文", "ｆ", "e\u0301", "")] == [2, 4, 2, 1, 0]
