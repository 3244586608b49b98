"""`nlpx summarize train`: the stages one after the other in a run folder; what is done stays done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpx.errors import UsageError
from nlpx.jobs.summarize.settings import STAGES, Config, Stage

if TYPE_CHECKING:
    from nlpx.configuration.presets import Resolved
    from nlpx.jobs.summarize.stages import Pipeline
    from nlpx.messages import Messages
    from nlpx.runs.folder import RunFolder
    from nlpx.runs.running import RunOptions

METRIC = "main ROUGE"
COMMAND = "summarize train"


def plan(resolved: Resolved, options: RunOptions, messages: Messages) -> dict[str, Any]:
    """What a run would read and do, and which stages of a resumed one are done; writes nothing."""
    from nlpx.jobs.summarize.documents import read_documents
    from nlpx.runs.folder import RunFolder, planned
    from nlpx.spaces.sentences import clauses

    config: Config = resolved.config
    numbers = [
        len(clauses(document.text)[-config.last_clauses :])
        for document in read_documents(_documents(config))
        if document.text.strip() and document.summary.strip()
    ]
    folder = RunFolder.open(options.resume, root=options.root).path if options.resume else options.out
    stages = _pipeline(folder, config, messages) if folder and options.resume else None
    done = {stage: stages is not None and stages.is_done(stage) for stage in STAGES}
    batches = -(-len(numbers) * (config.folds - 1) // config.folds // config.batch_size)
    return {
        "run": str(folder or planned(COMMAND, name=_name(config), seed=config.seed, root=options.root)),
        "documents": len(numbers),
        "label": f"match {sum(numbers):,} clauses" + _told(done["label"]),
        "vectorize": f"embed {sum(numbers):,} clauses by {config.model}" + _told(done["vectorize"]),
        "extract": f"{config.folds} folds of {config.epochs * batches:,} updates" + _told(done["extract"]),
        "build": f"write up to {2 * len(numbers):,} rows for a generator" + _told(done["build"]),
    }


def train(resolved: Resolved, options: RunOptions, stages: Sequence[Stage], messages: Messages) -> dict[str, Any]:
    """Run the stages that are not done, in their order, and return the run and its score, if all of them are."""
    run = _folder(resolved, options)
    pipeline = _pipeline(run.path, resolved.config, messages)
    with run:
        messages.log_to(run.log)
        for stage in (stage for stage in STAGES if stage in stages):
            _refuse_early(pipeline, stage)
            if pipeline.is_done(stage):
                messages.note(f"{stage}: done before")
            pipeline.run(stage)
        score = None
        if all(pipeline.is_done(stage) for stage in STAGES):
            score = pipeline.finish()
            run.set_primary_metric(METRIC, score)
    return {"run": str(run.path), "score": score, "rows": str(pipeline.rows) if score is not None else None}


def _folder(resolved: Resolved, options: RunOptions) -> RunFolder:
    from nlpx.runs.folder import RunFolder

    config: Config = resolved.config
    if options.resume is not None:
        run = RunFolder.open(options.resume, root=options.root)
        if run.manifest.get("command") != COMMAND:
            raise UsageError(f"{run.path} is no run of `nlpx {COMMAND}`", hint="`nlpx runs list` shows the runs")
        run.reopen()
        return run
    return RunFolder.create(
        command=COMMAND,
        name=_name(config),
        config_yaml=resolved.to_yaml(),
        seed=config.seed,
        device="cpu",
        inputs=[config.data],
        out=options.out,
        overwrite=options.overwrite,
        root=options.root,
    )


def _refuse_early(pipeline: Pipeline, stage: Stage) -> None:
    """Raise `UsageError` for a stage whose input is not there."""
    missing = next((one for one in STAGES[: STAGES.index(stage)] if not pipeline.is_done(one)), None)
    if missing is not None:
        raise UsageError(f"the stage {stage} needs that of {missing}", hint=f"--stage {missing} runs it")


def _pipeline(folder: Path, config: Config, messages: Messages) -> Pipeline:
    from nlpx.jobs.summarize.stages import Pipeline

    return Pipeline(folder, config, messages)


def _documents(config: Config) -> Any:
    from nlpx.jobs.summarize.documents import Documents

    return Documents(config.data, config.text_field, config.summary_field, config.format, config.encoding)


def _name(config: Config) -> str:
    return Path(config.data).name.partition(".")[0] or "rows"


def _told(is_done: bool) -> str:
    return "; done" if is_done else ""
