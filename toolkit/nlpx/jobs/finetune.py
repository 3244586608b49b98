"""`nlpx finetune`: rows -> batches -> model -> training -> run folder. Torch is imported where the work begins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpx.errors import InputError, ResultError, UsageError
from nlpx.jobs.finetune_config import NEW, Config

if TYPE_CHECKING:
    from nlpx.jobs.finetune_job import Job
    from nlpx.jobs.messages import Messages
    from nlpx.presets import Resolved
    from nlpx.run import RunFolder

__all__ = ["Config", "Finished", "Plan", "RunOptions", "finetune", "plan", "preset_for"]

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


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Where a run writes."""

    out: Path | None = None
    overwrite: bool = False
    resume: str | None = None
    root: Path = Path("runs")
    require: float | None = None


def preset_for(task: str, model: str | None) -> str:
    """The preset of a task: training from nothing and fine-tuning a checkpoint want different rates."""
    return f"finetune/{task}-new" if model in (None, NEW) else f"finetune/{task}"


def finetune(resolved: Resolved, options: RunOptions, messages: Messages) -> Finished | None:
    """Run the job; None in every process of a group but the first.

    Raises `UserError`s with the place and the way out, and `KeyboardInterrupt` once an interrupted run is saved.
    """
    from nlpx.device import choose
    from nlpx.jobs.finetune_job import Job
    from nlpx.jobs.messages import Silent
    from nlpx.seed import seed_everything
    from nlpx.train import distributed

    config: Config = resolved.config
    earlier = _to_resume(options)
    if earlier is not None and _nothing_left(earlier, config):
        return _finished_before(earlier, messages)
    device = choose(config.device)
    with distributed.process_group(device=device.device):
        said = messages if distributed.is_main() else Silent()
        said.note(f"device {device.device} ({device.reason}), seed {config.seed}")
        seed_everything(config.seed, deterministic=config.deterministic)
        job = Job(config, said, _local(device.device))
        job.check()
        state = None if earlier is None else earlier.last_checkpoint
        if not distributed.is_main():
            job.train(None, state)
            return None
        with _open_run(resolved, options, device.device, earlier) as run:
            said.log_to(run.log)
            job.train(run, state)
            return _finish(run, job, options)


def plan(resolved: Resolved, options: RunOptions, messages: Messages) -> Plan:
    """Resolve, read and count everything, build the model without storage; write nothing."""
    import torch

    from nlpx.device import choose
    from nlpx.jobs.finetune_job import Job
    from nlpx.run import planned
    from nlpx.train.loop import build_batches, count_steps

    config: Config = resolved.config
    device = choose(config.device)
    job = Job(config, messages, torch.device("cpu"))
    job.check()
    lengths = job.encode(job.splits.train).lengths
    num_parameters = job.num_parameters()
    earlier = _to_resume(options)
    folder = earlier.path if earlier is not None else options.out
    facts = {
        "run": str(folder or planned("finetune", name=config.task, seed=config.seed, root=options.root)),
        "device": device.device,
        "rows": {name: len(getattr(job.splits, name)) for name in ("train", "dev", "test")},
        "tokenizer": job.tokenizer.reason,
        "longest_row": max(lengths),
        "parameters": num_parameters,
        "steps": count_steps(build_batches(lengths, config=config.train, seed=config.seed), config=config.train),
        # Weights, gradients and two moments in float32; activations grow with the batch and are not counted.
        "memory_of_weights_mib": round(num_parameters * 16 / 2**20),
    }
    return Plan(facts)


def _finish(run: RunFolder, job: Job, options: RunOptions) -> Finished:
    """Answer dev and test with the best checkpoint, and report."""
    from nlpx.jobs.inference import Predictor
    from nlpx.report.build import build

    predictor = Predictor(run.best_checkpoint, job.device)
    evaluation = predictor.answer(job.splits.dev, run.predictions / "dev.jsonl")
    best = evaluation.score
    if job.splits.test:
        tested = predictor.answer(job.splits.test, run.predictions / "test.jsonl")
        if job.task.is_labelled(job.splits.test):
            run.metrics({"step": run.last_step(), "split": "test", **tested.record})
            job.messages.note(f"test score {tested.score:.4f} of the best checkpoint")
    run.headline(job.task.headline, best)
    run.finish("finished")
    build(run)
    if options.require is not None and not best >= options.require:  # a score that is no number is too low as well
        raise ResultError(f"score {best:.4f} is below --require {options.require}", hint=f"nlpx runs report {run.path}")
    return Finished(str(run.path), best, evaluation.table, tuple(evaluation.columns))


def _to_resume(options: RunOptions) -> RunFolder | None:
    """The run to go on with. Raises an error if it is still going or left nothing to go on from."""
    from nlpx.io import recover_directory
    from nlpx.run import RunFolder

    if options.resume is None:
        return None
    run = RunFolder.open(options.resume, root=options.root)
    if run.state == "running":
        hint = "wait for its end, or interrupt it first"
        raise UsageError(f"{run.path}: still running, as process {run.manifest.get('process')}", hint=hint)
    if not recover_directory(run.last_checkpoint).exists():
        hint = f"start it again: nlpx finetune --preset {run.path}"
        raise InputError(f"{run.path}: nothing to resume from, it ended before its first checkpoint", hint=hint)
    return run


def _nothing_left(run: RunFolder, config: Config) -> bool:
    from nlpx.presets import resolve

    if run.state != "finished":
        return False
    before: Config = resolve(Config, preset=str(run.config)).config
    return all(getattr(before.train, key) == getattr(config.train, key) for key in LENGTH_KEYS)


def _finished_before(run: RunFolder, messages: Messages) -> Finished:
    messages.note(f"{run.path} is finished, nothing is left to do; --set train.epochs=N or train.steps=N gives more")
    return Finished(str(run.path), run.manifest.get("headline", {}).get("value"), [], ())


def _open_run(resolved: Resolved, options: RunOptions, device: str, earlier: RunFolder | None) -> RunFolder:
    from nlpx.io import write_text
    from nlpx.jobs.finetune_job import data_path
    from nlpx.run import RunFolder

    if earlier is not None:
        earlier.reopen()
        write_text(earlier.config, resolved.to_yaml())  # of several resumptions, each starts from the one before
        return earlier
    config: Config = resolved.config
    path = data_path(config)
    return RunFolder.create(
        command="finetune",
        name=config.task,
        config_yaml=resolved.to_yaml(),
        seed=config.seed,
        device=device,
        inputs=[] if path == "-" else [path],
        chain=resolved.chain,
        root=options.root,
        out=options.out,
        overwrite=options.overwrite,
    )


def _local(device: str) -> Any:
    import torch

    from nlpx.train import distributed

    if device.startswith("cuda") and distributed.world_size() > 1:
        return torch.device("cuda", distributed.local_rank())
    return torch.device(device)
