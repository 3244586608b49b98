"""A training run from its options to its folder, the same for every job: what to resume, processes, manifest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from nlpx.errors import InputError, Interrupted, UsageError

if TYPE_CHECKING:
    from nlpx.configuration.presets import Resolved
    from nlpx.messages import Messages
    from nlpx.runs.folder import RunFolder
    from nlpx.runs.timing import Rehearsal
    from nlpx.train.config import TrainConfig

LENGTH_KEYS = ("steps", "epochs", "patience")  # of `train`: what can give a finished run more to do


@dataclass(frozen=True, slots=True)
class Plan:
    """What `--dry-run` prints: everything is checked, nothing is written."""

    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Finished:
    """A run that came to its end. The table is empty if it had come to its end before."""

    run: str
    score: float | None
    table: list[dict[str, Any]]
    columns: tuple[str, ...]
    beside: list[dict[str, Any]] = field(default_factory=list)  # `model`, `dev`, `test`: it and the plain ways


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Where a run writes."""

    out: Path | None = None
    overwrite: bool = False
    resume: str | None = None
    root: Path = Path("runs")
    require: float | None = None


class TrainingJob(Protocol):
    """What a run needs of its job."""

    name: str  # in the name of the folder

    def check(self) -> None:
        """Refuse what cannot work, before anything is written."""
        ...

    def inputs(self) -> Sequence[str]:
        """Files and folders for the manifest."""
        ...

    def train(self, run: RunFolder | None, state: Path | None) -> Any:
        """Train to the end, resuming from `state` if there is one; `run` is None in every process but the first."""
        ...

    def rehearsal(self, done: int) -> Rehearsal:
        """The run before its first update, to be timed; `done` updates lie behind it."""
        ...

    def finish(self, run: RunFolder) -> Finished:
        """What is left to do once the training has come to its end."""
        ...


# From messages, device and the run to resume, to a job.
Build = Callable[["Messages", Any, "RunFolder | None"], TrainingJob]


def run_job(command: str, build: Build, resolved: Resolved, options: RunOptions, messages: Messages) -> Finished | None:
    """Run a job; None in every process of a group but the first.

    The configuration has `train`, `seed`, `device` and `deterministic`. Raises `UserError`s with the place and the way
    out, and `Interrupted` once an interrupted run is saved.
    """
    from nlpx.device import choose
    from nlpx.messages import Silent
    from nlpx.seed import seed_everything
    from nlpx.train import distributed

    config = resolved.config
    earlier = to_resume(command, options)
    if earlier is not None and _nothing_left(earlier, config):
        return _finished_before(earlier, messages)
    device = choose(config.device)
    with distributed.process_group(device=device.device):
        main_messages = messages if distributed.is_main() else Silent()
        main_messages.note(f"device {device.device} ({device.reason}), seed {config.seed}")
        seed_everything(config.seed, deterministic=config.deterministic)
        job = build(main_messages, torch_device(device.device), earlier)
        job.check()
        state = None if earlier is None else earlier.last_checkpoint
        if not distributed.is_main():
            job.train(None, state)
            return None
        with _open_run(command, job, resolved, options, device.device, earlier) as run:
            main_messages.log_to(run.log)
            try:
                job.train(run, state)
            except KeyboardInterrupt as error:
                raise Interrupted(_way_on(command, run)) from error
            return job.finish(run)


def _way_on(command: str, run: RunFolder) -> str:
    if run.last_checkpoint.exists():
        return f"the run is in {run.path}; go on with: nlpx {command} --resume {run.path}"
    return f"nothing was saved yet; start again with: nlpx {command} --preset {run.path}"


def conclude(run: RunFolder) -> dict[str, Any] | None:
    """Name the best evaluation of a run that has come to its end, and report; returns its record, if there is one."""
    from nlpx.report.build import build
    from nlpx.report.history import History

    best = History(list(run.records())).best
    if best is not None:
        run.set_primary_metric(best["score_is"], best["score"])
    run.finish("finished")
    build(run)
    return best


def to_resume(command: str, options: RunOptions) -> RunFolder | None:
    """The run to resume. Raises an error if it is still running or left nothing to resume from."""
    from nlpx.io import recover_directory
    from nlpx.runs.folder import RunFolder

    if options.resume is None:
        return None
    run = RunFolder.open(options.resume, root=options.root)
    if run.state == "running":
        hint = "wait for its end, or interrupt it first"
        raise UsageError(f"{run.path}: still running, as process {run.manifest.get('process')}", hint=hint)
    if not recover_directory(run.last_checkpoint).exists():
        hint = f"start it again: nlpx {command} --preset {run.path}"
        raise InputError(f"{run.path}: nothing to resume from, it ended before its first checkpoint", hint=hint)
    return run


def planned_folder(command: str, name: str, seed: int, options: RunOptions) -> str:
    """Where a run would write, for `--dry-run`."""
    from nlpx.runs.folder import planned

    earlier = to_resume(command, options)
    folder = earlier.path if earlier is not None else options.out
    return str(folder or planned(command, name=name, seed=seed, root=options.root))


def estimated_time(
    command: str, job: TrainingJob, options: RunOptions, config: TrainConfig, num_parameters: int, *, device: str
) -> dict[str, Any]:
    """How long the run, or what is left of it, will take, for `--dry-run`: `seconds`, and `time` in words."""
    from nlpx.runs.timing import not_measured, obstacle, time_facts

    why_not = obstacle(num_parameters, config, device=device)
    if why_not is not None:
        return not_measured(why_not)
    earlier = to_resume(command, options)
    rehearsal = job.rehearsal(0 if earlier is None else earlier.last_step())
    return time_facts(rehearsal, config, device=device)


def memory_of_weights(num_parameters: int) -> int:
    """MiB of weights, gradients and two moments in float32; activations grow with the batch and are not counted."""
    return round(num_parameters * 16 / 2**20)


def _nothing_left(run: RunFolder, config: Any) -> bool:
    from nlpx.configuration.presets import resolve

    if run.state != "finished":
        return False
    before = resolve(type(config), preset=str(run.config)).config
    return all(getattr(before.train, key) == getattr(config.train, key) for key in LENGTH_KEYS)


def _finished_before(run: RunFolder, messages: Messages) -> Finished:
    messages.note(f"{run.path} is finished, nothing is left to do; --set train.epochs=N or train.steps=N gives more")
    return Finished(str(run.path), (run.primary_metric or {}).get("value"), [], ())


def _open_run(
    command: str, job: TrainingJob, resolved: Resolved, options: RunOptions, device: str, earlier: RunFolder | None
) -> RunFolder:
    from nlpx.io import write_text
    from nlpx.runs.folder import RunFolder

    if earlier is not None:
        earlier.reopen()
        write_text(earlier.config, resolved.to_yaml())  # of several resumptions, each starts from the one before
        return earlier
    return RunFolder.create(
        command=command,
        name=job.name,
        config_yaml=resolved.to_yaml(),
        seed=resolved.config.seed,
        device=device,
        inputs=[path for path in job.inputs() if path != "-"],
        chain=resolved.chain,
        root=options.root,
        out=options.out,
        overwrite=options.overwrite,
    )


def torch_device(device: str) -> Any:
    """The `torch.device` of a name; on several accelerators that of this process."""
    import torch

    from nlpx.train import distributed

    if device.startswith("cuda") and distributed.world_size() > 1:
        return torch.device("cuda", distributed.local_rank())
    return torch.device(device)
