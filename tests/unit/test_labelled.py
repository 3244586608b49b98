"""Labelled rows: where the texts and labels are found, the split rules, and each refusal with its way out."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

import tiny
from nlpx.data.rows.label_spelling import spellings
from nlpx.data.rows.labelled import Fields, Label, Labelled, labels_of, read_labelled, read_splits
from nlpx.data.rows.reading import RowReport
from nlpx.data.rows.sohu import read_splits as read_pairs
from nlpx.data.rows.splits import split_of_name
from nlpx.errors import InputError


def save(path: Path, *rows: Any) -> Path:
    return tiny.write_rows(path, rows)


def labelled(label: Label | None, text: str = "春") -> Labelled:
    return Labelled(text, None, label, place="test:1", split=None, row={})


def test_texts_are_found_under_their_usual_names(tmp_path: Path) -> None:
    for names in (("text",), ("text1", "text2"), ("source", "target"), ("sentence1", "sentence2")):
        rows = [{name: f"{name}{number}" for name in names} | {"label": number} for number in range(2)]
        found = read_splits(save(tmp_path / "a.jsonl", *[row | {"split": "train"} for row in rows], rows[0] | {
            "split": "valid"
        }))  # fmt: skip
        assert [row.text for row in found.train] == [f"{names[0]}0", f"{names[0]}1"]
        assert found.dev[0].second == (f"{names[1]}0" if len(names) > 1 else None)


def test_named_fields_win(tmp_path: Path) -> None:
    row = {"text": "不是它", "title": "标题", "body": "正文", "kind": "甲", "label": "乙"}
    path = save(tmp_path / "a.jsonl", row)
    (found,) = read_labelled(path, Fields(("title", "body"), "kind"))
    assert (found.text, found.second, found.label, found.row) == ("标题", "正文", "甲", row)
    (single,) = read_labelled(path, Fields(("body",), None))
    assert (single.text, single.second, single.label) == ("正文", None, None)


def test_the_first_row_settles_the_fields_of_all(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", {"text": "春", "label": 0}, {"text1": "夏", "text2": "秋", "label": 1})
    with pytest.raises(InputError) as caught:
        read_splits(path)
    assert caught.value.message.startswith(f"{path}:2: lacks the field `text`")
    assert caught.value.hint == "its fields: text1, text2, label"


def test_classes_are_sorted_numbers_before_texts() -> None:
    assert labels_of(map(labelled, [10, "b", 9, "a", 10, None, -1])) == [-1, 9, 10, "a", "b"]
    assert len(labels_of(map(labelled, [1, "1"]))) == 1  # CSV knows no numbers


def test_a_folder_of_files_named_by_their_split(tmp_path: Path) -> None:
    save(tmp_path / "train.jsonl", {"text": "春", "label": "甲"}, {"text": "夏", "label": "乙"})
    save(tmp_path / "valid.csv", "text,label", "秋,甲")
    save(tmp_path / "test.jsonl", {"text": "冬"}, {"text": "风", "label": "乙", "split": "train"})
    save(tmp_path / "labels.txt", "甲", "乙")
    (tmp_path / "README.md").write_text("no rows")
    found = read_splits(tmp_path)
    assert [row.text for row in found.train] == ["风", "春", "夏"]  # a row's own split wins
    assert [(row.text, row.label) for row in found.dev + found.test] == [("秋", "甲"), ("冬", None)]
    train, dev, test = (tmp_path / name for name in ("train.jsonl", "valid.csv", "test.jsonl"))
    assert found.notes == [
        f"train: 3 rows of {test}, {train}; dev: 1 rows of {dev}; test: 1 rows of {test}",
        "2 classes in the training rows: 乙 (2), 甲 (1)",
    ]


def test_rows_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tiny.labelled(40)
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    found = read_splits("-")
    assert len(found.train) + len(found.dev) == 40


def test_held_out_rows_are_those_of_the_other_task(tmp_path: Path) -> None:
    """One rule for all: the same texts are held out whatever the task, in whatever order, and stay together."""
    texts = [f"第{number // 2}条标题" for number in range(600)]
    rows = [{"text": text, "label": number % 3} for number, text in enumerate(texts)]
    pairs = [
        {"source": text, "target": "正文", "variant": "ssA", "labelA": number % 2} for number, text in enumerate(texts)
    ]
    found = read_splits(save(tmp_path / "a.jsonl", *rows[::-1]))
    theirs = read_pairs(save(tmp_path / "b.jsonl", *pairs))
    assert {row.text for row in found.dev} == {pair.source for pair in theirs.dev}
    assert not {row.text for row in found.dev} & {row.text for row in found.train}
    assert 0.06 < len(found.dev) / 600 < 0.14
    share = f"{len(found.dev)} rows ({len(found.dev) / 600:.0%}), chosen by a hash of the text, serve as dev"
    assert found.notes[1] == f"no dev split given: {share}"


def test_labels_that_training_lacks_are_named(tmp_path: Path) -> None:
    train = [{"text": f"春{number}", "label": number % 2} for number in range(4)]
    dev = [{"text": "夏", "label": label, "split": "dev"} for label in (0, "新", "新", 7)]
    test = [{"text": "秋", "split": "test"}, {"text": "冬", "label": 9, "split": "test"}]
    found = read_splits(save(tmp_path / "a.jsonl", *train, *dev, *test))
    assert found.notes[-2:] == [
        "3 dev rows have a label that no training row has, and count as wrong: 新 (2), 7 (1)",
        "1 test rows have a label that no training row has, and count as wrong: 9 (1)",
    ]


@pytest.mark.parametrize(
    ("row", "what", "hint"),
    [
        (
            {"title": "春", "label": 1},
            "has no `text`, and no `text1` and `text2`",
            "--set task_options.text_field=NAME",
        ),
        ({"text1": "春", "label": 1}, "has no `text`, and no `text1` and `text2`", "its fields: text1, label"),
        ({"text": "春", "kind": "甲"}, "lacks a label in `label`", "task_options.label_field=NAME"),
        ({"text": "春", "label": ""}, "lacks a label in `label`", ""),
        ({"text": "春", "label": None, "split": "dev"}, "lacks a label in `label`", ""),
        ({"text": "春", "label": 0.5}, "field `label` is 0.5, expected a text or a whole number", "--on-bad-row skip"),
        ({"text": "春", "label": True}, "field `label` is True, expected a text or a whole number", ""),
        ({"text": "春", "label": ["甲"]}, "field `label` is ['甲'], expected", ""),
        ({"text": 5, "label": 1}, "field `text` is not a text", "--on-bad-row skip"),
        ({"text": "春", "label": 1, "split": "later"}, "unknown `split` 'later'", "splits: train, dev, valid"),
    ],
)
def test_a_row_that_does_not_fit(tmp_path: Path, row: dict[str, Any], what: str, hint: str) -> None:
    path = save(tmp_path / "a.jsonl", row)
    with pytest.raises(InputError) as caught:
        read_splits(path)
    assert caught.value.message.startswith(f"{path}:1: {what}")
    assert hint in str(caught.value.hint)


def test_bad_rows_are_counted_when_skipped(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", {"title": "春"}, *tiny.labelled(30), "{", {"text": "夏", "label": 1.5})
    report = RowReport()
    found = read_splits(path, on_bad_row="skip", report=report)
    assert len(found.train) + len(found.dev) == 30
    assert report.num_skipped == 3
    assert "has no `text`" in report.errors[0]
    nothing = save(tmp_path / "b.jsonl", {"text": "春"})
    with pytest.raises(InputError, match=r"no training rows; the first bad row: .*lacks a label"):
        read_splits(nothing, on_bad_row="skip")


def test_one_class_one_text_and_empty_folders_are_refused(tmp_path: Path) -> None:
    ones = save(tmp_path / "ones.jsonl", *[{"text": f"春{number}", "label": "甲"} for number in range(30)])
    with pytest.raises(InputError, match="all 30 training rows have label 甲"):
        read_splits(ones)
    same = save(tmp_path / "same.jsonl", *[{"text": "春", "label": number} for number in range(3)])
    with pytest.raises(InputError, match="one text is too little"):
        read_splits(same)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no files of rows") as caught:
        read_splits(tmp_path / "empty")
    assert "train.jsonl" in str(caught.value.hint)


def test_predicting_looks_at_no_label(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", {"text": "春"}, {"text": "夏", "label": [1]})
    assert [row.label for row in read_labelled(path, Fields(("text",), None))] == [None, None]
    lines = save(tmp_path / "a.txt", "春天来了", "夏天")
    assert [row.text for row in read_labelled(lines, Fields(("text",), None))] == ["春天来了", "夏天"]


# Which label is which, and which file is for which split


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (["0", "0.0", "1", "1.0", "1"], ["0", "0", "1", "1", "1"]),
        ([0, "0", 1, "1.0"], [0, 0, 1, 1]),
        ([" 体育", "体育", "财经 ", "体育"], ["体育", "体育", "财经", "体育"]),
        (["Ａ", "A", "A", "Ｂ"], ["A", "A", "A", "Ｂ"]),
        (["０", "0", "1"], ["0", "0", "1"]),
        (["007", "7", "agent"], ["007", "7", "agent"]),  # names, as one of them is no number
        (["0.5", "0.50", "1"], ["0.5", "0.5", "1"]),
        (["1e999999", "nan", "inf"], ["1e999999", "nan", "inf"]),
    ],
)
def test_labels_that_differ_only_in_writing_are_one(written: list[Label], expected: list[Label]) -> None:
    same = spellings(written)
    assert [same[label] for label in written] == expected


def test_labels_are_joined_and_listed(tmp_path: Path) -> None:
    rows = [("春", "0"), ("夏", "0.0"), ("秋", " 1"), ("冬", "1"), ("风", "１"), ("", "1")]
    lines = ["text,label,split", *(f"{text},{label},train" for text, label in rows), "雨,1.0,dev"]
    found = read_splits(save(tmp_path / "a.csv", *lines))
    assert [row.label for row in found.train] == ["0", "0", "1", "1", "1", "1"]
    assert found.dev[0].label == "1"
    assert found.notes == [
        f"rows of {tmp_path / 'a.csv'}: train 6, dev 1",
        "labels written in several ways are one class: '0' also as '0.0' (1); "
        "'1' also as ' 1' (1), '１' (1), '1.0' (1)",
        "2 classes in the training rows: 1 (4), 0 (2)",
        "1 of 6 training rows have no text",
    ]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("x_train.csv", "train"),
        ("lcqmc.dev.tsv", "dev"),
        ("VALID-2.jsonl.gz", "dev"),
        ("eval set.csv", "dev"),
        ("test.csv", "test"),
        ("training.txt", "train"),
        ("latest.csv", None),
        ("constrained.csv", None),
        ("train_and_dev.csv", None),
    ],
)
def test_a_word_of_its_name_says_the_split_of_a_file(name: str, split: str | None) -> None:
    assert split_of_name(name) == split


def two_classes(path: Path, prefix: str, count: int = 20) -> Path:
    return save(path, "text,label", *(f"{prefix}{number},{number % 2}" for number in range(count)))


def test_files_that_name_their_split_are_not_mixed(tmp_path: Path) -> None:
    train, dev = two_classes(tmp_path / "x_train.csv", "春"), two_classes(tmp_path / "x_dev.csv", "夏", 6)
    for data in (tmp_path, [train, dev]):
        found = read_splits(data)
        assert {row.text[0] for row in found.train} == {"春"}
        assert [row.text[0] for row in found.dev] == ["夏"] * 6
        assert found.notes[0] == f"train: 20 rows of {train}; dev: 6 rows of {dev}"


def test_files_of_an_option_belong_to_its_split_whatever_they_say(tmp_path: Path) -> None:
    train = two_classes(tmp_path / "train.csv", "春")
    odd = save(tmp_path / "odd_train.jsonl", {"text": "夏", "label": 0, "split": "train"})
    bare = save(tmp_path / "more.jsonl", {"text": "秋"})
    found = read_splits(train, dev=odd, test=[bare])
    assert (len(found.train), [row.text for row in found.dev], [row.text for row in found.test]) == (20, ["夏"], ["秋"])


def test_a_single_file_may_hold_all_splits_whatever_its_name(tmp_path: Path) -> None:
    found = read_splits(two_classes(tmp_path / "test.csv", "春"))
    assert len(found.train) + len(found.dev) == 20


def test_dev_rows_that_were_trained_on_are_counted(tmp_path: Path) -> None:
    train = two_classes(tmp_path / "a.csv", "春")
    found = read_splits(train, dev=two_classes(tmp_path / "b.csv", "春", 5))
    assert found.notes[-1] == "5 of 5 dev rows have the text of a training row: their score flatters"


def test_several_files_without_a_split_are_one_set(tmp_path: Path) -> None:
    found = read_splits([two_classes(tmp_path / "a.csv", "春"), two_classes(tmp_path / "b.csv", "夏")])
    assert len(found.train) + len(found.dev) == 40


def test_plain_lines_and_columns_without_names(tmp_path: Path) -> None:
    lines = save(tmp_path / "a.txt", "春", "", "夏")
    assert [row.text for row in read_labelled(lines, Fields(label=None))] == ["春", "", "夏"]
    table = save(tmp_path / "b.tsv", *(f"第{number}条\t第{number + 1}条\t{number % 2}" for number in range(20)))
    found = read_splits(table)
    assert (found.train[0].second, found.train[0].label) == ("第1条", "0")
    unlabelled = save(tmp_path / "c.tsv", "春\t夏", "春\t冬")
    (first, _) = read_labelled(unlabelled, Fields(("text1", "text2"), None))
    assert (first.text, first.second) == ("春", "夏")
