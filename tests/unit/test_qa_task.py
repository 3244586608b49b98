"""Answering questions: layouts, which passages teach what, batches, answers as they stand in their passages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from nlpx.data.rows.questions import Passage, Question
from nlpx.data.rows.reading import RowReport
from nlpx.errors import InputError, UsageError
from nlpx.tasks._passages import normalized, target_of
from nlpx.tasks.qa import Config, Found, Task
from writing import TOKENIZER, model

SEVERAL = {
    "id": "w1",
    "question": "春天来的是哪种鸟",
    "passages": [
        {"passage": "春天，燕子 来", "answer": "燕子"},
        {"passage": "没有说", "answer": ""},
        {"passage": "来的是燕", "answer": "", "answers": ["燕", "燕子"]},
    ],
}
ONE = {"id": "c1", "question": "谁来", "context": "燕子来", "answers": [{"text": "燕子", "answer_start": 0}]}
ANSWERED = {"id": "n1", "question": "谁来", "answers": [{"text": "燕子"}, {"text": "燕"}]}
UNANSWERED = {"id": "n2", "question": "何时", "answers": [], "is_impossible": True}
NESTED = {"context": "燕子来", "qas": [ANSWERED, UNANSWERED]}


def task(**options: Any) -> Task:
    return Task(Config.model_validate({"max_question_length": 6, "max_answer_length": 4} | options))


def questions(path: Path, content: list[Any]) -> list[Question]:
    file = tiny.write_rows(path / "questions.jsonl", content)
    return list(task().read_rows(str(file), encoding="utf-8", format=None, on_bad_row="fail", report=RowReport()))


def read(path: Path, content: list[Any], **options: Any) -> Any:
    file = tiny.write_rows(path / "questions.jsonl", content)
    return task(**options).read([str(file)], encoding="utf-8", on_bad_row="fail", report=RowReport())


def test_a_question_with_passages(tmp_path):
    (found,) = questions(tmp_path, [SEVERAL])
    assert [passage.answers for passage in found.passages] == [("燕子",), (), ("燕", "燕子")]
    assert (found.answers, found.row) == (("燕子", "燕"), SEVERAL)


@pytest.mark.parametrize(
    "layout",
    [
        [ONE],
        [{**ONE, "answers": {"text": ["燕子"], "answer_start": [0]}}],
        [{**ONE, "answers": ["燕子"]}],
        [{"context_text": "燕子来", "qas": [{"query_id": "c1", "query_text": "谁来", "answers": ["燕子"]}]}],
        [{"version": "1", "data": [{"title": "t", "paragraphs": [{"context": "燕子来", "qas": [ONE]}]}]}],
    ],
)
def test_layouts_of_one_text(tmp_path, layout):
    (found,) = questions(tmp_path, layout)
    assert (found.question, found.passages, found.answers) == ("谁来", (Passage("燕子来", ("燕子",)),), ("燕子",))
    assert "c1" in found.row.values()


def test_a_file_of_the_published_sets(tmp_path):
    """One object, as CMRC 2018 and DRCD come."""
    path = tmp_path / "cmrc.json"
    path.write_text(json.dumps({"data": [{"paragraphs": [NESTED]}]}, ensure_ascii=False), encoding="utf-8")
    found = list(task().read_rows(str(path), encoding="utf-8", format=None, on_bad_row="fail", report=RowReport()))
    assert [question.row["id"] for question in found] == ["n1", "n2"]
    assert [question.answers for question in found] == [("燕子", "燕"), ()]
    assert all("context" not in question.row for question in found)


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"question": "谁来", "answers": ["春"]}, "has no `passages` and no `context`"),
        ({"question": "谁来", "context": "春"}, "no `answers` for `谁来`"),
        ({"question": " ", "context": "春", "answers": []}, "lacks a text in `question`"),
        ({"question": "谁来", "context": "", "answers": []}, "lacks a text in `context`"),
        ({"question": "谁来", "passages": [], "answers": []}, "no passage for `谁来`"),
        ({"question": "谁来", "passages": "春", "answers": []}, "`passages` is no list of passages"),
        ({"question": "谁来", "context": "春", "answers": 3}, "`answers` is no text and no list of texts"),
        ({"context": "春", "qas": 3}, "`qas` is no list of objects"),
    ],
)
def test_rows_that_do_not_fit_are_refused(tmp_path, row, what):
    with pytest.raises(InputError, match=f"questions.jsonl:2: .*{what}"):
        read(tmp_path, [ONE, row])


def test_questions_of_one_text_stay_together(tmp_path):
    rows = [{"question": f"问{number}", "context": f"春{number // 3}", "answers": ["春"]} for number in range(30)]
    splits = read(tmp_path, rows, evaluation_rows=2)
    assert not {q.passages[0].text for q in splits.train} & {q.passages[0].text for q in splits.dev}
    assert len(splits.dev) <= 2


def test_passages_are_normalized_place_by_place():
    text = "春 夏、秋；冬，风。"
    assert normalized(text) == "春,夏,秋,冬,风。"
    assert len(normalized(text)) == len(text)


@pytest.mark.parametrize(
    ("answers", "target"),
    [
        (("夏", "春"), "夏"),  # the first that stands there
        (("鸟", "春"), "春"),
        (("秋 春",), "秋,春"),  # all parts, in any order
        (("秋 鸟",), ""),
        (("春、夏",), "春,夏"),
        ((), ""),
        (("",), ""),
    ],
)
def test_what_a_passage_teaches(answers, target):
    assert target_of(answers, normalized("春、夏 秋")) == target


def test_a_row_is_passage_question_and_answer():
    """An answer beyond the limit of the passage is none: the passage teaches to end at once."""
    asked = Question(
        "鱼鸟", (Passage("春夏秋冬风雨雷电", ("秋",)), Passage("春夏秋冬", ("鸟",))), ("秋", "鸟"), None, {}
    )
    far = Question("鱼鸟", (Passage("春夏秋冬风雨雷电", ("电",)),), ("电",), None, {})
    encoded = task().encode([asked, far], TOKENIZER, 6 + 4 + 4 + 5)
    tokens = [[[TOKENIZER.vocab.tokens[index] for index in passage.written.source + passage.written.target]
               for passage in passages] for passages in encoded.items]  # fmt: skip
    head = ["[CLS]", *"春夏秋冬风", "[SEP]", *"鱼鸟", "[SEP]"]
    assert tokens[0] == [[*head, "秋", "[SEP]"], ["[CLS]", *"春夏秋冬", "[SEP]", *"鱼鸟", "[SEP]", "[SEP]"]]
    assert tokens[1] == [[*head, "[SEP]"]]
    assert encoded.lengths == [12, 11]
    assert encoded.truncated == [
        "2 of 3 passages are longer than 5 tokens and lose their end; task_options.overlap=64 reads them in windows",
        "1 of 2 questions have no passage in which their answer stands, as far as passages are read: they teach to "
        "answer nothing",
    ]
    with pytest.raises(UsageError, match="leaves no token of a passage beside 6 of a question, 4 of an answer and 4"):
        task().encode([asked], TOKENIZER, 14)


def test_long_passages_are_read_in_windows():
    """Each window teaches what stands in it, and an answer is given from the whole text."""
    asked = Question("鱼鸟", (Passage("东西", ()), Passage("春夏秋冬风雨 雷电", ("雨 雷", "秋"))), ("秋",), None, {})
    given = task(overlap=2)
    encoded = given.encode([asked], TOKENIZER, 6 + 4 + 4 + 5)
    whole = TOKENIZER.tokenize("春夏秋冬风雨,雷电")
    first, second, third = encoded.items[0][1:]
    contents = [[TOKENIZER.vocab.tokens[index] for index in window.content] for window in (first, second, third)]
    assert contents == [whole[:5], whole[3:8], whole[6:]]
    targets = [len(window.written.target) - 1 for window in encoded.items[0]]
    assert targets == [0, 1, 3, 0]  # nothing, 秋, 雨,雷 and nothing
    assert [window.number for window in encoded.items[0]] == [0, 1, 1, 1]
    assert encoded.truncated == []
    with torch.inference_mode():
        (found,) = given.predict(model().eval(), given.collate(encoded, [0], 0))
    assert set(found.passages) <= {0, 1}
    assert any(found.text in passage.text for passage in asked.passages)
    with pytest.raises(UsageError, match="overlap 5 is as long as a window, 5 tokens"):
        task(overlap=5).encode([asked], TOKENIZER, 6 + 4 + 4 + 5)


def test_each_time_a_passage_is_drawn_and_an_evaluation_draws_none():
    passages = tuple(Passage(text, ("春",)) for text in ("春夏", "春秋", "春冬"))
    encoded = task().encode([Question("鱼", passages, ("春",), None, {})], TOKENIZER, 24)
    torch.manual_seed(0)
    drawn = {tuple(task().collate(encoded, [0], 0)["token_ids"][0].tolist()) for _ in range(40)}
    assert len(drawn) == 3
    state = torch.get_rng_state()
    with torch.inference_mode():
        batch = task().collate(encoded, [0], 0)
    assert torch.equal(state, torch.get_rng_state())
    assert [len(found) for found in batch["passages"]] == [3]


def test_an_answer_is_given_as_it_stands_in_its_passage():
    """Normalized for the model, but answered with the very characters, between the places of its tokens."""
    network = model().eval()
    texts = ["春 夏、秋冬，风雨", "雷电；山川"]
    asked = [Question("鱼鸟", tuple(map(Passage, texts)), ("秋",), None, {"id": 1}) for _ in range(3)]
    given = task()
    encoded = given.encode(asked, TOKENIZER, 24)
    with torch.inference_mode():
        found = given.predict(network, given.collate(encoded, range(3), 0))
    assert all(one == found[0] for one in found)
    assert found[0].text
    assert any(found[0].text in text for text in texts)
    assert given.predicted_row(asked[0], found[0]).keys() == {"id", "generated", "score", "passages_used"}


def test_an_evaluation_and_the_plain_ways(tmp_path):
    splits = read(tmp_path, [{**ONE, "context": f"燕子来。花开{number}", "id": number} for number in range(20)])
    nearest, nothing = task().baselines(splits.train)
    assert (nearest.name, nothing.name) == ("the nearest sentence by TF-IDF", "no answer")
    assert nearest.predict(splits.dev)[0].text == "燕子来。"
    assert nothing.predict(splits.dev)[0].text == ""
    evaluation = task().evaluate(splits.dev[:1], [Found("燕子")])
    assert (evaluation.score, evaluation.samples) == (1, ["谁来 → 燕子 (wanted: 燕子)"])
    assert task().tables(evaluation.record)[0].rows[1]["mean"] == 1
    empty = Question("谁来", (Passage("春"),), (), None, {})
    assert task().evaluate([empty], [Found("")]).samples == ["谁来 → (nothing) (wanted: (nothing))"]
    assert not task().is_labelled([Question("谁来", (), None, None, {})])
