"""`nlpx pretrain --objective rtd`: two models that train as one, what each is good for, going on, resuming."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import processes
import tiny

SHAPE = "hidden_size: 16, num_layers: 1, num_attention_heads: 4, intermediate_size: 16, position: learned"
DATA = tiny.settings("data.max_length=32", "data.held_out=0.2", "data.workers=1", "train.precision=float32")
SMALL = (
    *("--data", "corpus.txt", "--objective", "rtd", *DATA),
    *tiny.settings(
        f"model.new={{{SHAPE}}}",
        "train.steps=8",
        "train.batch_size=8",
        "train.log_every=1",
        "train.eval_every=4",
        "train.save_every=4",
    ),
)
NO_DROPOUT = tiny.settings("model.new.hidden_dropout=0", "model.new.attention_dropout=0")
FILES = {"config.json", "model.safetensors", "vocab.txt", "nlpx_tokenizer.json"}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NLPX_CACHE", "cache")
    chance = random.Random(0)
    lines = ("".join(chance.choices(tiny.CHARACTERS, k=chance.randint(3, 40))) + "。\n" for _ in range(100))
    Path("corpus.txt").write_text("".join(lines), encoding="utf-8")


def names(folder: str) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()}


def test_the_run_and_what_it_leaves(nlpx):
    result = json.loads(nlpx("pretrain", *SMALL, "--out", "run", "--json").out)
    row = result["table"][0]
    assert row["objective"] == "rtd"
    assert result["score"] == row["explained"]
    assert 0 < row["replaced"] < 0.4
    assert row["loss"] == pytest.approx(row["generator_loss"] + 50 * row["discriminator_loss"])
    for name in ("best", "last"):
        assert FILES | {f"generator/{file}" for file in FILES} <= names(f"run/checkpoints/{name}")
    folders = [Path("run/checkpoints/best"), Path("run/checkpoints/best/generator")]
    stored = [json.loads((folder / "config.json").read_text("utf-8")) for folder in folders]
    assert [part["config"]["heads"] for part in stored] == [["discriminator"], ["lm"]]
    assert [part["config"]["hidden_size"] for part in stored] == [16, 4]
    words = [load_file(folder / "model.safetensors") for folder in folders]
    assert torch.equal(*(part["embeddings.word_embeddings.weight"] for part in words))
    assert (
        json.loads(Path("run/manifest.json").read_text("utf-8"))["primary_metric"]["name"]
        == "explained share of what is replaced"
    )


def test_the_discriminator_serves_every_command(nlpx, tmp_path):
    assert nlpx("pretrain", *SMALL, "--set", "model.new.choices.embedding_size=8", "--out", "run", "--quiet").code == 0
    assert "family      electra" in nlpx("inspect", "run/checkpoints/best").out
    from transformers import ElectraForMaskedLM, ElectraForPreTraining

    from nlpx import load_model

    ids = torch.arange(5, 15)[None]
    for part, head, kind in (("", "discriminator", ElectraForPreTraining), ("/generator", "mlm", ElectraForMaskedLM)):
        folder = f"run/checkpoints/best{part}"
        assert nlpx("convert", folder, f"hf{part}", "--to", "hf").code == 0
        ours = load_model(folder, head=head)(ids).logits
        torch.testing.assert_close(kind.from_pretrained(f"hf{part}").eval()(ids).logits, ours, atol=1e-5, rtol=0)
    tiny.write_rows(tmp_path / "rows.jsonl", tiny.rows(48))
    words = tiny.settings("train.epochs=1", "train.batch_size=8", "data.max_length=24", "task_options.condition_size=4")
    assert nlpx("finetune", "--data", "rows.jsonl", "--model", "run/checkpoints/best", *words, "--quiet").code == 0


def test_going_on_from_checkpoints(nlpx, tmp_path):
    """The generator beside a discriminator goes on, one that is named comes first, and `new` starts again."""
    assert nlpx("pretrain", *SMALL, "--out", "run", "--quiet").code == 0
    words = ("pretrain", "--data", "corpus.txt", "--objective", "rtd", *DATA, *tiny.settings("train.epochs=1"))
    best = ("--model", "run/checkpoints/best")
    for given, expected in (
        ((), "model: run/checkpoints/best/generator, family electra"),
        (("run/checkpoints/last/generator",), "model: run/checkpoints/last/generator, family electra"),
        (("new",), "generator: new, 1 layers x 4"),
    ):
        outcome = nlpx(*words, *best, *tiny.settings(*(f"objectives.rtd.generator={name}" for name in given)))
        assert outcome.code == 0, outcome.err
        assert expected in outcome.err, outcome.err
        assert "starts at random" not in outcome.err
    for folder, kind, width in (("one", "ElectraForPreTraining", 16), ("two", "ElectraForMaskedLM", 8)):
        sizes = {"hidden_size": width, "embedding_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        tiny.checkpoint(
            tmp_path / folder, "ElectraConfig", kind, **sizes, intermediate_size=24, max_position_embeddings=32
        )
    outcome = nlpx(*words, "--model", "one", *tiny.settings("objectives.rtd.generator=two"))
    assert outcome.code == 0, outcome.err
    assert "starts at random" not in outcome.err, outcome.err


@pytest.mark.skipif(os.name == "nt", reason="no such signals")
def test_an_interrupted_run_goes_on_to_the_bit(nlpx, monkeypatch):
    from nlpx.runs.folder import RunFolder

    assert nlpx("pretrain", *SMALL, "--out", "whole", "--quiet").code == 0
    record = RunFolder.metrics

    def interrupting(run, values):
        record(run, values)
        if values["step"] == 5 and values["split"] == "train":
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(RunFolder, "metrics", interrupting)
    assert nlpx("pretrain", *SMALL, "--out", "run").code == 130
    monkeypatch.setattr(RunFolder, "metrics", record)
    outcome = nlpx("pretrain", "--resume", "run")
    assert outcome.code == 0
    assert "resumed run after step 5\n" in outcome.err
    assert tiny.metrics(Path("whole")) == tiny.metrics(Path("run"))
    for name in ("model.safetensors", "generator/model.safetensors", "training.safetensors", "training.json"):
        ours, theirs = (Path(run, "checkpoints/last", name).read_bytes() for run in ("run", "whole"))
        assert ours == theirs, name


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_equal_one_and_go_on_as_one(nlpx, parallel):
    words = (*SMALL, *NO_DROPOUT)
    assert nlpx("pretrain", *words, "--out", "one", "--quiet").code == 0
    changes = tiny.settings(f"train.parallel={parallel}", "train.activation_checkpointing=true")
    processes.torchrun("-m", "nlpx_cli", "pretrain", *words, *changes, "--out", "two")
    one, two = tiny.metrics(Path("one")), tiny.metrics(Path("two"))
    assert [r["loss"] for r in one] == pytest.approx([r["loss"] for r in two], rel=1e-5)
    norms = [[r["gradient_norm"] for r in records if "gradient_norm" in r] for records in (one, two)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)
    outcome = nlpx("pretrain", "--resume", "two", "--set", "train.steps=9")
    assert outcome.code == 0, outcome.err
    assert "resumed two after step 8" in outcome.err, outcome.err


@pytest.mark.parametrize(
    ("words", "code", "message", "hint"),
    [
        (("--objective", "mlm=0.5"), 2, "`rtd` trains a pair of models and cannot be mixed with mlm", "one after"),
        (("--set", "objectives.rtd.generator_fraction=2"), 2, "objectives.rtd.generator_fraction", None),
        (("--set", "objectives.rtd.generator=bert"), 2, "cannot share the word table", "the same vocab_size"),
        (("--set", "objectives.rtd.generator=bert", "--set", "model.new.position=rotary"), 2,
         "the generator has learned positions, the discriminator rotary", "objectives.rtd.generator=new"),
        (("--set", "objectives.rtd.generator=./none"), 3, "none: no such", None),
    ],
)  # fmt: skip
def test_what_is_refused(nlpx, tmp_path, words, code, message, hint):
    tiny.bert(tmp_path / "bert", "BertForMaskedLM", max_position_embeddings=32, vocab_size=300)
    outcome = nlpx("pretrain", *SMALL, *words)
    assert (outcome.code, outcome.out) == (code, ""), outcome.err
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    assert hint is None or hint in outcome.err


def test_a_dry_run_counts_shared_tables_once(nlpx):
    plan = json.loads(nlpx("pretrain", *SMALL, "--dry-run", "--json").out)
    assert nlpx("pretrain", *SMALL, "--out", "run", "--quiet").code == 0
    parts = [load_file(Path("run/checkpoints/last", part, "model.safetensors")) for part in ("", "generator")]
    shared = [f"embeddings.{kind}_embeddings.weight" for kind in ("word", "position", "token_type")]
    numbers = sum(tensor.numel() for part in parts for tensor in part.values())
    assert plan["parameters"] == numbers - sum(parts[0][name].numel() for name in shared)
