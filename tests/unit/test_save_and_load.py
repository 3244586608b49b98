"""Checkpoints written and read again, hub names without a hub, and encoders of other families."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import tiny
from nlpx import load_model
from nlpx.errors import InputError, UsageError
from nlpx.models.checkpoints.backbone import Backbone
from nlpx.models.checkpoints.hub import looks_like_hub_name
from nlpx.models.checkpoints.resolve import resolve
from nlpx.models.checkpoints.save import save_model
from nlpx.models.config import ModelConfig
from nlpx.models.transformer import Transformer

IDS = [[2, 9, 14, 21, 3]]


def config(**choices) -> ModelConfig:
    sizes = {"hidden_size": 16, "num_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "vocab_size": 33}
    return ModelConfig(**(sizes | choices))


CHOICES = {
    "rotary": {"position": "rotary", "family": "roformer"},
    "relative": {"position": "relative", "family": "nezha"},
    "conditional": {"condition_size": 4, "num_conditions": 3, "condition_hidden_size": 5},
    "pre-rms-gated": {"norm": "rms", "norm_place": "pre", "feed_forward": "gated", "use_bias": False},
    "sizes": {"head_size": 6, "key_size": 4, "embedding_size": 8, "share_layers": "all"},
    "heads": {"pooler": "linear", "heads": ("lm", "sentence"), "tie_word_embeddings": False},
    "classes": {"heads": ("classification",), "num_labels": 7, "classification_pooling": "first"},
    "discriminator": {"heads": ("discriminator",), "position": "hierarchical", "type_vocab_size": 0},
}


@pytest.mark.parametrize("name", CHOICES)
def test_every_part_survives_saving(tmp_path, name):
    torch.manual_seed(0)
    model = Transformer(config(**CHOICES[name])).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    save_model(model, tmp_path)
    kept = {key: getattr(model.config, key) for key in ("heads", "pooler", "classification_pooling", "mask")}
    again = load_model(tmp_path, **kept)
    assert again.config == model.config
    assert not again.load_report.missing
    assert not again.load_report.unexpected
    assert not again.load_report.new
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    condition = torch.tensor([2]) if model.config.condition_size else None
    with torch.no_grad():
        first, second = (made(torch.tensor(IDS), condition=condition) for made in (model, again))
    assert torch.equal(first.last_hidden_state, second.last_hidden_state)
    save_model(again, tmp_path / "again")
    weights = "model.safetensors"
    assert (tmp_path / weights).read_bytes() == (tmp_path / "again" / weights).read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="no such rights")
def test_others_may_read_what_one_saves(tmp_path):
    save_model(Transformer(config()), tmp_path)
    (tmp_path / "any").touch()
    assert {file.stat().st_mode for file in tmp_path.iterdir()} == {(tmp_path / "any").stat().st_mode}


def test_a_configuration_of_ours_with_a_wrong_key(tmp_path):
    save_model(Transformer(config()), tmp_path)
    file = tmp_path / "config.json"
    saved = json.loads(file.read_text(encoding="utf-8"))
    saved["config"]["norn"] = "rms"
    file.write_text(json.dumps(saved), encoding="utf-8")
    with pytest.raises(InputError, match="the configuration is not usable: norn: Extra inputs are not permitted"):
        load_model(tmp_path)


# --- encoders of other families, through transformers


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    path = tmp_path_factory.mktemp("other") / "distil"
    sizes = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24}
    return path, tiny.checkpoint(path, "DistilBertConfig", "DistilBertModel", **sizes)


def test_another_encoder_answers_as_transformers_does(other):
    path, theirs = other
    model = load_model(path)
    ids, mask = torch.tensor([[2, 9, 14, 3], [2, 9, 3, 0]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    with torch.no_grad():
        output = model(ids, attention_mask=mask, return_hidden_states=True)
        expected = theirs(ids, attention_mask=mask, output_hidden_states=True)
    assert torch.equal(output.last_hidden_state, expected.last_hidden_state)
    assert len(output.hidden_states) == 2
    with pytest.raises(UsageError, match="takes no mask name and no condition"):
        model(ids, mask="causal")
    with pytest.raises(UsageError, match="`position` can be chosen for nlpx families only"):
        load_model(path, position="rotary")


def test_another_encoder_with_its_classifier_survives_saving(other, tmp_path):
    model = load_model(other[0], head="classification", num_labels=3)
    model.save(tmp_path)
    again = load_model(tmp_path, head="classification", num_labels=3)
    assert isinstance(again, Backbone)
    ids = torch.tensor(IDS)
    with torch.no_grad():
        assert torch.equal(model(ids).logits, again(ids).logits)
    assert sum(p.numel() for p in other[1].parameters()) == Backbone.count_parameters(other[0])


def test_what_transformers_does_not_know_either(tmp_path):
    tiny.bert(tmp_path / "x")
    file = tmp_path / "x" / "config.json"
    saved = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(saved | {"model_type": "brt"}), encoding="utf-8")
    with pytest.raises(InputError, match="neither an nlpx family nor known to transformers"):
        load_model(tmp_path / "x")


# --- hub names


def test_a_local_directory_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny.bert(Path("org/model"))
    assert resolve("org/model") == Path("org/model")


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("org/model", True),
        ("model", True),
        ("org/model@v1", True),
        ("org/model@refs/pr/1", True),
        ("org/model@", False),
        ("./model", False),
        ("/a/model", False),
        ("a/b/c", False),
        ("a\\b", False),
    ],
)
def test_what_looks_like_a_hub_name(name, is_one):
    assert looks_like_hub_name(name) is is_one


def nlpx(*words: str, **environment: str) -> tuple[int, str, str]:
    """In a process of its own: the hub's library reads its environment once."""
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGINGFACE", "TRANSFORMERS"))
    }
    command = [sys.executable, "-m", "nlpx_cli", *words]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=kept | environment, check=False)
    return done.returncode, done.stdout, done.stderr


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


WAYS_OUT = "  set HF_ENDPOINT to a mirror, or give a local directory\n"


def test_an_unreachable_hub(tmp_path):
    endpoint = f"http://127.0.0.1:{closed_port()}"
    got = nlpx("inspect", "org/model", HF_ENDPOINT=endpoint, HF_HOME=str(tmp_path))
    reason = f"{endpoint} cannot be reached (Connection refused)"
    assert got == (4, "", f"Error: org/model: no such directory, not in the cache, and {reason}\n{WAYS_OUT}")


def test_offline_mode_and_the_cache(tmp_path):
    """The cache's layout by hand: refs name a commit, snapshots hold the files."""
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "HF_ENDPOINT": f"http://127.0.0.1:{closed_port()}"}
    got = nlpx("inspect", "org/model", **offline)
    assert (got[0], got[1]) == (4, "")
    assert "org/model: no such directory, and not in the cache (offline mode is on)\n" in got[2]
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--org--model"
    snapshot = repository / "snapshots" / commit
    tiny.bert(tmp_path / "made")
    shutil.copytree(tmp_path / "made", snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit, encoding="utf-8")
    code, out, err = nlpx("inspect", "org/model", "--json", **offline)
    assert (code, err) == (0, "")
    facts = json.loads(out)
    assert (facts["path"], facts["family"], facts["tokenizer"]["kind"]) == (str(snapshot), "bert", "char")
    # A repository without safetensors, as the start of a fine-tuning.
    torch.save(load_file(snapshot / "model.safetensors"), snapshot / "pytorch_model.bin")
    (snapshot / "model.safetensors").unlink()
    tiny.write_rows(tmp_path / "rows.jsonl", tiny.rows(30))
    words = ("--data", str(tmp_path / "rows.jsonl"), "--model", "org/model", "--out", str(tmp_path / "run"))
    chosen = tiny.settings("data.max_length=24", "train.epochs=1")
    code, out, err = nlpx("finetune", *words, *chosen, "--quiet", **offline)
    assert (code, out, err) == (0, f"{tmp_path / 'run'}\n", "")
    assert load_file(tmp_path / "run" / "checkpoints" / "best" / "model.safetensors")


def test_a_run_folder_stands_for_its_best_checkpoint(tmp_path):
    tiny.bert(tmp_path / "checkpoints" / "best")
    names = set(load_model(tmp_path).state_dict())
    assert names == set(load_model(tmp_path / "checkpoints" / "best").state_dict())
    young = tmp_path / "young"
    young.mkdir()
    for name in ("manifest.json", "config.yaml"):
        (young / name).write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="a run folder without a checkpoint"):
        load_model(young)
