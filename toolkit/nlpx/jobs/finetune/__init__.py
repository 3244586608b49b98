"""`nlpx finetune`: rows -> batches -> model -> training -> run folder. Torch is imported where the work begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nlpx.jobs.finetune.config import Config
from nlpx.runs.model_section import NEW
from nlpx.runs.model_size import is_foreign, size_of
from nlpx.runs.running import (
    Finished,
    Plan,
    RunOptions,
    estimated_time,
    memory_of_weights,
    planned_folder,
    run_job,
    torch_device,
)

if TYPE_CHECKING:
    from nlpx.configuration.presets import Resolved
    from nlpx.jobs.finetune.job import Job
    from nlpx.messages import Messages
    from nlpx.runs.folder import RunFolder

__all__ = ["Config", "Finished", "Plan", "RunOptions", "finetune", "plan", "preset_for"]


def preset_for(task: str, model: str | None) -> str:
    """The preset of a task: a model from nothing, a small one and a published one want different rates.

    A small one is told by its size, so that a copy of a model that ships, or one trained on from it, is one too. One
    that loads through transformers is a published one, whatever its size: it has no parts to choose.
    """
    if model == NEW:
        return f"finetune/{task}-new"
    size = None if model is None else size_of(model)
    is_small = model is None or (size is not None and size.is_small and not is_foreign(model))
    return f"finetune/{task}-tiny" if is_small else f"finetune/{task}"


def finetune(resolved: Resolved, options: RunOptions, messages: Messages) -> Finished | None:
    """Run the job; None in every process of a group but the first.

    Raises `UserError`s with the place and the way out, and `KeyboardInterrupt` once an interrupted run is saved.
    """

    def build(main_messages: Messages, device: Any, _earlier: RunFolder | None) -> Job:
        from nlpx.jobs.finetune.job import Job

        return Job(resolved.config, main_messages, device, require=options.require)

    return run_job("finetune", build, resolved, options, messages)


def plan(resolved: Resolved, options: RunOptions, messages: Messages) -> Plan:
    """Resolve, read and count everything, and time a few updates; write nothing."""
    from nlpx.device import choose
    from nlpx.jobs.finetune.job import Job
    from nlpx.train.loop import build_batches, count_steps

    config: Config = resolved.config
    device = choose(config.device)
    job = Job(config, messages, torch_device(device.device))
    job.check()
    encoded = job.encode(job.splits.train)
    lengths = encoded.lengths
    batches = build_batches(lengths, config=config.train, seed=config.seed)
    num_parameters = job.start.num_parameters()
    facts = {
        "run": planned_folder("finetune", job.name, config.seed, options),
        "device": device.device,
        "rows": {name: len(getattr(job.splits, name)) for name in ("train", "dev", "test")},
        "tokenizer": job.tokenizer.reason,
        "longest_row": max(encoded.sequence_lengths or lengths),
        "parameters": num_parameters,
        "steps": count_steps(batches, config=config.train, optim=config.optim),
        "memory_of_weights_mib": memory_of_weights(num_parameters),
        **estimated_time("finetune", job, options, config.train, num_parameters, device=device.device),
    }
    return Plan(facts)
