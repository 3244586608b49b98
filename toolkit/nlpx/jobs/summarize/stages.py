"""The stages of `nlpx summarize train`: each reads the files of those before it, and writes its own aside.

labels.jsonl        each document: its clauses, those to be taken, its summary, whether it is of the dev part
vectors/N.npy       vectors of the clauses of so many documents, (clauses, D)
extractors/K/       an extractor, the documents of its fold, and the probabilities of their clauses
generator.jsonl     rows for a model that writes summaries: extracts and targets
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpx.errors import InputError
from nlpx.io import replace_directory, write_atomically, write_json
from nlpx.jobs.summarize.documents import Documents, read_documents
from nlpx.jobs.summarize.settings import Config, Stage
from nlpx.jobs.summarize.trained import FACTS

if TYPE_CHECKING:
    from nlpx.messages import Messages
    from nlpx.spaces.fitting import Example

PART = 256  # documents of a file of vectors: what a kill can cost


@dataclass(slots=True)
class Labelled:
    """A document after the first stage."""

    clauses: list[str]
    taken: list[int]
    summary: str
    is_dev: bool


class Pipeline:
    """The stages over one folder."""

    def __init__(self, folder: Path, config: Config, messages: Messages) -> None:
        self.folder, self.config, self.messages = folder, config, messages
        self.labels, self.vectors = folder / "labels.jsonl", folder / "vectors"
        self.extractors, self.rows = folder / "extractors", folder / "generator.jsonl"

    def run(self, stage: Stage) -> None:
        """Do what a stage has left to do."""
        {"label": self.label, "vectorize": self.vectorize, "extract": self.extract, "build": self.build}[stage]()

    def is_done(self, stage: Stage) -> bool:
        """Whether a stage has nothing left to do."""
        if stage == "label":
            return self.labels.exists()
        if stage == "build":
            return self.rows.exists()
        if not self.labels.exists():
            return False
        wanted = self._parts() if stage == "vectorize" else [self._fold(k) for k in range(self.config.folds)]
        return all(path.exists() for path in wanted)

    def label(self) -> None:
        """Part texts into clauses, and mark those that the summaries were made from."""
        from nlpx.spaces.labelling import labels
        from nlpx.spaces.sentences import clauses

        if self.labels.exists():
            return
        given = self.config
        documents = Documents(given.data, given.text_field, given.summary_field, given.format, given.encoding)
        left_out = num_clauses = num_taken = 0
        with write_atomically(self.labels) as temporary, temporary.open("w", encoding="utf-8") as stream:
            for document in read_documents(documents):
                spans = clauses(document.text)[-given.last_clauses :]
                summary = document.summary.strip()
                if not spans or not summary:
                    left_out += 1
                    continue
                texts = [span.text for span in spans]
                marked = labels(texts, [span.text for span in clauses(summary)])
                taken = [number for number, is_taken in enumerate(marked) if is_taken]
                is_dev = document.row.get("split") in ("dev", "test")
                num_clauses, num_taken = num_clauses + len(texts), num_taken + len(taken)
                row = {"clauses": texts, "taken": taken, "summary": summary, "is_dev": is_dev}
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
        if left_out:
            self.messages.warn(f"{left_out:,} rows have no text or no summary, and are left out")
        self.messages.note(f"label: {num_taken:,} of {num_clauses:,} clauses are what summaries were made from")
        self._refuse_too_few()

    def vectorize(self) -> None:
        """Embed every clause; parts that are there stay."""
        import numpy as np

        from nlpx.embed.encoder import SentenceEncoder

        missing = [(number, path) for number, path in enumerate(self._parts()) if not path.exists()]
        if not missing:
            return
        encoder = SentenceEncoder.load(self.config.model, poolings=(self.config.pooling,), max_length=512)
        self.vectors.mkdir(exist_ok=True)
        with self.messages.progress(len(missing), "vectorize") as progress:
            for number, path in missing:
                part = self.documents[number * PART : (number + 1) * PART]
                texts = [text for document in part for text in document.clauses]
                found = encoder.encode(texts)[self.config.pooling]
                with write_atomically(path) as temporary, temporary.open("wb") as stream:
                    np.save(stream, found)
                progress.update(advance=1)

    def extract(self) -> None:
        """Train an extractor a fold; folds that are there stay."""
        missing = [fold for fold in range(self.config.folds) if not self._fold(fold).exists()]
        if not missing:
            return
        examples = self._examples()
        with self.messages.progress(len(missing), "extract: folds") as progress:
            for fold in missing:
                self._train_fold(fold, examples)
                progress.update(advance=1)

    def build(self) -> None:
        """Write rows for a generator: of a training document its out-of-fold extract and its marked clauses.

        Two rows of equal weight stand for drawing one of the two at random. A dev document has the one row that will
        be met in use: the extract by all extractors.
        """
        if self.rows.exists():
            return
        found = self.out_of_fold()
        with write_atomically(self.rows) as temporary, temporary.open("w", encoding="utf-8") as stream:
            for number, document in enumerate(self.documents):
                extracts = {"extractor": self.extract_of(document.clauses, found[number])}
                if not document.is_dev:
                    extracts["marked"] = "".join(document.clauses[place] for place in document.taken)
                for kind, source in extracts.items():
                    split = "dev" if document.is_dev else "train"
                    row = {"source": source, "target": document.summary, "extract": kind, "split": split}
                    stream.write(json.dumps(row, ensure_ascii=False) + "\n" if source else "")

    def finish(self) -> float:
        """Write what taking clauses needs, and return the mean main score of extracts by characters.

        Of dev documents if there are any, else of all, each by an extractor that has not seen it.
        """
        found, config = self.out_of_fold(), self.config
        facts = {"model": config.model, "pooling": config.pooling, "last_clauses": config.last_clauses}
        write_json(self.folder / FACTS, facts | {"choose_at": config.choose_at, "at_least": self.at_least})
        dev = [number for number, document in enumerate(self.documents) if document.is_dev]
        return self._score(dev or self.training, found)

    @cached_property
    def documents(self) -> list[Labelled]:
        """What the first stage wrote."""
        with self.labels.open(encoding="utf-8") as stream:
            return [Labelled(**json.loads(line)) for line in stream]

    @cached_property
    def training(self) -> list[int]:
        """The numbers of the documents that are not held out."""
        return [number for number, document in enumerate(self.documents) if not document.is_dev]

    def fold_of(self) -> dict[int, int]:
        """The fold of each training document."""
        from nlpx.spaces.fitting import folds

        return dict(zip(self.training, folds(len(self.training), self.config.folds, self.config.seed), strict=True))

    def out_of_fold(self) -> dict[int, list[float]]:
        """The probabilities of each document's clauses, by an extractor that has not seen it; of dev ones, by all."""
        from nlpx.jobs.summarize.trained import load_extractors
        from nlpx.spaces.extractor import probabilities

        found: dict[int, list[float]] = {}
        for fold in range(self.config.folds):
            stored = json.loads((self._fold(fold) / "probabilities.json").read_text(encoding="utf-8"))
            found |= {int(number): values for number, values in stored.items()}
        dev = [number for number in range(len(self.documents)) if number not in found]
        if dev:
            models, examples = load_extractors(self.folder), self._examples()
            found |= {number: probabilities(models, examples[number].vectors) for number in dev}
        return found

    def extract_of(self, clauses: Sequence[str], values: Sequence[float]) -> str:
        """The clauses above the threshold of extracts as one text; the best ones if none is above it."""
        return self._joined(clauses, values, self.config.extract_at)

    @property
    def at_least(self) -> int:
        """How many clauses are taken where none is above the threshold: as many as summaries are made from."""
        taken = [len(self.documents[number].taken) for number in self.training]
        return max(1, round(sum(taken) / max(len(taken), 1)))

    def _joined(self, clauses: Sequence[str], values: Sequence[float], threshold: float) -> str:
        from nlpx.spaces.extract import above
        from nlpx.spaces.sentences import Span

        spans = [Span(number, number + 1, text) for number, text in enumerate(clauses)]
        return "".join(one.span.text for one in above(spans, values, threshold, self.at_least))

    def _parts(self) -> list[Path]:
        return [self.vectors / f"{number}.npy" for number in range(-(-len(self.documents) // PART))]

    def _fold(self, fold: int) -> Path:
        return self.extractors / str(fold)

    def _examples(self) -> list[Example]:
        return list(self._read_examples())

    def _read_examples(self) -> Iterator[Example]:
        import numpy as np
        import torch

        from nlpx.spaces.fitting import Example

        for number, path in enumerate(self._parts()):
            part = self.documents[number * PART : (number + 1) * PART]
            lengths = [len(document.clauses) for document in part]
            vectors = torch.from_numpy(np.load(path))  # (C, D)
            if len(vectors) != sum(lengths):
                raise InputError(f"{path} has {len(vectors):,} vectors for {sum(lengths):,} clauses", hint="remove it")
            for document, rows in zip(part, vectors.split(lengths), strict=True):
                labels = torch.zeros(len(rows), dtype=torch.bool)
                labels[document.taken] = True
                yield Example(rows, labels)

    def _train_fold(self, fold: int, examples: Sequence[Example]) -> None:
        from safetensors.torch import save_file

        from nlpx.spaces.extractor import Extractor, probabilities
        from nlpx.spaces.fitting import fit

        fold_of = self.fold_of()
        held_out = [number for number in self.training if fold_of[number] == fold]

        def score(model: Extractor) -> float:
            return self._score(held_out, {n: probabilities([model], examples[n].vectors) for n in held_out})

        model, scores = fit(
            [examples[number] for number in self.training if fold_of[number] != fold],
            score,
            epochs=self.config.epochs,
            batch_size=self.config.batch_size,
            learning_rate=self.config.learning_rate,
            seed=self.config.seed + fold,
        )
        found = {number: probabilities([model], examples[number].vectors) for number in held_out}
        facts: dict[str, Any] = {"vector_size": model.vector_size, "hidden_size": model.hidden_size, "scores": scores}
        with replace_directory(self._fold(fold)) as temporary:
            save_file(model.state_dict(), temporary / "model.safetensors")
            write_json(temporary / "config.json", facts)
            write_json(temporary / "probabilities.json", found)
        self.messages.note(f"fold {fold}: main ROUGE {max(scores):.4f} in epoch {scores.index(max(scores)) + 1}")

    def _score(self, numbers: Sequence[int], found: Mapping[int, Sequence[float]]) -> float:
        """The mean main score of the extracts of some documents, by characters."""
        from nlpx.metrics.generation import characters
        from nlpx.metrics.rouge import mean, rouge

        scores = []
        for number in numbers:
            document = self.documents[number]
            made = self._joined(document.clauses, found[number], self.config.choose_at)
            scores.append(rouge(characters(made), characters(document.summary)))
        return mean(scores).main

    def _refuse_too_few(self) -> None:
        if len(self.training) < self.config.folds:
            self.labels.unlink()
            raise InputError(
                f"{self.config.data} has {len(self.training):,} documents to train on, fewer than the "
                f"{self.config.folds} folds",
                hint=f"--folds {max(2, len(self.training))} makes fewer",
            )
