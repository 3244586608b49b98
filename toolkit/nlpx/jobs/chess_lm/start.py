"""The model that learns moves: new, a text model whose body is kept, or a model of moves that is trained further."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nlpx.errors import UsageError
from nlpx.models.config import ModelConfig
from nlpx.runs.model_section import ModelSection
from nlpx.runs.starting_model import StartingModel

if TYPE_CHECKING:
    from nlpx.messages import Messages
    from nlpx.models.checkpoints.load import Described
    from nlpx.xiangqi.model.tokens import MoveVocabulary

PARTS = {"heads": ("lm",), "mask": "causal"}
HEADS_OF_TEXT = ("lm_head.*",)  # parameters that may be missing in a text encoder


class StartingMoveModel(StartingModel):
    """A `StartingModel` over the vocabulary of moves: of another vocabulary the tables start anew."""

    def __init__(
        self, section: ModelSection, messages: Messages, *, vocabulary: MoveVocabulary, max_length: int
    ) -> None:
        super().__init__(section, messages, parts=PARTS, max_length=max_length)
        if not self.is_ours:
            raise UsageError(
                f"{section.name}: a model loaded through transformers cannot learn moves",
                hint="give a checkpoint of one of the families of `nlpx convert --help`, or --model new",
            )
        self.vocabulary = vocabulary
        self.is_move_model = not self.is_new and self._stored_vocabulary() == vocabulary

    def check(self, alternatives: Mapping[str, str] | None = None) -> None:
        """Refuse a length or an attention that does not fit the model."""
        config = self.config()
        self._check_positions(config.position, config.max_position_embeddings)
        if config.attention == "performer":
            raise UsageError(
                "attention `performer` keeps no keys, so it cannot play", hint="--set model.choices.attention=softmax"
            )

    def build(self, *, head: str | None = None, allow_partial: Sequence[str] = ()) -> Any:
        """The model, on the CPU."""
        from nlpx.models.checkpoints.load import load_model

        if self.is_new or self.is_move_model:
            return self._new() if self.is_new else super().build(allow_partial=allow_partial)
        assert self.described is not None  # a checkpoint of ours
        stored, wanted = self.described.config.vocab_size, self.vocabulary.vocab_size
        section = self.section
        model = load_model(
            section.name,
            section.family,
            allow_partial=(*section.allow_partial, *allow_partial, *HEADS_OF_TEXT),
            keep_tokens=[number % stored for number in range(wanted)],  # any rows: they are drawn anew
            **(self.parts | section.choices),
        )
        self._report(model.load_report)
        self.messages.note(f"its body is kept; the table of {wanted:,} tokens starts anew")
        renew_tables(model)
        return model

    def _new(self) -> Any:
        from nlpx.models.transformer import Transformer

        self.messages.note("model: new, random weights")
        return Transformer(self.config())

    def _new_config(self) -> ModelConfig:
        new = self.section.new.model_dump()
        choices = new.pop("choices")
        values = new | {
            "family": "roformer" if new["position"] == "rotary" else "bert",
            "vocab_size": self.vocabulary.vocab_size,
            "max_position_embeddings": self.max_length,
            "type_vocab_size": 0,  # a game is one segment
        }
        return ModelConfig(**(values | self.parts | choices))

    def _changed_config(self, described: Described) -> ModelConfig:
        return super()._changed_config(described).with_choices(vocab_size=self.vocabulary.vocab_size)

    def _stored_vocabulary(self) -> MoveVocabulary | None:
        from nlpx.xiangqi.model.move_model import MOVES_FILE, read_facts
        from nlpx.xiangqi.model.tokens import MoveVocabulary

        path = self._path()
        return MoveVocabulary.from_dict(read_facts(path)) if (path / MOVES_FILE).is_file() else None


def renew_tables(model: Any) -> None:
    """Draw everything that belongs to the vocabulary anew, as a new model has it."""
    import torch

    from nlpx.models.initialisation import truncated_normal_

    table, head, std = model.embeddings.word_embeddings.weight, model.lm_head, model.config.initializer_range
    with torch.no_grad():
        for weight in filter(lambda found: found is not None, (table, head.decoder)):
            truncated_normal_(weight, std=std)
        if head.bias is not None:
            head.bias.zero_()
