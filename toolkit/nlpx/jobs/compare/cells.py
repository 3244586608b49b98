"""The runs of a comparison: one for each column and seed, in a folder of its own, done once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from nlpx.errors import UsageError
from nlpx.io import recover_directory
from nlpx.runs.folder import RunFolder
from nlpx.runs.running import RunOptions

if TYPE_CHECKING:
    from nlpx.configuration.presets import Resolved

Split = Literal["dev", "test"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One run: the column it belongs to, its seed, its configuration and its folder."""

    column: str
    seed: int
    resolved: Resolved
    folder: Path

    def is_done(self, inputs: list[dict[str, Any]]) -> bool:
        """Whether the run came to its end. Raises UsageError for a run of other settings or other rows."""
        if not (self.folder / "manifest.json").exists():
            return False
        run = RunFolder(self.folder)
        same_settings = run.config.is_file() and run.config.read_text(encoding="utf-8") == self.resolved.to_yaml()
        if not same_settings or run.manifest.get("inputs") != inputs:
            what = "rows" if same_settings else "settings"
            hint = "--out names a folder for a new comparison; or remove this run"
            raise UsageError(f"{self.folder}: holds a run of other {what}", hint=hint)
        return run.state == "finished"

    def options(self) -> RunOptions:
        """Where to run: on in the folder where a run has saved its state, else from the start."""
        run = RunFolder(self.folder)
        started = (self.folder / "manifest.json").exists()
        if started and (run.state == "running" or recover_directory(run.last_checkpoint).exists()):
            return RunOptions(resume=str(self.folder), root=self.folder.parent)
        return RunOptions(out=self.folder, overwrite=started, root=self.folder.parent)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a finished run gives to the comparison."""

    score: float | None  # None where it is no number
    seconds: float  # of training: the updates at the median time of one
    memory: int | None  # bytes at the most, of the accelerator where there is one, else of the process


def split_of(cells: list[Cell]) -> Split:
    """Test where every finished run has answered test rows with labels, else dev."""
    return "test" if all(_test_scores(RunFolder(cell.folder)) for cell in cells) else "dev"


def measured(cell: Cell, split: Split) -> Measured:
    """The figures of a finished run."""
    run = RunFolder(cell.folder)
    manifest = run.manifest
    score = (run.primary_metric or {}).get("value") if split == "dev" else _test_scores(run)[-1]
    seconds = [record["seconds"] for record in run.records() if record.get("split") == "train"]
    memory = manifest.get("peak_device_memory") or manifest.get("peak_memory")
    return Measured(score, run.last_step() * median(seconds) if seconds else 0.0, memory)


def _test_scores(run: RunFolder) -> list[float | None]:
    return [record.get("score") for record in run.records() if record.get("split") == "test"]
