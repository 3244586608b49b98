"""What becomes of tensors on their way into a model: rows chosen, means made, tables lengthened, absences named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from nlpx import load_model
from nlpx.errors import InputError, UsageError
from nlpx.models.checkpoints.weights import RowChoices

WORDS = "bert.embeddings.word_embeddings.weight"
POSITIONS = "bert.embeddings.position_embeddings.weight"
KEEP = [0, 1, 2, 3, 4, 20, 7, 9]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "bert"
    tiny.bert(path)
    return path


@pytest.fixture(scope="module")
def stored(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def spoilt(folder: Path, target: Path, **changes: torch.Tensor | None) -> Path:
    """A copy with tensors (by the end of their names) replaced, or removed where None."""
    target.mkdir()
    (target / "config.json").write_bytes((folder / "config.json").read_bytes())
    tensors = load_file(folder / "model.safetensors")
    for name, tensor in changes.items():
        ending = name.replace("__", ".")
        for key in [key for key in tensors if key.endswith(ending)]:
            del tensors[key]
            if tensor is not None:
                tensors[key] = tensor
    save_file(tensors, target / "model.safetensors")
    return target


def logits(model, ids: list[list[int]]) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor(ids)).logits


def test_kept_tokens_choose_rows_and_scores(folder, stored):
    cut, whole = load_model(folder, head="mlm", keep_tokens=KEEP), load_model(folder, head="mlm")
    assert torch.equal(cut.embeddings.word_embeddings.weight, stored[WORDS][KEEP])
    assert cut.config.vocab_size == len(KEEP)
    old = [[2, 20, 7, 3]]
    new = [[KEEP.index(token) for token in old[0]]]
    assert torch.allclose(logits(cut, new), logits(whole, old)[..., KEEP], atol=1e-6)
    assert cut.load_report.reshaped["lm_head.bias"] == f"({len(tiny.VOCAB)}) -> ({len(KEEP)})"


def test_compound_tokens_are_means_of_rows(folder, stored):
    model = load_model(folder, head="mlm", compound_tokens=[[5, 6], ([7, 8, 9], [1.0, 2.0, 5.0]), [4]])
    table = model.embeddings.word_embeddings.weight
    assert table.shape[0] == len(tiny.VOCAB) + 3
    old = stored[WORDS]
    assert torch.equal(table[: len(old)], old)
    assert torch.allclose(table[-3], (old[5] + old[6]) / 2)
    assert torch.allclose(table[-2], (old[7] + 2 * old[8] + 5 * old[9]) / 8)
    assert torch.equal(table[-1], old[4])
    assert torch.allclose(model.lm_head.bias[-3], stored["cls.predictions.bias"][[5, 6]].mean())
    # With tied tables, equal weights make the new score the mean of the old ones.
    assert torch.allclose(logits(model, [[2, 11, 3]])[..., -3], logits(model, [[2, 11, 3]])[..., [5, 6]].mean(-1))


def test_compound_ids_count_in_the_kept_table(folder, stored):
    model = load_model(folder, keep_tokens=KEEP, compound_tokens=[[5, 6]])
    expected = stored[WORDS][[KEEP[5], KEEP[6]]].mean(0)
    assert torch.allclose(model.embeddings.word_embeddings.weight[-1], expected)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"keep_tokens": [0, 99]}, "keep_tokens: id 99 is outside the table of 33 rows"),
        ({"keep_tokens": [-1]}, "keep_tokens: id -1 is outside the table of 33 rows"),
        ({"compound_tokens": [[5, 33]]}, "compound_tokens: id 33 is outside the table of 33 rows"),
        ({"keep_tokens": KEEP, "compound_tokens": [[20]]}, "compound_tokens: id 20 is outside the table of 8 rows"),
    ],
)
def test_ids_beyond_the_table(folder, choices, message):
    assert len(tiny.VOCAB) == 33
    with pytest.raises(InputError, match=message):
        load_model(folder, **choices)


def test_untied_rows_are_cut_too(tmp_path):
    tiny.bert(tmp_path / "untied", tie_word_embeddings=False)
    cut = load_model(tmp_path / "untied", head="mlm", keep_tokens=KEEP)
    whole = load_model(tmp_path / "untied", head="mlm")
    assert torch.equal(cut.lm_head.decoder, whole.lm_head.decoder[KEEP])


def test_row_choices_of_a_table_of_any_rank():
    choice = RowChoices(keep_tokens=[2, 0], compound_tokens=[([0, 1], [3.0, 1.0])])
    assert choice.num_rows(3) == 3
    assert torch.equal(choice.apply(torch.tensor([1.0, 2.0, 3.0])), torch.tensor([3.0, 1.0, 2.5]))
    assert RowChoices().num_rows(7) == 7


def test_a_lengthened_position_table_follows_the_hierarchy(folder, stored):
    """q_k = p_y + alpha / (1 - alpha) (p_x - p_0) with k = x n + y, and the first n rows unchanged."""
    model = load_model(folder, max_position_embeddings=60)
    table, old = model.embeddings.position_embeddings.weight, stored[POSITIONS]
    rows = old.shape[0]
    assert torch.equal(table[:rows], old)
    ratio = 0.4 / 0.6
    for position in (rows, rows + 1, 2 * rows - 1, 2 * rows, 59):
        expected = old[position % rows] + ratio * (old[position // rows] - old[0])
        assert torch.allclose(table[position], expected, atol=1e-6)
    assert model.load_report.reshaped == {"embeddings.position_embeddings.weight": "(24, 16) -> (60, 16)"}


def test_a_shortened_position_table_is_its_beginning(folder, stored):
    model = load_model(folder, max_position_embeddings=10)
    assert torch.equal(model.embeddings.position_embeddings.weight, stored[POSITIONS][:10])
    with (
        torch.no_grad(),
        pytest.raises(InputError, match="a text of 11 tokens is longer than the model's 10 positions"),
    ):
        model(torch.ones(1, 11, dtype=torch.long))


def test_whatever_is_missing_is_named_and_must_be_allowed(folder, tmp_path):
    path = spoilt(folder, tmp_path / "x", intermediate__dense__weight=None, output__LayerNorm__bias=None)
    with pytest.raises(InputError) as caught:
        load_model(path)
    assert "the checkpoint lacks layers.0.attention_norm.bias" in caught.value.message
    assert "and 2 more" in caught.value.message
    assert caught.value.hint.split("; ")[0] == "--allow-partial 'layers.*' starts them at random"
    with pytest.raises(InputError, match=r"lacks layers\.1\.feed_forward\.input\.weight\n"):
        load_model(path, allow_partial=["layers.0.*", "*_norm.bias"])
    model = load_model(path, allow_partial=["layers.*"])
    report = model.load_report
    assert len(report.missing) == 6
    assert all(name.startswith("layers.") for name in report.missing)
    assert model.layers[0].feed_forward.input.weight.std() > 0  # at random, not left as memory was


def test_new_parts_are_no_absences(folder):
    model = load_model(folder, head="classification", condition_size=4, num_conditions=6)
    report = model.load_report
    assert report.missing == []
    assert "condition_embeddings.weight" in report.new
    assert "classifier.linear.weight" in report.new
    assert "cls.predictions.transform.dense.weight" in report.unexpected


def test_a_classifier_for_other_classes_starts_anew(tmp_path):
    tiny.bert(tmp_path / "classes", "BertForSequenceClassification", num_labels=3)
    same = load_model(tmp_path / "classes", head="classification")
    assert same.config.num_labels == 3
    assert same.load_report.new == []
    other = load_model(tmp_path / "classes", head="classification", num_labels=5)
    assert other.load_report.new == ["classifier.linear.weight", "classifier.linear.bias"]
    assert {"classifier.weight", "classifier.bias"} <= set(other.load_report.unexpected)


def test_a_wrong_shape_names_tensor_and_place(folder, tmp_path):
    path = spoilt(folder, tmp_path / "x", layer__0__attention__self__key__weight=torch.zeros(15, 16))
    parts = "`, `".join(f"bert.encoder.layer.0.attention.self.{part}.weight" for part in ("query", "key", "value"))
    with pytest.raises(InputError, match=rf"tensors `{parts}` together have shape \(47, 16\), .* asks for \(48, 16\)"):
        load_model(path)
    path = spoilt(folder, tmp_path / "y", embeddings__LayerNorm__weight=torch.zeros(15))
    with pytest.raises(
        InputError, match=r"`bert.embeddings.LayerNorm.weight` has shape \(15\), but .* asks for \(16\)"
    ):
        load_model(path)


def test_shared_layers_loaded_apart_start_equal(tmp_path):
    sizes = {"embedding_size": 8, "num_hidden_layers": 3}
    tiny.checkpoint(tmp_path / "albert", "AlbertConfig", "AlbertForMaskedLM", **sizes)
    shared, apart = (load_model(tmp_path / "albert", head="mlm", share_layers=name) for name in ("all", "none"))
    assert (len(shared.layers), len(apart.layers)) == (1, 3)
    ids = [[2, 9, 14, 3]]
    assert torch.equal(logits(shared, ids), logits(apart, ids))
    apart.layers[0].feed_forward.output.bias.data += 1  # three blocks of their own, not one under three names
    assert not torch.equal(apart.layers[0].feed_forward.output.bias, apart.layers[1].feed_forward.output.bias)


def test_half_precision_is_widened(folder, tmp_path):
    path = spoilt(folder, tmp_path / "half")
    tensors = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(path / "model.safetensors").items()}
    save_file(tensors, path / "model.safetensors")
    model = load_model(path)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert torch.equal(model.embeddings.word_embeddings.weight, tensors[WORDS].float())


def _of_2018(name: str) -> str:
    return name.removeprefix("bert.").replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta")


def test_names_from_before_2019_and_names_without_prefix(folder, tmp_path):
    path = spoilt(folder, tmp_path / "old")
    tensors = load_file(path / "model.safetensors")
    renamed = {_of_2018(name): tensor for name, tensor in tensors.items()}
    save_file(renamed | {"embeddings.position_ids": torch.arange(24)}, path / "model.safetensors")
    ids = [[2, 9, 14, 3]]
    model = load_model(path, head="mlm")
    assert torch.equal(logits(model, ids), logits(load_model(folder, head="mlm"), ids))
    assert model.load_report.unexpected == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"head": "mml"}, "unknown head `mml`"),
        ({"positions": "none"}, "unknown choice `positions`"),
        ({"position": "rotary", "key_size": 7}, "position `rotary` needs an even key_size"),
        ({"family": "brt"}, "unknown family `brt`"),
    ],
)
def test_wrong_choices(folder, arguments, message):
    with pytest.raises(UsageError, match=message):
        load_model(folder, **arguments)
