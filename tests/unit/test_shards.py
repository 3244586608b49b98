"""Shards: built once and found again, the same for any number of workers, whole after any kill, nothing lost."""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from nlpx.data.batches.masking import SpecialIds
from nlpx.data.batches.packing import pack
from nlpx.data.corpus.flatten import digest
from nlpx.data.corpus.texts import Reading, find_sources
from nlpx.data.shards import recipe as shard_recipe
from nlpx.data.shards import work as shard_work
from nlpx.data.shards import workers as shard_workers
from nlpx.data.shards.build import build_shards, cache_folder
from nlpx.data.shards.reading import open_shards
from nlpx.errors import InputError, MachineError, UsageError
from nlpx.messages import Silent
from nlpx.tokenizers.char import CharTokenizer
from nlpx.tokenizers.vocab import Vocab
from nlpx.tokenizers.vocabulary.from_texts import character_vocabulary
from nlpx.tokenizers.word import WordTokenizer

LINES = [f"第{number}篇：春眠不觉晓，处处闻啼鸟。夜来风雨声！花落知多少？" for number in range(400)]
TOKENIZER = CharTokenizer(character_vocabulary(LINES))


class Heard(Silent):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.details: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def detail(self, text: str) -> None:
        self.details.append(text)


class DeadlyTokenizer(CharTokenizer):
    """Ends its process in the middle of the work."""

    def __reduce__(self):
        return DeadlyTokenizer, (self.vocab,)

    def encode_flat(self, text):
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(autouse=True)
def _small_shards_in_a_cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(shard_work, "SMALLEST", 4000)
    monkeypatch.setattr(shard_work, "MOST_SHARDS", 1000)
    monkeypatch.setenv("NLPX_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def corpus(lines=LINES, name="corpus.txt"):
    data = "".join(f"{line}\n" for line in lines).encode()
    Path(name).write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
    return name


def build(*paths, tokenizer=TOKENIZER, reading=None, messages=None, **changes):
    options = {"workers": 1, "whole_words": False, "held_out": 0.1} | changes
    sources = find_sources(paths or [corpus()])
    return build_shards(sources, tokenizer, reading=reading or Reading(), messages=messages or Silent(), **options)


def texts_of(documents, tokenizer=TOKENIZER):
    """The decoded documents, each in a row of its own (a long row: nothing is parted), as a sorted list."""
    special = SpecialIds.of(tokenizer)
    rows = pack(documents, max_length=100_000, special=special, keep_apart=True, seed=0)
    found = []
    for index in range(len(rows)):
        row = rows.row(index)
        found += [
            tokenizer.decode(row.token_ids[row.document_ids == number]) for number in range(row.document_ids[-1] + 1)
        ]
    return sorted(found)


def decoded(lines, tokenizer=TOKENIZER):
    return sorted(tokenizer.decode(tokenizer.encode(line).token_ids) for line in lines)


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_no_text_is_lost():
    shards = build(held_out=0)
    assert shards.num_documents == len(LINES)
    assert shards.facts["shards"] > 5
    assert shards.num_tokens == sum(len(TOKENIZER.encode(line).token_ids) - 2 for line in LINES)
    assert shards.facts["characters"] == sum(map(len, LINES))
    assert shards.num_sentences == 3 * len(LINES)
    assert texts_of(shards.train) == decoded(LINES)
    assert shards.held_out.num_documents == 0


def test_a_document_is_on_one_side_by_its_text_alone():
    shards = build(corpus(LINES + LINES[:50]), held_out=0.2)
    aside = [line for line in LINES + LINES[:50] if digest(line) < 0.2 * 2**32]
    assert texts_of(shards.held_out) == decoded(aside)
    assert not set(texts_of(shards.held_out)) & set(texts_of(shards.train))
    assert shards.train.num_documents + shards.held_out.num_documents == 450
    assert shards.facts["held_out_documents"] == len(aside)


def test_another_fraction_needs_no_new_shards():
    first, heard = build(held_out=0.1), Heard()
    again = build("corpus.txt", held_out=0.5, messages=heard)
    assert again.folder == first.folder
    assert heard.details
    assert again.held_out.num_documents > first.held_out.num_documents > 0
    with pytest.raises(UsageError, match="held_out is 1"):
        build("corpus.txt", held_out=1.0)


def test_the_second_time_nothing_is_tokenized(monkeypatch):
    first = build()
    monkeypatch.setattr(shard_workers, "Flattener", None)
    assert files_of(build("corpus.txt").folder) == files_of(first.folder)


def test_file_names_do_not_matter_but_content_does():
    first = build()
    Path("corpus.txt").rename("moved.txt")
    assert build("moved.txt").folder == first.folder
    assert build(corpus([*LINES, "完"])).folder != first.folder
    same_size = [*LINES[:-1], LINES[-1].replace("少", "多")]
    assert build(corpus(same_size)).folder != first.folder


@pytest.mark.parametrize(
    "change",
    [
        {"tokenizer": CharTokenizer(Vocab([*TOKENIZER.vocab.tokens, "新"]))},
        {"tokenizer": CharTokenizer(TOKENIZER.vocab, do_lower_case=False)},
        {"tokenizer": WordTokenizer(TOKENIZER.vocab)},
        {"whole_words": True},
        {"reading": Reading(errors="replace")},
    ],
)
def test_another_tokenizer_or_setting_makes_other_shards(change):
    assert build().folder != build(**change).folder


def test_user_words_make_other_shards():
    from nlpx.tokenizers.user_dictionary import UserWord

    plain, taught = WordTokenizer(TOKENIZER.vocab), WordTokenizer(TOKENIZER.vocab, user_words=[UserWord("春眠", 9)])
    assert build(tokenizer=plain).folder != build(tokenizer=taught).folder


@pytest.mark.parametrize("name", ["corpus.txt", "corpus.txt.gz"])
def test_any_number_of_workers_makes_the_same_files(name):
    path = corpus(name=name)
    alone = build(path, directory=Path("alone"), whole_words=True)
    several = build(path, directory=Path("several"), workers=3, whole_words=True)
    assert files_of(alone.folder) == files_of(several.folder)
    assert texts_of(several.train) + texts_of(several.held_out) != []


def test_small_files_share_shards_and_large_ones_are_divided():
    for number in range(40):
        corpus(LINES[number * 10 : number * 10 + 10], name=f"{number:02d}.txt")
    shards = build(*sorted(str(path) for path in Path().glob("*.txt")), held_out=0)
    assert 5 < shards.facts["shards"] < 20
    assert texts_of(shards.train) == decoded(LINES)


def test_a_mixture_of_formats_in_order():
    rows = "".join(json.dumps({"text": line}, ensure_ascii=False) + "\n" for line in LINES[100:200])
    Path("b.jsonl").write_text(rows, encoding="utf-8")
    paths = [corpus(LINES[:100], "a.txt.gz"), "b.jsonl", corpus(LINES[200:], "c.txt.gz")]
    assert texts_of(build(*paths, held_out=0).train) == decoded(LINES)


def test_stdin_is_found_again(monkeypatch):
    data = "".join(f"{line}\n" for line in LINES)

    def pipe(content):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        return build("-", held_out=0)

    first = pipe(data.encode())
    assert texts_of(first.train) == decoded(LINES)
    monkeypatch.setattr(shard_workers, "Flattener", None)
    assert pipe(data.encode()).folder == first.folder
    assert not list(cache_folder().rglob(".spool*"))


def test_compressed_stdin(monkeypatch):
    packed = gzip.compress("".join(f"{line}\n" for line in LINES).encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(packed)))
    assert build("-").num_documents == len(LINES)


def test_leftovers_of_a_killed_copy_of_stdin_are_removed(monkeypatch):
    stale = cache_folder() / "shards" / ".spool.999999999.tmp"
    stale.mkdir(parents=True)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\n")))
    build("-", tokenizer=CharTokenizer(character_vocabulary(["a"])))
    assert not stale.exists()


def test_an_interrupted_build_goes_on_where_it_was(monkeypatch):
    whole = build(corpus(), directory=Path("whole"))
    made = []

    def stop_after_three(item, order, flatten, make=shard_workers._make):
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(item.name)
        return make(item, order, flatten)

    with monkeypatch.context() as patch:
        patch.setattr(shard_workers, "_make", stop_after_three)
        with pytest.raises(KeyboardInterrupt):
            build("corpus.txt", directory=Path("shards"))
    with pytest.raises(InputError, match="no finished shards"):
        open_shards(Path("shards"), held_out=0.1)
    Path("shards", made[1], "token_ids.npy").write_bytes(b"damaged")
    again = []

    def note(item, order, flatten, make=shard_workers._make):
        again.append(item.name)
        return make(item, order, flatten)

    monkeypatch.setattr(shard_workers, "_make", note)
    shards = build("corpus.txt", directory=Path("shards"))
    assert made[1] in again
    assert not {made[0], made[2]} & set(again)
    assert files_of(shards.folder) == files_of(whole.folder)


SCRIPT = """
import sys, time
from pathlib import Path
from nlpx.data.shards import work as shard_work
from nlpx.data.shards import workers as shard_workers
from nlpx.data.corpus.texts import Reading, find_sources
from nlpx.data.shards.build import build_shards
from nlpx.messages import Silent
from nlpx.tokenizers.load import load_tokenizer

if __name__ == "__main__":
    shard_work.SMALLEST, shard_work.MOST_SHARDS = 4000, 1000
    build_shards(
        find_sources(["corpus.txt"]), load_tokenizer("tokenizer"), reading=Reading(), directory=Path("theirs"),
        workers=2, whole_words=False, held_out=0.1, messages=Silent(),
    )
"""


def test_a_kill_leaves_whole_shards():
    whole = build(corpus(LINES * 6), directory=Path("whole"))
    TOKENIZER.save("tokenizer")
    Path("script.py").write_text(SCRIPT, encoding="utf-8")
    process = subprocess.Popen([sys.executable, "script.py"], start_new_session=True)
    while not list(Path("theirs").glob("00*/meta.json")) and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for meta in Path("theirs").glob("00*/meta.json"):
        for name, facts in json.loads(meta.read_text("utf-8"))["files"].items():
            assert (meta.parent / name).stat().st_size == facts["size"]
    shards = build("corpus.txt", directory=Path("theirs"))
    assert files_of(shards.folder) == files_of(whole.folder)


def test_two_builds_of_the_same_shards_take_turns():
    whole = build(corpus(LINES * 3), directory=Path("whole"))
    TOKENIZER.save("tokenizer")
    Path("script.py").write_text(SCRIPT.replace("workers=2", "workers=1"), encoding="utf-8")
    both = [subprocess.Popen([sys.executable, "script.py"]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert files_of(Path("theirs")) == files_of(whole.folder)


def test_a_worker_that_dies_is_noticed():
    deadly = DeadlyTokenizer(TOKENIZER.vocab)
    with pytest.raises(MachineError, match="was killed") as error:
        build(tokenizer=deadly, workers=2)
    assert "finished shards are kept" in error.value.hint


def test_an_error_of_a_worker_arrives():
    path = corpus()
    Path(path).write_bytes(Path(path).read_bytes() + b"\xff\xfe\n")
    with pytest.raises(InputError, match=rf"corpus.txt:{len(LINES) + 1}: not UTF-8") as error:
        build(path, workers=2)
    assert error.value.hint


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"tokenizer": CharTokenizer(Vocab([*TOKENIZER.vocab.tokens, "新"]))}, "tokenizer.vocabulary"),
        ({"tokenizer": CharTokenizer(TOKENIZER.vocab, do_lower_case=False)}, "tokenizer.do_lower_case"),
        ({"reading": Reading(field="body")}, "reading.field"),
        ({"whole_words": True}, "whole_words"),
    ],
)
def test_a_folder_of_other_shards_is_refused(changes, what):
    build(corpus(), directory=Path("shards"))
    with pytest.raises(InputError, match=f"shards holds shards of another .*{what}") as error:
        build("corpus.txt", directory=Path("shards"), **changes)
    assert "delete" in error.value.hint


def test_a_folder_of_another_corpus_is_refused():
    build(corpus(), directory=Path("shards"))
    with pytest.raises(InputError) as error:
        build(corpus(LINES[:-1]), directory=Path("shards"))
    assert error.value.message == "shards holds shards of another corpus"


def test_a_folder_with_other_files_is_refused():
    Path("full").mkdir()
    Path("full", "thesis.txt").write_text("重要")
    with pytest.raises(InputError, match="full holds files, but no tokenized corpus"):
        build(corpus(), directory=Path("full"))
    assert Path("full", "thesis.txt").exists()


@pytest.mark.parametrize("name", ["token_ids.npy", "word_bits.npy", "sentence_offsets.npy", "meta.json"])
@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_a_damaged_shard_is_named(name, damage):
    shards = build(directory=Path("shards"))
    file = sorted(shards.folder.glob("00*"))[2] / name
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InputError) as error:
        build("corpus.txt", directory=Path("shards"))
    assert str(file) in error.value.message
    assert "delete the folder shards:" in error.value.hint


def test_a_broken_index_is_named():
    shards = build(directory=Path("shards"))
    (shards.folder / "index.json").write_text("{")
    with pytest.raises(InputError, match=r"index.json cannot be read"):
        build("corpus.txt", directory=Path("shards"))
    with pytest.raises(InputError, match="no finished shards"):
        open_shards(Path("shards"), held_out=0.1)


@pytest.mark.parametrize("content", ["", "\n \n\t\n", "\u200b\n\u0003\n"])
def test_a_corpus_without_text_is_refused(content):
    Path("empty.txt").write_text(content)
    with pytest.raises(InputError, match=r"no text in empty\.txt"):
        build("empty.txt")


def test_control_characters_leave_no_token():
    shards = build(corpus(["春\u0007眠\u200b", "\u0003\u200b", "不觉晓"]), held_out=0)
    assert texts_of(shards.train) == decoded(["春眠", "不觉晓"])
    assert (shards.facts["texts"], shards.facts["empty_texts"], shards.facts["documents"]) == (3, 1, 2)


def test_one_endless_line(monkeypatch):
    monkeypatch.setattr(shard_work, "SMALLEST", 100_000)
    shards = build(corpus(["春眠不觉晓" * 60_000]), held_out=0)
    rows = pack(shards.train, max_length=64, special=SpecialIds.of(TOKENIZER), keep_apart=True, seed=0)
    assert shards.num_tokens == 300_000 == int(rows.lengths.sum()) - 2 * len(rows)
    assert np.mean(rows.lengths == 64) > 0.99


def test_another_encoding():
    Path("gb.txt").write_bytes("".join(f"{line}\n" for line in LINES).encode("gb18030"))
    shards = build("gb.txt", reading=Reading(encoding="gb18030"), held_out=0)
    assert texts_of(shards.train) == decoded(LINES)
    with pytest.raises(InputError, match=r"gb.txt:1: not UTF-8"):
        build("gb.txt")


def test_a_vocabulary_that_does_not_fit():
    heard = Heard()
    poor = CharTokenizer(Vocab(TOKENIZER.vocab.tokens[:90]))
    shards = build(tokenizer=poor, messages=heard)
    assert shards.facts["unknown_fraction"] > 0.05
    assert heard.warnings == [
        f"{shards.facts['unknown_fraction']:.1%} of the tokens are [UNK]: the vocabulary does not fit the corpus"
    ]
    fitting = Heard()
    assert build(messages=fitting).facts["unknown_tokens"] == 0
    assert not fitting.warnings


def test_large_files_count_by_samples_and_time(monkeypatch):
    monkeypatch.setattr(shard_recipe, "WHOLLY_HASHED", 1000)
    monkeypatch.setattr(shard_recipe, "SAMPLE_BYTES", 100)
    first = build()
    assert build("corpus.txt").folder == first.folder
    data = Path("corpus.txt").read_bytes()
    facts = Path("corpus.txt").stat()
    Path("corpus.txt").write_bytes(data[:-7] + "多".encode() + data[-4:])  # in the last sample
    os.utime("corpus.txt", ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert build("corpus.txt").folder != first.folder
    Path("corpus.txt").write_bytes(data)
    os.utime("corpus.txt", ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))
    assert build("corpus.txt").folder != first.folder


def test_the_cache(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("NLPX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "nlpx"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "nlpx"


def test_words_survive_the_disk():
    shards = build(whole_words=True, held_out=0)
    row = pack(shards.train, max_length=4000, special=SpecialIds.of(TOKENIZER), keep_apart=False, seed=0).row(0)
    assert 0.4 < row.word_starts[~row.is_special].mean() < 0.95
    assert build(whole_words=False, held_out=0).folder != shards.folder


def test_opened_again_they_are_the_same():
    shards = build(held_out=0.3)
    again = open_shards(shards.folder, held_out=0.3)
    assert again.facts == shards.facts
    assert texts_of(again.train) == texts_of(shards.train)
    assert texts_of(again.held_out) == texts_of(shards.held_out)
