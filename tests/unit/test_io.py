"""What is on disk after success, failure, a full disk, and a kill at every step of a replacement."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nlpx import io
from nlpx.errors import MachineError


def test_success_replaces_and_leaves_nothing_beside(tmp_path):
    target = tmp_path / "deep" / "file.txt"
    io.write_text(target, "旧\n")
    io.write_text(target, "新\n")
    assert target.read_bytes() == "新\n".encode()
    assert list(target.parent.iterdir()) == [target]


def test_failure_keeps_the_old_file(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old")

    def fail_half_way():
        with io.write_atomically(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_json_is_readable_and_strict(tmp_path):
    io.write_json(tmp_path / "a.json", {"名": [float("nan"), float("inf"), 1.5], "b": (True, None)})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"名": [None, None, 1.5], "b": [True, None]}
    assert "名" in text


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_names_the_file(tmp_path, number):
    target = tmp_path / "file.txt"
    target.write_text("old")
    message = r"file\.txt: no space left.*previous file is untouched"
    with pytest.raises(MachineError, match=message), io.write_atomically(target):
        raise OSError(number, "full")
    assert target.read_text() == "old"


def test_other_system_errors_pass_through(tmp_path):
    with pytest.raises(PermissionError), io.write_atomically(tmp_path / "file.txt"):
        raise PermissionError(errno.EACCES, "no")


def test_really_full_disk(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    full = Path("/dev/full").open("w")  # noqa: SIM115  closing it outside would raise once more
    full.write("x" * 10)
    with pytest.raises(MachineError), io.write_atomically(tmp_path / "file.txt"):
        full.close()


def test_directory_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "checkpoint"
    for word in ("one", "two"):
        with io.replace_directory(target) as temporary:
            (temporary / "nested").mkdir()
            (temporary / "nested" / f"{word}.txt").write_text(word)
    assert [path.name for path in target.rglob("*.txt")] == ["two.txt"]
    assert list(tmp_path.iterdir()) == [target]


def test_failed_replacement_keeps_the_old_directory(tmp_path):
    target = tmp_path / "checkpoint"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with pytest.raises(MachineError, match="previous one is untouched"), io.replace_directory(target):
        raise OSError(errno.ENOSPC, "full")
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.txt")] == ["checkpoint/old.txt"]


def test_recovery_between_the_two_renames(tmp_path):
    target = tmp_path / "checkpoint"
    (tmp_path / "checkpoint.old").mkdir()
    (tmp_path / "checkpoint.old" / "old.txt").write_text("old")
    assert io.recover_directory(target) == target
    assert (target / "old.txt").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_recovery_after_both_renames(tmp_path):
    target = tmp_path / "checkpoint"
    for path in (target, tmp_path / "checkpoint.old"):
        path.mkdir()
    (target / "new.txt").write_text("new")
    io.recover_directory(target)
    assert list(tmp_path.iterdir()) == [target]
    assert (target / "new.txt").exists()


_WRITER = """
import itertools, sys
from nlpx.io import replace_directory
for number in itertools.count():
    with replace_directory(sys.argv[1]) as temporary:
        for part in range(5):
            (temporary / f"{part}.txt").write_text(str(number))
    print(number, flush=True)
"""


def test_kill_at_any_moment_leaves_a_whole_directory(tmp_path):
    target = tmp_path / "checkpoint"
    for extra in range(6):
        process = subprocess.Popen([sys.executable, "-c", _WRITER, str(target)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(3 + extra):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL if os.name != "nt" else signal.SIGTERM)
        process.wait()
        io.recover_directory(target)
        contents = [path.read_text() for path in target.iterdir()]
        assert len(contents) == 5
        assert len(set(contents)) == 1
        assert int(contents[0]) >= 2 + extra
        assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_what_cannot_be_written_is_refused_before_the_work(tmp_path, monkeypatch):
    from nlpx.errors import InputError
    from nlpx.faults import refuse_unwritable

    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match="is a file, not a folder"):
        refuse_unwritable(tmp_path / "file" / "below" / "out.npy")
    refuse_unwritable(tmp_path / "new" / "folder" / "out.npy")
    assert not (tmp_path / "new").exists()
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(InputError, match=r"out.npy: .* may not be written to"):
        refuse_unwritable(tmp_path / "out.npy")
