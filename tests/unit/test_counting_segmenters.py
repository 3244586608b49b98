"""Word segmenters for counting: token for token what jieba gives, whatever the text and the user dictionary."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jieba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jieba import finalseg

from nlpx.counting.segmentation import segmenters
from nlpx.counting.segmentation.new_words import find_new_words
from nlpx.counting.segmentation.new_words_at_once import NewWords
from nlpx.counting.segmentation.segmenters import WordSegmenter, build_word_segmenter
from nlpx.counting.segmentation.viterbi import find_word_ends
from nlpx.errors import InputError, UsageError
from nlpx.tokenizers import segment
from nlpx.tokenizers.user_dictionary import read_user_dictionary
from quick_jieba import quick_jieba  # noqa: F401 - a fixture of this file

HARD = [
    "",
    "甲",
    *("赞" * length for length in range(2, 12)),  # readings of equal score
    "他常在此奋发，只得来见。可当哪些鱼类？差差差评",  # readings of nearly equal score
    "嘻嘻嘻%%%魑龘龘魑龘龘魑龘龘魑龘龘丁，嘻嘻嘻嘻嘻淤差嘻淤嘻差淤淤嘻差差嘻差淤淤差嘻差淤差",  # equal words
    "18-24岁，1.8L，1-1.5倍，a-1.5，3.5%，2.5.6.7%%，1-2-3.5-6%，1.，.5，-5.0，v1.2.3-rc4，+86-10，50%折扣",
    "AT&T和C++、c#、T恤、B超、3D打印A4纸，卡拉OK了a.b_c.d@e.f，https://x.cn/a?b=1&c=2#d",
    "㐀㐀1㐀2，𠮷野家，鿖鿖野，䴙䴘等，𩽾𩾌目，豈更，哈哈哈哈哈𠮷哈哈哈哈哈",
    "一\r\n二\r三\n\r\n四\t五\u3000六\u2028七\x0b\x1c八\x85九\xa0十 \r\r\n",
    "Ünïcödé naïve café２０２４年①②Ⅷ℃αβγкириллицаひらカタ한글",
    "😀👨‍👩‍👧🇨🇳\ue000\uf8ff\x00\u200b\ufeff半个\ud83d字\udc00符",
    "的的是是在在了了和和有有人人我我不不一一",
    "编号" + "1" * 300 + "a.5-b",
]
ALPHABETS = [
    "的是在了不有我他这个来上大和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里",
    "赞哈呵啊差好嘻",
    "鿕丁㗒龘饕餮魑魅魍魉彳亍",  # rare: some without any probability in the model
    "abcXYZ0189",
    "+#&._%-.-%",
    "㐀䶿鿖鿿豈﫿𠀀𠮷𫝀",
    "éÄñøß２Ａ①αжひカ한😀👍🏽\ue000\u200b\ud800\udfff",
    " \r\n\t\u3000\u2028\x1c\x85\xa0，。！？、“”（）：；",
]
WORDS = [
    *("我们", "人工智能", "南京市", "长江大桥", "研究生", "研究", "结婚", "和尚", "尚未", "乒乓球拍", "卖完"),
    *("T恤", "AT&T", "C++", "B超", "卡拉OK", "常在", "可当", "来见"),
]


@pytest.fixture(scope="module")
def reference() -> jieba.Tokenizer:
    return segment._reference()


@pytest.fixture(scope="module", params=[True, False], ids=["hmm", "no-hmm"])
def hmm(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.fixture(scope="module")
def fast(hmm: bool) -> WordSegmenter:
    return build_word_segmenter("rjieba", hmm=hmm, user_dictionary=None)


@pytest.fixture(params=[1000, 0], ids=["short", "long"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to read new words: the plain one, meant for short texts, and the one for long texts."""
    monkeypatch.setattr(segmenters, "_SHORT", request.param)


def random_texts(number: int, seed: int) -> Iterator[str]:
    """Texts of pieces of all kinds; every second one repeats its pieces, so that readings tie."""
    draw = random.Random(seed)
    for index in range(number):
        pieces = []
        for _ in range(draw.randint(1, 12)):
            alphabet = draw.choice(ALPHABETS)
            piece = "".join(draw.choices(alphabet, k=draw.randint(1, 5))) if draw.random() < 0.7 else draw.choice(WORDS)
            pieces.append(piece * draw.randint(1, 4) if index % 2 else piece)
        yield "".join(pieces)


def counted(segmenter: WordSegmenter, texts: list[str]) -> dict[str, int]:
    table: dict[str, int] = {}
    for text in texts:
        segmenter.count(text, table)
    segmenter.settle(table)
    return table


def expected_counts(reference: jieba.Tokenizer, texts: list[str], hmm: bool) -> dict[str, int]:
    table = Counter(word for text in texts for word in reference.lcut(text, HMM=hmm))
    return {word: number for word, number in table.items() if not word.isspace()}


@pytest.mark.parametrize("text", HARD)
@pytest.mark.usefixtures("path")
def test_hard_texts_are_cut_as_jieba_cuts(
    text: str, fast: WordSegmenter, hmm: bool, reference: jieba.Tokenizer
) -> None:
    assert fast.segment(text) == reference.lcut(text, HMM=hmm)
    assert counted(fast, [text]) == expected_counts(reference, [text], hmm)


def test_rjieba_alone_would_cut_hard_texts_otherwise(hmm: bool, reference: jieba.Tokenizer) -> None:
    import rjieba

    cut = rjieba.Jieba().cut
    texts = [text for text in HARD if "\ud83d" not in text]
    different = [text for text in texts if cut(text, hmm) != reference.lcut(text, HMM=hmm)]
    assert len(different) >= (5 if hmm else 1)


@pytest.mark.usefixtures("path")
def test_equal_scores_are_rounded_as_in_jieba(fast: WordSegmenter, hmm: bool, reference: jieba.Tokenizer) -> None:
    draw = random.Random(5)
    for _ in range(1500):
        text = "".join([*draw.choices("嘻赞差哈好", k=5), *draw.choices("龘饕淤差嘻丁魑𠮷", k=draw.randint(5, 40))])
        assert fast.segment(text) == reference.lcut(text, HMM=hmm)


@pytest.mark.usefixtures("path")
def test_random_texts_are_cut_as_jieba_cuts(fast: WordSegmenter, hmm: bool, reference: jieba.Tokenizer) -> None:
    texts = list(random_texts(1500, seed=1))
    wrong = [text for text in texts if fast.segment(text) != reference.lcut(text, HMM=hmm)]
    assert wrong == []
    assert counted(fast, texts) == expected_counts(reference, texts, hmm)


@settings(max_examples=150)
@given(
    parts=st.lists(
        st.one_of(
            st.text(max_size=6), *(st.text(alphabet, max_size=8) for alphabet in ALPHABETS), st.sampled_from(WORDS)
        )
    ),
    hmm=st.booleans(),
)
def test_any_text_is_cut_as_jieba_cuts(parts: list[str], hmm: bool, reference: jieba.Tokenizer) -> None:
    text = "".join(parts)
    engine = build_once(hmm)
    assert engine.segment(text) == reference.lcut(text, HMM=hmm)


_BUILT: dict[bool, WordSegmenter] = {}


def build_once(hmm: bool) -> WordSegmenter:
    if hmm not in _BUILT:
        _BUILT[hmm] = build_word_segmenter("rjieba", hmm=hmm, user_dictionary=None)
    return _BUILT[hmm]


def test_a_block_of_lines_is_cut_like_its_lines(
    fast: WordSegmenter, hmm: bool, reference: jieba.Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segmenters, "_CHUNK", 50)
    texts = [*HARD, *random_texts(300, seed=2)]
    block = "\n".join(texts)
    assert fast.segment(block) == reference.lcut(block, HMM=hmm)
    expected = expected_counts(reference, texts, hmm)
    assert counted(fast, [block]) == expected
    table: dict[str, int] = {}
    fast.count_texts(iter(texts), table)
    fast.settle(table)
    assert table == expected


def test_the_reference_is_jieba(hmm: bool, reference: jieba.Tokenizer) -> None:
    segmenter = build_word_segmenter("jieba", hmm=hmm, user_dictionary=None)
    texts = [*HARD, *random_texts(50, seed=3)]
    assert [segmenter.segment(text) for text in texts] == [reference.lcut(text, HMM=hmm) for text in texts]
    assert counted(segmenter, texts) == expected_counts(reference, texts, hmm)


def test_counts_are_added_to_what_a_table_holds(fast: WordSegmenter) -> None:
    for table in ({"我们": 2, "。": 1}, Counter({"我们": 2, "。": 1})):
        fast.count("我们。" * 700, table)
        assert (table["我们"], table["。"]) == (702, 701)


def test_the_model_is_jiebas() -> None:
    draw = random.Random(4)
    alphabets = [[x for x in alphabet if "\u4e00" <= x <= "\u9fd5"] for alphabet in ALPHABETS[:3]]
    runs = ["".join(draw.choices(alphabet, k=draw.randint(1, 30))) for alphabet in alphabets for _ in range(300)]
    lengths = np.array([len(run) for run in runs])
    codes = np.frombuffer("".join(runs).encode("utf-32-le"), np.uint32)
    ends = find_word_ends(codes, np.cumsum(lengths) - lengths, lengths).tolist()
    expected = []
    for run in runs:
        _, states = finalseg.viterbi(run, "BMES", finalseg.start_P, finalseg.trans_P, finalseg.emit_P)
        expected += [state in "ES" for state in states]
    assert ends == expected


def test_no_runs_give_no_words() -> None:
    nothing = np.zeros(0, np.int64)
    assert find_word_ends(np.array([0x4E00]), nothing, nothing).tolist() == [False]


@pytest.mark.parametrize(
    ("segments", "words", "expected"),
    [
        # A buffer that is a word stays in characters, but not where letters, digits or marks continue it.
        (["哈", "嘻", "。"], {"哈嘻"}, ["哈", "嘻", "。"]),
        (["哈", "嘻", "7"], {"哈嘻"}, ["哈嘻", "7"]),
        (["-", "哈", "嘻"], {"哈嘻"}, ["-", "哈嘻"]),
        (["T5", "哈", "嘻"], {"哈嘻", "T5"}, ["T5", "哈", "嘻"]),
        # Letters and digits that are a word end a buffer.
        (["1", ".", "8"], set(), ["1.8"]),
        (["1", ".", "80"], {"80"}, ["1", ".", "80"]),
        (["+", "+", "x", "%", "%"], set(), ["++", "x%", "%"]),
    ],
)
def test_buffers(segments: list[str], words: set[str], expected: list[str]) -> None:
    assert list(find_new_words(segments, words.__contains__)) == expected
    assert NewWords("".join(segments), [*segments], words.__contains__).all_segments() == expected


@pytest.mark.usefixtures("reference")
def test_rjieba_is_parted_at_every_character_outside_jiebas_blocks() -> None:
    import rjieba

    # With HMM on, rjieba leaves doubled characters whole where they are inside its blocks.
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    inside = [x for x in characters if not x.isascii() and rjieba.cut(x + x, True) != [x, x]]
    rare = [x for x in inside if not "\u4e00" <= x <= "\u9fd5"]
    assert len(rare) > 50_000
    assert [x for x in rare if segment._APART.fullmatch(x) is None] == []


def test_both_dictionaries_hold_the_same_words(reference: jieba.Tokenizer) -> None:
    import rjieba

    engine = rjieba.Jieba()
    words = {word: number for word, number in reference.FREQ.items() if number}
    assert [word for word in words if not engine.has_word(word)] == []
    assert [word for word, number in reference.FREQ.items() if not number and engine.has_word(word)] == []
    # One word is there twice, so jieba's total is more than the sum; rounding among equal scores depends on it.
    assert reference.total - sum(words.values()) == segment._COUNTED_TWICE
    # For a single character rjieba suggests its frequency, or by rounding one more.
    single = {word: number for word, number in words.items() if len(word) == 1}
    assert all(engine.suggest_freq(word) - number in (0, 1) for word, number in single.items())


def test_settled_tables_hold_no_white_space(fast: WordSegmenter) -> None:
    spaces = [chr(code) for code in range(0x110000) if chr(code).isspace()]
    table = {**dict.fromkeys(spaces, 1), "\r\n": 2, "云": 3, "\u200b": 1, "\ue000": 1}
    for _ in range(2):
        fast.settle(table)
        assert table == {"云": 3, "\u200b": 1, "\ue000": 1}


def dictionary(path: Path, lines: list[str]) -> str:
    file = path / "user.txt"
    file.write_text("\n".join(lines), encoding="utf-8")
    return str(file)


def as_jieba_cuts(lines: list[str], texts: list[str], hmm: bool) -> list[list[str]]:
    """What jieba itself does, through its public interface; the set its instances share is put back."""
    shared = finalseg.Force_Split_Words
    finalseg.Force_Split_Words = set()
    try:
        engine: Any = segment._reference()
        for word, frequency, tag in read_user_dictionary(lines):
            engine.add_word(word, frequency, tag)
        return [engine.lcut(text, HMM=hmm) for text in texts]
    finally:
        finalseg.Force_Split_Words = shared


SENTENCES = [
    "南京市长江大桥旁的人工智能研究所发布了云原生数据库",
    "他说的确实在理，研究生命起源的研究生活得很辛苦，常在此处来见他",
    "结婚的和尚未结婚的都在c++开发者大会上喝咖啡，GPT4和gpt-4o卖1.8元，v2.0.1，3G上网",
    "赞赞赞赞赞，乒乓球拍卖完了𠮷野家，中国科学院计算技术研究所",
]
PARTS = sorted({s[a : a + n] for s in SENTENCES for a in range(len(s)) for n in (1, 2, 3, 4, 5, 7)})


@settings(max_examples=60)
@given(
    lines=st.lists(
        st.builds(
            lambda word, frequency, tag: word + frequency + tag,
            st.sampled_from([*(part for part in PARTS if "，" not in part), "带 空格", "GPT4", "v2", "gpt", "1.8"]),
            st.sampled_from(["", " 1", " 3", " 12", " 700", " 50000", " 9000000", " 0"]),
            st.sampled_from(["", " n", " nr"]),
        ),
        max_size=12,
    ),
    hmm=st.booleans(),
)
def test_user_dictionaries_act_as_in_jieba(
    lines: list[str], hmm: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = dictionary(tmp_path_factory.mktemp("dictionary"), lines)
    segmenter = build_word_segmenter("auto", hmm=hmm, user_dictionary=path)
    texts = [*SENTENCES, "\n".join(SENTENCES * 10)]  # the last one is long
    assert [segmenter.segment(text) for text in texts] == as_jieba_cuts(lines, texts, hmm)


def test_letters_that_are_words_go_to_jieba_only_where_the_model_is_on(tmp_path: Path) -> None:
    lines = ["G 9000000", "P 9000000", "T 9000000", "GPT 2"]
    path = dictionary(tmp_path, lines)
    for hmm, engine in ((True, "jieba"), (False, "rjieba")):
        segmenter = build_word_segmenter("auto", hmm=hmm, user_dictionary=path)
        assert segmenter.name.startswith(engine)
        assert [segmenter.segment("用GPT-4")] == as_jieba_cuts(lines, ["用GPT-4"], hmm)
    with pytest.raises(UsageError, match="single letters, digits or marks"):
        build_word_segmenter("rjieba", hmm=True, user_dictionary=path)


def test_deleted_words_are_not_made_again_and_no_global_changes(tmp_path: Path) -> None:
    lines = ["长江大桥 0", "赞赞 0", "南京市 0", "赞赞赞 0", "赞赞赞 5"]
    path = dictionary(tmp_path, lines)
    shared = finalseg.Force_Split_Words
    segmenter = build_word_segmenter("auto", hmm=True, user_dictionary=path)
    texts = [*SENTENCES, "赞赞赞赞赞，赞赞，在长江大桥"]
    assert [segmenter.segment(text) for text in texts] == as_jieba_cuts(lines, texts, True)
    assert finalseg.Force_Split_Words is shared
    assert "赞赞" not in shared
    assert segmenter.name.startswith("jieba 0.42")
    with pytest.raises(UsageError, match="rjieba cannot take entries that delete a word"):
        build_word_segmenter("rjieba", hmm=True, user_dictionary=path)


def test_names_say_what_the_segments_are_equal_to(tmp_path: Path) -> None:
    path = dictionary(tmp_path, ["云原生", "数据库 5"])
    assert build_word_segmenter("auto", hmm=True, user_dictionary=None).name == (
        f"rjieba {version('rjieba')}, equal to jieba {version('jieba')} with HMM"
    )
    name = build_word_segmenter("jieba", hmm=False, user_dictionary=path).name
    assert name == f"jieba {version('jieba')} without HMM and 2 user words"


def version(package: str) -> str:
    import importlib.metadata

    return importlib.metadata.version(package)


def test_what_cannot_be_built_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown segmenter `pkuseg`"):
        build_word_segmenter("pkuseg", hmm=True, user_dictionary=None)
    with pytest.raises(InputError, match="cannot read the user dictionary"):
        build_word_segmenter("auto", hmm=True, user_dictionary=str(tmp_path / "absent.txt"))
    path = dictionary(tmp_path, [f"云 {1 << 56}"])
    with pytest.raises(UsageError, match="frequencies of 9007199254740992 and more"):
        build_word_segmenter("rjieba", hmm=False, user_dictionary=path)


def test_a_small_text_loads_neither_numpy_nor_jiebas_dictionary() -> None:
    code = """
import sys
from nlpx.counting.segmentation.segmenters import build_word_segmenter
segmenter = build_word_segmenter("auto", hmm=True, user_dictionary=None)
assert segmenter.segment("常在此奋发，1-1.5倍") == ["常", "在", "此", "奋发", "，", "1", "-", "1.5", "倍"]
import jieba
assert not jieba.dt.initialized
assert "numpy" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
