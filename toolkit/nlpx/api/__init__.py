"""nlpx from Python: texts in, vectors, predictions or texts out, by the code that the commands run.

    from nlpx import Encoder, finetune, generate, predict

Nothing heavy is imported before the first call.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpx.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nlpx.jobs.generate.options import Options, Precision
    from nlpx.messages import Messages
    from nlpx.runs.running import Finished

Rows = str | Path | Iterable[Mapping[str, Any]]

WINDOW = 4096  # texts that are sorted by length together


class Encoder:
    """Sentence vectors of one model: a checkpoint directory, a shipped model, a run folder, or a hub name."""

    def __init__(
        self,
        model: str | Path = "sim-tiny",
        *,
        pooling: str | None = None,
        max_length: int | None = None,
        device: str = "auto",
        normalize: bool | None = None,
        prompt_name: str | None = None,
    ) -> None:
        """Load it; what is None is as a sentence-transformers directory says, else first-last-avg, 128 tokens, lengths
        as they are and no prompt. Raises what `nlpx.embed.encoder.SentenceEncoder.load` raises."""
        from nlpx.embed.encoder import SentenceEncoder

        self.model = SentenceEncoder.load(
            model,
            poolings=None if pooling is None else (pooling,),
            max_length=max_length,
            device=device,
            normalize=normalize,
            prompt_name=prompt_name,
        )
        self.pooling = self.model.poolings[0]

    @property
    def dim(self) -> int:
        """The width of a vector."""
        return self.model.dim

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One vector a text, (N, dim), in the order of the texts; all zeros for a text without a token."""
        import numpy as np

        if isinstance(texts, str):
            raise UsageError("encode takes a list of texts, not one text", hint="encode([text])")
        parts = [self.model.encode(texts[start : start + WINDOW]) for start in range(0, len(texts), WINDOW)]
        vectors = [part[self.pooling] for part in parts]
        return np.concatenate(vectors) if vectors else np.zeros((0, self.dim), dtype=np.float32)

    def similarity(self, first: Sequence[str], second: Sequence[str]) -> NDArray[np.float32]:
        """Cosines of all pairs of texts, (N, M); 0 where one has no token."""
        import numpy as np

        def unit(texts: Sequence[str]) -> NDArray[np.float32]:
            vectors = self.encode(texts)
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            return np.asarray(vectors / np.where(lengths == 0, 1, lengths), dtype=np.float32)

        return np.asarray(unit(first) @ unit(second).T)


def predict(run: str | Path, rows: Rows, *, device: str = "auto") -> list[dict[str, Any]]:
    """The rows with the predictions of a finished run (a folder, or `last`), in order.

    `rows` are dictionaries with the fields the task reads, or the path of a file of them.
    """
    from nlpx.data.rows.lines import RowReport
    from nlpx.jobs.predict import predict as answers

    with _as_file(rows) as path:
        return list(answers(str(run), path, device=device, report=RowReport()))


def finetune(
    task: str,
    rows: Rows,
    *,
    model: str | Path | None = None,
    out: str | Path | None = None,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int | None = None,
    device: str = "auto",
    messages: Messages | None = None,
) -> Finished:
    """Fine-tune a task on rows and return the run: its folder, its best dev score and the table of it.

    `rows` are dictionaries (a field `split` says train, dev or test), or a path as `nlpx finetune --data` takes it.
    `settings` are keys of the preset, such as {"train.epochs": 1}; `out` is the run folder, by default a new one in
    `runs/`; `messages` hears what a terminal would show. Raises `UserError`s as the command does.
    """
    from nlpx.configuration.presets import Flag, resolve
    from nlpx.jobs.finetune import Config, RunOptions, preset_for
    from nlpx.jobs.finetune import finetune as run
    from nlpx.messages import Silent

    overrides = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in (settings or {}).items()]
    name = None if model is None else str(model)
    with _as_file(rows) as path:
        flags = {
            "task": task,
            "data.path": Flag(path, "rows"),
            "model.name": Flag(name, "model"),
            "seed": seed,
            "device": device,
        }
        resolved = resolve(Config, preset=preset or preset_for(task, name), overrides=overrides, flags=flags)
        options = RunOptions(out=None if out is None else Path(out))
        finished = run(resolved, options, messages or Silent())
    assert finished is not None  # in one process there is no other that would have it
    return finished


def generate(
    model: str | Path,
    texts: Sequence[str],
    *,
    options: Options | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    **settings: Any,
) -> list[dict[str, Any]]:
    """What a model writes for each text, in order: rows with `text`, `generated`, `score`, perhaps `hypotheses`.

    `settings` are keys of `GenerationSettings`, such as num_beams=4; `options` holds constraints. Raises `UserError`s
    as `nlpx generate` does.
    """
    from nlpx.data.rows.texts import Texts
    from nlpx.jobs.generate import generate as answers
    from nlpx.jobs.generate.options import settings_of

    if isinstance(texts, str):
        raise UsageError("generate takes a list of texts, not one text", hint="generate(model, [text])")
    chosen = settings_of(temperature=settings.pop("temperature", None), **settings)
    with _as_file([{"text": text} for text in texts]) as path:
        return list(answers(str(model), Texts(path), chosen, options, device=device, precision=precision))


@contextmanager
def _as_file(rows: Rows) -> Iterator[str]:
    """A path to the rows: theirs, or that of a temporary file of JSON lines."""
    if isinstance(rows, str | Path):
        yield str(rows)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        with path.open("w", encoding="utf-8") as stream:
            for row in rows:
                stream.write(json.dumps(dict(row), ensure_ascii=False) + "\n")
        yield str(path)
