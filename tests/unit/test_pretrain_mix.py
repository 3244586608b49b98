"""The mix of objectives: drawn by weight, the same everywhere; evaluation on fixed masks."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from nlpx.configuration.presets import resolve
from nlpx.errors import UsageError
from nlpx.jobs.pretrain import Config, preset_for
from nlpx.jobs.pretrain.evaluation import HeldOutRows, table
from nlpx.jobs.pretrain.mix import Mix, heads, row_facts
from nlpx.objectives import RowFacts, lm, mlm, sop, unilm
from nlpx.tokenizers.char import CharTokenizer
from nlpx.tokenizers.vocab import SPECIAL_TOKENS, Vocab

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import packed


def mix(seed=3, **weights):
    modules = {"mlm": mlm, "lm": lm, "unilm": unilm, "sop": sop}
    settings = {name: modules[name].Config(weight=weight) for name, weight in weights.items()}
    return Mix(settings, packed.SPECIAL, RowFacts(), seed=seed)


def held_out_rows(made, count, limit=1000):
    rows = packed.Rows(packed.random_rows(*[(9, 4 + index % 5) for index in range(count)]))
    return HeldOutRows(rows, made, limit=limit, device=torch.device("cpu"), precision="float32")


def test_updates_follow_objectives_by_weight():
    made = mix(mlm=3, unilm=1, sop=0)
    drawn = [made.name_at(step) for step in range(1, 4001)]
    counts = Counter(drawn)
    assert set(counts) == {"mlm", "unilm"}
    assert abs(counts["mlm"] - 3000) < 120
    assert drawn == [mix(mlm=6, unilm=2).name_at(step) for step in range(1, 4001)]  # only shares count
    assert drawn != [mix(seed=4, mlm=3, unilm=1).name_at(step) for step in range(1, 4001)]


def test_masks_depend_on_the_row_and_not_on_its_company():
    made, rows = mix(mlm=1), packed.Rows(packed.random_rows(*[(20,)] * 6))
    together = made.batch(rows, [4, 1, 2], name="mlm", epoch=2)
    alone = made.batch(rows, [1], name="mlm", epoch=2)
    assert torch.equal(together["token_ids"][1], alone["token_ids"][0])
    others = [made.batch(rows, [1], name="mlm", epoch=epoch)["token_ids"] for epoch in range(6)]
    assert len({tuple(other[0].tolist()) for other in others}) > 3
    assert together["objective"] == "mlm"


def test_an_evaluation_repeats_and_equals_the_whole():
    made, network = mix(mlm=1, lm=1), packed.model().train()
    aside = held_out_rows(made, 40)
    first, second = aside.evaluate(network), aside.evaluate(network)
    assert first.record == second.record
    assert network.training
    batch = made.batch(aside.rows, list(range(40)), name="lm", epoch=0, purpose="evaluation ")
    loss = made(network.eval(), batch)
    figures = first.record["objectives"]["lm"]
    assert figures["loss"] == pytest.approx(float(loss.loss.detach()), abs=1e-5)
    assert figures["targets"] == batch["num_targets"]
    assert figures["accuracy"] == made.objectives["lm"].num_correct(loss.outputs, batch) / batch["num_targets"]
    assert (first.score, first.record["score_is"]) == (first.record["objectives"]["mlm"]["accuracy"], "masked accuracy")
    assert [row["objective"] for row in table(first.record)] == ["mlm", "lm"]
    assert table(first.record)[1]["perplexity"] == pytest.approx(np.exp(figures["loss"]))


def test_an_evaluation_reads_so_many_rows_spread_evenly():
    aside = held_out_rows(mix(mlm=1), 40, limit=5)
    assert sorted(index for batch in aside.batches for index in batch) == [0, 10, 20, 29, 39]


def test_heads_of_a_mix():
    resolved = resolve(Config, overrides=["objectives=[mlm, unilm, sop]"]).config
    assert heads(resolved.objectives) == ("lm", "sentence")


def test_marks_of_a_vocabulary():
    tokenizer = CharTokenizer(Vocab([*SPECIAL_TOKENS, "。", "春", "”", "?"]))
    assert row_facts(tokenizer, max_length=9) == RowFacts(9, frozenset([5, 8]), frozenset([7]))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "objectives={mlm: {weight: 0}, lm: {weight: 0}}",
            "the weights of mlm, lm are all 0: nothing would be learned",
        ),
        ("objectives.mlm.weight=-1", "greater than or equal to 0"),
        ("objectives=[mml]", "mlm"),
        ("objectives=[classify]", "unknown objective"),
    ],
)
def test_a_mix_without_weight_is_refused(override, message):
    with pytest.raises(UsageError) as refused:
        resolve(Config, overrides=[override])
    assert message in f"{refused.value} {refused.value.hint}"


def test_an_empty_mix_is_refused():
    with pytest.raises(UsageError, match="there is no objective"):
        resolve(Config, overrides=["objectives=[]"])


def test_the_preset_follows_from_the_model():
    assert (preset_for(None), preset_for("new"), preset_for("dir")) == (
        "pretrain/mlm-new", "pretrain/mlm-new", "pretrain/mlm",
    )  # fmt: skip
