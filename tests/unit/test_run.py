"""The run folder: names, manifest, metrics, and every way to end."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from nlpx.errors import InputError, MachineError, ResultError, UsageError
from nlpx.runs import facts as run_facts
from nlpx.runs.folder import RunFolder, active, list_runs, planned


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def make(**changes) -> RunFolder:
    arguments = {"command": "finetune", "name": "sohu", "config_yaml": "seed: 7\n", "seed": 7, "device": "cpu"}
    return RunFolder.create(**(arguments | changes))


def test_names_carry_time_command_name_and_seed_and_never_collide():
    first, second, third = make(), make(), make()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d{4}-finetune-sohu-7", first.path.name)
    assert len({first.path, second.path, third.path}) == 3
    assert [run.path for run in list_runs()] == sorted([first.path, second.path, third.path])
    assert not planned("finetune", name="sohu", seed=7).exists()


def test_manifest_is_there_from_the_start(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/nlpx", "finetune", "--task", "sohu"])
    (tmp_path / "rows.jsonl").write_text("{}\n")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("[]")
    run = make(inputs=["rows.jsonl", "model", "-"], chain=["presets/finetune/sohu.yaml"])
    manifest = json.loads((run.path / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["state"] == run.state == "running"
    assert manifest["command_line"] == ["nlpx", "finetune", "--task", "sohu"]
    assert manifest["presets"] == ["presets/finetune/sohu.yaml"]
    assert manifest["git"] is None
    assert manifest["libraries"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"torch", "numpy"} <= manifest["libraries"].keys()
    assert (manifest["end"], manifest["exit_code"]) == (None, None)
    rows, config, stdin = manifest["inputs"]
    assert rows == {
        "path": "rows.jsonl",
        "size": 3,
        "sha256": hashlib.sha256(b"{}\n").hexdigest(),
        "hashed_bytes": 3,
    }
    assert Path(config["path"]) == Path("model/config.json")
    assert stdin == {"path": "-", "size": None, "sha256": None}
    assert run.config.read_text() == "seed: 7\n"


def test_only_the_beginning_of_huge_files_is_hashed(tmp_path, monkeypatch):
    monkeypatch.setattr(run_facts, "HASHED_BYTES", 10)
    (tmp_path / "huge").write_bytes(b"0123456789tail")
    (facts,) = run_facts.input_facts(["huge"])
    assert facts["size"] == 14
    assert facts["hashed_bytes"] == 10
    assert facts["sha256"] == hashlib.sha256(b"0123456789").hexdigest()


def test_git_state(tmp_path):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for arguments in (["init", "-q"], [*identity, "commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", *arguments], check=True, cwd=tmp_path)
    state = run_facts.git_state()
    assert state is not None
    assert re.fullmatch(r"[0-9a-f]{40}", state["commit"])
    assert state["dirty"] is False
    (tmp_path / "new").touch()
    assert run_facts.git_state() == state | {"dirty": True}


@pytest.mark.parametrize(
    ("error", "state", "code"),
    [
        (None, "finished", 0),
        (KeyboardInterrupt(), "interrupted", 130),
        (ResultError("loss not finite"), "failed", 5),
        (ValueError("oops"), "failed", 1),
        (SystemExit(130), "interrupted", 130),
        (SystemExit(0), "finished", 0),
    ],
)
def test_every_end_is_recorded(error, state, code):
    run = make()

    def use():
        with run:
            assert active() is run
            if error is not None:
                raise error

    with nullcontext() if error is None else pytest.raises(type(error)) as caught:
        use()
    assert error is None or caught.value is error
    manifest = run.manifest
    assert (run.state, manifest["state"], manifest["exit_code"]) == (state, state, code)
    assert manifest["end"] >= manifest["start"]
    assert manifest["peak_memory"] is None or manifest["peak_memory"] > 2**20
    assert run.traceback.exists() == (code == 1)


def test_a_state_set_by_the_command_stays():
    with make() as run:
        run.finish("interrupted", exit_code=130)
    assert run.manifest["exit_code"] == 130


def test_a_killed_run_is_told_from_a_running_one():
    run = make()
    assert run.state == "running"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    run.update(process=gone.pid)
    assert run.state == ("killed" if os.name != "nt" else run.state)
    run.update(host="elsewhere")
    assert run.state == "running"


def test_the_primary_metric():
    run = make()
    run.update(headline={"name": "f1", "value": 0.25})  # as earlier versions wrote it
    assert run.primary_metric == {"name": "f1", "value": 0.25}
    run.set_primary_metric("f1", 0.5)
    assert run.manifest["primary_metric"] == {"name": "f1", "value": 0.5}
    assert run.primary_metric == {"name": "f1", "value": 0.5}
    run.set_primary_metric("f1", float("nan"))
    assert run.manifest["primary_metric"]["value"] is None


# --- metrics


def test_metrics_are_one_flushed_line_each():
    run = make()
    run.metrics({"step": 1, "loss": float("nan"), "名": "值"})
    assert run.metrics_file.read_text(encoding="utf-8") == '{"step": 1, "loss": null, "名": "值"}\n'
    run.close()
    run.metrics({"step": 2})
    assert [record["step"] for record in run.records()] == [1, 2]


def test_a_line_cut_off_by_a_kill_is_dropped():
    run = make()
    run.metrics({"step": 1})
    run.close()
    with run.metrics_file.open("a") as file:
        file.write('{"step": 2, "lo')
    assert [record["step"] for record in run.records()] == [1]
    run.truncate_metrics(after_step=9)
    assert run.metrics_file.read_text() == '{"step": 1}\n'


def test_truncation_drops_what_a_resumed_run_makes_anew():
    run = make()
    run.truncate_metrics(after_step=0)
    assert not run.metrics_file.exists()
    for step in (1, 2, 3):
        run.metrics({"step": step, "split": "train"})
    run.metrics({"step": 2, "split": "dev"})
    run.truncate_metrics(after_step=2)
    run.metrics({"step": 3, "again": True})
    assert [(r["step"], r.get("again")) for r in run.records()] == [(1, None), (2, None), (2, None), (3, True)]


def test_metrics_on_a_full_disk_name_the_file():
    run = make()

    class Full:
        def write(self, text):
            raise OSError(errno.ENOSPC, "full")

        def close(self):
            pass

    run._stream = Full()
    with pytest.raises(MachineError, match=r"metrics\.jsonl: no space left"):
        run.metrics({"step": 1})


# --- out, overwrite, open, resume


def test_out_names_the_folder_itself(tmp_path):
    run = make(out="here")
    assert run.path == Path("here")
    assert not Path("runs").exists()
    with pytest.raises(UsageError, match="here: this folder is not empty") as caught:
        make(out="here")
    assert "--resume" in str(caught.value.hint)
    assert "--overwrite" in str(caught.value.hint)
    (run.path / "old.txt").touch()
    assert sorted(path.name for path in make(out="here", overwrite=True).path.iterdir()) == [
        "config.yaml",
        "manifest.json",
    ]
    make(out=tmp_path / "new" / "deep")


def test_overwrite_spares_what_is_no_run(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").touch()
    with pytest.raises(UsageError, match="not a run folder"):
        make(out="thesis", overwrite=True)
    assert (tmp_path / "thesis" / "chapter.txt").exists()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="a file is in the way"):
        make(out="file", overwrite=True)


def test_last_is_a_text_file_with_a_name(tmp_path):
    first, second = make(), make()
    assert Path("runs/last").read_text() == second.path.name + "\n"
    assert RunFolder.open("last").path == second.path
    assert RunFolder.open(first.path.name).path == first.path
    assert RunFolder.open(first.path).path == first.path
    elsewhere = make(out=tmp_path / "elsewhere")
    assert RunFolder.open("last").path.resolve() == elsewhere.path


def test_open_refuses_what_is_no_run():
    with pytest.raises(UsageError, match="no last run"):
        RunFolder.open("last")
    with pytest.raises(UsageError, match="no run at nowhere"):
        RunFolder.open("nowhere")
    Path("empty").mkdir()
    with pytest.raises(InputError, match=r"no manifest\.json"):
        RunFolder.open("empty")
    run = make()
    (run.path / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read as JSON"):
        _ = RunFolder.open(run.path).manifest


def test_reopened_run_keeps_its_first_start():
    with make() as run:
        pass
    start = run.manifest["start"]
    again = RunFolder.open("last")
    again.reopen()
    assert (again.state, again.manifest["start"], again.manifest["exit_code"]) == ("running", start, None)
    assert len(again.manifest["resumed"]) == 1
    with again:
        pass
    assert again.state == "finished"


def test_needs_nothing_heavy():
    code = "import sys, nlpx.runs.folder; print({'torch', 'numpy', 'yaml', 'pydantic', 'rich'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
