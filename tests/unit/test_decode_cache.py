"""Decoding with a cache of keys and values: the same logits as reading everything anew, for every kind of model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from nlpx.errors import InputError, UsageError
from nlpx.models.cache import SMALLEST_CAPACITY, KeyValueCache
from nlpx.models.config import ModelConfig
from nlpx.models.transformer import Transformer

VOCAB = 50
KINDS: dict[str, dict[str, Any]] = {
    "learned": {"position": "learned", "max_position_embeddings": 128},
    "rotary": {"position": "rotary"},
    "hierarchical": {"position": "hierarchical", "max_position_embeddings": 12},
    "relative": {"position": "relative", "max_relative_position": 8},
    "bucketed": {"position": "bucketed", "num_position_buckets": 8, "max_bucketed_distance": 20},
    "no positions": {"position": "none"},
    "Grover's norms": {"position": "rotary", "norm_place": "grover"},
    "pre norm, gated": {"position": "rotary", "norm_place": "pre", "norm": "rms", "feed_forward": "gated"},
    "shared layers": {"position": "rotary", "share_layers": "all"},
    "RealFormer": {"position": "rotary", "residual_scores": "mean"},
    "entropy invariant": {"position": "rotary", "attention_scale": "entropy_invariant", "entropy_invariant_floor": 2},
    "other key size": {"position": "learned", "key_size": 6, "max_position_embeddings": 128},
}
EVEN_ONLY = ("relative",)


def model_of(**choices: Any) -> Transformer:
    sizes = {"vocab_size": VOCAB, "hidden_size": 16, "num_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
    model = Transformer(ModelConfig(**(sizes | {"heads": ("lm",), "mask": "causal"} | choices))).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


def tokens(*shape: int) -> Tensor:
    return torch.randint(0, VOCAB, shape, generator=torch.Generator().manual_seed(5))


def close(ours: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("parts", [(1,) * 20, (7, 1, 5, 7), (20,)], ids=["single tokens", "parts", "at once"])
def test_cached_logits_are_the_uncached_ones(kind, parts):
    model, token_ids = model_of(**KINDS[kind]), tokens(2, 20)
    cache = KeyValueCache(model.config, num_rows=2)
    with torch.inference_mode():
        expected = model(token_ids).logits
        found = [model(part, cache=cache).logits for part in token_ids.split(parts, dim=1)]
    close(torch.cat(found, dim=1), expected)
    assert cache.lengths == [20, 20]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in EVEN_ONLY])
def test_rows_of_different_lengths(kind):
    model, token_ids = model_of(**KINDS[kind]), tokens(3, 20)
    lengths, cache = [9, 4, 6], KeyValueCache(model.config, num_rows=3)
    real = torch.arange(9) < torch.tensor(lengths)[:, None]
    following = torch.stack([row[length : length + 3] for row, length in zip(token_ids, lengths, strict=True)])
    with torch.inference_mode():
        first = model(token_ids[:, :9], attention_mask=real, cache=cache).logits
        assert cache.lengths == lengths
        second = torch.cat([model(part, cache=cache).logits for part in following.split((2, 1), dim=1)], dim=1)
        for row, length in enumerate(lengths):
            expected = model(token_ids[row : row + 1, : length + 3]).logits[0]
            close(first[row, :length], expected[:length])
            close(second[row], expected[length:])


def test_relative_positions_need_even_rows():
    model = model_of(**KINDS["relative"])
    cache = KeyValueCache(model.config, num_rows=2)
    model(tokens(2, 3), attention_mask=torch.tensor([[1, 1, 1], [1, 1, 0]]), cache=cache)
    with pytest.raises(InputError, match="relative positions"):
        model(tokens(2, 1), cache=cache)


def test_forgetting_and_reading_something_else():
    model, token_ids = model_of(position="rotary"), tokens(1, 12)
    cache = KeyValueCache(model.config)
    with torch.inference_mode():
        model(token_ids[:, :10], cache=cache)
        cache.crop([4])
        found = model(token_ids[:, 7:12], cache=cache).logits
        close(found, model(torch.cat([token_ids[:, :4], token_ids[:, 7:12]], dim=1)).logits[:, 4:])
    with pytest.raises(ValueError, match="cannot be cropped"):
        cache.crop([40])


def test_rows_are_chosen_repeated_and_dropped():
    model, token_ids = model_of(position="learned", max_position_embeddings=64), tokens(3, 8)
    cache = KeyValueCache(model.config, num_rows=3)
    with torch.inference_mode():
        model(token_ids[:, :7], cache=cache)
        cache.select([2, 2, 0])
        found = model(token_ids[[2, 1, 0], 7:], cache=cache).logits
        read = torch.cat([token_ids[[2, 2, 0], :7], token_ids[[2, 1, 0], 7:]], dim=1)
        close(found, model(read).logits[:, 7:])


def test_a_tree_of_continuations_in_one_call():
    """Branches side by side: each token sees what is stored, its ancestors and itself."""
    model, stored, branches = model_of(position="rotary"), tokens(1, 6), tokens(1, 9)[:, 6:]
    parents = [None, 0, 0]  # two tokens that follow the same first one
    sees = torch.eye(3, dtype=torch.bool)
    for node, parent in enumerate(parents):
        if parent is not None:
            sees[node] |= sees[parent]
    cache = KeyValueCache(model.config)
    with torch.inference_mode():
        model(stored, cache=cache)
        position_ids = torch.tensor([[6, 7, 7]])
        found = model(branches, mask=sees, position_ids=position_ids, cache=cache).logits[0]
        for node in (1, 2):
            read = torch.cat([stored, branches[:, [0, node]]], dim=1)
            close(found[node], model(read).logits[0, -1])


def test_a_source_read_both_ways_and_its_target_left_to_right():
    """UniLM: the prompt is bidirectional, what is generated after it causal."""
    model = model_of(position="rotary", mask="unilm")
    token_ids, segment_ids = tokens(2, 10), torch.tensor([[0] * 6 + [1] * 4] * 2)
    cache = KeyValueCache(model.config, num_rows=2)
    with torch.inference_mode():
        expected = model(token_ids, segment_ids).logits
        parts = zip(token_ids.split((6, 1, 3), dim=1), segment_ids.split((6, 1, 3), dim=1), strict=True)
        close(torch.cat([model(ids, segments, cache=cache).logits for ids, segments in parts], dim=1), expected)


def test_a_cache_outgrows_its_first_slots():
    model = model_of(position="rotary")
    token_ids = tokens(1, SMALLEST_CAPACITY + 40)
    cache = KeyValueCache(model.config)
    with torch.inference_mode():
        found = [model(part, cache=cache).logits for part in token_ids.split(8, dim=1)]
        close(torch.cat(found, dim=1), model(token_ids).logits)


def test_bfloat16_reads_what_it_stored():
    model, token_ids = model_of(position="rotary").to(torch.bfloat16), tokens(1, 12)
    cache = KeyValueCache(model.config)
    with torch.inference_mode():
        found = torch.cat([model(part, cache=cache).logits for part in token_ids.split(1, dim=1)], dim=1)
        torch.testing.assert_close(found, model(token_ids).logits, atol=0.3, rtol=0.05)


def test_a_text_beyond_the_table_is_refused():
    model = model_of(position="learned", max_position_embeddings=8)
    cache = KeyValueCache(model.config)
    model(tokens(1, 8), cache=cache)
    with pytest.raises(InputError, match="longer than the model's 8 positions"):
        model(tokens(1, 1), cache=cache)


def test_a_performer_has_nothing_to_cache():
    with pytest.raises(UsageError, match="keeps no keys"):
        KeyValueCache(model_of(attention="performer").config)
