"""Checkpoints whose names all begin with something more: `module.` of a parallel wrapper, a member of a Lightning
module, the online half of a contrastive pair, a TensorFlow scope.
"""

from __future__ import annotations

from torch import Tensor

from nlpx.models.checkpoints.checkpoint import Checkpoint

ANCHORS = ("embeddings.word_embeddings.weight", "embeddings/word_embeddings", "wte.weight")
FAMILIES = ("bert", "roformer", "nezha", "albert", "electra", "transformer", "gpt")
# Of several encoders in one file the one that was trained directly is wanted, not its slow copy.
COPIES = ("encoder_k", "momentum", "target", "teacher", "ema")


class Prefixed(Checkpoint):
    """The tensors under one prefix, by their names without it."""

    def __init__(self, inner: Checkpoint, prefix: str) -> None:
        super().__init__(inner.path, inner.config)
        self.layout = inner.layout
        self._inner, self.prefix = inner, prefix
        self.num_others = sum(not name.startswith(prefix) for name in inner.names())

    def names(self) -> list[str]:
        return [name.removeprefix(self.prefix) for name in self._inner.names() if name.startswith(self.prefix)]

    def shape(self, name: str) -> tuple[int, ...]:
        return self._inner.shape(self.prefix + name)

    def dtype(self, name: str) -> str:
        return self._inner.dtype(self.prefix + name)

    def read(self, name: str) -> Tensor:
        return self._inner.read(self.prefix + name)

    def sentence(self) -> str:
        """What was done, for people."""
        others = f"; {self.num_others} tensors under other names are left out" if self.num_others else ""
        return f"{self.path}: names begin with `{self.prefix}` and are read without it{others}"


def without_prefix(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint itself, or what lies under the prefix of its word table."""
    prefixes = sorted(
        {prefix for name in checkpoint.names() if (prefix := _prefix_of(name)) is not None},
        key=lambda prefix: (any(word in prefix for word in COPIES), prefix),
    )
    return Prefixed(checkpoint, prefixes[0]) if prefixes and prefixes[0] else checkpoint


def _prefix_of(name: str) -> str | None:
    for anchor in ANCHORS:
        if name == anchor or name.endswith((f".{anchor}", f"/{anchor}")):
            outer = name.removesuffix(anchor)
            mark = "/" if "/" in anchor else "."
            for family in FAMILIES:
                if outer == f"{family}{mark}" or outer.endswith(f"{mark}{family}{mark}"):
                    return outer.removesuffix(f"{family}{mark}")
            return outer
    return None
