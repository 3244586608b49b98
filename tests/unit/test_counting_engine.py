"""Counts equal the naive loop, byte for byte, however the input is divided and wherever a process or disk fails."""

from __future__ import annotations

import errno
import gzip
import io
import itertools
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path

import jieba
import pytest

from nlpx.counting import counts, engine, workers
from nlpx.counting.engine import count
from nlpx.counting.settings import LEAST_MEMORY, CountSettings, check
from nlpx.counting.work import read_item
from nlpx.data.corpus.texts import find_sources
from nlpx.errors import InputError, MachineError, UsageError
from nlpx.messages import Silent

TEXT = (
    "\ufeff春风又绿江南岸，明月何时照我还？\r\n\r\n"
    "一九八四年三月，18-24岁的年轻人买了1.8L的车，花了3,000元。\n"
    "   \n\u3000\u3000段首有全角空格 and some English words, don't they?\n"
    "𠀀𠮷野家的😀表情👨‍👩‍👧符号𝒳\n\n"
    "云计算和大数据是热门的话题\u2028行分隔符不是换行\n"
    "赞赞赞赞赞赞\n" + "很长的一行没有标点" * 200 + "\n最后一行没有换行"
)
LINES = TEXT.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")


@pytest.fixture(autouse=True)
def temporary_files(tmp_path, monkeypatch):
    """A place of their own; whatever a test leaves there after its counts are closed is a fault."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert [path for path in folder.iterdir() if path.name != "jieba.cache"] == []


@pytest.fixture
def with_pool(monkeypatch):
    """Make even a small text go to workers; forked ones, which know what a test has changed."""
    monkeypatch.setattr(engine, "_SMALL", dict.fromkeys(engine._SMALL, -1))
    monkeypatch.setattr(workers, "_start_method", lambda: "fork")


def write(folder: Path, data: str | bytes = TEXT, name: str = "text.txt") -> str:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return str(path)


def counted(*paths: str, top=None, min_count=1, read=read_item, **settings) -> list[tuple[str, int]]:
    with count(find_sources(paths), CountSettings(**settings), Silent(), read=read) as found:
        ranked = list(found.ranked(top, min_count))
        if top is None and min_count == 1:
            assert found.total == sum(number for _, number in ranked)
            assert found.distinct == len(ranked)
    return ranked


def in_order(table: Counter[str]) -> list[tuple[str, int]]:
    return sorted(table.items(), key=lambda item: (-item[1], item[0]))


def naive_words(lines=LINES, *, hmm: bool = True) -> list[tuple[str, int]]:
    table: Counter[str] = Counter()
    for line in lines:
        for word in jieba.lcut(line, HMM=hmm):
            if not word.isspace():
                table[word] += 1
    return in_order(table)


def naive_grams(n: int, lines=LINES) -> list[tuple[str, int]]:
    table: Counter[str] = Counter()
    for stretch in " ".join(lines).split():
        table.update(stretch[place : place + n] for place in range(len(stretch) - n + 1))
    return in_order(table)


# Equality with the naive loop


@pytest.mark.parametrize("hmm", [True, False])
@pytest.mark.parametrize("num_workers", [1, 2, 4])
@pytest.mark.usefixtures("with_pool")
def test_words_are_those_of_the_naive_loop_for_any_division(tmp_path, num_workers, hmm):
    path, expected = write(tmp_path), naive_words(hmm=hmm)
    for block_bytes in (64, 1000, 1 << 20):
        assert counted(path, workers=num_workers, hmm=hmm, block_bytes=block_bytes) == expected


def test_words_are_those_of_the_naive_loop_with_jieba_itself(tmp_path):
    assert counted(write(tmp_path), segmenter="jieba") == naive_words()


@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
@pytest.mark.usefixtures("with_pool")
def test_character_grams_are_those_of_the_naive_loop(tmp_path, n, num_workers):
    path = write(tmp_path)
    for block_bytes in (7, 64, 1000, 1 << 20):
        found = counted(path, unit="ngram", ngram=n, workers=num_workers, block_bytes=block_bytes)
        assert found == naive_grams(n)


@pytest.mark.usefixtures("with_pool")
def test_characters_are_those_of_a_counter(tmp_path):
    path = write(tmp_path, TEXT * 40)  # long enough for the array over all code points
    expected = in_order(Counter(c for c in (TEXT * 40).removeprefix("\ufeff") if not c.isspace()))
    for block_bytes in (1000, 1 << 20):
        assert counted(path, unit="char", block_bytes=block_bytes, workers=2) == expected
    assert counted(path, unit="char", workers=1) == expected


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.usefixtures("with_pool")
def test_word_grams_are_those_of_the_naive_loop(tmp_path, n):
    table: Counter[str] = Counter()
    for line in LINES:
        for is_space, part in itertools.groupby(jieba.lcut(line), str.isspace):
            words = list(part)
            if not is_space:
                table.update(" ".join(words[place : place + n]) for place in range(len(words) - n + 1))
    path = write(tmp_path)
    for num_workers, block_bytes in ((1, 1 << 20), (2, 100)):
        found = counted(path, unit="ngram", of="word", ngram=n, workers=num_workers, block_bytes=block_bytes)
        assert found == in_order(table)


def test_words_only_leaves_out_what_has_no_letter_and_breaks_grams_there(tmp_path):
    path = write(tmp_path, "他，是5个T恤 3D！\n2024年")
    assert counted(path, words_only=True, hmm=False) == [
        ("3D", 1),
        ("T恤", 1),
        ("个", 1),
        ("他", 1),
        ("年", 1),
        ("是", 1),
    ]
    assert counted(path, unit="char", words_only=True) == [(c, 1) for c in sorted("他是个T恤D年")]
    assert counted(path, unit="ngram", words_only=True) == [("T恤", 1), ("个T", 1)]
    assert counted(path, unit="ngram", of="word", words_only=True, hmm=False) == [("个 T恤", 1)]


@pytest.mark.usefixtures("with_pool")
def test_random_texts_with_any_character(tmp_path):
    random.seed(3)
    alphabet = "天地人你我他ab1，。 \u3000\t😀𠀀\U0010ffff\x85\u2028é"
    lines = ["".join(random.choices(alphabet, k=random.randrange(60))) for _ in range(300)]
    path = write(tmp_path, "\n".join(lines))
    for n in (2, 3, 4, 5):
        assert counted(path, unit="ngram", ngram=n, workers=2, block_bytes=500) == naive_grams(n, lines)


@pytest.mark.usefixtures("with_pool")
def test_tokens_of_a_vocabulary(tmp_path):
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "春", "风", "江", "new", "##er", ","]
    vocab = write(tmp_path, "\n".join(entries) + "\n", "vocab.txt")
    path = write(tmp_path, "春风，春雨\nnewer new, 江\n\n")
    expected = [("[UNK]", 2), ("new", 2), ("春", 2), ("##er", 1), (",", 1), ("江", 1), ("风", 1)]
    for num_workers in (1, 2):
        assert counted(path, unit="token", tokenizer=vocab, workers=num_workers, block_bytes=9) == expected


@pytest.mark.parametrize("num_rows", [1, 7, 1000, 2500])
@pytest.mark.usefixtures("with_pool")
def test_rows_in_any_number(tmp_path, num_rows):
    rows = [{"text": f"第{index}行\n换行 还有", "other": "不算"} for index in range(num_rows)]
    path = write(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), "rows.jsonl")
    lines = [line for row in rows for line in row["text"].split("\n")]
    with count(find_sources([path]), CountSettings(workers=2, block_bytes=300), Silent()) as found:
        assert list(found.ranked()) == naive_words(lines)
        assert found.num_texts == num_rows
        assert found.num_bytes == Path(path).stat().st_size


@pytest.mark.usefixtures("with_pool")
def test_the_order_of_the_inputs_does_not_matter(tmp_path):
    first, second = write(tmp_path, "天天向上\n好好学习"), write(tmp_path, TEXT, "second.txt")
    assert counted(first, second, workers=2, block_bytes=50) == counted(second, first, workers=2, block_bytes=70)


@pytest.mark.usefixtures("with_pool")
def test_one_packed_file_is_shared_by_several_workers(tmp_path, monkeypatch):
    monkeypatch.setattr("nlpx.counting.work._LEAST_SHARED", 1)
    text = (TEXT.removeprefix("\ufeff") + "\n") * 3000
    path = write(tmp_path, gzip.compress(text.encode()), "text.txt.gz")
    expected = [(key, 3000 * number) for key, number in naive_grams(2)]
    with count(find_sources([path]), CountSettings(unit="ngram", workers=2), Silent()) as found:
        assert list(found.ranked()) == expected
        assert found.num_texts == 3000 * sum(bool(line.strip()) for line in LINES)


def test_an_empty_corpus_has_no_counts(tmp_path):
    for unit in ("word", "char", "ngram"):
        assert counted(write(tmp_path, ""), unit=unit) == []
        assert counted(write(tmp_path, "\n \r\n\n"), unit=unit) == []


def test_top_and_least_count(tmp_path):
    path, expected = write(tmp_path), naive_grams(2)
    for top in (0, 1, 10, 10_000):
        assert counted(path, unit="ngram", top=top) == expected[:top]
        assert counted(path, top=top) == naive_words()[:top]
    assert counted(path, unit="ngram", min_count=200) == [item for item in expected if item[1] >= 200]
    assert counted(path, min_count=3) == [item for item in naive_words() if item[1] >= 3]


@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.usefixtures("with_pool")
def test_standard_input_is_counted_like_a_file(monkeypatch, num_workers):
    text = (TEXT.removeprefix("\ufeff") + "\n") * 1000  # more than two pieces
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    with count(find_sources(["-"]), CountSettings(workers=num_workers, unit="ngram"), Silent()) as found:
        assert list(found.ranked()) == [(key, 1000 * number) for key, number in naive_grams(2)]
        assert found.num_bytes == len(text.encode())


# Bounded memory


@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.parametrize("settings", [{}, {"unit": "ngram", "ngram": 3}, {"unit": "ngram", "ngram": 5}])
@pytest.mark.usefixtures("with_pool")
def test_a_tiny_table_spills_and_changes_nothing(tmp_path, monkeypatch, settings, num_workers):
    monkeypatch.setattr("nlpx.counting.work.PIECE_CHARACTERS", 40)
    monkeypatch.setattr("nlpx.counting.runs.MOST_OPEN_RUNS", 3)
    path = write(tmp_path)
    usual = counted(path, **settings)
    few = {"workers": num_workers, "table_bytes": 4000, "block_bytes": 300}
    assert counted(path, **few, **settings) == usual
    assert counted(path, top=7, **few, **settings) == usual[:7]
    assert counted(path, top=500, min_count=2, **few, **settings) == [item for item in usual if item[1] > 1][:500]


def test_the_tables_do_spill(tmp_path, monkeypatch, temporary_files):
    monkeypatch.setattr("nlpx.counting.work.PIECE_CHARACTERS", 40)
    settings = CountSettings(workers=1, table_bytes=4000)
    with count(find_sources([write(tmp_path)]), settings, Silent()):
        (folder,) = temporary_files.glob("nlpx-count-*")
        assert len(list(folder.glob("here-*.run"))) > 2
        assert (folder / "all.run").exists()


@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.usefixtures("with_pool")
def test_a_full_disk_is_named(tmp_path, monkeypatch, temporary_files, num_workers):
    real = Path.open

    def fail(self, mode="r", *rest, **more):
        if mode == "wb" and self.suffix == ".run":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, mode, *rest, **more)

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(MachineError, match="no space left") as caught:
        counted(write(tmp_path), unit="ngram", workers=num_workers, block_bytes=100)
    assert str(temporary_files) in caught.value.message
    assert "--memory" in caught.value.hint


# Sure


def _read_and_die(item, reading, *, folder: Path, at: int, times: int):
    """Reads like `read_item`, and kills its process at the end of one item, not yet reported, the first few times."""
    yield from read_item(item, reading)
    if item.index == at and len(list(folder.iterdir())) < times:
        (folder / str(os.getpid())).touch()
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("table_bytes", [None, 4000])
@pytest.mark.parametrize("num_workers", [2, 4])
@pytest.mark.usefixtures("with_pool")
def test_the_tasks_of_a_killed_worker_are_counted_once_more(tmp_path, num_workers, table_bytes):
    (tmp_path / "deaths").mkdir()
    path = write(tmp_path)
    read = partial(_read_and_die, folder=tmp_path / "deaths", at=5, times=1)
    found = counted(path, unit="ngram", workers=num_workers, block_bytes=100, table_bytes=table_bytes, read=read)
    assert found == naive_grams(2)
    assert len(list((tmp_path / "deaths").iterdir())) == 1


@pytest.mark.usefixtures("with_pool")
def test_a_task_that_kills_two_workers_stops_the_count(tmp_path):
    (tmp_path / "deaths").mkdir()
    read = partial(_read_and_die, folder=tmp_path / "deaths", at=5, times=9)
    with pytest.raises(MachineError, match=r"text.txt, bytes 500 to 600: .* killed \(signal 9\)") as caught:
        counted(write(tmp_path), unit="ngram", workers=2, block_bytes=100, read=read)
    assert "--workers" in caught.value.hint
    assert len(list((tmp_path / "deaths").iterdir())) == 2


@pytest.mark.usefixtures("with_pool")
def test_a_stream_is_not_given_to_a_second_worker(tmp_path, monkeypatch):
    (tmp_path / "deaths").mkdir()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"line of text\n" * 300_000)))
    read = partial(_read_and_die, folder=tmp_path / "deaths", at=1, times=1)
    with pytest.raises(MachineError, match=r"stdin.*cannot be read twice"):
        counted("-", unit="char", workers=2, read=read)


def _read_and_fail(item, reading, *, error: Exception):
    if item.index == 3:
        raise error
    yield from read_item(item, reading)


@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.usefixtures("with_pool")
def test_the_error_of_a_worker_arrives_whole(tmp_path, num_workers):
    error = InputError("text.txt:7: a broken row", hint="mend it")
    with pytest.raises(InputError, match="a broken row") as caught:
        counted(write(tmp_path), workers=num_workers, block_bytes=100, read=partial(_read_and_fail, error=error))
    assert caught.value.hint == "mend it"


@pytest.mark.usefixtures("with_pool")
def test_a_fault_in_a_worker_shows_where_it_was(tmp_path):
    read = partial(_read_and_fail, error=ZeroDivisionError("oh"))
    with pytest.raises(RuntimeError, match="_read_and_fail"):
        counted(write(tmp_path), workers=2, block_bytes=100, read=read)


@pytest.mark.usefixtures("with_pool")
def test_memory_that_is_used_up_in_a_worker_names_the_block(tmp_path):
    read = partial(_read_and_fail, error=MemoryError())
    with pytest.raises(MachineError, match=r"bytes 300 to 400: out of memory"):
        counted(write(tmp_path), workers=2, block_bytes=100, read=read)


@pytest.mark.usefixtures("with_pool")
def test_bytes_that_are_no_text_are_named_by_line(tmp_path):
    path = write(tmp_path, "好的\n".encode() * 300 + b"\xff\xfe\n" + "好的\n".encode() * 300)
    with pytest.raises(InputError, match=r"text.txt:301: not UTF-8 at byte 2100"):
        counted(path, workers=2, block_bytes=100)
    found = counted(path, unit="char", workers=2, block_bytes=100, errors="replace")
    assert found == [("好", 600), ("的", 600), ("\ufffd", 2)]


def _interrupt_parent(item, reading, *, parent: int):
    if item.index == 4:
        os.kill(parent, signal.SIGINT)
        signal.pause()
    yield from read_item(item, reading)


@pytest.mark.usefixtures("with_pool")
def test_an_interrupt_ends_the_workers_and_leaves_no_files(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        counted(write(tmp_path), workers=2, block_bytes=100, read=partial(_interrupt_parent, parent=os.getpid()))
    assert [child for child in multiprocessing.active_children() if "Dask" not in child.name] == []


@pytest.mark.usefixtures("with_pool")
def test_a_new_interpreter_counts_as_a_forked_one(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "_start_method", lambda: "spawn")
    assert counted(write(tmp_path), workers=2, unit="ngram", block_bytes=1000) == naive_grams(2)


def test_small_inputs_start_no_process(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "Pool", None)
    assert counted(write(tmp_path), workers=4, block_bytes=10) == naive_words()


def test_files_of_dead_processes_are_removed(tmp_path, temporary_files):
    (temporary_files / f"{counts._PREFIX}4000001-x").mkdir()  # above the largest process number of Linux
    ours = temporary_files / f"{counts._PREFIX}{os.getppid()}-x"
    ours.mkdir()
    counted(write(tmp_path), unit="char")
    assert list(temporary_files.glob("nlpx-count-*")) == [ours]
    ours.rmdir()


def test_settings_that_cannot_be_are_refused():
    wrong = [
        ({"unit": "syllable"}, "unknown unit"),
        ({"of": "line"}, "unknown part"),
        ({"engine": "spark"}, "unknown engine"),
        ({"ngram": 6}, "n-grams of 6"),
        ({"unit": "token"}, "needs a tokenizer"),
        ({"workers": 0}, "0 workers"),
        ({"block_bytes": 0}, "0 bytes"),
        ({"memory": LEAST_MEMORY - 1}, "too few"),
        ({"engine": "dask", "checkpoint": "x"}, "no checkpoint"),
    ]
    for change, message in wrong:
        with pytest.raises(UsageError, match=message):
            check(CountSettings(**change))
    check(CountSettings())


def test_little_memory_means_few_workers():
    assert CountSettings(workers=64, memory=1 << 30).num_workers < 12
    assert CountSettings(workers=64, memory=LEAST_MEMORY).num_workers == 1
    for memory in (LEAST_MEMORY, 1 << 29, 1 << 31, 1 << 36):
        settings = CountSettings(workers=8, memory=memory)
        assert settings.worker_table_bytes * settings.num_workers < memory
        assert 0 < settings.result_bytes < memory
