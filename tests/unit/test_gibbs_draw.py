"""Drawing a token: shares, limits, temperature, and what may not be drawn."""

from __future__ import annotations

import pytest
import torch

import tiny
from nlpx import load_tokenizer
from nlpx.data.batches.masking import SpecialIds
from nlpx.decode.gibbs.draw import Draw
from nlpx.decode.gibbs.vocabulary import banned_ids
from nlpx.errors import UsageError

LOGITS = torch.tensor([0.5, 2.0, -1.0, 1.5, 0.0])
NUMBER = 20000


def shares(draw: Draw, *, temperature: float = 1.0) -> torch.Tensor:
    uniforms = torch.rand(NUMBER, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    drawn = draw(LOGITS.expand(NUMBER, -1), uniforms, temperature=temperature)
    return torch.bincount(drawn, minlength=5) / NUMBER


@pytest.mark.parametrize(
    ("draw", "temperature", "kept"),
    [
        (Draw(), 1.0, [0, 1, 2, 3, 4]),
        (Draw(), 0.5, [0, 1, 2, 3, 4]),
        (Draw(), 3.0, [0, 1, 2, 3, 4]),
        (Draw(top_k=2), 1.0, [1, 3]),
        (Draw(top_k=9), 1.0, [0, 1, 2, 3, 4]),
        (Draw(top_p=0.7), 1.0, [1, 3]),
        (Draw(top_p=0.01), 1.0, [1]),
        (Draw(top_p=1.0), 1.0, [0, 1, 2, 3, 4]),
        (Draw(torch.tensor([False, True, False, False, True])), 2.0, [0, 2, 3]),
        (Draw(torch.tensor([False, True, False, False, False]), top_k=2), 1.0, [0, 3]),
        (Draw(top_k=3, top_p=0.6), 0.5, [1]),
    ],
)
def test_shares_follow_the_probabilities(draw, temperature, kept):
    expected = torch.zeros(5)
    expected[kept] = (LOGITS[kept] / temperature).softmax(dim=0)
    found = shares(draw, temperature=temperature)
    assert found[expected == 0].eq(0).all()
    assert (found - expected).abs().le(3.5 * (expected * (1 - expected) / NUMBER).sqrt()).all()


@pytest.mark.parametrize(("share", "kept"), [(0.2, 1), (0.25, 1), (0.26, 2), (0.5, 2), (0.6, 3), (0.75, 3), (0.76, 4)])
def test_the_nucleus_ends_with_the_token_that_reaches_its_share(share, kept):
    """Four tokens of exactly a quarter: the one that crosses the border stays, the one after it goes."""
    found = Draw(top_p=share).probabilities(torch.zeros(1, 4))[0]
    assert found.tolist() == pytest.approx([1 / kept] * kept + [0] * (4 - kept))
    assert int(found.count_nonzero()) == kept


def test_temperature_0_and_tiny_ones():
    logits = torch.tensor([[3.0, 3.5, -torch.inf, 1.0]])
    for temperature in (0.0, 1e-30, 1e-3):
        assert int(Draw()(logits, torch.tensor([0.999]), temperature=temperature)) == 1
    banned = Draw(torch.tensor([False, True, False, False]))
    assert int(banned(logits, torch.tensor([0.5]), temperature=0.0)) == 0


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2**-53])
def test_the_ends_never_draw_what_has_no_probability(uniform):
    logits = torch.tensor([-torch.inf, 0.0, -torch.inf, 1.0, -torch.inf, -torch.inf])
    for scale in (1.0, 1e-3, 1e3):
        drawn = int(Draw()((logits * scale)[None], torch.tensor([uniform], dtype=torch.float64)))
        assert drawn in (1, 3)


def test_rows_and_blocks_are_drawn_for_themselves():
    logits = torch.randn(4, 3, 50, generator=torch.Generator().manual_seed(0))
    uniforms = torch.rand(4, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    together = Draw(top_p=0.9)(logits, uniforms)
    assert together.shape == (4, 3)
    for row in range(4):
        for column in range(3):
            alone = Draw(top_p=0.9)(logits[row, column][None], uniforms[row, column][None])
            assert int(alone) == int(together[row, column])


@pytest.fixture
def tokenizer(tmp_path):
    return load_tokenizer(tiny.write_vocab(tmp_path, [*tiny.VOCAB, "##a", "##b", "[unused1]", "##"]))


def drawable(tokenizer, **choices):
    special = SpecialIds.of(tokenizer)
    banned = banned_ids(tokenizer, special, vocab_size=len(tokenizer.vocab) + 3, **choices)
    assert banned[len(tokenizer.vocab) :].all()  # rows of the model that no token uses
    return {token for token, out in zip(tokenizer.vocab.tokens, banned.tolist(), strict=False) if not out}


def test_what_is_banned(tokenizer):
    usual = drawable(tokenizer)
    assert usual == {*tiny.CHARACTERS, "##"}
    assert drawable(tokenizer, ban=["春", "夏"]) == usual - {"春", "夏"}
    assert drawable(tokenizer, allow=["##b", "[UNK]"]) == usual | {"##b", "[UNK]"}
    assert drawable(tokenizer, allow=["##"]) == usual | {"##a", "##b"}


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"ban": ["龘"]}, "`龘` is no token"),
        ({"allow": ["[MASK]"]}, "never part of a text"),
        ({"allow": ["[CLS]"]}, "never part of a text"),
        ({"ban": [*tiny.CHARACTERS, "##"], "allow": []}, None),
    ],
)
def test_what_cannot_be_banned_or_allowed(tokenizer, choices, message):
    if message is None:  # `##` stands for the pieces, so the mark itself is left
        assert drawable(tokenizer, **choices) == {"##"}
        return
    with pytest.raises(UsageError, match=message.replace("[", r"\[")):
        drawable(tokenizer, **choices)
