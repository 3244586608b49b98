"""A count that was killed goes on where it was, and no block is in the result twice."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from nlpx.counting import engine, workers
from nlpx.counting.engine import count
from nlpx.counting.settings import CountSettings
from nlpx.counting.work import read_item
from nlpx.data.corpus.texts import find_sources
from nlpx.errors import InputError, UsageError
from nlpx.messages import Silent

LINES = [f"第{index}行，春风又绿江南岸{index % 17}" for index in range(3000)]
STEP = 5000


@pytest.fixture(autouse=True)
def with_pool(monkeypatch):
    monkeypatch.setattr(engine, "_SMALL", dict.fromkeys(engine._SMALL, -1))
    monkeypatch.setattr(workers, "_start_method", lambda: "fork")


@pytest.fixture
def text(tmp_path) -> str:
    path = tmp_path / "text.txt"
    path.write_text("\n".join(LINES), encoding="utf-8")
    return str(path)


def expected() -> list[tuple[str, int]]:
    table = Counter(line[place : place + 2] for line in LINES for place in range(len(line) - 1))
    return sorted(table.items(), key=lambda item: (-item[1], item[0]))


def settings(folder: Path, **changes) -> CountSettings:
    usual = {"unit": "ngram", "workers": 2, "block_bytes": 1000, "checkpoint": str(folder), "checkpoint_bytes": STEP}
    return CountSettings(**{**usual, **changes})


def counted(text: str, chosen: CountSettings, read=read_item) -> list[tuple[str, int]]:
    with count(find_sources([text]), chosen, Silent(), read=read) as found:
        assert found.num_texts == len(LINES)
        return list(found.ranked())


def _note_and_stop(item, reading, *, folder: Path, at: int):
    """Reads like `read_item`, notes each item, and stops the whole count at one."""
    if item.index == at:
        raise InputError("stop here")
    (folder / str(item.index)).touch(exist_ok=False)
    yield from read_item(item, reading)


def _note(item, reading, *, folder: Path):
    (folder / str(item.index)).touch(exist_ok=False)
    yield from read_item(item, reading)


def tasks_in(folder: Path) -> list[int]:
    portions = [json.loads(path.read_text()) for path in folder.glob("portion-*.json")]
    return sorted(index for portion in portions for index in portion["items"])


@pytest.mark.parametrize("num_workers", [1, 2])
def test_only_what_is_left_is_counted(tmp_path, text, num_workers):
    folder, before, after = tmp_path / "checkpoint", tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()
    chosen = settings(folder, workers=num_workers)
    with pytest.raises(InputError, match="stop here"):
        counted(text, chosen, partial(_note_and_stop, folder=before, at=70))
    done = tasks_in(folder)
    assert 0 < len(done) < 71
    assert len(done) == len(set(done))
    (folder / "left-by-a-kill.run").write_bytes(b"half a run")
    # Another number of workers and another size of blocks would make no difference either.
    assert counted(text, settings(folder, workers=1, block_bytes=77), partial(_note, folder=after)) == expected()
    recounted = {int(path.name) for path in after.iterdir()}
    assert not recounted & set(done)
    assert not (folder / "left-by-a-kill.run").exists()
    assert len(tasks_in(folder)) == len(set(tasks_in(folder))) == len(recounted) + len(done)


def _count_slowly(text: str, chosen: CountSettings) -> None:
    counted(text, chosen, _slowly)


def _slowly(item, reading):
    time.sleep(0.02)
    yield from read_item(item, reading)


@pytest.mark.parametrize("num_portions", [1, 4])
def test_a_kill_at_any_moment_leaves_a_state_to_go_on_from(tmp_path, text, num_portions):
    folder = tmp_path / "checkpoint"
    process = multiprocessing.get_context("fork").Process(target=_count_slowly, args=(text, settings(folder)))
    process.start()
    while len(list(folder.glob("portion-*.json"))) < num_portions:
        assert process.is_alive()
        time.sleep(0.01)
    psutil = pytest.importorskip("psutil", reason="comes with the extra `cluster`")
    its_workers = psutil.Process(process.pid).children()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert len(its_workers) == 2
    psutil.wait_procs(its_workers)  # they end by themselves
    assert len(tasks_in(folder)) >= 5
    assert counted(text, settings(folder)) == expected()


def test_a_finished_count_is_there_at_once(tmp_path, text):
    folder = tmp_path / "checkpoint"
    assert counted(text, settings(folder)) == expected()

    def never(_task, _reading):
        raise AssertionError("nothing is left to read")

    assert counted(text, settings(folder), never) == expected()
    assert not (folder / "running").exists()


def test_other_inputs_are_refused_and_both_named(tmp_path, text):
    folder = tmp_path / "checkpoint"
    counted(text, settings(folder))
    size = Path(text).stat().st_size
    with Path(text).open("a", encoding="utf-8") as stream:
        stream.write("又一行\n")
    with pytest.raises(UsageError, match="another input") as caught:
        counted(text, settings(folder))
    assert f"{size} bytes" in caught.value.message
    assert f"{size + 10} bytes" in caught.value.message
    other = tmp_path / "other.txt"
    other.write_text("一行", encoding="utf-8")
    with pytest.raises(UsageError, match=r"text.txt .* and is .*other.txt"):
        counted(str(other), settings(folder))
    with pytest.raises(UsageError, match=r"was none and is .*other.txt"):
        count(find_sources([str(other), str(other)]), settings(fresh(tmp_path, str(other))), Silent())


def fresh(tmp_path: Path, text: str) -> Path:
    with count(find_sources([text]), settings(tmp_path / "fresh"), Silent()):
        return tmp_path / "fresh"


@pytest.mark.parametrize("change", [{"unit": "char"}, {"ngram": 3}, {"words_only": True}, {"encoding": "gb18030"}])
def test_other_settings_are_refused_and_both_named(tmp_path, text, change):
    folder = tmp_path / "checkpoint"
    counted(text, settings(folder))
    ((name, value),) = change.items()
    with pytest.raises(UsageError, match=f"another count: `{name}` was .* and is {value}"):
        counted(text, settings(folder, **change))


def test_streams_foreign_folders_and_folders_in_use_are_refused(tmp_path, text):
    with pytest.raises(UsageError, match="stdin cannot be read again"):
        count(find_sources(["-"]), settings(tmp_path / "new"), Silent())
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "diary.txt").touch()
    with pytest.raises(UsageError, match=r"no checkpoint of a count; it holds diary.txt"):
        counted(text, settings(tmp_path / "letters"))
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "running").write_text(str(os.getppid()))
    with pytest.raises(UsageError, match=f"in use by process {os.getppid()}"):
        counted(text, settings(folder))


def test_a_damaged_state_is_named(tmp_path, text):
    folder = tmp_path / "checkpoint"
    counted(text, settings(folder))
    (folder / "checkpoint.json").write_text("{")
    with pytest.raises(InputError, match=r"checkpoint.json is damaged"):
        counted(text, settings(folder))
