"""The cost card: parameters against the model, FLOPs against torch's own counter, memory against its allocator."""

from __future__ import annotations

import json

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from nlpx.errors import InputError, UsageError
from nlpx.jobs.inspect.cost import configuration, cost, measure, peak_bytes
from nlpx.models.checkpoints.load import build
from nlpx.models.checkpoints.save import save_model
from nlpx.models.config import ModelConfig
from nlpx.models.cost import bert_like, config_warnings, count_parameters, flops_per_token
from nlpx.models.transformer import Transformer

LENGTH = 24


def config(**choices) -> ModelConfig:
    sizes = {"hidden_size": 16, "num_layers": 3, "num_attention_heads": 2, "intermediate_size": 40, "vocab_size": 50}
    return ModelConfig(**(sizes | choices))


ENCODER_DECODER = {
    "num_decoder_layers": 2,
    "head_size": 5,
    "position": "bucketed",
    "feed_forward": "gated",
    "norm": "rms",
    "norm_place": "pre",
    "embedding_norm": False,
    "use_bias": False,
    "attention_scale": "none",
    "type_vocab_size": 0,
    "heads": ("lm",),
    "lm_transform": False,
    "lm_bias": False,
}
CONFIGS = {
    "encoder": {},
    "mlm": {"heads": ("lm",), "pooler": "tanh"},
    "untied-no-transform": {"heads": ("lm",), "tie_word_embeddings": False, "lm_transform": False},
    "albert": {"heads": ("lm", "sentence"), "pooler": "tanh", "embedding_size": 8, "share_layers": "all"},
    "electra": {"heads": ("discriminator",), "embedding_size": 8, "family": "electra"},
    "rotary-gated-pre-rms": {"position": "rotary", "feed_forward": "gated", "norm": "rms", "norm_place": "pre"},
    "key-size": {"key_size": 4, "head_size": 12},
    "classes": {"heads": ("classification",), "num_labels": 5},
    "conditional": {"condition_size": 4, "num_conditions": 3, "condition_hidden_size": 6, "heads": ("lm",)},
    "conditional-pre": {"condition_size": 4, "num_conditions": 3, "norm_place": "pre", "embedding_size": 8},
    "performer": {"attention": "performer"},
    "performer-causal": {"attention": "performer", "mask": "causal", "performer_features": 11},
    "residual": {"residual_scores": "mean"},
    "entropy": {"attention_scale": "entropy_invariant"},
    "encoder-decoder": ENCODER_DECODER,
}


def inputs(model: Transformer) -> dict:
    ids = torch.randint(model.config.vocab_size, (1, LENGTH), generator=torch.Generator().manual_seed(0))
    if model.config.is_encoder_decoder:
        return {"source_ids": ids, "target_ids": ids}
    found = {"token_ids": ids, "segment_ids": torch.zeros_like(ids)}
    return found | ({"condition": torch.tensor([1])} if model.config.condition_size else {})


def loss(output) -> torch.Tensor:
    parts = (output.last_hidden_state, output.logits, output.pooled, output.heads.get("sentence"))
    return sum(part.sum() for part in parts if part is not None)


def counted(model: Transformer, *, backward: bool) -> int:
    """In training mode: with dropout attention is eager, and every product is one the counter knows."""
    model.train()
    with FlopCounterMode(display=False) as counter:
        result = loss(model(**inputs(model)))
        if backward:
            result.backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("name", CONFIGS)
def test_forward_flops_are_those_torch_counts(name):
    model = build(config(**CONFIGS[name]))
    assert flops_per_token(model.config, LENGTH).forward * LENGTH == pytest.approx(counted(model, backward=False))


def test_relative_positions_double_the_cost_of_scores():
    model = Transformer(config(position="relative", family="nezha"))
    expected = counted(model, backward=False)
    assert flops_per_token(model.config, LENGTH).forward * LENGTH == pytest.approx(expected)


@pytest.mark.parametrize(
    "name", ["encoder", "mlm", "albert", "electra", "rotary-gated-pre-rms", "key-size", "residual", "encoder-decoder"]
)
def test_training_costs_three_times_the_forward_pass(name):
    model = build(config(**CONFIGS[name]))
    assert flops_per_token(model.config, LENGTH).training * LENGTH == pytest.approx(counted(model, backward=True))


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_are_those_of_the_model(name):
    model = build(config(**CONFIGS[name]))
    found = count_parameters(model.named_parameters(), model.config)
    assert found.total == sum(parameter.numel() for parameter in model.parameters())
    unshared = build(model.config.with_choices(share_layers="none"))
    assert found.computed == sum(parameter.numel() for parameter in unshared.parameters())


def test_albert_saves_parameters_and_no_flops():
    shared = [config(**CONFIGS["albert"] | {"num_layers": layers}) for layers in (2, 12)]
    totals = [count_parameters(Transformer(one).named_parameters(), one).total for one in shared]
    assert totals[0] == totals[1]
    albert, bert = shared[1], bert_like(shared[1], LENGTH)
    full = count_parameters(Transformer(bert).named_parameters(), bert)
    block = full.blocks // 12
    hidden, narrow, vocab, positions = 16, 8, 50, 512
    narrower = (vocab + positions + 2 + 2) * (hidden - narrow) - (narrow * hidden + hidden)
    head = (hidden * hidden + 3 * hidden) - (hidden * narrow + 3 * narrow)
    assert full.total - totals[1] == 11 * block + narrower + head
    mine, theirs = flops_per_token(albert, LENGTH), flops_per_token(bert, LENGTH)
    assert mine.blocks == theirs.blocks
    assert mine.embeddings - theirs.embeddings == 2 * narrow * hidden
    assert theirs.heads - mine.heads == 2 * (hidden - narrow) * (hidden + vocab)


@pytest.mark.parametrize("name", ["albert", "key-size", "performer", "conditional", "rotary-gated-pre-rms"])
def test_the_bert_beside_it_is_plain(name):
    bert = bert_like(config(**CONFIGS[name]), 700)
    assert (bert.family, bert.position, bert.attention, bert.share_layers) == ("bert", "learned", "softmax", "none")
    assert (bert.embedding_size, bert.key_size, bert.condition_size, bert.max_position_embeddings) == (16, 8, 0, 700)


def test_memory_is_what_torch_allocates(tmp_path):
    model = Transformer(config(heads=("lm",))).eval()
    weights = sum(parameter.nbytes for parameter in model.parameters())
    with torch.inference_mode():
        given = inputs(model)
        found = peak_bytes(model, given) - weights
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as log:
            model(**given)
    log.export_chrome_trace(str(tmp_path / "log.json"))
    events = json.loads((tmp_path / "log.json").read_text(encoding="utf-8"))["traceEvents"]
    now = peak = 0
    for event in sorted((one for one in events if one["name"] == "[memory]"), key=lambda one: one["ts"]):
        now += event["args"]["Bytes"]
        peak = max(peak, now)
    assert found == pytest.approx(peak, rel=0.02)  # the allocator rounds small pieces up
    assert found > LENGTH * 50 * 4


def test_models_take_turns_and_sharing_leaves_activations_alone():
    albert = config(share_layers="all")
    models = {"model": Transformer(albert).eval(), "bert": Transformer(bert_like(albert, 32)).eval()}
    measured = measure(models, 32, rounds=3, device=torch.device("cpu"))
    assert all(found["seconds"] > 0 for found in measured.values())
    sizes = {role: sum(p.nbytes for p in model.parameters()) for role, model in models.items()}
    activations = {role: measured[role]["peak_bytes"] - sizes[role] for role in models}
    assert activations["model"] == activations["bert"] > 0


def test_what_is_misunderstood_is_said():
    assert config_warnings(config()) == []
    (albert,) = config_warnings(config(share_layers="all"))
    assert "not time" in albert
    assert "passes 3" in albert
    (discriminator,) = config_warnings(config(**CONFIGS["electra"]))
    assert "cannot fill masks or generate" in discriminator
    (generator,) = config_warnings(config(family="electra", heads=("lm",)))
    assert "small on purpose" in generator


def test_the_card_of_a_checkpoint(tmp_path):
    model = Transformer(config(**CONFIGS["albert"] | {"max_position_embeddings": 20, "family": "albert"}))
    save_model(model, tmp_path)
    card = cost(str(tmp_path), lengths=(8, 128), rounds=1, device="cpu")
    assert list(card["model"]["lengths"]) == ["8", "20"]  # it has 20 positions
    total = sum(parameter.numel() for parameter in model.parameters())
    assert card["model"]["parameters"]["total"] == total
    assert card["model"]["bytes"]["disk"] == (tmp_path / "model.safetensors").stat().st_size
    assert card["model"]["bytes"]["training"] == 16 * total
    assert card["ratio"]["parameters"]["total"] == pytest.approx(total / card["bert"]["parameters"]["total"])
    assert card["ratio"]["lengths"]["8"].keys() == {"flops_forward", "flops_training", "seconds", "peak_bytes"}
    assert len(card["remarks"]) == 1
    json.dumps(card)


def test_the_card_of_a_preset(tmp_path):
    found, disk = configuration("finetune/sohu-new")
    assert (found.hidden_size, found.num_layers, found.heads, disk) == (128, 2, ("classification",), None)
    mine = tmp_path / "mine.yaml"
    mine.write_text("extends: finetune/sohu\nmodel: {name: new, new: {num_layers: 1, vocab_size: 99}}\n")
    assert configuration(str(mine))[0].vocab_size == 99
    save_model(Transformer(config()), tmp_path / "stored")
    mine.write_text(f"extends: finetune/sohu\nmodel: {{name: {tmp_path / 'stored'}}}\n")
    found, disk = configuration(str(mine))
    assert (found.vocab_size, found.condition_size > 0) == (50, True)
    assert disk == (tmp_path / "stored" / "model.safetensors").stat().st_size


def test_what_has_no_card(tmp_path):
    with pytest.raises(UsageError, match="no preset file at"):
        configuration(str(tmp_path / "none.yaml"))
    (tmp_path / "lost.yaml").write_text("seed: 3\n")
    with pytest.raises(UsageError, match="which command is this preset for"):
        configuration(str(tmp_path / "lost.yaml"))
    with pytest.raises(InputError, match="no such file or directory"):
        configuration("./none")
