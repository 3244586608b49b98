"""`nlpx list`, and `nlpx finetune --tricks`: what a run says of its tricks, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import tiny

CLASSIFY = ("finetune", "--task", "classify", "--data", "rows.jsonl")
SMALL = tiny.settings(
    *[setting for setting in tiny.SMALL if not setting.startswith(("task_options", "train.epochs"))],
    "train.steps=4",
    "train.precision=float32",
    "model.new.hidden_dropout=0.1",
)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    tiny.write_rows(Path("rows.jsonl"), tiny.labelled(60))


def test_a_run_names_its_tricks_and_their_shares(nlpx):
    outcome = nlpx(*CLASSIFY, *SMALL, "--tricks", "rdrop,fgm,ema", "--out", "run")
    assert outcome.code == 0
    assert "tricks, innermost first: r_drop, fgm, ema" in outcome.err
    records = [record for record in tiny.metrics(Path("run")) if record["split"] == "train"]
    assert all(set(record["shares"]) == {"r_drop", "fgm"} for record in records)
    assert all(record["shares"]["r_drop"] > 0 for record in records)
    assert "of it r_drop +" in (Path("run") / "log.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "tricks", ["vat,gradient_penalty", "pgd,flooding,mixout", "weissi,multi_sample_dropout,weight_noise"]
)
def test_tricks_run_to_the_end(nlpx, tricks):
    assert nlpx(*CLASSIFY, *SMALL, "--tricks", tricks, "--set", "loss=f1", "--out", "run").code == 0


def test_conflicts_and_wrong_names_are_refused(nlpx):
    outcome = nlpx(*CLASSIFY, *SMALL, "--tricks", "fgm,pgd", "--out", "run")
    assert outcome.code == 2
    assert "the tricks `fgm` and `pgd` cannot be joined" in outcome.err
    outcome = nlpx(*CLASSIFY, *SMALL, "--tricks", "floding", "--out", "run")
    assert outcome.code == 2
    assert "did you mean `flooding`?" in outcome.err
    settings = ("--set", "train.activation_checkpointing=true")
    outcome = nlpx(*CLASSIFY, *SMALL, *settings, "--tricks", "gradient_penalty", "--out", "run")
    assert outcome.code == 2
    assert "differentiates twice" in outcome.err


def test_the_rule_of_decision_is_kept_in_the_checkpoint(nlpx):
    settings = ("--set", "loss=logit_adjustment", "--set", "loss_options.decide_for=accuracy")
    assert nlpx(*CLASSIFY, *SMALL, *settings, "--out", "run").code == 0
    task = json.loads((Path("run") / "checkpoints" / "best" / "task.json").read_text(encoding="utf-8"))
    assert len(task["state"]["decision_shift"]) == 3
    assert nlpx("predict", "run", "rows.jsonl").code == 0


@pytest.mark.parametrize("kind", ["tricks", "losses", "optimizers", "tasks"])
def test_a_listing_has_a_line_each(nlpx, kind):
    outcome = nlpx("list", kind, "--json")
    assert outcome.code == 0
    names = [json.loads(line)["name"] for line in outcome.out.splitlines()]
    assert nlpx("list", kind, "--quiet").out.split() == names
    assert len(nlpx("list", kind).out.splitlines()) > len(names)


def test_an_unknown_listing_gets_the_nearest(nlpx):
    outcome = nlpx("list", "trick")
    assert outcome.code == 2
    assert "did you mean `tricks`?" in outcome.err
