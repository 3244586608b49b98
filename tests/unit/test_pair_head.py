"""The head that compares two texts read apart: its formula, its symmetry, its start, and how pairs become its rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from nlpx.data.rows.sohu import Pair
from nlpx.errors import UsageError
from nlpx.models.config import ModelConfig
from nlpx.models.transformer import Transformer
from nlpx.tasks.sohu import Config, Task
from nlpx.tokenizers.char import CharTokenizer
from nlpx.tokenizers.vocabulary.from_texts import character_vocabulary

TEXTS = ["春风又绿江南岸", "明月何时照我还", "一江春水"]
TOKENIZER = CharTokenizer(character_vocabulary(TEXTS))
TASK = Task(Config(pair="towers"))


def pair(source: str, target: str, variant: int, label: int = 1) -> Pair:
    return Pair(source, target, variant, label, id=None, place="test:1", split=None, row={})


PAIRS = [pair(TEXTS[0], TEXTS[1], 0), pair(TEXTS[2], TEXTS[0], 3)]


def model(task: Task = TASK, *, is_trained: bool = True, **choices: Any) -> Transformer:
    values: dict[str, Any] = {
        "vocab_size": TOKENIZER.vocab_size,
        "hidden_size": 16,
        "num_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "initializer_range": 0.3,
    }
    torch.manual_seed(7)
    network = Transformer(ModelConfig(**(values | {"heads": task.heads} | task.model_parts() | choices))).eval()
    if network.pair_classifier is not None and is_trained:
        torch.nn.init.normal_(network.pair_classifier.linear.weight, std=0.3)  # it starts at zero
    return network


def batch(pairs: list[Pair], task: Task = TASK) -> dict[str, Any]:
    return task.collate(task.encode(pairs, TOKENIZER, 64), list(range(len(pairs))), TOKENIZER.pad_token_id or 0)


def logits(network: Transformer, pairs: list[Pair], task: Task = TASK) -> torch.Tensor:
    with torch.inference_mode():
        return task.forward(network, batch(pairs, task))["logits"]


def test_all_first_texts_come_before_all_second_ones() -> None:
    found = batch(PAIRS)
    expected = TOKENIZER.encode_batch([TEXTS[0], TEXTS[2], TEXTS[1], TEXTS[0]], pad=True)
    assert torch.equal(found["token_ids"], expected["token_ids"])
    assert torch.equal(found["attention_mask"], expected["attention_mask"])
    assert not found["segment_ids"].any()
    assert found["condition"].tolist() == [0, 3, 0, 3]
    assert found["labels"].tolist() == [1, 1]
    assert found["num_targets"] == 2


def test_lengths_are_those_of_the_rectangle_and_each_text_has_the_whole_limit() -> None:
    encoded = TASK.encode(PAIRS, TOKENIZER, 8)
    assert [len(item.sequences.first) for item in encoded.items] == [8, 6]
    assert encoded.lengths == [16, 16]
    assert encoded.num_at(8) == 2  # rows with a text that reaches it
    assert TASK.encode(PAIRS, TOKENIZER, 64).num_at(64) == 0


def test_logits_are_those_of_the_formula() -> None:
    network = model()
    head = network.pair_classifier
    assert head is not None
    found = batch(PAIRS)
    with torch.inference_mode():
        states = network(found["token_ids"], None, found["attention_mask"], condition=found["condition"], heads=())
        mask = found["attention_mask"].float()[..., None]
        vectors = (states.last_hidden_state * mask).sum(1) / mask.sum(1)  # (4, 16)
        expected = []
        for u, v in zip(vectors[:2], vectors[2:], strict=True):
            u, v = u / u.norm(), v / v.norm()
            cosine = (u * v).sum()
            features = torch.cat([4 * (u - v).abs(), 16 * u * v, cosine[None]])
            hidden = functional.gelu(head.dense(features))
            expected.append(head.linear(hidden) + torch.tensor([0.0, 1.0]) * (8 * cosine - 4))
    torch.testing.assert_close(logits(network, PAIRS), torch.stack(expected), rtol=0, atol=1e-5)


def test_at_the_start_the_cosine_speaks_alone() -> None:
    network = model(is_trained=False)
    same = pair(TEXTS[0], TEXTS[0], 0)
    found = logits(network, [same, *PAIRS])
    assert not found[:, 0].any()
    assert float(found[0, 1]) == pytest.approx(8 - 4, abs=1e-4)
    assert (found[1:, 1] < 4).all()


def test_changing_places_changes_nothing() -> None:
    network = model()
    swapped = [pair(found.target, found.source, found.variant) for found in PAIRS]
    torch.testing.assert_close(logits(network, PAIRS), logits(network, swapped), rtol=0, atol=1e-6)


def test_a_pair_is_the_same_beside_longer_ones() -> None:
    network = model()
    alone = logits(network, PAIRS[1:])
    torch.testing.assert_close(logits(network, PAIRS)[1:], alone, rtol=0, atol=1e-5)


def test_the_condition_may_move_the_line_of_the_cosine() -> None:
    network = model()
    head = network.pair_classifier
    assert head is not None
    assert head.cosine is not None
    assert head.cosine.condition is not None
    before = logits(network, PAIRS)
    with torch.no_grad():
        head.cosine.condition.offset.weight.fill_(1.0)
    assert network.condition_embeddings is not None
    moved = logits(network, PAIRS) - before
    added = network.condition_embeddings.weight[[0, 3]].sum(1)  # (2,)
    torch.testing.assert_close(moved, torch.stack([torch.zeros(2), added], dim=1), rtol=0, atol=1e-5)


def test_more_classes_have_no_line_of_the_cosine() -> None:
    network = model(num_labels=3)
    assert network.pair_classifier is not None
    assert network.pair_classifier.cosine is None
    assert logits(network, PAIRS).shape == (2, 3)


def test_an_odd_number_of_texts_is_refused() -> None:
    with pytest.raises(UsageError, match="3 rows are no pairs"):
        model()(torch.ones(3, 4, dtype=torch.long), condition=torch.zeros(3, dtype=torch.long))


def test_gradients_reach_the_encoder_through_both_texts() -> None:
    network = model()
    found = batch(PAIRS)
    embedded = network.get_input_embeddings()(found["token_ids"]).detach().requires_grad_()
    output = network(
        None, None, found["attention_mask"], condition=found["condition"], inputs_embeds=embedded, heads=("pair",)
    )
    output.heads["pair"].sum().backward()
    assert embedded.grad is not None
    assert embedded.grad.abs().sum((1, 2)).gt(0).all()


def test_the_model_is_read_back_with_its_head(tmp_path: Any) -> None:
    from nlpx.models.checkpoints.load import load_trained

    network = model()
    network.save(tmp_path)
    assert torch.equal(logits(load_trained(tmp_path), PAIRS), logits(network, PAIRS))
