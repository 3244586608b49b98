"""What a run of `nlpx summarize train` takes from a document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpx.errors import InputError

if TYPE_CHECKING:
    from nlpx.spaces.extract import Size, Taken
    from nlpx.spaces.extractor import Extractor

FACTS = "extractor.json"  # what a run needs to take clauses, written when all stages are done


def load_extractors(folder: Path) -> list[Extractor]:
    """The extractors of all folds of a run, ready to be asked. Raises `InputError` if there are none."""
    from safetensors.torch import load_file

    from nlpx.spaces.extractor import Extractor

    models = []
    for path in sorted((folder / "extractors").glob("*/config.json")):
        facts = json.loads(path.read_text(encoding="utf-8"))
        model = Extractor(facts["vector_size"], facts["hidden_size"])
        model.load_state_dict(load_file(path.parent / "model.safetensors"))
        models.append(model.eval())
    if not models:
        raise InputError(f"{folder} has no extractor", hint="`nlpx summarize train --resume RUN` goes on with a run")
    return models


class TrainedExtractor:
    """The encoder and the extractors of a run."""

    def __init__(self, folder: Path, device: str = "auto") -> None:
        """Raises `InputError` for a folder that is no finished run of `nlpx summarize train`."""
        from nlpx.embed.encoder import SentenceEncoder

        if not (folder / FACTS).exists():
            hint = "`nlpx summarize train --resume RUN` goes on with a run"
            raise InputError(f"{folder} is no finished run of `nlpx summarize train`", hint=hint)
        self.facts: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        self.models = load_extractors(folder)
        poolings = (self.facts["pooling"],)
        self.encoder = SentenceEncoder.load(self.facts["model"], poolings=poolings, max_length=512, device=device)
        if self.encoder.dim != self.models[0].vector_size:
            raise InputError(
                f"{folder} was trained on vectors of {self.models[0].vector_size} numbers, "
                f"{self.facts['model']} makes {self.encoder.dim}",
                hint="put back the encoder that it was trained with",
            )

    def take(self, text: str, size: Size | None = None) -> list[Taken]:
        """The clauses that sum up a text: the most probable that fit, or without a size those above the threshold."""
        import torch

        from nlpx.spaces.extract import above, chosen
        from nlpx.spaces.extractor import probabilities
        from nlpx.spaces.sentences import clauses

        spans = clauses(text)[-self.facts["last_clauses"] :]
        if not spans:
            return []
        vectors = self.encoder.encode([span.text for span in spans])[self.facts["pooling"]]  # (N, D)
        found = probabilities(self.models, torch.from_numpy(vectors))
        if size is not None:
            return chosen(spans, found, size)
        return above(spans, found, self.facts["choose_at"], self.facts["at_least"])
