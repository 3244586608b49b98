"""Hierarchical positions (kexue.fm/archives/7947): n trained rows place n * n tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import tiny
from nlpx import load_model
from nlpx.errors import InputError, UsageError
from nlpx.models.checkpoints.save import export_model, save_model
from nlpx.models.config import ModelConfig
from nlpx.models.positions import PositionEmbeddings, hierarchical_rows
from nlpx.models.transformer import Transformer

ROWS, SIZE = 512, 8


def table(rows: int = ROWS, size: int = SIZE) -> torch.Tensor:
    return torch.randn(rows, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def part(alpha: float | None = 0.4, rows: int = ROWS) -> PositionEmbeddings:
    made = PositionEmbeddings(rows, SIZE, alpha=alpha).double()
    made.weight.data = table(rows)
    return made


@pytest.mark.parametrize("alpha", [0.2, 0.4, 0.7])
def test_the_formula_of_the_post(alpha: float) -> None:
    """q = alpha u_x + (1 - alpha) u_y with u = (p - alpha p_0) / (1 - alpha), and our closed form of it."""
    rows = 24
    made, trained = part(alpha, rows), table(rows)
    everything = made(torch.arange(rows * rows), rows * rows)
    base = (trained - alpha * trained[0]) / (1 - alpha)
    x, y = torch.arange(rows * rows) // rows, torch.arange(rows * rows) % rows
    torch.testing.assert_close(everything, alpha * base[x] + (1 - alpha) * base[y], atol=1e-12, rtol=0)
    closed = trained[y] + alpha / (1 - alpha) * (trained[x] - trained[0])
    torch.testing.assert_close(everything, closed, atol=1e-12, rtol=0)
    torch.testing.assert_close(everything[:: rows + 1], base, atol=1e-12, rtol=0)
    step = everything[rows] - everything[0]
    torch.testing.assert_close(step, alpha / (1 - alpha) * (trained[1] - trained[0]), atol=1e-12, rtol=0)
    for num_rows in (5, rows, rows + 1, rows * rows):
        torch.testing.assert_close(
            hierarchical_rows(trained, num_rows, alpha), everything[:num_rows], atol=1e-12, rtol=0
        )


@pytest.mark.parametrize("used", [1, ROWS, ROWS + 1, 1536])
def test_trained_rows_keep_their_vectors(used: int) -> None:
    vectors = part()(torch.arange(used), used)
    assert (vectors[:ROWS] - table()[:used]).abs().max() <= 4e-16


def test_the_last_position_and_the_one_beyond_it() -> None:
    last = ROWS * ROWS - 1
    assert part().max_length == last + 1 == 262144
    assert part()(torch.tensor([last]), last + 1).isfinite().all()
    with pytest.raises(InputError, match="longer than the model's 262144 positions"):
        part()(torch.tensor([last + 1]), last + 2)
    with pytest.raises(InputError, match="a table of 24 positions extends to 576, not to 577"):
        hierarchical_rows(table(24), 577, 0.4)


def test_alpha_of_one_half_is_refused(tmp_path) -> None:
    sizes = {"vocab_size": 9, "hidden_size": 4, "num_layers": 1, "num_attention_heads": 1, "intermediate_size": 4}
    with pytest.raises(ValueError, match=r"hierarchical_alpha 0\.5"):
        ModelConfig(**sizes, position="hierarchical", hierarchical_alpha=0.5)
    with pytest.raises(InputError, match=r"hierarchical_alpha 0\.5"):
        hierarchical_rows(table(24), 30, 0.5)
    tiny.bert(tmp_path / "bert")
    with pytest.raises(UsageError, match=r"hierarchical_alpha 0\.5"):
        load_model(tmp_path / "bert", position="hierarchical", hierarchical_alpha=0.5)


def test_gradients_reach_the_trained_rows() -> None:
    made = part(rows=12)
    made(torch.tensor([30]), 31).sum().backward()
    assert made.weight.grad is not None
    factor = 0.4 / 0.6
    expected = {6: 1.0, 2: factor, 0: -factor}  # 30 = 2 * 12 + 6
    for row in range(12):
        assert made.weight.grad[row].unique().tolist() == pytest.approx([expected.get(row, 0.0)])


# A checkpoint with a learned table, lengthened


@pytest.fixture(scope="module")
def learned(tmp_path_factory) -> Any:
    """A BERT of 32 positions in the form of transformers."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("learned")
    sizes = {"vocab_size": 40, "hidden_size": 16, "num_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    model = Transformer(ModelConfig(**sizes, max_position_embeddings=32, heads=("lm",))).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    export_model(model, path)
    return path


def logits(model: Any, token_ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(token_ids).logits


def ids(length: int) -> torch.Tensor:
    return torch.randint(0, 40, (2, length), generator=torch.Generator().manual_seed(length))


def test_a_learned_checkpoint_reads_longer_texts_and_short_ones_as_before(learned) -> None:
    before, longer = load_model(learned, head="mlm"), load_model(learned, head="mlm", position="hierarchical")
    for length in (1, 31, 32):
        assert torch.equal(logits(longer, ids(length)), logits(before, ids(length)))
    assert logits(longer, ids(100)).isfinite().all()
    with pytest.raises(InputError, match="position=hierarchical"):
        logits(before, ids(33))
    names = [name for name, _ in before.named_parameters()]
    assert names == [name for name, _ in longer.named_parameters()]
    assert sum(p.numel() for p in before.parameters()) == sum(p.numel() for p in longer.parameters())


def test_it_survives_saving_and_turns_back_into_the_learned_one(learned, tmp_path) -> None:
    longer = load_model(learned, head="mlm", position="hierarchical")
    save_model(longer, tmp_path / "long")
    again = load_model(tmp_path / "long", head="mlm")
    assert again.config.position == "hierarchical"
    assert torch.equal(logits(again, ids(70)), logits(longer, ids(70)))
    back = load_model(tmp_path / "long", head="mlm", position="learned")
    assert torch.equal(logits(back, ids(32)), logits(load_model(learned, head="mlm"), ids(32)))


@pytest.mark.parametrize("alpha", [0.4, 0.3])
def test_the_extended_table_can_be_written_out_and_cut_again(alpha: float, learned, tmp_path) -> None:
    """What `nlpx convert --set position=learned --set max_position_embeddings=70` does, for transformers to read."""
    from transformers import BertForMaskedLM

    save_model(load_model(learned, head="mlm", position="hierarchical", hierarchical_alpha=alpha), tmp_path / "long")
    written = load_model(tmp_path / "long", head="mlm", position="learned", max_position_embeddings=70)
    export_model(written, tmp_path / "written")
    expected = logits(load_model(tmp_path / "long", head="mlm"), ids(70))
    torch.testing.assert_close(logits(written, ids(70)), expected, atol=1e-5, rtol=0)
    theirs = BertForMaskedLM.from_pretrained(tmp_path / "written").eval()
    torch.testing.assert_close(logits(theirs, ids(70)), expected, atol=1e-4, rtol=0)
    cut = load_model(tmp_path / "written", head="mlm", position="hierarchical", max_position_embeddings=32)
    assert torch.equal(logits(cut, ids(20)), logits(load_model(learned, head="mlm"), ids(20)))


def test_a_table_is_not_written_beyond_what_it_extends_to(learned) -> None:
    with pytest.raises(InputError, match="32 positions extends to 1024, not to 1025"):
        load_model(learned, max_position_embeddings=1025)
    with pytest.raises(InputError, match=r"hierarchical_alpha 0\.5"):
        load_model(learned, max_position_embeddings=40, hierarchical_alpha=0.5)
