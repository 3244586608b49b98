"""`nlpx chess-lm train`: games -> tokens -> model -> training -> run folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nlpx.jobs.chess_lm.config import Config
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
    from nlpx.jobs.chess_lm.job import Job
    from nlpx.messages import Messages
    from nlpx.runs.folder import RunFolder

__all__ = ["COMMAND", "Config", "Finished", "Plan", "RunOptions", "plan", "preset_for", "train"]

COMMAND = "chess-lm train"


def preset_for(model: str | None, tokens: str | None) -> str:
    """The preset where none is named: by the form of a new model, and another to continue from a checkpoint."""
    if model not in (None, NEW):
        return "chess-lm/continue"
    return "chess-lm/characters" if tokens == "characters" else "chess-lm/moves"


def train(resolved: Resolved, options: RunOptions, messages: Messages) -> Finished | None:
    """Run the job; None in every process of a group but the first.

    Raises `UserError`s with the place and the way out, and `KeyboardInterrupt` once an interrupted run is saved.
    """

    def build(main_messages: Messages, device: Any, _earlier: RunFolder | None) -> Job:
        from nlpx.jobs.chess_lm.job import Job

        return Job(resolved.config, main_messages, device)

    return run_job(COMMAND, build, resolved, options, messages)


def plan(resolved: Resolved, options: RunOptions, messages: Messages) -> Plan:
    """Resolve, read and count everything, and time a few updates; nothing is written."""
    from nlpx.device import choose
    from nlpx.jobs.chess_lm.job import Job
    from nlpx.train.loop import build_batches, count_steps

    config: Config = resolved.config
    device = choose(config.device)
    job = Job(config, messages, torch_device(device.device))
    job.check()
    batches = build_batches(job.train_games.lengths, config=config.train, seed=config.seed)
    num_parameters = job.start.num_parameters()
    facts = {
        "run": planned_folder(COMMAND, job.name, config.seed, options),
        "device": device.device,
        "games": {"train": len(job.train_games), "held_out": len(job.held_out)},
        "plies": sum(len(game.moves) for game in job.train_games.games),
        "tokens": config.data.tokens,
        "vocabulary": job.vocabulary.vocab_size,
        "parameters": num_parameters,
        "steps": count_steps(batches, config=config.train, optim=config.optim),
        "memory_of_weights_mib": memory_of_weights(num_parameters),
        **estimated_time(COMMAND, job, options, config.train, num_parameters, device=device.device),
    }
    return Plan(facts)
