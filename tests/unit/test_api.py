"""nlpx from Python: the same answers as the commands, in five lines; the notebook of the docs runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import nlpx
from nlpx.errors import InputError, UsageError

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "python.ipynb"
TEXTS = ["今天下雨了", "外面正在下雨", "", "股票跌了"]


@pytest.fixture(scope="module")
def encoder():
    return nlpx.Encoder("char-tiny", device="cpu")


def test_vectors_are_those_of_the_command(encoder):
    from nlpx.embed.encoder import SentenceEncoder

    vectors = encoder.encode(TEXTS)
    assert (vectors.shape, vectors.dtype) == ((4, encoder.dim), np.float32)
    expected = SentenceEncoder.load("char-tiny", device="cpu").encode(TEXTS)["first-last-avg"]
    np.testing.assert_array_equal(vectors, expected)
    assert not vectors[2].any()
    assert encoder.encode([]).shape == (0, encoder.dim)


def test_cosines_of_all_pairs(encoder):
    found = encoder.similarity(TEXTS, TEXTS[:2])
    assert found.shape == (4, 2)
    np.testing.assert_allclose([found[0, 0], found[1, 1], found[2, 0]], [1, 1, 0], atol=1e-5)
    assert found[0, 1] > found[3, 1]


def test_one_text_is_not_a_list_of_characters(encoder):
    with pytest.raises(UsageError, match="takes a list of texts"):
        encoder.encode("今天下雨了")


def test_a_run_by_rows_and_by_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"text": f"第{number}题{word}", "label": word} for number in range(12) for word in ("对", "错")]
    settings = {"train.steps": 2, "train.epochs": None}
    run = nlpx.finetune("classify", rows, out="run", settings=settings, device="cpu", seed=3)
    assert run.run == "run"
    assert 0 <= run.score <= 1
    found = nlpx.predict("run", [{"text": "第三题对"}, {"text": "第四题错"}], device="cpu")
    assert [row["text"] for row in found] == ["第三题对", "第四题错"]
    assert all(row["label"] in ("对", "错") for row in found)
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    again = nlpx.finetune("classify", "rows.jsonl", out="again", settings=settings, device="cpu", seed=3)
    assert again.score == run.score
    assert nlpx.Encoder("run", device="cpu").encode(["对"]).shape == (1, 256)


def test_what_is_wrong_is_said_as_by_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="has no `text`"):
        nlpx.finetune("classify", [{"title": "对", "label": 1}], device="cpu")
    with pytest.raises(UsageError, match="learning_rat"):
        nlpx.finetune("classify", [{"text": "对", "label": 1}], settings={"optim.learning_rat": 1}, device="cpu")


def test_generation_is_that_of_the_command():
    [row, empty] = nlpx.generate("char-tiny", ["今天天气很好", ""], device="cpu", max_new_tokens=4, num_beams=2)
    assert list(row) == ["text", "generated", "score"]
    assert row["generated"]
    assert (empty["generated"], empty["score"]) == ("", None)
    with pytest.raises(UsageError, match="a list of texts"):
        nlpx.generate("char-tiny", "今天")
    with pytest.raises(UsageError, match="--temperature -1 should be"):
        nlpx.generate("char-tiny", ["今天"], temperature=-1)


def test_a_padded_batch_is_a_call_of_the_model():
    tokenizer = nlpx.load_tokenizer("char-tiny")
    batch = tokenizer.encode_batch(["春风", "夏夜雷雨"], ["秋雨", "冬"], pad=True)
    rows = tokenizer.encode_batch(["春风", "夏夜雷雨"], ["秋雨", "冬"])
    assert list(batch) == ["token_ids", "segment_ids", "attention_mask"]
    for index, row in enumerate(rows):
        length = len(row.token_ids)
        assert batch["token_ids"][index, :length].tolist() == row.token_ids
        assert batch["segment_ids"][index, :length].tolist() == row.segment_ids
        assert batch["attention_mask"][index].nonzero()[:, 0].tolist() == list(range(length))
    assert batch["token_ids"].dtype == torch.int64
    with pytest.raises(UsageError, match="offsets are not padded"):
        tokenizer.encode_batch(["春"], return_offsets=True, pad=True)
    with pytest.raises(UsageError, match="there is no text"):
        tokenizer.encode_batch([], pad=True)


def test_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    for cell in (cell for cell in cells if cell["cell_type"] == "code"):
        exec(compile("".join(cell["source"]), str(NOTEBOOK), "exec"), names)
    assert names["vectors"].shape == (4, 256)
    assert (tmp_path / "reviews-run" / "report.md").is_file()
