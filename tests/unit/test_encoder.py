"""What every encoder promises to tasks and tricks: the word table, vectors in place of ids, and heads by name."""

from __future__ import annotations

import pytest
import torch

from nlpx.errors import UsageError
from nlpx.models.checkpoints.backbone import Backbone
from nlpx.models.config import ModelConfig
from nlpx.models.encoder import Encoder
from nlpx.models.initialisation import truncated_normal_
from nlpx.models.transformer import Transformer

IDS = torch.tensor([[2, 5, 6, 7, 3], [2, 8, 3, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])


def transformer(**choices):
    torch.manual_seed(0)
    sizes = {"vocab_size": 20, "hidden_size": 16, "num_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    return Transformer(ModelConfig(**(sizes | choices))).eval()


def backbone():
    from transformers import XLMRobertaConfig, XLMRobertaModel

    torch.manual_seed(0)
    sizes = {"vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = XLMRobertaConfig(**sizes, intermediate_size=24, max_position_embeddings=40, pad_token_id=0)
    return Backbone(XLMRobertaModel(config), num_labels=3).eval()


MODELS = {
    "transformer": lambda: transformer(heads=("classification",), num_labels=3),
    "performer": lambda: transformer(heads=("classification",), num_labels=3, attention="performer", position="rotary"),
    "narrow-table": lambda: transformer(heads=("classification",), num_labels=3, embedding_size=8),
    "backbone": backbone,
}


@pytest.mark.parametrize("name", MODELS)
def test_vectors_in_place_of_ids_give_the_same(name):
    model = MODELS[name]()
    assert isinstance(model, Encoder)
    positions = {"position_ids": torch.arange(5).expand(2, 5) + 1} if name == "backbone" else {}
    by_ids = model(IDS, attention_mask=MASK, **positions)
    by_vectors = model(attention_mask=MASK, inputs_embeds=model.get_input_embeddings()(IDS), **positions)
    torch.testing.assert_close(by_vectors.last_hidden_state, by_ids.last_hidden_state, rtol=0, atol=0)
    torch.testing.assert_close(by_vectors.logits, by_ids.logits, rtol=0, atol=0)


@pytest.mark.parametrize("name", MODELS)
def test_a_gradient_reaches_what_is_added_to_the_word_vectors(name):
    """What FGM and the gradient penalty do: a hook on the word table, whatever the model."""
    model = MODELS[name]()
    added = torch.zeros(2, 5, model.get_input_embeddings().embedding_dim, requires_grad=True)
    hook = model.get_input_embeddings().register_forward_hook(lambda module, given, vectors: vectors + added)
    model(IDS, attention_mask=MASK).logits.sum().backward()
    hook.remove()
    assert added.grad is not None
    assert added.grad[0].abs().sum() > 0


@pytest.mark.parametrize("name", MODELS)
def test_ids_and_vectors_exclude_each_other(name):
    model = MODELS[name]()
    with pytest.raises(UsageError, match="either `token_ids` or `inputs_embeds`"):
        model(IDS, inputs_embeds=model.get_input_embeddings()(IDS))
    with pytest.raises(UsageError, match="either `token_ids` or `inputs_embeds`"):
        model()


def test_heads_are_computed_by_name():
    model = transformer(heads=("lm", "sentence", "classification"), pooler="tanh")
    found = model(IDS)
    assert {name: tuple(value.shape) for name, value in found.heads.items()} == {
        "lm": (2, 5, 20),
        "sentence": (2, 2),
        "classification": (2, 2),
    }
    assert found.logits is found.heads["classification"]
    alone = model(IDS, heads=("sentence",))
    assert set(alone.heads) == {"sentence"}
    assert alone.logits is None
    assert torch.equal(alone.heads["sentence"], found.heads["sentence"])
    assert model(IDS, heads=()).heads == {}


def test_the_pooled_vector_stands_beside_the_loss():
    model = transformer(heads=("lm", "sentence"), pooler="tanh")
    places, targets = torch.tensor([1, 6]), torch.tensor([4, 4])
    found = model(IDS, lm_positions=places, lm_targets=targets)
    expected = torch.nn.functional.cross_entropy(model(IDS).heads["lm"].flatten(0, 1)[places], targets, reduction="sum")
    torch.testing.assert_close(found.lm_loss, expected)
    assert found.pooled is not None
    assert found.heads == {}
    both = model(IDS, lm_positions=places, lm_targets=targets, heads=("lm", "sentence"))
    assert set(both.heads) == {"sentence"}
    assert torch.equal(both.lm_loss, found.lm_loss)


@pytest.mark.parametrize("name", ["transformer", "backbone"])
def test_a_head_the_model_lacks_is_refused_by_name(name):
    with pytest.raises(UsageError, match="no head `lm`"):
        MODELS[name]()(IDS, heads=("lm",))


@pytest.mark.parametrize("name", ["transformer", "backbone"])
def test_weights_come_back_from_where_they_were_saved(name, tmp_path):
    model, other = MODELS[name](), MODELS[name]()
    with torch.no_grad():
        model.get_input_embeddings().weight.add_(1)
    model.save(tmp_path)
    other.load_weights(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_the_random_start_ends_at_two_standard_deviations():
    torch.manual_seed(0)
    weights = truncated_normal_(torch.empty(200_000), std=0.02)
    assert float(weights.abs().max()) <= 0.04
    # The variance of a normal distribution that ends at two deviations: 1 - 2 * 2 phi(2) / (2 Phi(2) - 1).
    expected = 0.02 * (1 - 4 * 0.0539909665 / 0.9544997361) ** 0.5
    assert float(weights.std()) == pytest.approx(expected, rel=0.01)
    drawn = transformer(vocab_size=5000).embeddings.word_embeddings.weight
    assert float(drawn.abs().max()) <= 0.04
