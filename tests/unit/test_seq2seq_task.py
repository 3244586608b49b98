"""Writing text from text: which tokens are predicted, who sees whom, the loss, what is read and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

import tiny
from nlpx.baselines import lead
from nlpx.data.rows.reading import RowReport
from nlpx.errors import InputError, UsageError
from nlpx.models.transformer import Transformer
from nlpx.runs.objective import task_objective
from nlpx.tasks.seq2seq import Generated, Task
from writing import PAIRS, TOKENIZER, batch_of, model, rows, task


def test_a_row_is_source_and_target_with_its_end():
    batch = batch_of(task())
    assert TOKENIZER.tokenize("风雨") == ["风", "雨"]
    tokens = [TOKENIZER.vocab.tokens[index] for index in batch["token_ids"][0].tolist()]
    assert tokens[:9] == ["[CLS]", *"春夏秋冬", "[SEP]", *"风雨", "[SEP]"]
    assert batch["segment_ids"][0].tolist() == [0] * 6 + [1] * 3 + [0] * (batch["token_ids"].shape[1] - 9)
    assert batch["num_targets"] == len(batch["targets"]) == 3 + 4 + 2
    predicted = [TOKENIZER.vocab.tokens[index] for index in batch["targets"].tolist()]
    assert predicted == [*"风雨", "[SEP]", *"电山川", "[SEP]", "花", "[SEP]"]
    width = batch["token_ids"].shape[1]
    assert batch["lm_positions"].tolist() == [5, 6, 7, *(width + place for place in (2, 3, 4, 5)),
                                              *(2 * width + place for place in (7, 8))]  # fmt: skip


@pytest.mark.parametrize("arrangement", ["prefix", "causal"])
@pytest.mark.parametrize("keep_logits", [False, True])
def test_the_loss_is_a_plain_weighted_cross_entropy(arrangement, keep_logits):
    """Labels are the ids from the second on, weights the segments from the second on, over the whole batch."""
    given, network = task(arrangement=arrangement), model().train()
    given.keep_logits = keep_logits
    batch = batch_of(given)
    found = given.objective(network, batch)
    found.loss.backward()
    ours = {name: weight.grad.clone() for name, weight in network.named_parameters() if weight.grad is not None}
    network.zero_grad()
    ids, segments = batch["token_ids"], batch["segment_ids"]
    if arrangement == "prefix":
        order = segments.cumsum(1)
        visible = order[:, None, :] <= order[:, :, None]
    else:
        visible = torch.ones(ids.shape[1], ids.shape[1]).tril().bool().expand(len(ids), -1, -1)
    shown = segments if arrangement == "prefix" else None
    logits = network(ids, shown, batch["attention_mask"], visible).heads["lm"]
    each = functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    weights = segments[:, 1:].flatten()
    wanted = (each * weights).sum() / weights.sum()
    wanted.backward()
    assert float(found.loss.detach()) == pytest.approx(float(wanted.detach()), rel=1e-5)
    for name, weight in network.named_parameters():
        if weight.grad is not None:
            assert torch.allclose(ours[name], weight.grad, atol=1e-6), name


def test_what_stands_in_the_source_is_no_target():
    """Other tokens in the source change the inputs only: the targets are those of segment 1."""
    first = batch_of(task())
    second = batch_of(task(), [("鱼鸟虫兽", "风雨"), ("鱼", "电山川"), ("鱼鸟虫兽东南", "花")])
    assert first["targets"].tolist() == second["targets"].tolist()
    assert first["lm_positions"].tolist() == second["lm_positions"].tolist()


def test_the_source_never_sees_the_target():
    given, network = task(), model().eval()
    states = []
    for target in ("风雨", "鱼鸟"):
        batch = batch_of(given, [("春夏秋冬", target)])
        states.append(given.forward(network, batch)["states"][:, :6])
    assert torch.equal(*states)


def test_padding_and_neighbours_change_nothing():
    given, network = task(), model().eval()
    together = given.forward(network, batch_of(given))["logits"]
    apart = torch.cat([given.forward(network, batch_of(given, [pair]))["logits"] for pair in PAIRS])
    assert torch.allclose(together, apart, atol=1e-5)


def test_vectors_in_place_of_ids_give_the_same():
    given, network = task(), model().eval()
    batch = batch_of(given)
    vectors = network.get_input_embeddings()(batch["token_ids"])
    found = given.forward(network, batch | {"inputs_embeds": vectors})
    assert torch.equal(found["logits"], given.forward(network, batch)["logits"])


@pytest.mark.parametrize("loss", ["sparse_softmax", "token_cross_entropy"])
def test_losses_of_tokens_can_be_chosen(loss):
    given, network = task(), model().train()
    batch = batch_of(given)
    found = task_objective(given, rows(), loss=loss)(network, batch)
    plain = given.objective(network, batch)
    if loss == "token_cross_entropy":
        assert torch.allclose(found.loss, plain.loss)
    else:
        assert 0 < float(found.loss.detach()) < float(plain.loss.detach())
    with pytest.raises(UsageError, match="loss `cross_entropy` is one of classes, and the task's targets are tokens"):
        task_objective(given, rows(), loss="cross_entropy")


def test_source_and_target_are_truncated_apart():
    given = task(max_source_length=3, max_target_length=2)
    encoded = given.encode(rows(), TOKENIZER, 24)
    assert [(len(item.source), len(item.target)) for item in encoded.items] == [(5, 3), (3, 3), (5, 2)]
    assert encoded.truncated == [
        "2 of 3 sources are longer than 3 tokens and lose their end",
        "1 of 3 targets are longer than 2 tokens and lose their end",
    ]
    assert encoded.items[1].target[-1] == TOKENIZER.sep_token_id  # also where the target was cut


def test_a_source_has_what_the_target_leaves():
    encoded = task(max_target_length=4).encode(rows(), TOKENIZER, 12)
    assert [len(item.source) for item in encoded.items] == [6, 3, 7]
    with pytest.raises(UsageError, match="has no room for 1 tokens of a source, 4 of a target and 3 special ones"):
        task(max_target_length=4).encode(rows(), TOKENIZER, 7)
    with pytest.raises(UsageError, match="has no room for 6 tokens of a source"):
        task(max_target_length=4, max_source_length=6).encode(rows(), TOKENIZER, 12)


@pytest.mark.parametrize(("arrangement", "mask"), [("prefix", "unilm"), ("causal", "causal")])
def test_the_model_says_how_it_writes(arrangement, mask):
    assert task(arrangement=arrangement).model_parts()["mask"] == mask


@pytest.mark.parametrize("arrangement", ["prefix", "causal"])
def test_predictions_are_those_of_a_loop_without_a_cache(arrangement):
    """The likeliest token each time, and the whole row again for the next one."""
    given, network = task(arrangement=arrangement), model().eval()
    batch = batch_of(given)
    with torch.inference_mode():
        found = given.predict(network, batch)
        greedy = [_greedy(given, network, source) for source in batch["sources"]]
    for made, (ids, score) in zip(found, greedy, strict=True):
        assert made.text == TOKENIZER.decode(ids)
        assert made.log_probability == pytest.approx(score, abs=1e-3)


def _greedy(given: Task, network: Transformer, source: list[int]) -> tuple[list[int], float]:
    written: list[int] = []
    total = 0.0
    while len(written) < given.config.max_target_length + 1:
        ids = torch.tensor([source + written])
        segments = torch.tensor([[0] * len(source) + [1] * len(written)])
        mask = given.model_parts()["mask"]
        logits = network(ids, segments if mask == "unilm" else None, None, mask).heads["lm"][0, -1]
        token = int(logits.argmax())
        total += float(logits.log_softmax(-1)[token])
        written.append(token)
        if token == TOKENIZER.sep_token_id:
            break
    return written, total


def read(path: Path, **options: Any) -> Any:
    how = {name: options.pop(name) for name in ("dev", "test") if name in options}
    return task(**options).read([str(path)], **how, encoding="utf-8", on_bad_row="fail", report=RowReport())


def test_rows_are_read_from_objects_and_from_two_columns(tmp_path):
    splits = ["dev"] * 4 + ["train"] * 5
    content = [{"text": f"春{number}", "title": f"夏{number}", "split": split} for number, split in enumerate(splits)]
    path = tiny.write_rows(tmp_path / "rows.jsonl", content)
    splits = read(path, source_field="text", target_field="title", evaluation_rows=3)
    assert [(len(splits.train), len(splits.dev))] == [(5, 3)]
    assert (splits.train[0].source, splits.train[0].target) == ("春4", "夏4")
    assert splits.notes[-1] == "evaluated on 3 of 4 dev rows: task_options.evaluation_rows"
    path = tiny.write_rows(tmp_path / "rows.tsv", [f"春{number}\t夏{number}" for number in range(9)])
    splits = read(path)
    assert len(splits.train) + len(splits.dev) == 9
    assert splits.train[0].target == "夏" + splits.train[0].source[1:]


def test_test_rows_need_no_target(tmp_path):
    path = tiny.write_rows(tmp_path / "rows.tsv", [f"春{number}\t夏{number}" for number in range(9)])
    other = tiny.write_rows(tmp_path / "other.jsonl", [{"source": "春"}, {"source": "秋", "target": "冬"}])
    splits = read(path, test=[str(other)])
    assert [row.target for row in splits.test] == [None, "冬"]
    assert not task().is_labelled(splits.test)
    record = task().evaluate(splits.test, [Generated("风"), Generated("冬", -1.0, False)]).record
    assert (record["rows"], record["exact_match"], record["unfinished"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"source": "春"}, "lacks the field `target`"),
        ({"source": " ", "target": "夏"}, "`source` is empty"),
        ({"source": "春", "target": ""}, "`target` is empty"),
        ({"source": "春", "target": 3}, "field `target` is not a text"),
    ],
)
def test_rows_that_do_not_fit_are_refused(tmp_path, row, what):
    path = tiny.write_rows(tmp_path / "rows.jsonl", [{"source": "春", "target": "夏"}, row])
    with pytest.raises(InputError, match=f"rows.jsonl:2: .*{what}"):
        read(path)


def test_lines_and_rows_to_write_for(tmp_path):
    def sources(path: Path) -> list[str]:
        report = RowReport()
        found = task().read_rows(str(path), encoding="utf-8", format=None, on_bad_row="fail", report=report)
        return [row.source for row in found]

    assert sources(tiny.write_rows(tmp_path / "lines.txt", ["春夏", "秋冬"])) == ["春夏", "秋冬"]
    assert sources(tiny.write_rows(tmp_path / "rows.jsonl", [{"source": "春", "target": 4}])) == ["春"]
    with pytest.raises(InputError, match="lacks the field `source`"):
        sources(tiny.write_rows(tmp_path / "other.jsonl", [{"title": "春"}]))


def test_the_plain_ways_are_beginnings():
    assert lead.first_sentence(" 春天来了！”他说。") == "春天来了！”"
    assert lead.first_sentence("没有句号") == "没有句号"
    assert lead.mean_length(["春夏", "春夏秋冬"]) == 3
    first, beginning = task().baselines(rows([("春天。夏天。", "春"), ("秋", "秋冬夏")]))
    judged = rows([("风。雨。", "风")])
    assert (first.name, first.predict(judged)[0].text) == ("the first sentence", "风。")
    assert (beginning.name, beginning.predict(judged)[0].text) == ("the first 2 characters", "风。")


def test_an_evaluation_shows_outputs():
    given = [("春" * 80, "夏"), ("秋", "冬"), ("风", "雨"), ("雷", "电")]
    made = [Generated("夏"), Generated(""), Generated("雨"), Generated("电")]
    evaluation = task().evaluate(rows(given), made)
    assert evaluation.samples == [
        "春" * 59 + "… → 夏 (wanted: 夏)",
        "秋 → (nothing) (wanted: 冬)",
        "风 → 雨 (wanted: 雨)",
    ]
    assert evaluation.score == evaluation.record["score"]
    assert [table.rows[0]["rouge_1"] for table in task().tables(evaluation.record)[:1]] == [0.75]
    assert task().predicted_row(rows()[0], made[0]) == {
        "source": "春夏秋冬",
        "generated": "夏",
        "log_probability": None,
        "is_finished": True,
    }
