"""Every way in which what a user gives can be wrong: the exit code, an empty stdout, the sentence, no trace on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors
import torch
from safetensors.torch import load_file, save_file

import tiny
from nlpx.models.checkpoints import save as model_files

SMALL = tiny.settings(*tiny.SMALL)
GOOD = {"source": "春雨", "target": "春雨", "variant": "ssA", "labelA": 1}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def data(tmp_path) -> str:
    tiny.write_rows(tmp_path / "rows.jsonl", tiny.rows(48))
    return "rows.jsonl"


def refused(outcome, code, *lines):
    """Check the code, that nothing went to stdout, and the error with its way out: the last lines of stderr."""
    assert (outcome.code, outcome.out) == (code, "")
    assert "Traceback" not in outcome.err
    assert outcome.err.splitlines()[-len(lines) :] == list(lines)
    assert sum(line.startswith("Error: ") for line in outcome.err.splitlines()) == 1


SKIP = "  correct the row; or leave such rows out with `--on-bad-row skip`"
ROWS = {
    "no-json": ("{'source': 1}", "not JSON (column 2: Expecting property name enclosed in double quotes)", SKIP),
    "array": ("[1]", "a JSON array, not an object", "  one JSON object a line is expected; an array is split by: jq"),
    "no-source": ({"target": "夏"}, "lacks the field `source`", "  each row needs `source` and `target`; this one"),
    "no-variant": (GOOD | {"variant": None}, "lacks the field `variant`", "  variants: ssA, ssB, slA, slB, llA, llB"),
    "wrong-variant": (
        GOOD | {"variant": "ssC"},
        "unknown variant 'ssC' in `variant`",
        "  variants: ssA, ssB, slA, slB",
    ),
    "no-label": ({k: v for k, v in GOOD.items() if k != "labelA"}, "lacks the field `labelA` of variant ssA", SKIP),
    "label": (GOOD | {"labelA": 2}, "field `labelA` is 2, expected 0 or 1", SKIP),
    "label-text": (GOOD | {"labelA": "yes"}, "field `labelA` is 'yes', expected 0 or 1", SKIP),
    "not-a-text": (GOOD | {"source": 5}, "field `source` is not a text", SKIP),
    "surrogate": (
        r'{"source": "\ud83d", "target": "x"}',
        "holds a lone surrogate (half of a \\uD83D\\uDE00 pair)",
        SKIP,
    ),
    "nul": (r'{"source": "a\u0000", "target": "x"}', "holds a NUL character", SKIP),
    "split": (GOOD | {"split": "later"}, "unknown `split` 'later'", "  splits: train, dev, valid, validation, test"),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_row(nlpx, name):
    row, what, way_out = ROWS[name]
    tiny.write_rows(Path("bad.jsonl"), [GOOD, row])
    outcome = nlpx("finetune", "--data", "bad.jsonl", *SMALL)
    assert (outcome.code, outcome.out) == (3, "")
    error, hint = outcome.err.splitlines()[-2:]
    assert error.startswith(f"Error: bad.jsonl:2: {what}: ")
    assert hint.startswith(way_out)
    assert not Path("runs").exists()


def test_a_row_as_json(nlpx):
    tiny.write_rows(Path("bad.jsonl"), [GOOD, "{"])
    outcome = nlpx("finetune", "--data", "bad.jsonl", *SMALL, "--json")
    assert (outcome.code, outcome.out) == (3, "")
    error = json.loads(outcome.err.splitlines()[-1])
    assert (set(error), error["exit"]) == ({"error", "hint", "exit"}, 3)


def test_another_encoding(nlpx):
    line = json.dumps(GOOD | {"source": "春雨贵如油"}, ensure_ascii=False) + "\n"
    Path("gb.jsonl").write_bytes(line.encode("gb18030"))
    outcome = nlpx("finetune", "--data", "gb.jsonl", *SMALL)
    assert (outcome.code, outcome.out) == (3, "")
    error, hint = outcome.err.splitlines()[-2:]
    assert error.startswith("Error: gb.jsonl:1: not UTF-8 at byte 12 (0xb4)")
    assert "春雨贵如油" in error  # shown as the encoding that it has
    assert hint == "  the bytes are GB18030 text: try `--encoding gb18030`"


def test_the_ways_out_that_errors_name_are_taken(nlpx):
    content = [json.dumps(row, ensure_ascii=False) for row in tiny.rows(40)]
    Path("gb.jsonl").write_bytes("\n".join(["{", *content]).encode("gb18030"))
    words = ("--encoding", "gb18030", "--on-bad-row", "skip", "--dry-run")
    assert nlpx("finetune", "--data", "gb.jsonl", *SMALL, *words).code == 0


def test_missing_and_empty_files(nlpx):
    Path("rows.jsonl").write_text("", encoding="utf-8")
    refused(
        nlpx("finetune", "--data", "rows.jsonl", *SMALL), 3,
        "Error: rows.jsonl is empty", "  one row a line is expected",
    )  # fmt: skip
    outcome = nlpx("finetune", "--data", "row.jsonl", *SMALL)
    refused(outcome, 3, *outcome.err.splitlines()[-2:])
    assert "row.jsonl" in outcome.err
    assert "did you mean `rows.jsonl`?" in outcome.err
    Path("folder").mkdir()
    outcome = nlpx("finetune", "--data", "folder", *SMALL)
    assert (outcome.code, outcome.out) == (3, "")
    assert "expected: the folders 短短匹配A类 … 长长匹配B类 with train.txt, or JSON-lines files" in outcome.err


def test_rows_of_one_class(nlpx):
    tiny.write_rows(Path("ones.jsonl"), [GOOD | {"source": f"春{n}"} for n in range(20)])
    outcome = nlpx("finetune", "--data", "ones.jsonl", *SMALL)
    assert (outcome.code, outcome.out) == (3, "")
    error, hint = outcome.err.splitlines()[-2:]
    assert error.startswith("Error: ones.jsonl: all ")
    assert error.endswith(" training pairs have label 1")
    assert hint == "  a classifier needs rows of both classes; were the rows sorted and split?"


NAMES = {
    "preset": (("--preset", "finetune/soho"), "unknown preset `finetune/soho`", "did you mean `finetune/sohu`"),
    "task": (("--task", "soho"), "unknown task `soho`", "did you mean `sohu`?"),
    "task-set": (("--set", "task=soho"), "--set task=soho: unknown task `soho`", "did you mean `sohu`?"),
    "key": (("--set", "optim.leraning_rate=1"), "unknown key `optim.leraning_rate`", "did you mean `learning_rate`?"),
    "value": (("--set", "optim.learning_rate=fast"), "optim.learning_rate", ""),
    "trick": (("--set", "tricks.emo.decay=0.9"), "unknown trick `emo`", "did you mean `ema`?"),
    "device": (("--device", "gpu"), "unknown device `gpu`", "known: auto, cpu, cuda, cuda:N, mps"),
    "family": (
        ("--model", "bert", "--set", "train.batch_tokens=null", "--set", "model.family=brt"),
        "unknown family `brt`",
        "did you mean `bert` or `albert`?",
    ),
    "choice": (("--set", "model.new.choices={nrm: rms}"), "model.choices: unknown key `nrm`", "did you mean `norm"),
    "part": (("--set", "model.new.choices={norm: batch}"), "model: norm: Input should be 'layer' or 'rms'", ""),
    "contradiction": (
        ("--set", "train.steps=3"),
        "`epochs` and `steps` contradict each other: set one of them to null",
        "",
    ),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_or_value(nlpx, data, name):
    words, said, way_out = NAMES[name]
    tiny.bert(Path("bert"))
    outcome = nlpx("finetune", "--data", data, *SMALL, *words)
    assert (outcome.code, outcome.out) == (2, "")
    assert said in outcome.err
    assert way_out in outcome.err
    assert "Traceback" not in outcome.err
    assert not Path("runs").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has one")
def test_a_device_that_is_not_there(nlpx, data):
    refused(
        nlpx("finetune", "--data", data, *SMALL, "--device", "cuda"), 4,
        "Error: device `cuda` is not available: torch finds 0 CUDA devices", "  --device auto takes what there is",
    )  # fmt: skip


def test_texts_longer_than_the_positions(nlpx, data):
    tiny.bert(Path("bert"), max_position_embeddings=40)
    refused(
        nlpx("finetune", "--data", data, "--model", "bert"), 2,
        "Error: data.max_length 256 is more than the 40 positions of bert",
        "  --set data.max_length=40 truncates the texts",
        "  --set model.choices.position=hierarchical makes more of the positions that are there",
    )  # fmt: skip
    assert not Path("runs").exists()


def test_a_vocabulary_larger_than_the_table(nlpx, data):
    tiny.bert(Path("bert"), vocab_size=20)
    refused(
        nlpx("finetune", "--data", data, "--model", "bert", *tiny.settings("data.max_length=24")), 3,
        f"Error: bert: the vocabulary has {len(tiny.VOCAB)} entries, the model's word table 20 rows",
        "  take the vocabulary that was released with these weights",
    )  # fmt: skip
    assert not Path("runs").exists()


def test_a_checkpoint_without_its_parts(nlpx, data):
    words = ("finetune", "--data", data, *tiny.settings("data.max_length=24"), "--model")
    for name in ("config.json", "model.safetensors", "vocab.txt"):
        tiny.bert(Path(name).with_suffix(".d"))
        (Path(name).with_suffix(".d") / name).unlink()
    refused(
        nlpx(*words, "config.d"), 3, "Error: config.d: no configuration beside the weights",
        "  expected one of config.json, bert_config.json, albert_config.json, electra_config.json",
    )  # fmt: skip
    refused(
        nlpx(*words, "model.d"), 3, "Error: model.d: no weights found",
        "  expected model.safetensors, pytorch_model.bin, or a TensorFlow bundle "
        "(bert_model.ckpt.index and its data file)",
    )  # fmt: skip
    outcome = nlpx(*words, "vocab.d")
    assert (outcome.code, outcome.out) == (3, "")
    assert (
        outcome.err.splitlines()[-2] == "Error: no tokenizer in vocab.d: neither vocab.txt nor tokenizer.json is there"
    )
    refused(
        nlpx(*words, "./none"), 3, "Error: ./none: no such file or directory",
        "  give a checkpoint directory, or a hub name like org/model",
    )  # fmt: skip


def test_damaged_weights(nlpx, data):
    words = ("finetune", "--data", data, *tiny.settings("data.max_length=24"), "--model", "bert")
    tiny.bert(Path("bert"))
    file = Path("bert/model.safetensors")
    whole, tensors = file.read_bytes(), load_file(file)
    file.write_bytes(whole[:-100])
    outcome = nlpx(*words)
    assert (outcome.code, outcome.out) == (3, "")
    error, hint = outcome.err.splitlines()[-2:]
    assert error.startswith(f"Error: {file}: truncated or not a safetensors file")
    assert hint == "  copy or download it again"

    name = "bert.encoder.layer.0.intermediate.dense.weight"
    save_file(tensors | {name: torch.zeros(23, 16)}, file)
    refused(
        nlpx(*words), 3,
        f"Error: bert: tensor `{name}` has shape (23, 16), but the configuration asks for (24, 16) "
        "(layers.0.feed_forward.input.weight)",
        "  the configuration and the weights are of different models, or a size in it is wrong",
    )  # fmt: skip
    save_file({key: tensor for key, tensor in tensors.items() if key != name}, file)
    refused(
        nlpx(*words), 3, "Error: bert: the checkpoint lacks layers.0.feed_forward.input.weight",
        "  --set \"model.allow_partial=['layers.*']\" starts them at random",
    )  # fmt: skip
    outcome = nlpx(*words, "--set", "model.allow_partial=['layers.*']", "--set", "train.epochs=1")
    assert outcome.code == 0
    assert "Warning: missing, starts at random: layers.0.feed_forward.input.weight\n" in outcome.err
    file.unlink()
    torch.save(tensors | {"hook": _Runs()}, "bert/pytorch_model.bin")
    refused(
        nlpx(*words), 3,
        "Error: bert/pytorch_model.bin: holds more than plain weights, and nlpx runs no code from a checkpoint",
        "  convert it to safetensors where you trust it, and load that",
    )  # fmt: skip
    assert not Path("executed").exists()


class _Runs:
    """Leaves a trace when it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


def test_a_loss_that_is_no_number(nlpx, data):
    words = ("optim.learning_rate=1e30", "optim.schedule.warmup_ratio=0", "train.max_gradient_norm=null")
    words += ("train.save_every=1", "train.eval_every=null")
    outcome = nlpx("finetune", "--data", data, *SMALL, *tiny.settings(*words), "--out", "run")
    assert (outcome.code, outcome.out) == (5, "")
    error, hint = outcome.err.splitlines()[-2:]
    assert error.startswith("Error: step ")
    assert "rows of the batch, counted from 0: " in error
    assert hint.endswith("The last checkpoint is whole")
    manifest = json.loads(Path("run/manifest.json").read_text(encoding="utf-8"))
    assert (manifest["state"], manifest["exit_code"]) == ("failed", 5)
    stopped = int(error.removeprefix("Error: step ").partition(",")[0])
    kept = Path("run/checkpoints/last")
    assert json.loads((kept / "training.json").read_text(encoding="utf-8"))["step"] == stopped - 1
    assert load_file(kept / "model.safetensors")
    assert load_file(kept / "training.safetensors")


@pytest.mark.parametrize("writer", ["python", "safetensors"])
def test_a_full_disk_leaves_the_previous_checkpoint(nlpx, data, monkeypatch, writer):
    """The second save meets a full disk; what Python raises there, and what safetensors does."""
    full = {
        "python": OSError(28, "No space left on device"),
        "safetensors": safetensors.SafetensorError("I/O error: No space left on device (os error 28)"),
    }[writer]
    real, calls = model_files.save_file, []

    def save(tensors, path, **options):
        calls.append(path)
        if len(calls) == 3:  # the saves at steps 3, 6 and 9
            real(tensors, path, **options)
            raise full
        return real(tensors, path, **options)

    monkeypatch.setattr(model_files, "save_file", save)
    words = tiny.settings("train.save_every=3", "train.eval_every=null")
    outcome = nlpx("finetune", "--data", data, *SMALL, *words, "--out", "run")
    last = Path("run/checkpoints/last")
    refused(
        outcome, 4, "Error: run/checkpoints/last: no space left on the disk; the previous one is untouched",
        "  free some space; write elsewhere with --out",
    )  # fmt: skip
    assert json.loads((last / "training.json").read_text(encoding="utf-8"))["step"] == 6
    assert sorted(path.name for path in last.parent.iterdir()) == ["last"]  # nothing half-written stays
    monkeypatch.setattr(model_files, "save_file", real)
    assert nlpx("finetune", "--resume", "run", "--quiet").code == 0
