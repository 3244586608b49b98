"""The word tokenizer: order of the steps, segmenters, user dictionaries, offsets, saving."""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlpx.errors import InputError, UsageError
from nlpx.tokenizers import segment
from nlpx.tokenizers.characters import lower_and_strip
from nlpx.tokenizers.load import load_tokenizer
from nlpx.tokenizers.segment import build_segmenter
from nlpx.tokenizers.user_dictionary import UserWord, read_user_dictionary
from nlpx.tokenizers.vocab import Vocab
from nlpx.tokenizers.word import WordTokenizer
from quick_jieba import quick_jieba  # noqa: F401 - a fixture of this file

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TEXT = "小明在人工智能实验室研究自然语言处理，周末去长江大桥旁边的咖啡馆喝Espresso看书2小时。"
LETTERS = [*"abcdefghijklmnopqrstuvwxyz0123456789"]
WORDS = ["人工智能", "自然语言", "研究", "周末", "长江大桥", "咖啡馆", "espresso", "小时", "云原生数据库"]
VOCAB = Vocab([*SPECIAL, *dict.fromkeys(TEXT + "云原生数据库市长"), *LETTERS, *("##" + x for x in LETTERS), *WORDS])


@pytest.fixture(scope="module")
def tokenizer() -> WordTokenizer:
    return WordTokenizer(VOCAB)


def test_known_words_are_whole_and_unknown_ones_are_cut(tokenizer: WordTokenizer) -> None:
    assert tokenizer.kind == "word"
    tokens = tokenizer.tokenize(TEXT)
    for word in ("人工智能", "自然语言", "长江大桥", "咖啡馆", "espresso", "小时"):
        assert word in tokens
    assert tokens[tokens.index("小") : tokens.index("人工智能")] == ["小", "明", "在"]  # 小明: not in the vocabulary
    assert tokens[tokens.index("人工智能") + 1 :][:3] == ["实", "验", "室"]


def test_accents_and_case_go_before_the_segmenter() -> None:
    assert WordTokenizer(VOCAB).tokenize("ÉSPRESSO") == ["espresso"]
    assert WordTokenizer(VOCAB, do_lower_case=False).tokenize("QESPRESSO") == ["[UNK]"]


def test_special_tokens_in_a_text_are_ordinary_text(tokenizer: WordTokenizer) -> None:
    assert "[MASK]" not in tokenizer.tokenize("研究[MASK]")


@pytest.mark.parametrize(("length", "tokens"), [(200, 200), (201, 1)])
def test_words_of_more_than_200_characters_are_unknown(tokenizer: WordTokenizer, length: int, tokens: int) -> None:
    assert len(tokenizer.tokenize("q" * length)) == tokens


def test_both_segmenters_give_the_same(tokenizer: WordTokenizer) -> None:
    assert WordTokenizer(VOCAB, segmenter="jieba").tokenize(TEXT) == tokenizer.tokenize(TEXT)
    with pytest.raises(UsageError, match="unknown segmenter `pkuseg`"):
        WordTokenizer(VOCAB, segmenter="pkuseg")


def test_an_empty_user_list_changes_nothing(tokenizer: WordTokenizer) -> None:
    assert WordTokenizer(VOCAB, user_words=[]).encode(TEXT) == tokenizer.encode(TEXT)


def test_a_user_word_becomes_one_token(tokenizer: WordTokenizer) -> None:
    text = "研究云原生数据库"
    assert "云原生数据库" not in tokenizer.tokenize(text)
    ours = WordTokenizer(VOCAB, user_words=[UserWord("云原生数据库")])
    assert ours.tokenize(text) == ["研究", "云原生数据库"]
    assert "云原生数据库" not in tokenizer.tokenize(text)  # the first tokenizer is untouched


def test_user_words_are_normalised_like_the_text() -> None:
    cut = WordTokenizer(VOCAB, user_words=[UserWord("É咖啡馆")])
    assert cut.user_words == [UserWord("e咖啡馆")]


def as_jieba_cuts(lines: list[str], texts: list[str]) -> list[list[str]]:
    """What a jieba instance of its own does with the same dictionary, through jieba's public interface."""
    engine = segment._reference()
    for word, frequency, tag in read_user_dictionary(lines):
        engine.add_word(word, frequency, tag)
    return [engine.lcut(text, HMM=False) for text in texts]


SENTENCES = [
    "南京市长江大桥旁的人工智能研究所发布了云原生数据库",
    "他说的确实在理，研究生命起源的研究生活得很辛苦",
    "结婚的和尚未结婚的都在c++开发者大会上喝咖啡",
    "乒乓球拍卖完了，中国科学院计算技术研究所",
]
PARTS = sorted({s[a : a + n] for s in SENTENCES for a in range(len(s)) for n in (1, 2, 3, 4, 5, 7)})


@settings(max_examples=25)
@given(
    lines=st.lists(
        st.builds(
            lambda word, frequency, tag: word + frequency + tag,
            st.sampled_from([part for part in PARTS if "，" not in part]),
            st.sampled_from(["", " 1", " 3", " 12", " 700", " 50000", " 9000000"]),
            st.sampled_from(["", " n", " nr"]),
        ),
        max_size=12,
    )
)
def test_rjieba_with_user_words_cuts_as_jieba(lines: list[str]) -> None:
    cut = build_segmenter("rjieba", read_user_dictionary(lines))
    assert [cut(sentence) for sentence in SENTENCES] == as_jieba_cuts(lines, SENTENCES)


def test_the_suggested_frequency_and_the_total_are_jiebas() -> None:
    lines = ["云原生数据库", "的", "的", "研究生 5", "大会上喝", "c++开发", "带 空格", "𠮷野家"]
    engine = segment._reference()
    total, before = engine.total, dict(engine.FREQ)
    for word, frequency, _ in read_user_dictionary(lines):
        engine.add_word(word, frequency)
    state = dict(segment._as_jieba_would(read_user_dictionary(lines)))
    surplus = state.pop("\ue000")
    assert set(state) == {"云原生数据库", "的", "研究生", "大会上喝", "c++开发"}
    assert all(engine.FREQ[word] == frequency for word, frequency in state.items())
    assert engine.total - total == surplus + sum(f - before.get(word, 0) for word, f in state.items())


def test_deleting_a_word(tokenizer: WordTokenizer) -> None:
    text = "在长江大桥旁边"
    assert "长江大桥" in tokenizer.tokenize(text)
    ours = WordTokenizer(VOCAB, user_words=[UserWord("长江大桥", 0)])
    assert "长江大桥" not in ours.tokenize(text)
    cut = build_segmenter("rjieba", [UserWord("长江大桥", 0)])
    assert "".join(cut(text)) == text


def test_no_global_of_jieba_changes() -> None:
    import jieba
    from jieba import finalseg

    jieba.initialize()
    total, forced = jieba.dt.total, set(finalseg.Force_Split_Words)
    for name in ("jieba", "rjieba"):
        build_segmenter(name, [UserWord("云原生数据库"), UserWord("长江大桥", 0)])
        build_segmenter(name, [UserWord("云原生数据库")])
    assert (jieba.dt.total, set(finalseg.Force_Split_Words)) == (total, forced)
    assert "云原生数据库" not in jieba.dt.FREQ


def test_reading_a_user_dictionary(tmp_path: Path) -> None:
    path = tmp_path / "user.txt"
    path.write_text("\ufeff云原生 5 n\n\n带 空格 的词 3\n创新办 i\n长江大桥\r\n", encoding="utf-8")
    assert read_user_dictionary(path) == [
        UserWord("云原生", 5, "n"),
        UserWord("带 空格 的词", 3),
        UserWord("创新办", None, "i"),
        UserWord("长江大桥"),
    ]
    assert read_user_dictionary(None) == []
    assert read_user_dictionary(["云 2", UserWord("雨", 3)]) == [UserWord("云", 2), UserWord("雨", 3)]


def test_user_dictionaries_read_as_jieba_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "user.txt"
    path.write_text("云原生 5 n\n带 空格 的词 3\n创新办 i\n长江大桥\n数 字 7 nz\n", encoding="utf-8")
    ours, theirs = segment._reference(), segment._reference()
    with path.open("rb") as file:
        theirs.load_userdict(file)
    for word, frequency, tag in read_user_dictionary(path):
        ours.add_word(word, frequency, tag)
    assert (ours.FREQ == theirs.FREQ, ours.total) == (True, theirs.total)
    assert ours.user_word_tag_tab == theirs.user_word_tag_tab


@pytest.mark.parametrize(
    ("content", "said"),
    [("好\n云\t3\n".encode(), r"user\.txt:2 is no dictionary entry"), ("好\n".encode("gb18030"), ":1 is not UTF-8")],
)
def test_a_broken_user_dictionary_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "user.txt").write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_user_dictionary(tmp_path / "user.txt")
    with pytest.raises(InputError, match="cannot read the user dictionary"):
        read_user_dictionary(tmp_path / "absent.txt")


@pytest.mark.parametrize("text", [TEXT, "É研究 İ小时 a\u0301b\u200b 가研究", "ﬁ ẞ ΣΑΣ研究"])
def test_offsets_give_back_the_original(tokenizer: WordTokenizer, text: str) -> None:
    row = tokenizer.encode(text, return_offsets=True)
    assert row.offsets is not None
    assert row.offsets[0] == row.offsets[-1] == (0, 0)
    for index, (start, end) in zip(row.token_ids[1:-1], row.offsets[1:-1], strict=True):
        if index != tokenizer.unk_token_id:
            token = VOCAB.tokens[index].removeprefix("##")
            assert lower_and_strip(text[start:end]) == token


def test_decoding_gives_the_normalised_text(tokenizer: WordTokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode(TEXT).token_ids) == TEXT.lower()


def test_pairs_and_truncation_count_words(tokenizer: WordTokenizer) -> None:
    pair = tokenizer.encode("研究人工智能", "研究自然语言小时", max_length=7)
    assert [VOCAB.tokens[i] for i in pair.token_ids] == [
        "[CLS]", "研究", "人工智能", "[SEP]", "研究", "自然语言", "[SEP]",
    ]  # fmt: skip
    assert pair.segment_ids == [0, 0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("segmenter", ["rjieba", "jieba"])
def test_bad_text(segmenter: str) -> None:
    ours = WordTokenizer(VOCAB, segmenter=segmenter)
    with pytest.raises(InputError, match=r"text 1 holds the lone surrogate U\+D83D at character 2"):
        ours.encode_batch(["研究", "研究\ud83d"])
    assert ours.tokenize("研究\x00\ufffd小时") == ["研究", "小时"]
    assert ours.tokenize("") == []


def test_saving_and_loading_keeps_everything(tmp_path: Path) -> None:
    words = [UserWord("云原生数据库"), UserWord("旁边的", 90000, "n")]
    ours = WordTokenizer(VOCAB, user_words=words)
    ours.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nlpx_tokenizer.json", "vocab.txt"]
    text = TEXT + "云原生数据库"
    loaded = load_tokenizer(tmp_path)
    assert isinstance(loaded, WordTokenizer)
    assert loaded.user_words == words
    assert loaded.encode(text) == ours.encode(text) != WordTokenizer(VOCAB).encode(text)
    replaced = load_tokenizer(tmp_path, user_dictionary=["自然语言处理 99999"])
    assert isinstance(replaced, WordTokenizer)
    assert replaced.user_words == [UserWord("自然语言处理", 99999)]


def test_a_pickled_tokenizer_is_the_same_also_in_a_spawned_worker() -> None:
    ours = WordTokenizer(VOCAB, user_words=[UserWord("云原生数据库")])
    text = TEXT + "云原生数据库"
    assert pickle.loads(pickle.dumps(ours)).encode(text) == ours.encode(text)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(ours.encode, (text,)) == ours.encode(text)


def test_user_words_that_the_segmenter_never_finds_are_named(recwarn):
    from nlpx.errors import ShownWarning
    from nlpx.tokenizers.user_dictionary import read_user_dictionary

    words = ["智慧路灯网", "Green Mark标识", "*ST古丽", "x<y", "a/b", "·"]
    assert [entry.word for entry in read_user_dictionary(words)] == words
    (warning,) = [found for found in recwarn if issubclass(found.category, ShownWarning)]
    assert str(warning.message).startswith("4 user words can never be found: `Green Mark标识`, `*ST古丽`, `x<y`, …")
    read_user_dictionary(["智慧路灯网", "C++"])
    assert len([found for found in recwarn if issubclass(found.category, ShownWarning)]) == 1


@pytest.mark.parametrize("digits", [19, 400, 5000])
def test_a_frequency_beyond_all_counts_is_refused_by_its_line(digits: int) -> None:
    with pytest.raises(InputError, match="user dictionary:1 is no dictionary entry") as caught:
        read_user_dictionary(["云计算 " + "9" * digits])
    assert len(caught.value.message) < 250
    assert read_user_dictionary(["云计算 " + "9" * 18])[0].frequency == 10**18 - 1
