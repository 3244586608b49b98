"""nlpx: one Transformer and its tricks for Chinese NLP. Importing this package loads nothing heavy."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
DISTRIBUTION = "nlpx-zh"  # what pip installs: the name `nlpx` on PyPI, and its import name, are another project's
__all__ = ["Encoder", "__version__", "finetune", "generate", "load_model", "load_tokenizer", "predict"]

if TYPE_CHECKING:
    from nlpx.api import Encoder, finetune, generate, predict
    from nlpx.models.checkpoints.load import load_model
    from nlpx.tokenizers.load import load_tokenizer

# torch costs a second or more: what needs it is imported on first use, not by `import nlpx`.
_LATER = {
    "Encoder": "nlpx.api",
    "predict": "nlpx.api",
    "finetune": "nlpx.api",
    "generate": "nlpx.api",
    "load_model": "nlpx.models.checkpoints.load",
    "load_tokenizer": "nlpx.tokenizers.load",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'nlpx' has no attribute {name!r}")
    return getattr(importlib.import_module(_LATER[name]), name)
