"""`nlpx finetune` on tiny rows and models: where rows and models come from, what the run folder holds."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

import tiny

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "bert4keras"
SMALL = tiny.settings(*tiny.SMALL)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def data(tmp_path) -> str:
    return str(tiny.write_rows(tmp_path / "rows.jsonl", tiny.rows(48)))


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_run_folder(nlpx, data):
    outcome = nlpx("finetune", "--data", data, *SMALL)
    assert outcome.code == 0
    run = Path(outcome.out.removesuffix("\n"))  # the product is one line: the path
    assert run.is_dir()
    assert run.parent == Path("runs")
    assert Path("runs/last").read_text(encoding="utf-8").strip() == run.name
    kept = files(run)
    assert {"manifest.json", "config.yaml", "metrics.jsonl", "log.txt", "report.md"} <= kept
    assert {f"checkpoints/last/{name}" for name in ("model.safetensors", "config.json", "training.json")} <= kept
    assert {f"checkpoints/best/{name}" for name in ("model.safetensors", "vocab.txt", "task.json")} <= kept
    assert not [name for name in kept if name.endswith((".tmp", ".bin", ".pt", ".old"))]
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["state"], manifest["exit_code"], manifest["seed"]) == ("finished", 0, 7)
    assert [(Path(given["path"]).name, given["size"]) for given in manifest["inputs"]] == [
        ("rows.jsonl", Path(data).stat().st_size)
    ]
    records = tiny.metrics(run)
    assert manifest["primary_metric"]["value"] == max(r["score"] for r in records if r["split"] == "dev")
    assert [r["step"] for r in records if r["split"] == "train"] == list(range(1, records[-1]["step"] + 1))
    assert "nlpx predict " + str(run) in outcome.err  # the line that says what to try next
    assert "mean of F1 A and F1 B" in outcome.err
    assert "mean of F1 A and F1 B" in (run / "log.txt").read_text(encoding="utf-8")


def test_json_and_quiet(nlpx, data):
    outcome = nlpx("finetune", "--data", data, *SMALL, "--set", "tricks.ema.decay=0.5", "--json")
    result = json.loads(outcome.out)
    assert (outcome.code, outcome.err) == (0, "")
    assert set(result) == {"run", "score", "table"}
    assert [row["variant"] for row in result["table"]][-1] == "mean of F1 A and F1 B"
    outcome = nlpx("finetune", "--data", data, *SMALL, "--quiet", "--out", "mine")
    assert outcome == (0, "mine\n", "")


def test_the_contest_folders(nlpx, tmp_path):
    folder = tiny.contest(tmp_path / "contest")
    result = json.loads(nlpx("finetune", "--data", str(folder), *SMALL, "--json").out)
    assert [row["variant"] for row in result["table"]][:6] == list(tiny.VARIANTS)
    assert all(row["support"] == 6 for row in result["table"][:6])


def test_a_part_of_the_contest_folders(nlpx, tmp_path):
    folder = tiny.contest(tmp_path / "contest", names=tiny.FOLDERS[2:3])
    result = json.loads(nlpx("finetune", "--data", str(folder), *SMALL, "--json").out)
    assert [row["variant"] for row in result["table"]][:2] == ["slA", "all A"]


def test_rows_from_stdin(nlpx, data, monkeypatch):
    text = Path(data).read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text), encoding="utf-8"))
    piped = json.loads(nlpx("finetune", "--data", "-", *SMALL, "--json").out)
    from_file = json.loads(nlpx("finetune", "--data", data, *SMALL, "--json").out)
    assert (piped["score"], piped["table"]) == (from_file["score"], from_file["table"])
    assert json.loads((Path(piped["run"]) / "manifest.json").read_text(encoding="utf-8"))["inputs"] == []


@pytest.mark.parametrize("words", [(), ("--model", "word-tiny")])
def test_a_model_that_ships_is_the_default(nlpx, data, words):
    outcome = nlpx("finetune", "--data", data, *words, "--dry-run", "--json")
    plan = json.loads(outcome.out)
    assert outcome.code == 0
    assert 5e6 < plan["parameters"] < 6e6
    assert plan["tokenizer"].startswith("word" if words else "character")
    assert "preset finetune/sohu-tiny\n" in nlpx("finetune", "--data", data, *words, "--dry-run").err


CHECKPOINT = tiny.settings(
    "train.epochs=1", "train.batch_size=8", "data.max_length=24", "task_options.condition_size=4"
)


def test_from_a_transformers_checkpoint(nlpx, data, tmp_path):
    tiny.bert(tmp_path / "bert", "BertModel")
    outcome = nlpx("finetune", "--data", data, "--model", "bert", *CHECKPOINT, "--out", "run")
    assert (outcome.code, outcome.out) == (0, "run\n")
    assert "preset finetune/sohu-tiny\n" in outcome.err
    assert "family bert (config.json says model_type bert), 29 parameters loaded" in outcome.err
    stored = json.loads(Path("run/checkpoints/best/config.json").read_text(encoding="utf-8"))["config"]
    assert (stored["family"], stored["condition_size"], stored["num_conditions"]) == ("bert", 4, 6)
    assert Path("run/checkpoints/best/vocab.txt").read_text(encoding="utf-8").split() == tiny.VOCAB


@pytest.mark.parametrize(("name", "family"), [("albert", None), ("electra", None), ("roformer", "roformer")])
def test_from_a_tensorflow_bundle(nlpx, data, name, family):
    chosen = () if family is None else ("--set", f"model.family={family}")
    words = ("--model", str(FIXTURES / name), *chosen, *CHECKPOINT, "--set", "data.max_length=16")
    outcome = nlpx("finetune", "--data", data, *words, "--quiet")
    assert (outcome.code, outcome.err) == (0, "")


def test_a_bundle_that_may_be_two_families_is_not_guessed(nlpx, data):
    outcome = nlpx("finetune", "--data", data, "--model", str(FIXTURES / "nezha"), *CHECKPOINT)
    assert (outcome.code, outcome.out) == (3, "")
    assert "tell whether this is nezha, roformer" in outcome.err
    assert not Path("runs").exists()


def test_from_a_run_of_its_own(nlpx, data):
    assert nlpx("finetune", "--data", data, *SMALL, "--out", "first").code == 0
    words = ("--model", "first/checkpoints/best", *CHECKPOINT, "--out", "second")
    outcome = nlpx("finetune", "--data", data, *words)
    assert (outcome.code, outcome.out) == (0, "second\n")
    assert "(saved by nlpx)" in outcome.err


def test_a_classifier_of_other_classes_is_replaced(nlpx, data, tmp_path):
    tiny.bert(tmp_path / "bert", "BertForSequenceClassification", num_labels=5)
    outcome = nlpx("finetune", "--data", data, "--model", "bert", *CHECKPOINT, "--verbose")
    assert outcome.code == 0
    assert "unexpected: classifier.weight" in outcome.err


@pytest.mark.parametrize("resume", [False, True])
def test_another_encoder_through_transformers(nlpx, data, tmp_path, resume):
    tiny.checkpoint(
        tmp_path / "other", "DistilBertConfig", "DistilBertModel",
        dim=16, n_layers=1, n_heads=2, hidden_dim=24,
    )  # fmt: skip
    words = ("--model", "other", *tiny.settings("task_options.conditional=false"), *CHECKPOINT, "--out", "run")
    outcome = nlpx("finetune", "--data", data, *words)
    assert (outcome.code, outcome.out) == (0, "run\n")
    assert "family transformers (model_type distilbert)" in outcome.err
    answers = nlpx("predict", "run", data)
    assert (answers.code, answers.out.count('"probability"')) == (0, 48)
    if resume:
        outcome = nlpx("finetune", "--resume", "run", "--set", "train.epochs=2")
        assert outcome.code == 0
        assert tiny.metrics(Path("run"))[-1]["epoch"] == 1


def test_another_encoder_has_no_condition(nlpx, data, tmp_path):
    sizes = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 24}
    tiny.checkpoint(tmp_path / "other", "DistilBertConfig", "DistilBertModel", **sizes)
    outcome = nlpx("finetune", "--data", data, "--model", "other", *CHECKPOINT)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.endswith(
        "Error: other: a model loaded through transformers has no `condition_size` 4\n"
        "  --set task_options.conditional=false does without\n"
    )


def test_a_dry_run_writes_nothing(nlpx, data, tmp_path):
    before = files(tmp_path)
    outcome = nlpx("finetune", "--data", data, *SMALL, "--dry-run", "--json")
    plan = json.loads(outcome.out)
    assert (outcome.code, outcome.err) == (0, "")
    assert plan["seconds"] > 0
    assert "timed: " in plan["time"]
    assert files(tmp_path) == before
    assert not Path("runs").exists()
    assert plan["rows"]["train"] + plan["rows"]["dev"] == 48
    done = json.loads(nlpx("finetune", "--data", data, *SMALL, "--json").out)
    # All but the minute of the start, which may end between the two.
    assert plan["run"].split("-", 3)[3] == done["run"].split("-", 3)[3]
    assert plan["steps"] == tiny.metrics(Path(done["run"]))[-1]["step"]
    weights = load_file(Path(done["run"]) / "checkpoints" / "last" / "model.safetensors")
    assert plan["parameters"] == sum(tensor.numel() for tensor in weights.values())


def test_a_dry_run_checks_the_checkpoint(nlpx, data, tmp_path):
    tiny.bert(tmp_path / "bert")
    words = ("--model", "bert", "--dry-run")
    assert nlpx("finetune", "--data", data, *words).code == 2  # the preset's 512 tokens on 24 positions
    assert nlpx("finetune", "--data", data, *words, *CHECKPOINT, "--quiet").code == 0


def test_a_score_below_what_is_required(nlpx, data):
    outcome = nlpx("finetune", "--data", data, *SMALL, "--require", "1.1", "--out", "run")
    assert (outcome.code, outcome.out) == (5, "")
    assert outcome.err.splitlines()[-2].startswith("Error: score 0.")
    assert outcome.err.splitlines()[-2].endswith(" is below --require 1.1")
    assert json.loads(Path("run/manifest.json").read_text(encoding="utf-8"))["exit_code"] == 5
    assert nlpx("finetune", "--data", data, *SMALL, "--require", "0", "--quiet").code == 0


def test_a_folder_that_is_not_empty(nlpx, data):
    assert nlpx("finetune", "--data", data, *SMALL, "--out", "run").code == 0
    before = Path("run/metrics.jsonl").read_bytes()
    outcome = nlpx("finetune", "--data", data, *SMALL, "--out", "run", "--seed", "1")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.splitlines()[-2] == "Error: run: this folder is not empty"
    assert Path("run/metrics.jsonl").read_bytes() == before
    assert nlpx("finetune", "--data", data, *SMALL, "--out", "run", "--seed", "1", "--overwrite").code == 0
    assert json.loads(Path("run/manifest.json").read_text(encoding="utf-8"))["seed"] == 1


def test_overwrite_leaves_what_is_no_run_alone(nlpx, data):
    Path("mine").mkdir()
    Path("mine/letter.txt").write_text("信", encoding="utf-8")
    outcome = nlpx("finetune", "--data", data, *SMALL, "--out", "mine", "--overwrite")
    assert (outcome.code, outcome.out) == (2, "")
    assert Path("mine/letter.txt").read_text(encoding="utf-8") == "信"


def test_the_same_seed_gives_the_same_run(nlpx, data):
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        assert nlpx("finetune", "--data", data, *SMALL, "--seed", seed, "--out", name).code == 0
    a, b, c = (tiny.metrics(Path(name)) for name in "abc")
    assert a == b
    assert a != c
    weights = [Path(name, "checkpoints", "best", "model.safetensors").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]


def test_the_resolved_configuration_repeats_the_run(nlpx, data):
    assert nlpx("finetune", "--data", data, *SMALL, "--seed", "3", "--out", "a").code == 0
    for preset, name in (("a/config.yaml", "b"), ("a", "c")):
        assert nlpx("finetune", "--preset", preset, "--out", name).code == 0
        assert tiny.metrics(Path(name)) == tiny.metrics(Path("a"))
    resolved = [yaml.safe_load(Path(name, "config.yaml").read_text(encoding="utf-8")) for name in "abc"]
    assert resolved[0] == resolved[1] == resolved[2]
    assert resolved[0]["train"]["accumulation"] == 1  # defaults are explicit


def test_without_conditional_norms(nlpx, data):
    words = (*SMALL, "--set", "task_options.conditional=false", "--out", "run")
    assert nlpx("finetune", "--data", data, *words, "--quiet").code == 0
    assert not [name for name in load_file("run/checkpoints/best/model.safetensors") if "condition" in name]
    assert nlpx("predict", "run", data).out.count("\n") == 48


def test_a_run_that_never_evaluates_ends_with_a_score_of_its_averaged_weights(nlpx, data):
    words = (*SMALL, *tiny.settings("train.eval_every=null", "optim.learning_rate=0.01"), "--out", "run")
    assert nlpx("finetune", "--data", data, *words, "--quiet").code == 0
    assert [record["split"] for record in tiny.metrics(Path("run"))].count("dev") == 1
    best, last = (load_file(f"run/checkpoints/{name}/model.safetensors") for name in ("best", "last"))
    assert any(not torch.equal(best[name], last[name]) for name in best)  # EMA, not the raw weights


def test_early_stopping_saves_the_step_it_stops_at(nlpx, data):
    words = ("train.patience=1", "train.epochs=50", "train.eval_every=2", "train.save_every=null")
    assert nlpx("finetune", "--data", data, *SMALL, *tiny.settings(*words), "--out", "run").code == 0
    stopped = tiny.metrics(Path("run"))[-1]["step"]
    state = json.loads(Path("run/checkpoints/last/training.json").read_text(encoding="utf-8"))
    assert state["step"] == stopped < 100


def test_a_vocabulary_smaller_than_the_table_warns(nlpx, data, tmp_path):
    tiny.bert(tmp_path / "bert", vocab_size=50)
    outcome = nlpx("finetune", "--data", data, "--model", "bert", *CHECKPOINT)
    assert outcome.code == 0
    assert (
        f"Warning: bert: the word table has 50 rows, the vocabulary {len(tiny.VOCAB)} entries: "
        "the rows beyond are never used; is it the checkpoint's own vocab.txt?\n"
    ) in outcome.err


def test_hierarchical_positions_take_longer_texts(nlpx, data, tmp_path):
    tiny.bert(tmp_path / "bert", max_position_embeddings=6)
    words = ("--model", "bert", *CHECKPOINT, *tiny.settings("model.choices.position=hierarchical"), "--out", "run")
    assert nlpx("finetune", "--data", data, *words, "--quiet").code == 0
    assert json.loads(Path("run/checkpoints/best/config.json").read_text())["config"]["position"] == "hierarchical"


def test_unlabelled_and_broken_rows_can_be_left_out(nlpx, tmp_path):
    content = [*tiny.rows(40), {"source": "春", "target": "夏", "variant": "ssA"}, "{", {"source": "春"}]
    path = str(tiny.write_rows(tmp_path / "some.jsonl", content))
    outcome = nlpx("finetune", "--data", path, *SMALL, "--set", "data.on_bad_row=skip")
    assert outcome.code == 0
    assert f"Warning: 3 bad rows were skipped; the first: {path}:" in outcome.err


def test_gb18030_rows(nlpx, tmp_path, data):
    recoded = tmp_path / "gb.jsonl"
    recoded.write_bytes(Path(data).read_text(encoding="utf-8").encode("gb18030"))
    words = ("--set", "data.encoding=gb18030")
    a = json.loads(nlpx("finetune", "--data", str(recoded), *SMALL, *words, "--json").out)
    b = json.loads(nlpx("finetune", "--data", data, *SMALL, "--json").out)
    assert a["table"] == b["table"]


def test_the_shipped_sample_is_the_default(nlpx):
    outcome = nlpx("finetune", *SMALL, "--dry-run", "--json")
    plan = json.loads(outcome.out)
    assert plan["rows"]["train"] > 500
    assert plan["rows"]["dev"] > 0
    assert plan["rows"]["test"] > 0


def test_a_preset_of_ones_own(nlpx, data):
    Path("mine.yaml").write_text("extends: finetune/sohu-new\ntrain: {epochs: 1}\n", encoding="utf-8")
    outcome = nlpx("finetune", "--preset", "mine.yaml", "--data", data, *SMALL, "--out", "run", "--quiet")
    assert outcome == (0, "run\n", "")
    manifest = json.loads(Path("run/manifest.json").read_text(encoding="utf-8"))
    assert [Path(name).name for name in manifest["presets"]] == ["sohu.yaml", "sohu-new.yaml", "mine.yaml"]
    shutil.rmtree("run")
