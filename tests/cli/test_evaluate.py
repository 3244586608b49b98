"""`nlpx evaluate mlm`: figures equal those worked out one by one, the same at every call, bad input named."""

from __future__ import annotations

import io
import json
import math
import sys
from pathlib import Path

import pytest
import torch

import tiny
from nlpx import load_model, load_tokenizer
from nlpx.data.batches.masking import SpecialIds, mask_words, row_generator
from nlpx.data.batches.packing import pack
from nlpx.data.corpus.flatten import documents_of
from nlpx.data.corpus.texts import Reading, find_sources
from nlpx.data.shards.build import build_shards
from nlpx.messages import Silent

TEXTS = [f"{row['source']}。{row['target']}" for row in tiny.rows(12)]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    tiny.bert(Path("bert"))
    tiny.write_rows(Path("rows.jsonl"), [{"text": text, "kind": "ab"[n % 2]} for n, text in enumerate(TEXTS)])


def measured(nlpx, *words):
    outcome = nlpx("evaluate", "mlm", "bert", *words, "--max-length", "24", "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def log_probabilities(model, token_ids, positions, wanted):
    with torch.no_grad():
        logits = model(torch.as_tensor(token_ids)[None]).logits[0]
    chosen = torch.log_softmax(logits, dim=-1)[positions, wanted]
    return chosen.tolist(), (logits[positions].argmax(dim=-1) == torch.as_tensor(wanted)).tolist()


def test_figures_worked_out_one_by_one(nlpx):
    model, tokenizer = load_model("bert", head="mlm"), load_tokenizer("bert")
    special = SpecialIds.of(tokenizer)
    hits, found, alone, characters, number = [], [], [], 0, 0
    for text in TEXTS:
        packed = pack(documents_of([text], tokenizer), max_length=24, special=special, keep_apart=True, seed=0)
        for index in range(len(packed)):
            row = packed.row(index)
            hidden, positions = mask_words(row, row_generator(7, 0, number, "evaluate"), special)
            values, correct = log_probabilities(model, hidden, positions, row.token_ids[positions])
            found, hits, number = found + values, hits + correct, number + 1
            for place in (~row.is_special).nonzero()[0]:
                one = row.token_ids.copy()
                one[place] = special.mask
                alone += log_probabilities(model, one, [place], row.token_ids[[place]])[0]
                characters += 1
    result = measured(nlpx, "rows.jsonl")
    assert (result["rows"], result["targets"]) == (number, len(hits))
    assert result["accuracy"] == sum(hits) / len(hits)
    assert result["perplexity"] == pytest.approx(math.exp(-sum(found) / len(found)), rel=1e-5)
    assert result["pseudo_targets"] == len(alone)
    assert result["pseudo_perplexity"] == pytest.approx(math.exp(-sum(alone) / len(alone)), rel=1e-5)
    assert result["bits_per_character"] == pytest.approx(-sum(alone) / math.log(2) / characters, rel=1e-5)


def test_groups_add_up(nlpx):
    result = measured(nlpx, "rows.jsonl", "--by", "kind")
    assert list(result["groups"]["kind"]) == ["a", "b"]
    for kind in ("kind", "tokens"):
        groups = result["groups"][kind].values()
        for figure in ("rows", "targets", "pseudo_targets"):
            assert sum(group[figure] for group in groups) == result[figure]
        hits = sum(group["accuracy"] * group["targets"] for group in groups)
        assert hits == pytest.approx(result["accuracy"] * result["targets"])


def test_the_same_words_are_hidden_at_every_call(nlpx):
    first = measured(nlpx, "rows.jsonl", "--pseudo-rows", "0")
    assert measured(nlpx, "rows.jsonl", "--pseudo-rows", "0") == first
    assert first["pseudo_perplexity"] is None
    assert measured(nlpx, "rows.jsonl", "--seed", "8", "--pseudo-rows", "0")["perplexity"] != first["perplexity"]
    more = measured(nlpx, "rows.jsonl", "--rate", "0.6", "--pseudo-rows", "0")
    assert more["targets"] > 2 * first["targets"]


def test_plain_text_pipes_and_limits(nlpx, monkeypatch):
    Path("texts.txt").write_text("".join(f"{text}\n" for text in TEXTS), encoding="utf-8")
    whole = measured(nlpx, "rows.jsonl")
    figures = {key: value for key, value in whole.items() if key != "groups"}
    from_text = measured(nlpx, "texts.txt")
    assert {key: from_text[key] for key in figures} == figures
    stdin = io.TextIOWrapper(io.BytesIO(Path("texts.txt").read_bytes()))
    monkeypatch.setattr(sys, "stdin", stdin)
    outcome = nlpx("evaluate", "mlm", "bert", "-", "--max-length", "24", "--quiet")
    assert outcome == (0, f"{whole['accuracy']:.4f}\n", "")
    assert measured(nlpx, "rows.jsonl", "--limit", "3")["rows"] < whole["rows"]


def test_the_texts_that_pretraining_keeps_aside(nlpx):
    """Those of the shards, and no others."""
    tokenizer = load_tokenizer("bert")
    sources = find_sources(["rows.jsonl"])
    shards = build_shards(
        sources, tokenizer, reading=Reading(), directory=Path("shards"), held_out=0.4, messages=Silent()
    )
    found = measured(nlpx, "rows.jsonl", "--held-out", "0.4", "--pseudo-rows", "0")
    assert 0 < found["rows"] == shards.held_out.num_documents < len(TEXTS)


def test_an_encoder_of_another_family(nlpx):
    tiny.checkpoint(Path("other"), "XLMRobertaConfig", "XLMRobertaForMaskedLM")
    outcome = nlpx("evaluate", "mlm", "other", "rows.jsonl", "--max-length", "20", "--pseudo-rows", "2", "--json")
    figures = json.loads(outcome.out)
    assert outcome.code == 0
    assert 1 < figures["perplexity"] < 200
    assert figures["pseudo_targets"] > 0


def test_the_table(nlpx):
    lines = nlpx("evaluate", "mlm", "bert", "rows.jsonl", "--max-length", "24", "--by", "kind").out.splitlines()
    assert lines[0].split() == [
        "texts", "rows", "targets", "accuracy", "perplexity", "pseudo_perplexity", "bits_per_character",
    ]  # fmt: skip
    assert lines[1].startswith("all")
    assert any(line.startswith("kind b") for line in lines)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("bert", "rows.jsonl", "--by", "domain"), 3, "rows.jsonl:1: has no field `domain`"),
        (("bert", "rows.jsonl", "--field", "body"), 3, "has no field `body`"),
        (("bert", "missing.txt"), 3, "missing.txt: no such file"),
        (("nothing/at/all", "rows.jsonl"), 3, "nothing/at/all"),
        (("headless", "rows.jsonl"), 3, "lm_head"),
        (("bert", "blank.txt"), 3, "blank.txt holds no rows"),
    ],
)
def test_what_cannot_be_measured(nlpx, words, code, message):
    tiny.bert(Path("headless"), "BertModel")
    Path("blank.txt").write_text("\n\n", encoding="utf-8")
    outcome = nlpx("evaluate", "mlm", *words)
    assert (outcome.code, outcome.out) == (code, "")
    assert message in outcome.err
