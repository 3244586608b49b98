"""`nlpx pretrain`: corpus -> shards -> packed rows -> model -> training -> run folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nlpx.jobs.pretrain.config import Config
from nlpx.runs.model_section import NEW
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
    from nlpx.jobs.pretrain.job import Job
    from nlpx.messages import Messages
    from nlpx.runs.folder import RunFolder

__all__ = ["Config", "Finished", "Plan", "RunOptions", "plan", "preset_for", "pretrain"]


def preset_for(model: str | None) -> str:
    """The preset where none is named: training from nothing and continuing a checkpoint want different rates."""
    return "pretrain/mlm-new" if model in (None, NEW) else "pretrain/mlm"


def pretrain(resolved: Resolved, options: RunOptions, messages: Messages) -> Finished | None:
    """Run the job; None in every process of a group but the first.

    Raises `UserError`s with the place and the way out, and `KeyboardInterrupt` once an interrupted run is saved.
    """

    def build(main_messages: Messages, device: Any, earlier: RunFolder | None) -> Job:
        from nlpx.jobs.pretrain.job import Job

        return Job(resolved.config, main_messages, device, earlier)

    return run_job("pretrain", build, resolved, options, messages)


def plan(resolved: Resolved, options: RunOptions, messages: Messages) -> Plan:
    """Resolve, tokenize and count everything, and time a few updates; only the cache of shards is written."""
    from nlpx.device import choose
    from nlpx.jobs.pretrain.job import Job
    from nlpx.runs.running import to_resume
    from nlpx.train.loop import build_batches, count_steps

    config: Config = resolved.config
    device = choose(config.device)
    job = Job(config, messages, torch_device(device.device), to_resume("pretrain", options))
    job.check()
    lengths = job.rows.lengths
    batches = build_batches(lengths.tolist(), config=config.train, seed=config.seed)
    num_parameters = job.start.num_parameters()
    facts = {
        "run": planned_folder("pretrain", job.name, config.seed, options),
        "device": device.device,
        "documents": job.shards.num_documents,
        "tokens": job.shards.num_tokens,
        "rows": {"train": len(job.rows), "held_out": len(job.held_out)},
        "filled": round(float(lengths.mean()) / config.data.max_length, 4),
        "tokenizer": job.tokenizer.reason,
        "vocabulary": job.tokenizer.vocab_size,
        "parameters": num_parameters,
        "steps": count_steps(batches, config=config.train, optim=config.optim),
        "memory_of_weights_mib": memory_of_weights(num_parameters),
        **estimated_time("pretrain", job, options, config.train, num_parameters, device=device.device),
    }
    return Plan(facts)
