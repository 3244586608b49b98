"""What replaced-token detection starts from: a discriminator, which the run is about, and its generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nlpx.errors import UsageError
from nlpx.runs.model_section import NEW, ModelSection
from nlpx.runs.starting_model import StartingModel

if TYPE_CHECKING:
    from nlpx.messages import Messages
    from nlpx.models.config import ModelConfig
    from nlpx.objectives.rtd import Config

HEAD_OF_DISCRIMINATOR = ("discriminator.*",)  # what any encoder may lack that goes on as one


class StartingPair(StartingModel):
    """The discriminator, as a `StartingModel`, and in `generator` the checkpoint of the other; None for a new one."""

    def __init__(self, section: ModelSection, messages: Messages, *, rtd: Config, max_length: int) -> None:
        from nlpx.objectives.rtd import Objective

        super().__init__(section, messages, parts={"heads": Objective.HEADS}, max_length=max_length)
        if self.is_new and section.new.position == "learned":
            self.parts["family"] = "electra"  # the one with names for this head
        self.rtd = rtd
        self.generator = self._stored_generator()

    def check(self, alternatives: Mapping[str, str] | None = None) -> None:
        """Refuse a vocabulary or a length that does not fit, and two models that count positions differently."""
        super().check(alternatives)
        if self.generator is None:
            return
        self.generator.tokenizer = self.tokenizer
        self.generator.check()
        ours, theirs = self.config().position, self.generator.config().position
        if ours != theirs:
            raise UsageError(
                f"the generator has {theirs} positions, the discriminator {ours}",
                hint="--set objectives.rtd.generator=new makes one that fits",
            )

    def num_parameters(self) -> int:
        """How many numbers both models have, shared tables once, counted without storage."""
        import torch

        with torch.device("meta"):
            return sum(parameter.numel() for parameter in self._joined(*self._fresh()).parameters())

    def build(self, *, allow_partial: Sequence[str] = ()) -> Any:
        """The pair, on the CPU."""
        from nlpx.models.transformer import Transformer

        discriminator = super().build(allow_partial=(*allow_partial, *HEAD_OF_DISCRIMINATOR))
        if self.generator is not None:
            return self._joined(self.generator.build(allow_partial=allow_partial), discriminator)
        config = self.generator_config()
        self.messages.note(f"generator: new, {config.num_layers} layers x {config.hidden_size}")
        return self._joined(Transformer(config), discriminator)

    def generator_config(self) -> ModelConfig:
        """That of the checkpoint, or of a narrower discriminator."""
        from nlpx.models.replaced_token import generator_config

        if self.generator is not None:
            return self.generator.config()
        return generator_config(self.config(), fraction=self.rtd.generator_fraction)

    def _stored_generator(self) -> StartingModel | None:
        name = self.rtd.generator or self._beside()
        if name == NEW:
            return None
        section = self.section.model_copy(update={"name": name, "family": None})
        start = StartingModel(section, self.messages, parts={"heads": ("lm",)}, max_length=self.max_length)
        if not start.is_ours:
            raise UsageError(
                f"{name}: a model loaded through transformers cannot be the generator",
                hint="--set objectives.rtd.generator=new",
            )
        return start

    def _beside(self) -> str:
        """Where an earlier run has left the generator."""
        from nlpx.models.replaced_token import GENERATOR

        folder = None if self.is_new else self._path() / GENERATOR
        return NEW if folder is None or not folder.is_dir() else str(folder)

    def _fresh(self) -> tuple[Any, Any]:
        from nlpx.models.transformer import Transformer

        return Transformer(self.generator_config()), Transformer(self.config())

    def _joined(self, generator: Any, discriminator: Any) -> Any:
        from nlpx.models.replaced_token import ReplacedTokenModel

        return ReplacedTokenModel(generator, discriminator, tied=self.rtd.tied)
