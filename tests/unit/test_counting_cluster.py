"""Counts on a Dask cluster of two processes, with one of them killed in the middle."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from nlpx import dask_client
from nlpx.counting import cluster as counting_cluster
from nlpx.counting.engine import count
from nlpx.counting.settings import CountSettings
from nlpx.data.corpus.texts import find_sources
from nlpx.errors import InputError, MachineError, UsageError
from nlpx.messages import Silent

distributed = pytest.importorskip("distributed", reason="needs the extra `cluster`")

LINES = [f"第{index}行，春风又绿江南岸{index % 17}" for index in range(3000)]


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as found:
        yield found


@pytest.fixture
def text(tmp_path) -> str:
    path = tmp_path / "text.txt"
    path.write_text("\n".join(LINES), encoding="utf-8")
    return str(path)


def expected() -> list[tuple[str, int]]:
    table = Counter(line[place : place + 2] for line in LINES for place in range(len(line) - 1))
    return sorted(table.items(), key=lambda item: (-item[1], item[0]))


def settings(cluster, **changes) -> CountSettings:
    usual = {"unit": "ngram", "engine": "dask", "scheduler": cluster.scheduler_address, "block_bytes": 1000}
    return CountSettings(**{**usual, **changes})


def counted(text: str, chosen: CountSettings) -> list[tuple[str, int]]:
    with count(find_sources([text]), chosen, Silent()) as found:
        assert found.num_texts == len(LINES)
        assert found.segmenter == "characters"
        return list(found.ranked())


def test_a_cluster_counts_what_one_process_counts(cluster, text):
    assert counted(text, settings(cluster)) == expected()


def test_a_worker_killed_in_the_middle_changes_nothing(cluster, text, monkeypatch):
    # One item a group: many groups under way, some finished, some not, when one of the two dies.
    monkeypatch.setattr(counting_cluster, "_GROUPS_PER_WORKER", 1000)
    first = [worker.pid for worker in cluster.workers.values()]
    killed: list[int] = []
    real = counting_cluster._kept

    def keep_and_kill(found, folder):
        if found.portion.items and not killed and len(list(Path(folder).glob("*.run"))) >= 10:
            killed.append(first[0])
            os.kill(first[0], signal.SIGKILL)
        return real(found, folder)

    monkeypatch.setattr(counting_cluster, "_kept", keep_and_kill)
    assert counted(text, settings(cluster)) == expected()
    assert killed == [first[0]]


def test_the_error_of_a_task_arrives_whole(cluster, tmp_path):
    path = tmp_path / "broken.txt"
    path.write_bytes("好\n".encode() * 2000 + b"\xff\n")
    with pytest.raises(InputError, match=r"broken.txt:2001: not UTF-8 at byte 8000") as caught:
        count(find_sources([str(path)]), settings(cluster), Silent())
    assert "--encoding" in caught.value.hint


def test_a_scheduler_that_does_not_answer_is_named(text, monkeypatch):
    monkeypatch.setattr(dask_client, "TIMEOUT", "1s")
    with pytest.raises(MachineError, match=r"no Dask scheduler answers at tcp://127.0.0.1:9"):
        count(find_sources([text]), CountSettings(engine="dask", scheduler="tcp://127.0.0.1:9"), Silent())


def test_a_stream_is_refused(cluster):
    with pytest.raises(UsageError, match="stdin cannot be read by a cluster"):
        count(find_sources(["-"]), settings(cluster), Silent())


@pytest.mark.slow
def test_without_an_address_a_cluster_is_started(text):
    assert counted(text, CountSettings(unit="ngram", engine="dask", workers=2, block_bytes=1000)) == expected()
