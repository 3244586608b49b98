"""T5 and mT5 equal transformers': logits, loss and gradients, generation, and files in both directions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from nlpx import load_model
from nlpx.decode.generation import EncoderDecoderDecoder, GenerationSettings, generate
from nlpx.errors import InputError
from nlpx.models.checkpoints.names import written_name
from nlpx.models.checkpoints.save import export_model, save_model, unfused
from nlpx.models.encoder_decoder import EncoderDecoder
from nlpx.models.families import t5
from nlpx.models.transformer import Transformer
from tf_bundle_writer import write_bundle

transformers = pytest.importorskip("transformers")

SIZES: dict[str, Any] = {
    "vocab_size": 61,
    "d_model": 24,
    "d_kv": 10,  # so that heads times key size is not the width
    "d_ff": 36,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 3,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 20,
    "dropout_rate": 0.0,
}
# name -> (prefix of the classes, further keys, whether a head of its own is written into the file)
MODELS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "t5": ("T5", {}, False),
    "t5.1.1": ("T5", {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}, True),
    "t5-own-head-divided": ("T5", {"layer_norm_epsilon": 1e-3}, True),
    "mt5": ("MT5", {}, True),
    "mt5-tied": ("MT5", {"layer_norm_epsilon": 1e-3}, False),
    "mt5-silu": ("MT5", {"feed_forward_proj": "gated-silu"}, True),
}


def reference(name: str, folder: Path) -> Any:
    """A transformers model with random weights, read back from `folder`: there a head of its own is kept."""
    prefix, keys, has_own_head = MODELS[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{prefix}Config")(**(SIZES | keys))
    kind = getattr(transformers, f"{prefix}ForConditionalGeneration")
    model = kind(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    model.save_pretrained(folder)
    if has_own_head:
        tensors = load_file(folder / "model.safetensors")
        tensors["lm_head.weight"] = torch.randn(61, 24) * 0.3
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    stored = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(stored | {"tie_word_embeddings": not has_own_head or not keys}))
    if name == "t5.1.1":  # as the published ones are: the key is what switches the division off
        stored.pop("scale_decoder_outputs", None)
        (folder / "config.json").write_text(json.dumps(stored | {"tie_word_embeddings": False}))
    found = kind.from_pretrained(folder).eval()
    assert (found.lm_head.weight is not found.shared.weight) is has_own_head
    return found


def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    source_ids = torch.randint(3, 61, (3, 30), generator=generator)  # longer than the largest distance
    target_ids = torch.randint(3, 61, (3, 26), generator=generator)
    target_ids[:, 0] = 0
    source_mask = torch.ones_like(source_ids)
    source_mask[1, 17:] = 0
    return {"source_ids": source_ids, "source_mask": source_mask, "target_ids": target_ids}


def their_arguments(ours: dict[str, Tensor]) -> dict[str, Tensor]:
    names = {"source_ids": "input_ids", "source_mask": "attention_mask", "target_ids": "decoder_input_ids"}
    return {names[key]: value for key, value in ours.items()}


@pytest.mark.parametrize("name", MODELS)
def test_logits_equal(name: str, tmp_path: Path) -> None:
    theirs, ours = reference(name, tmp_path), load_model(tmp_path, head="lm")
    assert isinstance(ours, EncoderDecoder)
    assert ours.config.tie_word_embeddings is not MODELS[name][2]
    with torch.no_grad():
        expected = theirs(**their_arguments(batch()), output_hidden_states=True)
        found = ours(**batch())
        states = ours.encoder(batch()["source_ids"], attention_mask=batch()["source_mask"]).last_hidden_state
    real = batch()["source_mask"].bool()
    torch.testing.assert_close(states[real], expected.encoder_last_hidden_state[real], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.logits, expected.logits, atol=2e-5, rtol=1e-5)
    report = ours.load_report
    assert not report.missing
    assert not report.unexpected
    assert not report.alerts


@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients_equal(name: str, tmp_path: Path) -> None:
    theirs, ours = reference(name, tmp_path), load_model(tmp_path, head="lm")
    values = batch()
    labels = values["target_ids"].roll(-1, dims=1)  # (B, T)
    labels[0, 11:] = -100
    places = (labels.flatten() >= 0).nonzero().squeeze(1)  # N
    theirs(**their_arguments(values), labels=labels).loss.backward()
    output = ours(**values, lm_positions=places, lm_targets=labels.flatten()[places])
    assert not output.heads
    (output.lm_loss / len(places)).backward()
    logits = ours(**values).logits.flatten(0, 1)[places]  # (N, V)
    whole = functional.cross_entropy(logits, labels.flatten()[places], reduction="sum")
    torch.testing.assert_close(output.lm_loss, whole)
    gradients = {key: value.grad for key, value in theirs.named_parameters()}
    table = t5.written_names(ours.config)
    compared = set()
    for name_of_ours, parameter in ours.named_parameters():
        for wanted, piece in unfused(name_of_ours, parameter.grad, ours.config, table):
            written = written_name(table, wanted)
            assert written is not None
            torch.testing.assert_close(piece, gradients[written[0]], atol=1e-5, rtol=1e-4)
            compared.add(written[0])
    assert compared == set(gradients)


@pytest.mark.parametrize("name", MODELS)
def test_round_trip_is_bit_exact(name: str, tmp_path: Path) -> None:
    theirs = reference(name, tmp_path / "theirs")
    save_model(load_model(tmp_path / "theirs", head="lm"), tmp_path / "ours")
    export_model(load_model(tmp_path / "ours", head="lm"), tmp_path / "back")
    back = type(theirs).from_pretrained(tmp_path / "back").eval()
    assert set(theirs.state_dict()) == set(back.state_dict())
    for key, before in theirs.state_dict().items():
        assert torch.equal(before, back.state_dict()[key]), key
    with torch.no_grad():
        first, second = theirs(**their_arguments(batch())), back(**their_arguments(batch()))
    assert torch.equal(first.logits, second.logits)


def test_of_both_forms_the_encoder_alone_is_taken(tmp_path: Path) -> None:
    theirs = reference("mt5", tmp_path / "theirs")
    save_model(load_model(tmp_path / "theirs", head="lm"), tmp_path / "ours")
    transformers.MT5EncoderModel.from_pretrained(tmp_path / "theirs").save_pretrained(tmp_path / "encoder")
    for folder in ("theirs", "ours", "encoder"):
        ours = load_model(tmp_path / folder)
        assert isinstance(ours, Transformer)
        assert not ours.load_report.unexplained
        with torch.no_grad():
            expected = theirs.get_encoder()(input_ids=batch()["source_ids"]).last_hidden_state
            found = ours(batch()["source_ids"]).last_hidden_state
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_what_an_encoder_or_a_decoder_cannot_do_is_refused(tmp_path: Path) -> None:
    reference("mt5", tmp_path / "both")
    transformers.MT5EncoderModel.from_pretrained(tmp_path / "both").save_pretrained(tmp_path / "encoder")
    with pytest.raises(InputError, match="an encoder without its decoder"):
        load_model(tmp_path / "encoder", head="lm")
    with pytest.raises(InputError, match="fills no masks"):
        load_model(tmp_path / "both", head="mlm")
    assert load_model(tmp_path / "both", head="classification", num_labels=3).config.num_decoder_layers == 0


def test_layers_beyond_the_configuration_are_named(tmp_path: Path) -> None:
    reference("t5", tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(stored | {"num_decoder_layers": 2}))
    with pytest.warns(match="stores 3 layers"):
        alerts = load_model(tmp_path, head="lm").load_report.alerts
    assert alerts == [f"{tmp_path} stores 3 layers, the configuration takes 2: the rest is left out"]


KERAS = {
    "vocab_size": 61,
    "hidden_size": 24,
    "num_attention_heads": 3,
    "attention_head_size": 10,
    "num_hidden_layers": 2,
    "intermediate_size": 36,
    "hidden_dropout_prob": 0.1,
}


def google_names(state: dict[str, Tensor], norm: str) -> dict[str, Any]:
    """The variables of Google's bundles: maps and the relative bias input by output, norms under `norm`."""
    made = {}
    for key, tensor in state.items():
        parts = key.removesuffix(".weight").split(".")
        if parts == ["shared"]:
            made["shared/embedding"] = tensor.numpy()
        elif parts == ["lm_head"]:
            made["decoder/logits/kernel"] = tensor.T.numpy()
        elif parts[1] == "final_layer_norm":
            made[f"{parts[0]}/{'final_' if norm == 'layer_norm' else ''}{norm}/scale"] = tensor.numpy()
        elif parts[1] == "block":
            path = f"{parts[0]}/block_{int(parts[2]):03d}/layer_{int(parts[4]):03d}"
            if parts[5] == "layer_norm":
                made[f"{path}/{norm}/scale"] = tensor.numpy()
            else:
                ending = "/kernel" if parts[5] == "DenseReluDense" else ""
                made[f"{path}/{parts[5]}/{parts[6]}{ending}"] = tensor.T.numpy()
    return made


@pytest.mark.parametrize(("name", "norm"), [("t5", "layer_norm"), ("t5.1.1", "rms_norm")])
def test_google_layout_loads(name: str, norm: str, tmp_path: Path) -> None:
    """By the names, orientations and sizes of `T5_Base.variable_mapping` and the configurations in bert4keras."""
    theirs = reference(name, tmp_path / "theirs")
    state = {key: tensor for key, tensor in theirs.state_dict().items() if "embed_tokens" not in key}
    if name == "t5":
        state.pop("lm_head.weight")
    folder = tmp_path / "google"
    folder.mkdir()
    variables = google_names(state, norm)
    variables["shared/embedding_slot_v"] = variables["shared/embedding"]
    write_bundle(folder / "model.ckpt", variables)
    act = "relu" if name == "t5" else ["gelu", "linear"]
    buckets = {"relative_attention_max_distance": 20, "num_decoder_layers": 3}  # theirs are fixed
    (folder / "config.json").write_text(json.dumps(KERAS | buckets | {"hidden_act": act}))
    ours = load_model(folder, head="lm")
    assert ours.config.family == "t5"
    assert ours.load_report.reason == "T5's names"
    assert ours.config.lm_scale == ("sqrt" if name == "t5" else "none")
    assert not ours.load_report.unexplained
    with torch.no_grad():
        expected = theirs(**their_arguments(batch())).logits
        torch.testing.assert_close(ours(**batch()).logits, expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["t5", "mt5"])
def test_greedy_tokens_equal(name: str, tmp_path: Path) -> None:
    """One by one and together, with sources of different lengths."""
    theirs, decoder = reference(name, tmp_path), EncoderDecoderDecoder(load_model(tmp_path, head="lm"))
    values, length = batch(), 20
    expected = theirs.generate(
        values["source_ids"],
        attention_mask=values["source_mask"],
        max_new_tokens=length,
        do_sample=False,
        num_beams=1,
        eos_token_id=None,
        decoder_start_token_id=0,
        use_cache=False,  # theirs is made for as many layers as the encoder has
    )[:, 1:]  # (B, T)
    pairs = zip(values["source_ids"], values["source_mask"], strict=True)
    sources = [token_ids[mask.bool()].tolist() for token_ids, mask in pairs]
    alone = [([source], row[None]) for source, row in zip(sources, expected, strict=True)]
    for group, wanted in [(sources, expected), *alone]:
        with torch.no_grad():
            logits, state = decoder.start(group)
            found = [logits.argmax(-1)]
            while len(found) < length:
                found.append(decoder.step(found[-1], state).argmax(-1))
        assert torch.equal(torch.stack(found, 1), wanted)


@pytest.mark.parametrize("name", ["t5", "mt5"])
@pytest.mark.parametrize("num_beams", [2, 4])
def test_beams_equal(name: str, num_beams: int, tmp_path: Path) -> None:
    """The best answer to sources of different lengths, and its score, the plain sum of log probabilities."""
    theirs, decoder = reference(name, tmp_path), EncoderDecoderDecoder(load_model(tmp_path, head="lm"))
    values, end = batch(), 1
    expected = theirs.generate(
        values["source_ids"],
        attention_mask=values["source_mask"],
        max_new_tokens=12,
        do_sample=False,
        num_beams=num_beams,
        length_penalty=0.0,
        eos_token_id=end,
        pad_token_id=0,
        decoder_start_token_id=0,
        use_cache=False,
        return_dict_in_generate=True,
        output_scores=True,
    )
    pairs = zip(values["source_ids"], values["source_mask"], strict=True)
    sources = [token_ids[mask.bool()].tolist() for token_ids, mask in pairs]
    settings = GenerationSettings(max_new_tokens=12, num_beams=num_beams)
    found = generate(decoder, sources, settings, end_ids=[end])
    rows = zip(found, expected.sequences[:, 1:].tolist(), expected.sequences_scores.tolist(), strict=True)
    for (best, *_), tokens, score in rows:
        written = [*best.token_ids, *[end] * best.is_finished]
        assert tokens[: len(written)] == written
        assert set(tokens[len(written) :]) <= {0}
        assert best.score == pytest.approx(score, abs=1e-3)  # float32 sums of 12 terms in another order
