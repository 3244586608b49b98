"""The six-variant pairs: both layouts, the split rules, and each refusal with its place and way out."""

from __future__ import annotations

import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from nlpx.data.rows.reading import RowReport
from nlpx.data.rows.sohu import FOLDERS, VARIANTS, Pair, describe, read_pairs, read_splits
from nlpx.errors import InputError


def row(number: int = 0, **changes: Any) -> dict[str, Any]:
    values = {"source": f"标题{number}", "target": f"正文{number}", "variant": "ssA", "labelA": str(number % 2)}
    return {name: value for name, value in (values | changes).items() if value is not ...}


def save(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(json.dumps(values, ensure_ascii=False) + "\n" for values in rows).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def contest(folder: Path, variant: str, file: str, rows: list[dict[str, Any]]) -> None:
    for values in rows:
        values.pop("variant", None)
    save(folder / FOLDERS[VARIANTS.index(variant)] / file, rows)


def refusal(tmp_path: Path, **changes: Any) -> InputError:
    path = save(tmp_path / "a.jsonl", [row(1), row(2, **changes)])
    with pytest.raises(InputError) as caught:
        list(read_pairs(path))
    assert caught.value.message.startswith(f"{path}:2: ")
    assert caught.value.hint
    return caught.value


def test_contest_layout(tmp_path: Path) -> None:
    contest(tmp_path, "ssB", "train.txt", [row(n, labelA="", labelB=str(n % 2)) for n in range(4)])
    contest(tmp_path, "ssB", "train_round2.txt", [row(n, labelA=..., labelB=1) for n in range(2)])
    contest(tmp_path, "llA", "train.txt", [row(n) for n in range(2)])
    contest(tmp_path, "llA", "valid.txt", [row(n) for n in range(3)])
    contest(tmp_path, "llA", "test_with_id.txt", [row(n, labelA=..., id=f"x{n}") for n in range(2)])
    (tmp_path / "notes").mkdir()
    splits = read_splits(tmp_path)
    assert [(pair.variant, pair.label) for pair in splits.train] == [
        (1, 0),
        (1, 1),
        (1, 0),
        (1, 1),
        (1, 1),
        (1, 1),
        (4, 0),
        (4, 1),
    ]
    assert [pair.label for pair in splits.dev] == [0, 1, 0]
    assert [(pair.id, pair.label, pair.split) for pair in splits.test] == [("x0", None, "test"), ("x1", None, "test")]
    assert [note.split(":")[0] for note in splits.notes] == ["train"]  # what was taken, and nothing else


def test_one_folder_or_one_file_of_the_contest(tmp_path: Path) -> None:
    contest(tmp_path, "slA", "train.txt", [row(n) for n in range(4)])
    contest(tmp_path, "slA", "valid.txt", [row(n) for n in range(2)])
    folder = tmp_path / FOLDERS[2]
    assert len(read_splits(folder).dev) == 2
    assert [(pair.variant, pair.split) for pair in read_pairs(folder / "valid.txt")] == [(2, "dev"), (2, "dev")]


def test_json_lines_in_file_folder_and_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(n, split="train") for n in range(6)] + [
        row(6, variant=..., type="llB", labelB=1, split="valid"),
        row(7, split="test", labelA=...),
    ]
    plain = save(tmp_path / "data" / "a.jsonl", rows[:4])
    save(tmp_path / "data" / "b.jsonl.gz", rows[4:])
    save(tmp_path / "data" / "corpus.jsonl", [{"text": "无关"}])
    (tmp_path / "data" / "README.md").write_text("no rows")
    splits = read_splits(tmp_path / "data")
    assert (len(splits.train), len(splits.dev), len(splits.test)) == (6, 1, 1)
    assert splits.dev[0].variant == 5
    assert splits.train[0].place == f"{plain}:1"
    assert splits.notes[0].startswith("1 of 3 files")
    assert "corpus.jsonl" in splits.notes[0]

    everything = "".join(json.dumps(values) + "\n" for values in rows).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(everything)))
    assert [pair.place for pair in read_splits("-").dev] == ["stdin:7"]


def test_rows_with_both_labels_are_two_pairs(tmp_path: Path) -> None:
    graded = row(1, variant=..., type="sl", labelA="1", labelB="0")
    one = row(2, variant=..., type="sl", labelA="", labelB="1")
    pairs = list(read_pairs(save(tmp_path / "a.jsonl", [graded, one])))
    assert [(pair.variant, pair.label) for pair in pairs] == [(2, 1), (3, 0), (3, 1)]
    assert pairs[0].row is pairs[1].row


def test_only_the_split_asked_for(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", [row(0, split="train"), row(1, split="dev"), row(2)])
    assert [pair.source for pair in read_pairs(path, split="dev")] == ["标题1"]


def test_held_out_dev_is_stable_and_shares_no_source(tmp_path: Path) -> None:
    rows = [row(n // 2, target=f"正文{n}", labelA=n % 2) for n in range(600)]
    first = read_splits(save(tmp_path / "a.jsonl", rows))
    second = read_splits(save(tmp_path / "b.jsonl", rows[::-1]))
    assert {pair.target for pair in first.dev} == {pair.target for pair in second.dev}
    assert not {pair.source for pair in first.dev} & {pair.source for pair in first.train}
    assert 0.06 < len(first.dev) / 600 < 0.14
    assert "no dev split given" in first.notes[1]


def test_a_tiny_set_still_gets_a_dev_pair(tmp_path: Path) -> None:
    splits = read_splits(save(tmp_path / "a.jsonl", [row(n) for n in range(5)]))
    assert splits.dev
    assert splits.train
    with pytest.raises(InputError, match="one source text"):
        read_splits(save(tmp_path / "b.jsonl", [row(0, labelA=n) for n in range(2)]))


def test_all_rows_of_one_class(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", [row(n, labelA=1) for n in range(30)])
    with pytest.raises(InputError, match="training pairs have label 1"):
        read_splits(path)
    mixed = save(
        tmp_path / "b.jsonl", [row(n, labelA=1) for n in range(30)] + [row(n, variant="slA") for n in range(30)]
    )
    assert any("ssA" in note for note in read_splits(mixed).notes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"source": ...}, "lacks the field `source`"),
        ({"target": 3}, "`target` is not a text"),
        ({"labelA": ...}, "lacks the field `labelA` of variant ssA"),
        ({"labelA": ""}, "lacks the field `labelA`"),
        ({"labelA": "2"}, "`labelA` is '2', expected 0 or 1"),
        ({"labelA": True}, "`labelA` is True"),
        ({"labelA": 1.0}, "`labelA` is 1.0"),
        ({"labelA": [1]}, "`labelA` is [1]"),
        ({"variant": ...}, "lacks the field `variant`"),
        ({"variant": "sss"}, "unknown variant 'sss' in `variant`"),
        ({"variant": ["ssA"]}, "unknown variant"),
        ({"variant": "ss", "labelA": ...}, "leaves open whether A or B"),
        ({"split": "trian"}, "unknown `split` 'trian'"),
    ],
)
def test_rows_that_do_not_fit(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    assert expected in refusal(tmp_path, **changes).message


def test_missing_fields_name_what_is_there(tmp_path: Path) -> None:
    assert "this one has: target, variant, labelA, text1" in str(refusal(tmp_path, source=..., text1="甲").hint)


def test_labels_may_be_missing_for_prediction(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", [row(1, labelA=...), row(2, labelA="")])
    assert [pair.label for pair in read_pairs(path, require_label=False)] == [None, None]
    bad = save(tmp_path / "b.jsonl", [row(1, labelA="yes")])
    with pytest.raises(InputError, match="expected 0 or 1"):
        list(read_pairs(bad, require_label=False))


def test_bad_rows_are_counted_when_skipped(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", [row(n) for n in range(20)] + [row(21, labelA="2"), row(22, source=...)])
    report = RowReport()
    splits = read_splits(path, on_bad_row="skip", report=report)
    assert len(splits.train) + len(splits.dev) == 20
    assert report.num_skipped == 2
    assert "expected 0 or 1" in report.errors[0]
    nothing = save(tmp_path / "b.jsonl", [row(1, labelA="2")])
    with pytest.raises(InputError, match=r"no training pairs; the first bad row: .*expected 0 or 1"):
        read_splits(nothing, on_bad_row="skip")


def test_folders_without_pairs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no pairs") as caught:
        read_splits(tmp_path)
    assert FOLDERS[0] in str(caught.value.hint)
    with pytest.raises(InputError, match="no such file"):
        read_splits(tmp_path / "missing")


def test_gb18030_data_name_the_option(tmp_path: Path) -> None:
    folder = tmp_path / FOLDERS[0]
    folder.mkdir()
    content = "".join(json.dumps(row(n), ensure_ascii=False) + "\n" for n in range(30))
    (folder / "train.txt").write_bytes(content.encode("gb18030"))
    with pytest.raises(InputError) as caught:
        read_splits(tmp_path)
    assert "--encoding gb18030" in str(caught.value.hint)
    assert len(read_splits(tmp_path, encoding="gb18030").train) > 20


def test_describe_counts_and_lengths() -> None:
    def pair(variant: int, label: int | None, source: str, target: str) -> Pair:
        return Pair(source, target, variant, label, None, "a:1", "train", {})

    table = describe(
        [pair(5, 1, "甲", "乙丙"), pair(0, 0, "甲", "乙"), pair(0, 1, "甲乙丙", "丁"), pair(1, None, "", "")]
    )
    assert [summary["variant"] for summary in table] == ["ssA", "ssB", "llB"]
    assert table[0] == {
        "variant": "ssA",
        "pairs": 2,
        "positive": 1,
        "positive_share": 0.5,
        "mean_source_length": 2.0,
        "mean_target_length": 1.0,
        "max_length": 4,
    }
    assert table[1]["positive_share"] is None
