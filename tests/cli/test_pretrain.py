"""`nlpx pretrain` on a tiny corpus: new models and checkpoints, what the run folder holds, resuming, bad input."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tiny

SMALL = tiny.settings(
    "model.new={hidden_size: 16, num_layers: 1, num_attention_heads: 2, intermediate_size: 16}",
    "data.max_length=32",
    "data.held_out=0.2",
    "data.workers=1",
    "train.steps=20",
    "train.batch_size=8",
    "train.log_every=1",
    "train.eval_every=10",
    "train.save_every=10",
    "train.precision=float32",
)
PERFORMER = "model.new.choices.attention=performer"


def texts(count: int = 120, seed: int = 0) -> list[str]:
    chance = random.Random(seed)
    return [
        "".join(
            "".join(chance.choices(tiny.CHARACTERS, k=chance.randint(3, 9))) + "。" for _ in range(chance.randint(1, 4))
        )
        for _ in range(count)
    ]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NLPX_CACHE", "cache")
    Path("corpus.txt").write_text("".join(f"{text}\n" for text in texts()), encoding="utf-8")


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_run_folder(nlpx):
    outcome = nlpx("pretrain", "--data", "corpus.txt", *SMALL, "--out", "run")
    assert (outcome.code, outcome.out) == (0, "run\n")
    assert "preset pretrain/mlm-new\n" in outcome.err
    assert "masked accuracy" in Path("run/report.md").read_text("utf-8")
    kept = files(Path("run"))
    published = {"config.json", "model.safetensors", "vocab.txt", "nlpx_tokenizer.json"}
    assert {f"checkpoints/{name}/{file}" for name in ("best", "last") for file in published} <= kept
    manifest = json.loads(Path("run/manifest.json").read_text(encoding="utf-8"))
    assert (manifest["command"], manifest["state"]) == ("pretrain", "finished")
    assert [Path(given["path"]).name for given in manifest["inputs"]] == ["corpus.txt"]
    records = tiny.metrics(Path("run"))
    assert [r["step"] for r in records if r["split"] == "train"] == list(range(1, 21))
    assert {r["objective"] for r in records if r["split"] == "train"} == {"mlm"}
    dev = [r for r in records if r["split"] == "dev"]
    assert [r["step"] for r in dev] == [10, 20]
    assert dev[0]["objectives"].keys() == {"mlm"}
    assert manifest["primary_metric"] == {"name": "masked accuracy", "value": max(r["score"] for r in dev)}


@pytest.mark.parametrize("which", ["best", "last"])
def test_the_checkpoint_serves_every_command(nlpx, tmp_path, which):
    assert nlpx("pretrain", "--data", "corpus.txt", *SMALL, "--out", "run", "--quiet") == (0, "run\n", "")
    folder = f"run/checkpoints/{which}"
    assert nlpx("inspect", folder).code == 0
    tiny.write_rows(tmp_path / "rows.jsonl", tiny.rows(48))
    words = tiny.settings("train.epochs=1", "train.batch_size=8", "data.max_length=24", "task_options.condition_size=4")
    assert nlpx("finetune", "--data", "rows.jsonl", "--model", folder, *words, "--quiet").code == 0
    more = tiny.settings("data.max_length=32", "data.held_out=0.2", "train.epochs=1")
    outcome = nlpx("pretrain", "--data", "corpus.txt", "--model", folder, *more, "--out", "more")
    assert (outcome.code, outcome.out) == (0, "more\n")
    assert "starts at random" not in outcome.err
    assert "preset pretrain/mlm\n" in outcome.err


def test_a_mix_follows_every_objective(nlpx):
    mix = ("--objective", "unilm=2", "--objective", "sop", "--objective", "lm=1")
    result = json.loads(nlpx("pretrain", "--data", "corpus.txt", *SMALL, *mix, "--out", "run", "--json").out)
    assert [row["objective"] for row in result["table"]] == ["unilm", "sop", "lm"]
    assert {r["objective"] for r in tiny.metrics(Path("run")) if r["split"] == "train"} == {"unilm", "sop", "lm"}
    stored = json.loads(Path("run/checkpoints/best/config.json").read_text(encoding="utf-8"))["config"]
    assert (stored["heads"], stored["pooler"]) == (["lm", "sentence"], "tanh")
    assert result["score"] == pytest.approx(result["table"][0]["accuracy"])


def test_it_learns(nlpx):
    """Texts of one character repeated: after some hundred updates a hidden one is known from its neighbours."""
    lines = [tiny.CHARACTERS[number % 20] * (6 + number % 9) + "。" for number in range(150)]
    Path("corpus.txt").write_text("\n".join(lines), encoding="utf-8")
    changes = ("train.steps=150", "train.eval_every=150", "optim.learning_rate=0.01", "data.whole_words=false")
    words = (*SMALL, *tiny.settings(*changes, "model.new.hidden_size=32", "model.new.choices.initializer_range=0.1"))
    result = json.loads(nlpx("pretrain", "--data", "corpus.txt", *words, "--json").out)
    assert result["score"] > 0.6
    losses = [r["loss"] for r in tiny.metrics(Path(result["run"])) if r["split"] == "train"]
    assert losses[0] > 4
    assert losses[-1] < 2


@pytest.mark.parametrize(
    "changes",
    [
        ("model.new.choices.attention=performer", "data.documents=run_on"),
        ("model.new.choices.residual_scores=mean",),
        ("model.new.choices.attention_scale=entropy_invariant",),
        ("model.new.choices.share_layers=all", "model.new.num_layers=2"),
        ("model.new.position=relative", "objectives=[mlm, lm, unilm]"),
        ("model.new.position=hierarchical", "objectives=[lm, unilm]"),
    ],
    ids=lambda changes: changes[0],
)
def test_every_architecture_by_one_key(nlpx, changes):
    words = (*SMALL, *tiny.settings("train.steps=4", *changes), "--json")
    result = json.loads(nlpx("pretrain", "--data", "corpus.txt", *words).out)
    losses = [record["loss"] for record in tiny.metrics(Path(result["run"]))]
    assert len(losses) == 5
    assert all(0 < loss < 6 for loss in losses)


def test_a_causal_model_says_so(nlpx):
    words = ("--preset", "pretrain/lm", *SMALL, "--out", "run", "--quiet")
    assert nlpx("pretrain", "--data", "corpus.txt", *words).code == 0
    stored = json.loads(Path("run/checkpoints/best/config.json").read_text(encoding="utf-8"))["config"]
    assert stored["mask"] == "causal"


@pytest.mark.parametrize(("model", "lacks_head"), [("BertForMaskedLM", False), ("BertModel", True)])
def test_going_on_from_a_checkpoint(nlpx, tmp_path, model, lacks_head):
    tiny.bert(tmp_path / "bert", model, vocab_size=len(tiny.VOCAB) + 1, vocab=[*tiny.VOCAB, "。"])
    words = tiny.settings("data.max_length=24", "data.held_out=0.2", "train.epochs=1")
    outcome = nlpx("pretrain", "--data", "corpus.txt", "--model", "bert", *words, "--out", "run")
    assert (outcome.code, outcome.out) == (0, "run\n")
    assert ("missing, starts at random: lm_head.dense.weight" in outcome.err) == lacks_head
    vocab = Path("run/checkpoints/best/vocab.txt").read_text(encoding="utf-8").split()
    assert vocab == [*tiny.VOCAB, "。"]


def test_a_dry_run_writes_nothing_but_the_cache(nlpx, tmp_path):
    outcome = nlpx("pretrain", "--data", "corpus.txt", *SMALL, "--dry-run", "--json")
    plan = json.loads(outcome.out)
    assert {path.split("/")[0] for path in files(tmp_path)} == {"corpus.txt", "cache"}
    assert plan["documents"] == 120
    assert plan["seconds"] > 0
    assert plan["steps"] == 20
    assert plan["tokens"] == sum(len(text) for text in texts())  # no character is lost
    done = json.loads(nlpx("pretrain", "--data", "corpus.txt", *SMALL, "--json").out)
    assert plan["run"] == done["run"]
    from nlpx import load_model

    model = load_model(Path(done["run"]) / "checkpoints" / "best", head="mlm")
    assert plan["parameters"] == sum(parameter.numel() for parameter in model.parameters())


def test_what_the_shell_writes_out_of_a_pattern(nlpx):
    Path("more.txt").write_text("\n".join(texts(30, seed=1)), encoding="utf-8")
    plan = json.loads(nlpx("pretrain", "--data", "corpus.txt", "more.txt", *SMALL, "--dry-run", "--json").out)
    assert plan["documents"] == 150


def test_texts_from_stdin(nlpx, monkeypatch):
    tokenizer = tiny.write_vocab(Path("vocabulary"), [*tiny.VOCAB, "。"])
    text = Path("corpus.txt").read_bytes()

    def piped(*words):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text), encoding="utf-8"))
        return nlpx("pretrain", "--data", "-", *SMALL, *words)

    refused = piped()
    assert (refused.code, refused.out) == (2, "")
    assert "stdin can be read only once" in refused.err
    given = json.loads(piped("--tokenizer", str(tokenizer), "--json").out)
    words = ("--tokenizer", f"{tokenizer}/vocab.txt", "--json")
    from_file = json.loads(nlpx("pretrain", "--data", "corpus.txt", *SMALL, *words).out)
    assert given["score"] == from_file["score"]


def test_the_same_seed_gives_the_same_bytes(nlpx):
    mix = ("--objective", "mlm", "--objective", "unilm")
    for name in ("first", "second"):
        assert nlpx("pretrain", "--data", "corpus.txt", *SMALL, *mix, "--out", name, "--quiet").code == 0
    assert tiny.metrics(Path("first")) == tiny.metrics(Path("second"))
    weights = [Path(name, "checkpoints/last/model.safetensors").read_bytes() for name in ("first", "second")]
    assert weights[0] == weights[1]


@pytest.mark.skipif(os.name == "nt", reason="no such signals")
def test_an_interrupted_run_goes_on_to_the_bit(nlpx, monkeypatch):
    from nlpx.runs.folder import RunFolder

    words = ("--data", "corpus.txt", *SMALL, "--objective", "mlm", "--objective", "unilm=0.5")
    assert nlpx("pretrain", *words, "--out", "whole", "--quiet").code == 0
    record = RunFolder.metrics

    def interrupting(run, values):
        record(run, values)
        if values["step"] == 10 and values["split"] == "train":
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(RunFolder, "metrics", interrupting)
    assert nlpx("pretrain", *words, "--out", "run").code == 130
    assert json.loads(Path("run/checkpoints/last/training.json").read_text(encoding="utf-8"))["step"] == 10
    monkeypatch.setattr(RunFolder, "metrics", record)
    outcome = nlpx("pretrain", "--resume", "run")
    assert (outcome.code, outcome.out) == (0, "run\n")
    assert "resumed run after step 10\n" in outcome.err
    assert tiny.metrics(Path("whole")) == tiny.metrics(Path("run"))
    for name in ("last/model.safetensors", "last/training.safetensors", "last/training.json", "best/model.safetensors"):
        assert Path("whole/checkpoints", name).read_bytes() == Path("run/checkpoints", name).read_bytes(), name
    assert "nothing is left to do" in nlpx("pretrain", "--resume", "run").err


def test_two_processes_equal_one(nlpx):
    words = ("--data", "corpus.txt", *SMALL, "--objective", "mlm", "--objective", "unilm=0.5")
    plain = (*words, *tiny.settings("model.new.hidden_dropout=0", "model.new.attention_dropout=0"))
    assert nlpx("pretrain", *plain, "--out", "one", "--quiet").code == 0
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "nlpx_cli"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    subprocess.run([*command, "pretrain", *plain, "--out", "two"], check=True, capture_output=True, env=environment)
    one, two = tiny.metrics(Path("one")), tiny.metrics(Path("two"))
    assert [r.get("objective") for r in one] == [r.get("objective") for r in two]
    assert [r["tokens"] for r in one if "tokens" in r] == [r["tokens"] for r in two if "tokens" in r]
    assert [r["loss"] for r in one] == pytest.approx([r["loss"] for r in two], abs=1e-5)


@pytest.mark.parametrize(
    ("words", "code", "message", "hint"),
    [
        ((), 2, "there is no corpus", "--data corpus.jsonl"),
        (("--data", "corpus.txt", "--objective", "mlm=0"), 2, "the weights of mlm are all 0", None),
        (("--data", "corpus.txt", "--objective", "mlm=much"), 2, "'much' is no weight", "unilm=0.5"),
        (("--data", "corpus.txt", "--objective", "mlm", "--objective", "mlm=2"), 2, "given twice", None),
        (("--data", "corpus.txt", "--objective", "mml"), 2, "unknown objective `mml`", "did you mean `mlm`"),
        (("--data", "none.txt"), 3, "none.txt", None),
        (("--data", "corpus.txt", "--set", "data.held_out=1e-6"), 3, "none is left to evaluate", "data.held_out=0.1"),
        (("--data", "corpus.txt", "--set", PERFORMER), 2, "cannot keep the documents of a row apart", "run_on"),
        (("--data", "corpus.txt", "--set", PERFORMER, "--objective", "unilm"), 2, "mask of objective `unilm`", None),
        (("--data", "corpus.txt", "--set", "model.new.position=learnt"), 2, "model.new.position", "learned"),
    ],
)  # fmt: skip
def test_what_is_refused(nlpx, words, code, message, hint):
    outcome = nlpx("pretrain", *SMALL, *words)
    assert (outcome.code, outcome.out) == (code, ""), outcome.err
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    assert hint is None or hint in outcome.err
    assert not Path("runs").exists()


def test_models_that_do_not_fit(nlpx, tmp_path):
    tiny.bert(tmp_path / "bert")
    words = ("pretrain", "--data", "corpus.txt", *tiny.settings("data.held_out=0.2"))
    outcome = nlpx(*words, "--model", "bert")
    assert outcome.code == 2
    assert "data.max_length 128 is more than the 24 positions of bert" in outcome.err
    assert "--set model.choices.position=hierarchical" in outcome.err
    larger = tiny.write_vocab(tmp_path / "larger", [*tiny.VOCAB, "。", "，"])
    outcome = nlpx(*words, "--model", "bert", "--tokenizer", str(larger), *tiny.settings("data.max_length=24"))
    assert outcome.code == 3
    assert f"the vocabulary has {len(tiny.VOCAB) + 2} entries, the model's word table {len(tiny.VOCAB)}" in outcome.err
    bare = tiny.write_vocab(tmp_path / "bare", ["[PAD]", "[UNK]", *tiny.CHARACTERS])
    outcome = nlpx("pretrain", "--data", "corpus.txt", *SMALL, "--tokenizer", str(bare))
    assert outcome.code == 3
    assert "has no [CLS]" in outcome.err
    tiny.checkpoint(
        tmp_path / "other", "DistilBertConfig", "DistilBertModel", dim=16, n_layers=1, n_heads=2, hidden_dim=24
    )
    outcome = nlpx(*words, "--model", "other")
    assert outcome.code == 2
    assert "can be fine-tuned, not pretrained" in outcome.err


def test_too_little_memory_names_the_key(nlpx, monkeypatch):
    from nlpx.jobs.pretrain.mix import Mix

    def exhausted(_self, _model, _batch):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(Mix, "__call__", exhausted)
    outcome = nlpx("pretrain", "--data", "corpus.txt", *SMALL)
    assert outcome.code == 4
    assert "out of memory with `train.batch_size=8`" in outcome.err
    assert "--set train.batch_size=4 --set train.accumulation=2" in outcome.err


def test_resuming_refuses_another_run(nlpx):
    assert nlpx("pretrain", "--data", "corpus.txt", *SMALL, "--out", "run", "--quiet").code == 0
    outcome = nlpx("pretrain", "--resume", "run", "--objective", "lm")
    assert (outcome.code, outcome.out) == (2, "")
    assert "in the run to resume" in outcome.err
    Path("corpus.txt").write_text("\n".join(texts(90, seed=5)), encoding="utf-8")
    outcome = nlpx("pretrain", "--resume", "run", "--set", "train.steps=30")
    assert (outcome.code, outcome.out) == (3, "")
    assert "the checkpoint was made with other rows" in outcome.err


def test_one_stack_is_trained(nlpx):
    """An mT5 with a vocabulary of BERT's, as T5-PEGASUS has; its encoder alone can be."""
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": len(tiny.VOCAB)}
    tiny.checkpoint(Path("mt5"), "MT5Config", "MT5ForConditionalGeneration", **sizes)
    words = ("pretrain", "--data", "corpus.txt", "--model", "mt5", "--dry-run", "--set", "data.held_out=0.2")
    outcome = nlpx(*words)
    assert outcome.code == 2
    assert "it has a decoder, and pretraining trains one stack" in outcome.err
    outcome = nlpx(*words, "--set", "model.choices.num_decoder_layers=0")
    assert outcome.code == 0, outcome.err
