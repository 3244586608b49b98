"""What the heads of a checkpoint are where their tensors alone do not say.

A classifier of tokens and one of texts are both `classifier.weight`; `architectures` of the configuration tells, or
what else is stored: transformers has no pooler under a classifier of tokens, and always one under that of texts. A
pooler of a RoFormer has a tanh or none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from nlpx.errors import InputError
from nlpx.models.checkpoints.checkpoint import Checkpoint
from nlpx.models.checkpoints.names import NameMap

# The end of the name of a class of transformers, and what its head says.
KINDS = {
    "ForTokenClassification": "labels tokens",
    "ForQuestionAnswering": "finds answers",
    "ForMultipleChoice": "chooses among answers",
}
_CLASSIFIER = "classifier."


def foreign_head(tensors: NameMap) -> str | None:
    """What a stored head is that we have no counterpart for, as the end of a sentence; None if there is none."""
    checkpoint = tensors.checkpoint
    listed = checkpoint.config.get("architectures")
    named = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    for name in named:
        for ending, what in KINDS.items():
            if name.endswith(ending):
                return f"its head is that of {name}, which {what}"
    if any("qa_outputs." in name for name in checkpoint.names()):
        return "its head `qa_outputs` finds answers"
    of_texts = next((name for name in named if name.endswith("ForSequenceClassification")), None)
    if of_texts is not None and not _reads(tensors):
        return f"its head is that of {of_texts}, which has no counterpart here"
    if _is_one_layer(checkpoint) and not (_reads(tensors) and tensors.find("pooler.dense.weight")):
        return "its head `classifier` has no pooler under it, as one that labels tokens has none"
    return None


def without_classifier(tensors: NameMap) -> NameMap:
    """The same names without those of our classifier: what is stored under them is another head's."""
    kept = {ours: names for ours, names in tensors.table.items() if not ours.startswith(_CLASSIFIER)}
    return NameMap(kept, tensors.checkpoint, tensors.prefix)


def refusal(checkpoint: Checkpoint, what: str) -> InputError:
    """The error for a foreign head that was asked for, or that would be lost."""
    return InputError(
        f"{checkpoint.path}: {what}: the encoder under it can be read, the head not",
        hint="embed, similar and finetune start from the encoder; "
        "convert --set heads=[] writes it alone; transformers runs the head",
    )


def roformer_pooler(raw: Mapping[str, Any], tensors: NameMap) -> tuple[Literal["tanh", "linear"], str | None]:
    """What follows the map of a stored pooler, and what says so; None: it is RoFormer-Sim's because no other is known.

    Releases for PyTorch name it in their configuration (`pooler_activation`, PaddleNLP `pool_act`). A next-sentence
    head only ever reads a pooler with tanh. RoFormer-Sim has its name.
    """
    for key in ("pooler_activation", "pool_act", "pooler_act"):
        chosen = raw.get(key)
        if chosen in ("tanh", "linear"):
            return chosen, f"the configuration says {key} {chosen}"
        if chosen is not None:
            raise InputError(f"{tensors.checkpoint.path}: {key} {chosen} is not supported, only tanh and linear")
    if tensors.find("sentence_head.weight"):
        return "tanh", "a next-sentence head is stored"
    if "sim" in re.split(r"[^a-z]+", str(tensors.checkpoint.path).lower()):
        return "linear", "its name says RoFormer-Sim"
    return "linear", None


def _reads(tensors: NameMap) -> bool:
    return tensors.find("classifier.linear.weight") is not None


def _is_one_layer(checkpoint: Checkpoint) -> bool:
    return any(name in ("classifier.weight", "classifier.kernel") for name in checkpoint.names())
