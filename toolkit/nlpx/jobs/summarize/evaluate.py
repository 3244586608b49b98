"""`nlpx summarize evaluate`: how near summaries come to those that people wrote, beside ways that need no model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nlpx.errors import InputError
from nlpx.metrics.rouge import Counting, Rouge

if TYPE_CHECKING:
    from nlpx.jobs.summarize.documents import Document, Documents
    from nlpx.messages import Messages
    from nlpx.spaces.extract import Size

GENERATED = "generated"  # the field that `nlpx summarize --json` writes
SEGMENTER = "rjieba"
COPIED = (1, 2, 4)  # characters of the n-grams whose copied share is told
RESAMPLES = 1000
NUM_EXAMPLES = 10  # summaries whose facts without support are listed

Write = Callable[["Document"], str]


@dataclass(frozen=True, slots=True)
class Settings:
    """How summaries are compared. `size` None: those without a model are as long as people's are on average."""

    size: Size | None = None
    counting: Counting = "sets"
    seed: int = 7


def evaluate(given: Documents, settings: Settings, messages: Messages) -> dict[str, Any]:
    """All figures as JSON values: what they are of, and a record for each way of writing summaries.

    If the rows have `generated`, this is the first way. Raises `InputError` where no row has a text and a summary.
    """
    from nlpx.jobs.summarize.documents import read_documents
    from nlpx.metrics.rouge import MAIN
    from nlpx.tokenizers.segment import build_segmenter

    documents = list(_usable(list(read_documents(given)), given, messages))
    size = settings.size or _mean_size(documents)
    words = build_segmenter(SEGMENTER)
    ways = _ways(documents, size)
    records = []
    with messages.progress(len(ways), "ways of summarising") as progress:
        for name, write in ways.items():
            summaries = [write(document) for document in documents]
            records.append({"name": name, **_measured(documents, summaries, words, settings)})
            progress.update(advance=1)
    return {
        "documents": len(documents),
        "size": {"characters": size.characters} if size.characters else {"sentences": size.sentences},
        "main_is": MAIN,
        "ngrams_as": settings.counting,
        "words_by": f"{SEGMENTER}, HMM off",
        "systems": records,
    }


def _usable(documents: Sequence[Document], given: Documents, messages: Messages) -> Iterator[Document]:
    """The documents with a text and a summary; what is left out, and what is odd, is said."""
    usable = [one for one in documents if one.text.strip() and one.summary.strip()]
    if not usable:
        where = "" if given.split is None else f" with `split` = {given.split}"
        raise InputError(f"{given.source}: none of {len(documents):,} rows{where} has a text and a summary")
    if left := len(documents) - len(usable):
        messages.warn(f"{left:,} of {len(documents):,} rows have no text or no summary, and are left out")
    if longer := sum(len(one.summary.strip()) > len(one.text.strip()) for one in usable):
        messages.warn(f"{longer:,} of {len(usable):,} summaries are longer than their texts")
    yield from usable


def _mean_size(documents: Sequence[Document]) -> Size:
    from nlpx.baselines.lead import mean_length
    from nlpx.spaces.extract import Size

    return Size(characters=mean_length([document.summary for document in documents]))


def _ways(documents: Sequence[Document], size: Size) -> dict[str, Write]:
    """The ways of writing summaries by name, the one to be judged first and what people wrote last."""
    from nlpx.spaces.extract import Method, Size, extract, joined

    def by(method: Method, length: Size) -> Write:
        return lambda document: joined([one.span for one in extract(document.text, method, length)])

    ways: dict[str, Write] = {}
    missing = sum(not isinstance(document.row.get(GENERATED), str) for document in documents)
    if not missing:
        ways[GENERATED] = lambda document: str(document.row[GENERATED])
    elif missing < len(documents):
        raise InputError(f"{missing:,} of {len(documents):,} rows have no text in `{GENERATED}`, the others have one")
    told = f"{size.characters} characters" if size.characters else f"{size.sentences} sentences"
    told = "sentence" if told == "1 sentences" else told
    ways["TextRank"] = by("textrank", size)
    ways["first sentence"] = by("lead", Size(sentences=1))
    ways[f"first {told}"] = by("lead", size)
    ways["oracle extract"] = _oracle
    ways["reference"] = lambda document: document.summary.strip()
    return ways


def _oracle(document: Document) -> str:
    """The clauses that the reference was made from: what taking clauses can reach at best, by the labels learned."""
    from nlpx.spaces.extract import joined
    from nlpx.spaces.labelling import labels
    from nlpx.spaces.sentences import clauses

    spans = clauses(document.text)
    wanted = [span.text for span in clauses(document.summary)]
    taken = labels([span.text for span in spans], wanted)
    return joined([span for span, is_taken in zip(spans, taken, strict=True) if is_taken])


def _measured(
    documents: Sequence[Document], summaries: Sequence[str], words: Callable[[str], list[str]], settings: Settings
) -> dict[str, Any]:
    from nlpx.metrics.generation import characters
    from nlpx.metrics.rouge import mean, rouge
    from nlpx.metrics.summaries import LENGTHS, copied, facts, histogram, unsupported

    def in_words(text: str) -> list[str]:
        return [word for word in words(text.lower()) if word.strip()]

    pairs = list(zip(summaries, (document.summary for document in documents), strict=True))
    by_characters = [rouge(characters(one), characters(other), settings.counting) for one, other in pairs]
    by_words = [rouge(in_words(one), in_words(other), settings.counting) for one, other in pairs]
    sources = [document.text for document in documents]
    lengths = [len(characters(summary)) for summary in summaries]
    num_facts = sum(len(facts(summary)) for summary in summaries)
    unknown = [unsupported(summary, source) for summary, source in zip(summaries, sources, strict=True)]
    return {
        "characters": _figures(by_characters, mean(by_characters), settings.seed),
        "words": _figures(by_words, mean(by_words), settings.seed),
        "length": sum(lengths) / len(lengths),
        "compression": sum(lengths) / max(sum(len(characters(source)) for source in sources), 1),
        "copied": {
            str(size): _share(copied(*pair, size) for pair in zip(summaries, sources, strict=True)) for size in COPIED
        },
        "histogram": dict(zip(map(str, LENGTHS), histogram(lengths), strict=True)),
        "facts": num_facts,
        "unsupported_facts": sum(map(len, unknown)),
        "unfaithful_summaries": sum(map(bool, unknown)),
        "unsupported_examples": [
            {"place": document.place, "facts": found}
            for document, found in zip(documents, unknown, strict=True)
            if found
        ][:NUM_EXAMPLES],
        "empty": sum(not length for length in lengths),
    }


def _share(counts: Iterator[tuple[int, int]]) -> float | None:
    found = list(counts)
    total = sum(all_of_them for _, all_of_them in found)
    return sum(number for number, _ in found) / total if total else None


def _figures(scores: Sequence[Rouge], means: Rouge, seed: int) -> dict[str, float]:
    """The three means, the main one, and its 95 % interval over resampled documents."""
    import numpy as np

    main = np.array([score.main for score in scores])  # (D,)
    chance = np.random.default_rng(seed)
    resampled = [main[chance.integers(len(main), size=len(main))].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(resampled, [0.025, 0.975])
    return {**means._asdict(), "main": means.main, "low": float(low), "high": float(high)}
