"""Learning vectors from a teacher's: the loss against its formula, which rows belong together, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch.nn import functional

import tiny
from nlpx.data.rows.reading import RowReport
from nlpx.data.rows.taught import TaughtText
from nlpx.errors import InputError, UsageError
from nlpx.losses.distillation import Config as LossConfig
from nlpx.losses.distillation import Loss
from nlpx.tasks.similarity import Config, Task

RANDOM = np.random.default_rng(7)


def loss(student: torch.Tensor, teacher: torch.Tensor, **options: Any) -> float:
    return float(Loss(LossConfig(**options))({"vectors": student}, {"targets": teacher}))


def vectors(count: int, size: int) -> torch.Tensor:
    return torch.from_numpy(RANDOM.standard_normal((count, size)))


def test_the_loss_is_zero_for_a_turned_and_stretched_teacher() -> None:
    teacher = vectors(6, 4)
    turn = torch.linalg.qr(vectors(4, 4)).Q
    assert loss(3 * teacher @ turn, teacher) == pytest.approx(0, abs=1e-6)
    assert loss(functional.pad(teacher, (0, 3)), teacher) == pytest.approx(0, abs=1e-6)  # of another size


def test_the_loss_is_its_formula() -> None:
    student, teacher = vectors(5, 3), vectors(5, 7)
    ours = functional.cosine_similarity(student[:, None], student[None], dim=-1)
    theirs = functional.cosine_similarity(teacher[:, None], teacher[None], dim=-1)
    squares = float((ours - theirs).square().mean())
    assert loss(student, teacher, divergence_weight=0) == pytest.approx(100 * squares, rel=1e-5)
    divergence = 0.0
    for row in range(5):
        others = [column for column in range(5) if column != row]
        p, q = (theirs[row, others] / 0.1).softmax(0), (ours[row, others] / 0.1).softmax(0)
        divergence += float((p * (p / q).log()).sum()) / 5
    found = loss(student, teacher, square_weight=0, divergence_weight=2, temperature=0.1)
    assert found == pytest.approx(2 * divergence, rel=1e-4)


def test_one_text_alone_teaches_nothing() -> None:
    assert loss(vectors(1, 3), vectors(1, 3)) == pytest.approx(0, abs=1e-5)


def test_gradients_are_those_of_finite_differences() -> None:
    student, teacher = vectors(4, 3).requires_grad_(), vectors(4, 5)
    criterion = Loss(LossConfig())

    def value(given: torch.Tensor) -> torch.Tensor:
        return criterion({"vectors": given}, {"targets": teacher})

    value(student).backward()
    assert student.grad is not None
    # The loss is computed in float32, whose rounding of 1e-7 times a loss near 100 allows steps no smaller than this.
    step, direction = 1e-2, vectors(4, 3)
    with torch.no_grad():
        slope = (value(student + step * direction) - value(student - step * direction)) / (2 * step)
    assert float(slope) == pytest.approx(float((student.grad * direction).sum()), rel=1e-2, abs=1e-2)


def read(tmp_path: Path, texts: list[str], teacher: np.ndarray[Any, Any], **options: Any) -> Any:
    data = tiny.write_rows(tmp_path / "texts.jsonl", [{"text": text} for text in texts])
    np.save(tmp_path / "teacher.npy", teacher)
    task = Task(Config(teacher=str(tmp_path / "teacher.npy"), **options))
    return task.read([str(data)], encoding="utf-8", on_bad_row="fail", report=RowReport())


def test_each_text_keeps_its_row_through_empty_and_repeated_ones(tmp_path: Path) -> None:
    texts = [f"第{number}句" for number in range(40)]
    teacher = RANDOM.standard_normal((43, 3)).astype(np.float32)
    splits = read(tmp_path, ["", *texts[:20], texts[0], *texts[20:], " "], teacher)
    expected = dict(zip(texts[:20], teacher[1:21], strict=True)) | dict(zip(texts[20:], teacher[22:42], strict=True))
    found = {row.text: row.teacher for row in [*splits.train, *splits.dev]}
    assert found.keys() == expected.keys()
    for text, vector in expected.items():
        np.testing.assert_allclose(found[text], vector - teacher.mean(0), atol=1e-6)
    assert splits.dev
    assert splits.train
    assert splits.notes[0].endswith("left out: 2 empty, 1 that occur again")


@pytest.mark.parametrize(
    ("rows", "message"),
    [(2, "has 2 rows and .* 3 texts"), (4, "has 4 rows and .* 3 texts")],
)
def test_an_array_of_other_length_is_refused(tmp_path: Path, rows: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, ["一", "二", "三"], np.ones((rows, 2), np.float32))


def test_values_that_are_not_finite_are_refused_with_their_row(tmp_path: Path) -> None:
    teacher = np.ones((3, 2), np.float32)
    teacher[1, 0] = np.nan
    with pytest.raises(InputError, match="row 1 holds a value that is not finite"):
        read(tmp_path, ["一", "二", "三"], teacher)


def test_without_a_teacher_it_says_how_to_make_one() -> None:
    with pytest.raises(UsageError, match="no teacher") as caught:
        Task(Config()).read(["texts"], encoding="utf-8", on_bad_row="fail", report=RowReport())
    assert "nlpx embed" in str(caught.value.hint)


def test_the_score_is_spearman_over_all_pairs() -> None:
    ours, theirs = RANDOM.standard_normal((6, 3)), RANDOM.standard_normal((6, 4))
    rows = [TaughtText(str(number), vector, {}) for number, vector in enumerate(theirs)]
    cosines = []
    for found in (ours, theirs):
        unit = found / np.linalg.norm(found, axis=1, keepdims=True)
        cosines.append([float(unit[i] @ unit[j]) for i in range(6) for j in range(i + 1, 6)])
    evaluation = Task(Config()).evaluate(rows, list(ours))
    assert evaluation.score == pytest.approx(spearmanr(*cosines).statistic)
    assert evaluation.record["pairs"] == 15
