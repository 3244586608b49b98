"""`nlpx generate`: texts in, answers or continuations out, in order, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from nlpx.errors import UsageError
from nlpx.jobs.generate.options import EngineName, Options, Precision

if TYPE_CHECKING:
    from nlpx.data.rows.texts import Text, Texts
    from nlpx.decode.generation.settings import GenerationSettings
    from nlpx.jobs.generate.answers import Report


def generate(
    model: str,
    given: Texts | str,
    settings: GenerationSettings,
    options: Options | None = None,
    *,
    device: str = "auto",
    precision: Precision = "auto",
    engine: EngineName = "auto",
    report: Report | None = None,
) -> Iterator[dict[str, Any]]:
    """Each line or row of `given` in order, or the one text that it is, with `generated`, `score` and `hypotheses`.

    A text without a token gets an empty answer and no score. Nothing is read before the model is loaded and all
    options are checked. Raises `UsageError` and `InputError`.
    """
    from nlpx.decode.generation.ctranslate2.engine import Engine
    from nlpx.jobs.generate.answers import Report, Run
    from nlpx.jobs.generate.constraints import Constraints
    from nlpx.jobs.generate.model import load
    from nlpx.jobs.generate.options import for_target

    options, report = options or Options(), report or Report()
    loaded = load(model, device=device, precision=precision, engine=engine, seed=options.seed)
    report.arrangement, report.precision = loaded.arrangement, loaded.precision
    report.trained_length = loaded.trained_length
    report.max_length, report.cut_by = options.max_length, "--max-length"
    if loaded.trained is not None:
        settings = for_target(settings, loaded.trained.target)
        if options.max_length is None:
            report.max_length, report.cut_by = loaded.trained.source, "the longest of the run's training"
    option = options.only_of_ours()
    if option is not None and isinstance(loaded.decoder, Engine):
        raise UsageError(f"{option} is no option of CTranslate2's search", hint="the model it was written from has it")
    constraints = Constraints(loaded, options, settings.max_new_tokens)
    run = Run(loaded, settings, options, constraints, report)
    return (row for batch in _batches(given, options.batch_size) for row in run.answer(batch))


def _batches(given: Texts | str, size: int) -> Iterator[list[Text]]:
    """Some texts at a time; from stdin those that have arrived."""
    from nlpx.data.rows.texts import Text, read_texts
    from nlpx.jobs.generate.answers import PROMPT
    from nlpx.jobs.predict import as_they_arrive, detach_stdin

    if isinstance(given, str):
        return iter([[Text(0, PROMPT, given)]])
    if given.source == "-":
        detach_stdin()
        return as_they_arrive(read_texts(given), size)
    texts = read_texts(given)
    return iter(lambda: list(islice(texts, size)), [])
