"""The run folder: everything one run leaves behind, in files that other tools can read.

manifest.json   what ran, on what, with what outcome; written first (state running) and last, always whole
config.yaml     the resolved configuration; feeding it back repeats the run
metrics.jsonl   one object per record    log.txt        what was printed on stderr
checkpoints/    last and best            samples.jsonl  what the model produced
predictions/    dev and test rows with the best checkpoint's answers
report.md plots/
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TextIO

from nlpx import __version__
from nlpx.configuration import registry
from nlpx.data.opening.remote import without_password
from nlpx.errors import EXIT_BUG, EXIT_INTERRUPTED, InputError, UsageError, UserError, refuse_empty
from nlpx.io import finite, full_disk_named, process_is_alive, write_atomically, write_json, write_text
from nlpx.runs import facts as run_facts
from nlpx.runs.manifest import checked
from nlpx.runs.records import wrong_key

State = Literal["running", "finished", "failed", "interrupted"]

_active: RunFolder | None = None


class RunFolder:
    """One run's folder. As a context manager it records how the run ended, whatever ended it."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.metrics_file = self.path / "metrics.jsonl"
        self.log = self.path / "log.txt"
        self.checkpoints = self.path / "checkpoints"
        self.last_checkpoint = self.checkpoints / "last"
        self.best_checkpoint = self.checkpoints / "best"
        self.samples = self.path / "samples.jsonl"
        self.predictions = self.path / "predictions"
        self.report = self.path / "report.md"
        self.plots = self.path / "plots"
        self.traceback = self.path / "traceback.txt"
        self._stream: TextIO | None = None

    @classmethod
    def create(
        cls,
        *,
        command: str,
        name: str,
        config_yaml: str,
        seed: int,
        device: str,
        inputs: Iterable[str | Path] = (),
        chain: Sequence[str] = (),
        root: str | Path = "runs",
        out: str | Path | None = None,
        overwrite: bool = False,
    ) -> RunFolder:
        """Make the folder, its manifest (state running) and `config.yaml`; `out` names the folder itself.

        Raises `UsageError` if `out` is not empty and `overwrite` does not allow to replace the run in it.
        """
        path = (
            _claim(Path(out), overwrite=overwrite) if out else _make(planned(command, name=name, seed=seed, root=root))
        )
        run = cls(path)
        facts = {"command": command, "name": name, "seed": seed, "device": device, "presets": list(chain)}
        write_json(run.path / "manifest.json", _first_manifest() | facts | {"inputs": run_facts.input_facts(inputs)})
        write_text(run.config, config_yaml)
        if out is None or Path(root).is_dir():
            write_text(Path(root) / "last", os.path.relpath(path, root) + "\n")
        return run

    @classmethod
    def open(cls, reference: str | Path, *, root: str | Path = "runs") -> RunFolder:
        """The existing run at a path, or of that name in `root`, or the latest one for `last`.

        Raises `UsageError` with near names if there is none, `InputError` if the folder holds no manifest.
        """
        path = _locate(str(reference), Path(root))
        if not (path / "manifest.json").is_file():
            raise InputError(f"{path}: not a run folder: no manifest.json", hint="`nlpx runs list` shows the runs")
        return cls(path)

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest as it is on disk. Raises `InputError` if something else spoiled it."""
        file = self.path / "manifest.json"
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{file}: cannot be read as JSON", hint="the run has to be repeated") from error
        return checked(data, file)

    @property
    def state(self) -> str:
        """The manifest's state, or `killed` if it says running and its process is gone."""
        manifest = self.manifest
        if manifest.get("state") == "running" and manifest.get("host") == socket.gethostname():
            return "running" if process_is_alive(int(manifest.get("process", 0))) else "killed"
        return str(manifest.get("state"))

    def update(self, **facts: Any) -> None:
        """Write the manifest anew with these facts added or replaced."""
        write_json(self.path / "manifest.json", self.manifest | facts)

    @property
    def primary_metric(self) -> dict[str, Any] | None:
        """`name` and `value` of the best evaluation; None before the first. Earlier versions called it headline."""
        found: dict[str, Any] | None = self.manifest.get("primary_metric", self.manifest.get("headline"))
        return found

    def set_primary_metric(self, name: str, value: float) -> None:
        """Store the one score that stands for this run."""
        self.update(primary_metric={"name": name, "value": value})

    def reopen(self) -> None:
        """Go on in this folder: state running again, the new start and command line noted beside the first."""
        fresh = _first_manifest()
        again = {key: fresh[key] for key in ("command_line", "start", "version")}
        kept = {key: fresh[key] for key in ("state", "process", "host", "end", "exit_code")}
        self.update(**kept, resumed=[*self.manifest.get("resumed", []), again])

    def finish(self, state: State, *, exit_code: int = 0) -> None:
        """Write the manifest for the last time: state, exit code, end, peak memory."""
        self.close()
        self.update(
            state=state,
            exit_code=exit_code,
            end=_now(),
            peak_memory=run_facts.peak_memory(),
            peak_device_memory=run_facts.peak_device_memory(),
        )

    def metrics(self, record: Mapping[str, Any]) -> None:
        """Append one record to `metrics.jsonl` and flush it; NaN and infinity become null."""
        line = json.dumps(finite(dict(record)), ensure_ascii=False, allow_nan=False)
        with full_disk_named(self.metrics_file, "this record is lost, the run's last checkpoint is untouched"):
            if self._stream is None:
                self._stream = self.metrics_file.open("a", encoding="utf-8", newline="\n")
            self._stream.write(line + "\n")
            self._stream.flush()

    def records(self) -> Iterator[dict[str, Any]]:
        """The records of `metrics.jsonl` in order; a last line truncated by a kill is left out.

        Raises `InputError` by the line for anything else that is no record.
        """
        if not self.metrics_file.exists():
            return
        with self.metrics_file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.endswith(b"\n"):
                    yield self._record(line, number)

    def _record(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            record = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError):
            record = None
        key = wrong_key(record) if isinstance(record, dict) else None
        if not isinstance(record, dict) or key is not None:
            reason = "" if key is None else f": `{key}` holds what no run writes"
            raise InputError(f"{self.metrics_file}:{number}: not a record of a run{reason}", hint="remove the line")
        return record

    def last_step(self) -> int:
        """The last step in `metrics.jsonl`; 0 if it is empty."""
        return max((int(record.get("step", 0)) for record in self.records()), default=0)

    def truncate_metrics(self, after_step: int) -> None:
        """Drop the records of steps beyond `after_step`, which a resumed run makes anew."""
        self.close()
        if not self.metrics_file.exists():
            return
        with (
            write_atomically(self.metrics_file) as temporary,
            temporary.open("w", encoding="utf-8", newline="\n") as out,
        ):
            for record in self.records():
                if record.get("step", 0) <= after_step:
                    out.write(json.dumps(record, ensure_ascii=False) + "\n")

    def close(self) -> None:
        """Close `metrics.jsonl`; a later record opens it again."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def __enter__(self) -> RunFolder:
        global _active
        _active = self
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        global _active
        if error is None:
            _active = None
            if self.manifest.get("state") == "running":
                self.finish("finished")
            return
        state, exit_code = _outcome(error)
        with suppress(UserError, OSError):  # a full disk must not hide the first error
            if exit_code == EXIT_BUG:
                write_text(self.traceback, "".join(traceback.format_exception(error)))
            self.finish(state, exit_code=exit_code)


def active() -> RunFolder | None:
    """The run in progress, or one that an error has just ended."""
    return _active


def planned(command: str, *, name: str, seed: int, root: str | Path = "runs") -> Path:
    """The folder a run started now would get, such as `runs/2026-10-01_1405-finetune-sohu-7`; makes nothing."""
    words = command.replace(" ", "-")
    stem = f"{datetime.now():%Y-%m-%d_%H%M}-{words}-{name}-{seed}"
    path, number = Path(root) / stem, 1
    while path.exists():
        number += 1
        path = Path(root) / f"{stem}-{number}"
    return path


def list_runs(root: str | Path = "runs") -> list[RunFolder]:
    """The runs in a folder, oldest first; an absent folder has none."""
    return [RunFolder(manifest.parent) for manifest in sorted(Path(root).glob("*/manifest.json"))]


def _outcome(error: BaseException) -> tuple[State, int]:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", EXIT_INTERRUPTED
    if isinstance(error, UserError):
        return "failed", error.exit_code
    code = getattr(error, "code", getattr(error, "exit_code", EXIT_BUG))  # SystemExit, or Typer's Exit
    code = code if isinstance(code, int) else EXIT_BUG
    return ("interrupted" if code == EXIT_INTERRUPTED else "finished" if code == 0 else "failed"), code


def _first_manifest() -> dict[str, Any]:
    return {
        "state": "running",
        "command_line": ["nlpx", *map(without_password, sys.argv[1:])],
        "version": __version__,
        "git": run_facts.git_state(),
        "libraries": run_facts.library_versions(),
        "process": os.getpid(),
        "host": socket.gethostname(),
        "start": _now(),
        "end": None,
        "exit_code": None,
    }


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _make(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def _claim(path: Path, *, overwrite: bool) -> Path:
    if path.is_dir() and any(path.iterdir()):
        if not overwrite:
            hint = "choose another folder, or --resume to continue it, or --overwrite to replace it"
            raise UsageError(f"{path}: this folder is not empty", hint=hint)
        if not (path / "manifest.json").is_file():
            hint = "choose another folder, or empty it yourself"
            raise UsageError(f"{path}: not a run folder, so --overwrite does not touch it", hint=hint)
        shutil.rmtree(path)
    elif path.exists() and not path.is_dir():
        raise UsageError(f"{path}: a file is in the way", hint="choose another folder")
    path.mkdir(parents=True, exist_ok=True)
    return path


def _locate(reference: str, root: Path) -> Path:
    refuse_empty(reference, what="a run")
    if reference == "last":
        pointer = root / "last"
        if not pointer.is_file():
            raise UsageError(f"no last run: {root} holds none", hint="start one, or name a run folder")
        reference = pointer.read_text(encoding="utf-8").strip()
        return root / reference
    for path in (Path(reference), root / reference):
        if path.is_dir():
            return path
    near = registry.did_you_mean(reference, [run.path.name for run in list_runs(root)])
    raise UsageError(f"no run at {reference}", hint=near or "`nlpx runs list` shows the runs")
