"""TeaForN: teacher forcing with a look-ahead of N tokens (arXiv 2010.03494).

A model that was trained on the right beginnings only meets its own words for the first time when it writes. Here the
states that a first pass has written become the inputs of a second one in place of the target's word vectors, those of
the second the inputs of a third, and every pass is trained:

    h1 = M(e0, e1, e2, ...),  h2 = M(e0, h1_1, h1_2, ...),  ...    loss = sum over i of discount^(i-1) loss(hi)

What predicts token t in pass i then depends on the tokens up to t - i alone. Decoding stays as it is. A pass costs a
forward and a backward pass, and its memory.

States before a language-model head may live on another scale than word vectors: `normalized` brings them to that of
the word table, `expected` takes the mean of the word vectors of the `top_k` likeliest tokens, weighed by probability.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from nlpx.configuration.section import Section
from nlpx.errors import UsageError
from nlpx.tricks._shares import Stateless, with_loss

if TYPE_CHECKING:
    from torch import Tensor

    from nlpx.models.encoder import Encoder
    from nlpx.tricks._shares import Objective

WRAPS = "objective"
NEEDS = frozenset({"logits", "states"})
CONFLICTS: frozenset[str] = frozenset()
SOURCE = "arXiv 2010.03494"
COST = "2.0 times the time and memory with 2 passes"


class Config(Section):
    """How many passes, what each counts, and what is fed back."""

    passes: int = Field(2, ge=1, description="N; 1 is teacher forcing")
    discount: float = Field(0.5, ge=0, description="pass i counts discount ** (i - 1); 0 is teacher forcing")
    feedback: Literal["states", "normalized", "expected"] = Field("states", description="the inputs of the next pass")
    top_k: int = Field(4, ge=0, description="of `expected`: so many tokens; 0: the whole vocabulary")

    @model_validator(mode="after")
    def _refuse_idle_top_k(self) -> Self:
        if "top_k" in self.model_fields_set and self.feedback != "expected":
            raise ValueError(f"top_k is of feedback `expected`, and feedback is `{self.feedback}`")
        return self


class Trick(Stateless):
    """Runs the objective on its own states and adds the losses.

    The objective has to read `inputs_embeds` of a batch in place of its tokens, and `lm_positions`, from which each
    target is predicted.
    """

    def __init__(self, config: Config) -> None:
        self.config = config

    def wrap(self, inner: Objective) -> Objective:
        """The same objective in training over all passes."""
        config = self.config
        if config.passes == 1 or config.discount == 0:
            return inner

        def objective(model: Any, batch: dict[str, Any]) -> Any:
            first = found = inner(model, batch)
            if not model.training:
                return first
            loss = first.loss
            for number in range(1, config.passes):
                found = inner(model, batch | {"inputs_embeds": self.inputs(model, batch, found.outputs)})
                loss = loss + config.discount**number * found.loss
            return with_loss(first, loss, trick="teaforn")

        return objective

    def inputs(self, model: Encoder, batch: dict[str, Any], outputs: dict[str, Any]) -> Tensor:
        """What the next pass reads, (B, T, E): behind each place that predicts a target, what it has said.

        Raises `UsageError` where states and word vectors differ in size.
        """
        word_vectors = model.get_input_embeddings()(batch["token_ids"])  # (B, T, E)
        positions = batch["lm_positions"]  # (N,) in the flattened B * T
        said = self._said(model, outputs, positions)  # (N, E)
        found, wanted = said.shape[-1], word_vectors.shape[-1]
        if found != wanted:
            raise UsageError(
                f"the trick `teaforn` feeds states of {found} numbers back as word vectors of {wanted}",
                hint="--set tricks.teaforn.feedback=expected feeds word vectors back",
            )
        width = word_vectors.shape[1]
        inside = positions % width < width - 1  # what the last place of a row has said is nobody's input
        flat = word_vectors.flatten(0, 1)  # (B * T, E)
        fed: Tensor = flat.index_put((positions[inside] + 1,), said[inside].to(flat.dtype))
        return fed.view_as(word_vectors)

    def _said(self, model: Encoder, outputs: dict[str, Any], positions: Tensor) -> Tensor:
        """What each of the positions hands on: (N, D), or (N, E) of `expected`."""
        if self.config.feedback == "expected":
            return expected_vectors(outputs["logits"], model.get_input_embeddings().weight, self.config.top_k)
        states: Tensor = outputs["states"].flatten(0, 1)[positions]  # (N, D)
        if self.config.feedback == "normalized":
            return scaled_like(states, model.get_input_embeddings().weight)
        return states


def expected_vectors(logits: Tensor, table: Tensor, top_k: int) -> Tensor:
    """The mean vector of the `top_k` likeliest tokens (0: of all), by probability: (N, V), (V, E) -> (N, E)."""
    if top_k == 0 or top_k >= logits.shape[-1]:
        return logits.float().softmax(-1).to(table.dtype) @ table
    largest = logits.float().topk(top_k, dim=-1)
    shares = largest.values.softmax(-1).to(table.dtype)  # (N, k); p over the sum of the k largest
    return (shares[..., None] * table[largest.indices]).sum(dim=1)


def scaled_like(states: Tensor, table: Tensor) -> Tensor:
    """States (N, D) with mean 0 each and the root mean square of the numbers of a word table (V, E)."""
    from torch.nn import functional

    scale = table.detach().float().square().mean().sqrt()
    return functional.layer_norm(states.float(), states.shape[-1:]) * scale
