"""Encoder and decoder by themselves: what sees what, buckets of distances, caches, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from nlpx.decode.generation.encoder_decoder import EncoderDecoderDecoder
from nlpx.errors import InputError, UsageError
from nlpx.models.cache import KeyValueCache
from nlpx.models.config import ModelConfig
from nlpx.models.encoder_decoder import EncoderDecoder
from nlpx.models.positions import distance_buckets
from nlpx.models.transformer import Transformer
from nlpx.train.blocks import blocks

PARTS: dict[str, Any] = {
    "position": "bucketed",
    "num_position_buckets": 8,
    "max_bucketed_distance": 20,
    "norm": "rms",
    "norm_place": "pre",
    "embedding_norm": False,
    "use_bias": False,
    "attention_scale": "none",
    "type_vocab_size": 0,
    "lm_transform": False,
    "lm_bias": False,
    "initializer_range": 0.3,
}


def config(**choices: Any) -> ModelConfig:
    sizes = {"vocab_size": 40, "hidden_size": 16, "num_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    depth = {"num_decoder_layers": 3, "heads": ("lm",), "family": "t5"}
    return ModelConfig(**(sizes | PARTS | depth | choices))


def model(**choices: Any) -> EncoderDecoder:
    torch.manual_seed(0)
    return EncoderDecoder(config(**choices)).eval()


def ids(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(2, 40, (rows, length), generator=torch.Generator().manual_seed(seed))


def test_buckets_are_those_of_the_paper() -> None:
    """32 buckets up to 128: 0 to 7 alone, then by a constant factor; causal 0 to 15 alone."""
    distance = torch.arange(-300, 301)
    both = distance_buckets(distance, num_buckets=32, max_distance=128, causal=False)
    before = distance_buckets(distance, num_buckets=32, max_distance=128, causal=True)
    at = dict(zip(distance.tolist(), both.tolist(), strict=True))
    causal = dict(zip(distance.tolist(), before.tolist(), strict=True))
    assert at[0] == causal[0] == 0
    assert all(causal[step] == 0 for step in range(1, 301))
    assert [at[-step] for step in range(8)] == list(range(8))
    assert [causal[-step] for step in range(16)] == list(range(16))
    assert all(at[step] == at[-step] + 16 for step in range(1, 301))
    for step in range(8, 301):
        exact = 8 + 8 * math.log(step / 8) / math.log(128 / 8)
        assert abs(exact - round(exact)) < 1e-5 or at[-step] == min(15, math.floor(exact))
    assert at[-128] == at[-300] == 15
    assert causal[-128] == causal[-300] == 31


def test_the_bias_is_that_of_the_distance_whatever_is_stored() -> None:
    """Rows of a cache that differ in length have keys at their slots."""
    part = model().decoder.bucketed
    assert part is not None
    whole = part(torch.arange(9)[None])  # (1, H, 9, 9)
    assert torch.equal(part(torch.tensor([[6, 7, 8]]), 6), whole[:, :, 6:])
    uneven = part(torch.tensor([[6], [3]]), 6)  # (2, H, 1, 7)
    assert torch.equal(uneven[0], whole[0, :, 6:7, :7])
    assert torch.equal(uneven[1, :, :, :4], whole[0, :, 3:4, :4])


def test_a_feed_forward_has_three_maps() -> None:
    made = model(feed_forward="gated")
    assert sum(weight.numel() for weight in made.encoder.layers[0].feed_forward.parameters()) == 3 * 16 * 24


def test_targets_see_neither_what_follows_nor_padding_of_the_source() -> None:
    made, source, target = model(), ids(2, 7), ids(2, 6, seed=1)
    mask = torch.ones_like(source)
    mask[1, 4:] = 0
    with torch.no_grad():
        before = made(source, mask, target).logits
        changed_source, changed_target = source.clone(), target.clone()
        changed_source[1, 4:] = 5
        changed_target[:, 4:] = 6
        after = made(changed_source, mask, changed_target).logits
        alone = made(source[1:, :4], None, target[1:]).logits
        seen = made(changed_source, None, target).logits
    torch.testing.assert_close(before[:, :4], after[:, :4], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(before[1:], alone, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(before[1], seen[1], atol=1e-3)
    assert not torch.allclose(before[:, 4:], after[:, 4:], atol=1e-3)


def test_steps_with_a_cache_equal_the_whole_pass_and_beams_share_their_source() -> None:
    made, source, target = model(), ids(2, 7), ids(4, 6, seed=1)  # two targets for each source
    with torch.no_grad():
        encoded = made.encode(source)
        cache = KeyValueCache(made.decoder_config(), 4)
        found = torch.cat(
            [made.decode(target[:, step : step + 1], encoded, cache=cache).logits for step in range(6)], 1
        )
        expected = made(source.repeat_interleave(2, dim=0), None, target).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert encoded.layers[0][0].shape[0] == 2


def test_vectors_take_the_place_of_words() -> None:
    made, source, target = model(), ids(2, 7), ids(2, 6, seed=1)
    table = made.get_input_embeddings()
    with torch.no_grad():
        by_words = made(source, None, target).logits
        by_vectors = made(inputs_embeds=table(source), target_embeds=table(target)).logits
        states = made(source, None, target, heads=())
    assert torch.equal(by_words, by_vectors)
    assert states.logits is None
    with pytest.raises(UsageError, match="either"):
        made(source)
    with pytest.raises(UsageError, match="no head `classification`"):
        made(source, None, target, heads=["classification"])


def test_every_dropout_acts_in_training_alone() -> None:
    made, source, target = (
        model(hidden_dropout=0.0, attention_dropout=0.0, feed_forward_dropout=0.5),
        ids(2, 7),
        ids(2, 6, seed=1),
    )
    with torch.no_grad():
        expected = made(source, None, target).logits
        for name in ("hidden_dropout", "attention_dropout", "feed_forward_dropout"):
            rates = dict.fromkeys(("hidden_dropout", "attention_dropout", "feed_forward_dropout"), 0.0)
            other = model(**(rates | {name: 0.5}))
            other.load_state_dict(made.state_dict())
            assert torch.equal(other.eval()(source, None, target).logits, expected), name
            assert not torch.allclose(other.train()(source, None, target).logits, expected, atol=1e-3), name


def test_blocks_are_those_of_both_stacks() -> None:
    assert len(blocks(model())) == 5


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"position": "rotary"}, "num_decoder_layers 3 has position bucketed, not rotary"),
        ({"norm_place": "post"}, "has norm_place pre, not post"),
        ({"heads": ()}, "has heads"),
        ({"max_bucketed_distance": 4}, "max_bucketed_distance 4 is within"),
    ],
)
def test_contradictions_are_refused(choices: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**choices)


def test_buckets_work_in_one_stack_with_a_cache() -> None:
    """A causal Transformer with the same positions, rows of different lengths."""
    torch.manual_seed(0)
    made = Transformer(config(num_decoder_layers=0, mask="causal")).eval()
    tokens, lengths = ids(2, 9), [6, 3]
    cache = KeyValueCache(made.config, 2)
    mask = torch.arange(6)[None] < torch.tensor(lengths)[:, None]
    with torch.no_grad():
        made(tokens[:, :6], attention_mask=mask.long(), cache=cache)
        follows = torch.stack([tokens[row, length : length + 1] for row, length in enumerate(lengths)])
        found = made(follows, cache=cache).logits
        for row, length in enumerate(lengths):
            expected = made(tokens[row : row + 1, : length + 1]).logits[:, -1]
            torch.testing.assert_close(found[row], expected, atol=1e-5, rtol=1e-5)


def test_rows_move_with_their_sources() -> None:
    """Beams that change places, rows that leave, and rows that are chosen unevenly: as if each had been alone."""
    decoder = EncoderDecoderDecoder(model(special_token_ids={"decoder_start": 3, "pad": 0}))
    assert decoder.start_ids == (3,)
    sources = [ids(1, length, seed=length)[0].tolist() for length in (7, 4, 6)]
    targets: list[list[int]] = [[3], [3], [3]]
    of_row = [0, 1, 2]
    with torch.no_grad():
        logits, state = decoder.start(sources)
        for rows, num_copies in (
            ([0, 1, 2], 3),
            ([0, 0, 1, 1, 2, 2], 3),
            ([1, 0, 2, 2, 5, 4], 3),
            ([0, 1, 4, 5], 2),
            ([3, 0, 1], 3),
            ([1], 1),
        ):
            state.select(rows)
            of_row, targets = [of_row[row] for row in rows], [list(targets[row]) for row in rows]
            chosen = torch.randint(2, 40, (len(rows),), generator=torch.Generator().manual_seed(len(rows)))
            logits = decoder.step(chosen, state)
            targets = [[*target, int(token)] for target, token in zip(targets, chosen, strict=True)]
            assert state.source.num_sources == num_copies
            for row, (source, target) in enumerate(zip(of_row, targets, strict=True)):
                alone = decoder.model(torch.tensor([sources[source]]), None, torch.tensor([target])).logits[0, -1]
                torch.testing.assert_close(logits[row], alone, atol=1e-5, rtol=1e-5)


def test_an_empty_source_is_refused() -> None:
    with pytest.raises(InputError, match="source 2 is empty"):
        EncoderDecoderDecoder(model()).start([[3], []])
