"""`nlpx evaluate sts`: how well cosines rank pairs as people do, under every pooling, with and without maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpx.errors import InputError, UsageError

if TYPE_CHECKING:
    from nlpx.embed.encoder import SentenceEncoder
    from nlpx.embed.moments import Moments
    from nlpx.embed.sts import PairSet
    from nlpx.embed.whitening import Choices
    from nlpx.messages import Messages
    from nlpx.metrics.correlation import Resampled

    Found = dict[str, Resampled]  # by pooling; its variables are the columns

ROWS_PER_DIMENSION = 10  # fewer make an estimate that is mostly noise, which is warned of


@dataclass(frozen=True, slots=True)
class Settings:
    """Which pairs are read, where their values stand, how vectors are made; `poolings` empty: all the model has."""

    poolings: Sequence[str] = ()
    dim: int | None = None
    fit: Sequence[str] = ()
    by: str | None = None
    split: str | None = None
    limit: int | None = None
    fields: Sequence[str] | None = None
    score_field: str | None = None
    encoding: str = "utf-8"
    input_format: str | None = None
    max_length: int | None = None
    seed: int = 7


def evaluate(name: str, files: Sequence[str], settings: Settings, *, device: str, messages: Messages) -> dict[str, Any]:
    """Correlate the cosines of sentence pairs with their scores, set by set.

    The maps are fitted on both sides of the pairs of a set, or on the texts of `settings.fit`. Raises `InputError`
    for a pair without a score, by file and line, and for a set whose scores are all the same.
    """
    from nlpx.embed.sts import maps
    from nlpx.metrics.correlation import NUM_RESAMPLES

    sets = _read_sets(files, settings)
    encoder = _load(name, settings, device)
    for note in encoder.notes:
        messages.note(note)
    dim = encoder.dim // 2 if settings.dim is None else settings.dim
    if not 1 <= dim <= encoder.dim:
        raise UsageError(f"--dim {dim}: the vectors of {name} have {encoder.dim} dimensions")
    columns = maps(dim)
    earlier = _fitted(encoder, settings, messages) if settings.fit else None
    found = []
    for number, pair_set in enumerate(sets):
        seed = (settings.seed, number)
        found.append(_evaluate_set(encoder, pair_set, columns, earlier, seed, messages))
    facts = {"model": name, "columns": list(columns), "fit": list(settings.fit) or "each set", "seed": settings.seed}
    return facts | {"resamples": NUM_RESAMPLES} | _figures(sets, found, list(columns))


def _read_sets(files: Sequence[str], settings: Settings) -> list[PairSet]:
    from nlpx.embed.sts import PairSet

    pairs: dict[str, list[tuple[str, str, float]]] = {}
    stems = [_stem(file) for file in files]
    for file, stem in zip(files, stems, strict=True):
        _read(file, file if stems.count(stem) > 1 else stem, pairs, settings)
    return [PairSet.of(name, found) for name, found in pairs.items()]


def _stem(file: str) -> str:
    return "stdin" if file == "-" else Path(file).name.partition(".")[0]


def _read(file: str, name: str, pairs: dict[str, list[tuple[str, str, float]]], settings: Settings) -> None:
    """Add the pairs of one file to the sets they belong to."""
    from nlpx.data.opening.refusals import bad_row
    from nlpx.data.rows.text_pairs import read_pairs, score_of

    splits, num_before = set(), sum(map(len, pairs.values()))
    how: dict[str, Any] = {"encoding": settings.encoding, "format": settings.input_format}
    for pair in read_pairs(file, fields=settings.fields, **how):
        splits.add(str(pair.values.get("split")))
        if settings.split not in (None, pair.values.get("split")):
            continue
        if settings.by is not None and settings.by not in pair.values:
            hint = f"its fields: {', '.join(pair.values)}"
            raise bad_row(pair.place, f"has no field `{settings.by}`", row=pair.values, hint=hint)
        found = pairs.setdefault(name if settings.by is None else str(pair.values[settings.by]), [])
        if settings.limit is None or len(found) < settings.limit:
            found.append((pair.text1, pair.text2, score_of(pair, settings.score_field)))
        elif settings.by is None:
            break
    if sum(map(len, pairs.values())) == num_before:
        raise InputError(f"{file}: no pair has the split `{settings.split}`", hint=f"its splits: {', '.join(splits)}")


def _load(name: str, settings: Settings, device: str) -> SentenceEncoder:
    from nlpx.embed.encoder import SentenceEncoder
    from nlpx.embed.pooling import compared

    poolings: tuple[str, ...] = tuple(settings.poolings) or ("first-last-avg", "mean")
    encoder = SentenceEncoder.load(name, poolings=poolings, max_length=settings.max_length, device=device)
    if not settings.poolings:
        encoder.poolings = compared(is_causal=encoder.is_causal, has_pooler=encoder.pooler is not None)
    return encoder


def _fitted(encoder: SentenceEncoder, settings: Settings, messages: Messages) -> dict[str, Moments]:
    """Moments of the texts of `--fit` for every pooling, in constant memory."""
    from nlpx.embed.moments import Moments
    from nlpx.embed.sts import add_moments
    from nlpx.embed.windows import windows

    moments: dict[str, Moments] = {pooling: Moments(encoder.dim) for pooling in encoder.poolings}
    texts = (text for file in settings.fit for text in _texts_to_fit(file, settings))
    with messages.progress(None, "fitting") as progress:
        for window in windows(texts):
            for pooling, vectors in encoder.encode(window).items():
                add_moments(moments[pooling], vectors)
            progress.update(advance=len(window))
    return moments


def _texts_to_fit(file: str, settings: Settings) -> Iterator[str]:
    """Both sides of pairs, with or without scores, or one text a line or row."""
    from nlpx.data.rows.text_pairs import pair_of, rows_of_pairs

    for row in rows_of_pairs(file, fields=settings.fields, encoding=settings.encoding):
        if isinstance(row.values.get("text"), str):
            yield row.values["text"]
        else:
            pair = pair_of(row, settings.fields)
            yield from (pair.text1, pair.text2)


def _evaluate_set(
    encoder: SentenceEncoder,
    pair_set: PairSet,
    columns: dict[str, Choices | None],
    earlier: dict[str, Moments] | None,
    seed: Sequence[int],
    messages: Messages,
) -> Found:
    import numpy as np

    from nlpx.embed.sts import cosines, embedded, fit_maps, moments_of_pairs
    from nlpx.metrics.correlation import correlate

    found = {}
    with (
        messages.progress(len(pair_set.texts), pair_set.name) as progress,
        embedded(encoder, pair_set.texts, advance=lambda count: progress.update(advance=count)) as vectors,
    ):
        _warn_of_empty(pair_set, next(iter(vectors.values())), messages)
        for pooling, rows in vectors.items():
            moments = earlier[pooling] if earlier else moments_of_pairs(rows, pair_set.sides)
            _warn_of_few(pair_set.name, moments, messages)
            variables = np.full((len(columns), len(pair_set.scores)), np.nan)
            for number, (column, chosen) in enumerate(fit_maps(moments, columns).items()):
                if isinstance(chosen, str):
                    messages.warn(f"{pair_set.name}, {column}: {chosen}")
                else:
                    variables[number] = cosines(rows, pair_set.sides, chosen)
            found[pooling] = correlate(variables, pair_set.scores, seed=seed)
    return found


def _warn_of_empty(pair_set: PairSet, vectors: Any, messages: Messages) -> None:
    num_empty = int((~vectors.any(axis=1)).sum())
    if num_empty:
        messages.warn(f"{pair_set.name}: {num_empty:,} texts are empty: their cosine to everything is 0")


def _warn_of_few(name: str, moments: Moments, messages: Messages) -> None:
    if moments.columns < moments.count < ROWS_PER_DIMENSION * moments.columns:
        messages.warn(
            f"{name}: the maps are fitted on {moments.count:,} texts, fewer than {ROWS_PER_DIMENSION} for each of "
            f"{moments.columns} dimensions: whitening fits their noise"
        )


def _figures(sets: Sequence[PairSet], found: Sequence[Found], columns: Sequence[str]) -> dict[str, Any]:
    """The estimates of every set, and, of several sets, of their means."""
    from nlpx.metrics.correlation import mean

    figures: dict[str, Any] = {
        "sets": [
            {
                "name": one.name,
                "pairs": len(one.scores),
                "texts": len(one.texts),
                "poolings": _by_pooling(part, columns),
            }
            for one, part in zip(sets, found, strict=True)
        ]
    }
    if len(sets) > 1:
        sizes = [len(one.scores) for one in sets]
        for key, weights in (("mean", [1] * len(sets)), ("weighted_mean", sizes)):
            means = {pooling: mean([part[pooling] for part in found], weights) for pooling in found[0]}
            figures[key] = {"pairs": sum(sizes), "poolings": _by_pooling(means, columns)}
    return figures


def _by_pooling(found: Found, columns: Sequence[str]) -> dict[str, Any]:
    from nlpx.metrics.correlation import KINDS

    return {
        pooling: {
            column: {kind: asdict(resampled.estimate(kind, number)) for kind in KINDS}
            for number, column in enumerate(columns)
        }
        for pooling, resampled in found.items()
    }
