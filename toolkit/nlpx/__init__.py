"""nlpx: one Transformer and its tricks for Chinese NLP. Importing this package loads nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
DISTRIBUTION = "nlpx-zh"  # what pip installs: the name `nlpx` on PyPI, and its import name, are another project's
__all__ = ["__version__", "load_model", "load_tokenizer"]

if TYPE_CHECKING:
    from nlpx.models.checkpoints.load import load_model
    from nlpx.tokenizers.load import load_tokenizer


def __getattr__(name: str) -> Any:
    # torch costs a second or more: it is imported on first use, not by `import nlpx`.
    if name == "load_model":
        from nlpx.models.checkpoints.load import load_model

        return load_model
    if name == "load_tokenizer":
        from nlpx.tokenizers.load import load_tokenizer

        return load_tokenizer
    raise AttributeError(f"module 'nlpx' has no attribute {name!r}")
