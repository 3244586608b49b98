"""`nlpx summarize`: documents in, one summary each out, in order, in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlpx.jobs.summarize.documents import Document, Documents
    from nlpx.spaces.extract import Method, Size, Taken


@dataclass(frozen=True, slots=True)
class Summary:
    """A document, its summary, and the sentences that this was made of."""

    document: Document
    text: str
    taken: list[Taken]

    def row(self) -> Mapping[str, Any]:
        """The row of the document with `generated` and the `sentences`: where they lie in its text, and their scores.

        A plain line is the row `{"text": line}`.
        """
        sentences = [
            {"start": span.start, "end": span.end, "text": span.text}
            | ({} if score is None else {"score": round(score, 6)})
            for span, score in self.taken
        ]
        return {**self.document.row, "generated": self.text, "sentences": sentences}


@dataclass(slots=True)
class Report:
    """What happened to documents that are not simply summarised."""

    num_documents: int = 0
    num_empty: int = 0
    num_whole: int = 0

    def add(self, document: Document, summary: str) -> None:
        """Count one document."""
        self.num_documents += 1
        self.num_empty += not summary
        self.num_whole += bool(summary) and len(summary) >= len(document.text.strip())

    def notes(self) -> Iterator[str]:
        """A sentence for each kind."""
        if self.num_empty:
            yield f"{self.num_empty:,} of {self.num_documents:,} documents have no text, and an empty summary"
        if self.num_whole:
            yield f"{self.num_whole:,} of {self.num_documents:,} documents are their own summary: they are that short"


Take = Callable[[str], "list[Taken]"]  # what a way of summarising takes from a text


def without_model(method: Method, size: Size) -> Take:
    """TextRank or the beginning of the text."""
    from nlpx.spaces.extract import extract

    return lambda text: extract(text, method, size)


def by_run(reference: str, size: Size | None, *, device: str = "auto", root: Path = Path("runs")) -> Take:
    """The extractors of a run; without a size they decide how much is taken. Raises `UsageError`, `InputError`."""
    from nlpx.jobs.summarize.trained import TrainedExtractor
    from nlpx.runs.folder import RunFolder

    extractor = TrainedExtractor(RunFolder.open(reference, root=root).path, device)
    return lambda text: extractor.take(text, size)


def summarize(given: Documents, take: Take, report: Report | None = None) -> Iterator[Summary]:
    """The summary of each document as it is read. Raises `InputError` for what cannot be read, `UsageError`."""
    from nlpx.jobs.summarize.documents import read_documents
    from nlpx.spaces.extract import joined

    report = report or Report()
    for document in read_documents(given):
        taken = take(document.text)
        text = joined([sentence.span for sentence in taken])
        report.add(document, text)
        yield Summary(document, text, taken)
