"""Ids and offsets of the character tokenizer against transformers' BertTokenizerFast built from the same vocab.txt."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlpx.tokenizers.char import CharTokenizer
from nlpx.tokenizers.load import load_tokenizer
from nlpx.tokenizers.vocab import Vocab

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
COMMON = "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说"
RARE = "㐀鿿𠮷𫝀豈\U0002b830\U0002b920ひらがカナ한글éßσςαжไท←～￥￭😀\U000e0100"

ODD_TEXTS = [
    "",
    " \t\r\n\u3000\u2028\u00a0",
    "你好，世界！iPhone15Pro、3.14％与café以及naïve",
    "a\u0301b\u0301汉\u0301！\u0301",
    "被\u200b零宽\u200d空格\ufeff隔开\u00ad",
    "ab\x00cd\ufffdef\x07gh\x7f\x85i",
    "[MASK]是[mask]吗[[SEP]]abc[CLS]def[PAD][UNK][unused1]",
    "x" * 100 + "汉" + "y" * 101,
    "İSTANBUL ΣΊΣΥΦΟΣ ẞ ﬁ Ǆ",
    "\u1100\u1161\u11a8각가나다",
    "ใครๆก็ นั่นแหละ",
    "שלום עולם مرحبا بالعالم",
    "豈更車 \uf900\ufa6a 丽\U0002f800",
    "\u0344\u0301\u302e汉\u302e\u0327≠\u0327\u0338;\u037e`\u1fef",
    "a\U0002b820b\U0002b830c\U0002b920d\U0002cea1e",
    "👩‍👩‍👧‍👦家👍🏽好",
    "\ue000私用\U000f0000区\u0378未定义",
]


def vocabulary() -> Vocab:
    special = ["[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*LETTERS, *("##" + letter for letter in LETTERS), "the", "##ing", "20", "##24", "caf", "##e"]
    marks = [*"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~，。！？、；：“”‘’《》（）【】…—·～￥％"]
    thai = ["ไ", "ท", "##ท", "한", "ᄒ", "##ᅡ", "##ᆫ", "α", "σ", "##σ", "ς", "##ς", "や", "か", "##か", "##"]
    return Vocab(list(dict.fromkeys([*special, *pieces, *marks, *COMMON, *RARE, *thai])))


def build_both(folder: Path, **options: object) -> tuple[CharTokenizer, object]:
    from transformers import BertTokenizerFast

    vocab = vocabulary()
    (folder / "vocab.txt").write_text(vocab.text(), encoding="utf-8")
    return CharTokenizer(vocab, **options), BertTokenizerFast.from_pretrained(folder, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=["uncased", "cased", "accents_kept", "chinese_joined"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[CharTokenizer, object]:
    options = {
        "uncased": {},
        "cased": {"do_lower_case": False},
        "accents_kept": {"do_lower_case": True, "strip_accents": False},
        "chinese_joined": {"tokenize_chinese_chars": False},
    }[request.param]
    return build_both(tmp_path_factory.mktemp(request.param), **options)


def assert_equal(both: tuple[CharTokenizer, object], texts: list[str]) -> None:
    ours, theirs = both
    expected = theirs(texts, return_offsets_mapping=True)  # type: ignore[operator]
    encodings = ours.encode_batch(texts, return_offsets=True)
    for text, encoding, ids, spans in zip(
        texts, encodings, expected["input_ids"], expected["offset_mapping"], strict=True
    ):
        assert encoding.token_ids == ids, text
        assert encoding.offsets == spans, text


def test_the_reference_really_uses_the_options(both: tuple[CharTokenizer, object]) -> None:
    ours, theirs = both
    assert theirs.backend_tokenizer.normalizer.lowercase == ours.do_lower_case  # type: ignore[attr-defined]
    assert theirs.vocab_size == ours.vocab_size  # type: ignore[attr-defined]


def test_odd_texts(both: tuple[CharTokenizer, object]) -> None:
    assert_equal(both, ODD_TEXTS)
    for text in ODD_TEXTS:  # alone, too: the batch must not matter
        assert_equal(both, [text])


mixed_text = st.text(
    st.one_of(
        st.sampled_from(COMMON + RARE + LETTERS + "，。！？[]ABCXYZ \n\t"),
        st.characters(exclude_categories=["Cs"]),
        st.characters(min_codepoint=0x300, max_codepoint=0x36F),
        st.characters(min_codepoint=0x0E00, max_codepoint=0x0E7F),
        st.characters(min_codepoint=0x3040, max_codepoint=0x30FF),
        st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3),
        st.characters(min_codepoint=0x1F300, max_codepoint=0x1FAFF),
        st.characters(min_codepoint=0x20000, max_codepoint=0x2FA1F),
        st.sampled_from("\u200b\u200d\u200f\u202e\ufe0f\ufeff\x00\ufffd\u05d0\u0627\u064b\u1e9e\u0130\u2260"),
    ),
    max_size=40,
)


@settings(max_examples=150)
@given(texts=st.lists(st.one_of(mixed_text, st.sampled_from(ODD_TEXTS)), min_size=1, max_size=6))
def test_mixed_scripts(both: tuple[CharTokenizer, object], texts: list[str]) -> None:
    assert_equal(both, texts)


def around(codes: Iterable[int]) -> list[str]:
    """Every character between letters, beside Chinese, doubled and before an accent."""
    characters = [chr(code) for code in codes if not 0xD800 <= code <= 0xDFFF]
    return [f"a{c}b的{c}{c}x，{c}\u0301" for c in characters]


# Thousands of characters in a row that every rule treats alike: ideographs, syllables, private use.
ALIKE = ((0x3400, 0xA000), (0xAC00, 0xD7A4), (0xE000, 0xF900))


def test_characters_of_the_basic_plane(tmp_path: Path) -> None:
    inside = [code for first, last in ALIKE for code in range(first, last)]
    ends = [code for block in ALIKE for end in block for code in range(end - 16, end + 16)]
    codes = sorted(({*range(0x10000)} - {*inside}) | {*inside[::16], *ends})
    assert_equal(build_both(tmp_path), around(codes))


@pytest.mark.slow
def test_every_character_of_the_basic_plane(tmp_path: Path) -> None:
    assert_equal(build_both(tmp_path), around(range(0x10000)))


@pytest.mark.slow
def test_every_character_of_the_other_planes(both: tuple[CharTokenizer, object]) -> None:
    for plane in (0x10000, 0x20000, 0x30000, 0xE0000, 0xF0000):  # the rest is unassigned or private like the last
        assert_equal(both, around(range(plane, plane + 0x10000)))


def test_random_pairs_without_truncation(both: tuple[CharTokenizer, object]) -> None:
    ours, theirs = both
    draw = random.Random(5)
    sides = [["".join(draw.choices(COMMON + "ab ，", k=draw.randrange(9))) for _ in range(40)] for _ in range(2)]
    expected = theirs(*sides, return_token_type_ids=True)  # type: ignore[operator]
    encodings = ours.encode_batch(*sides)
    assert [encoding.token_ids for encoding in encodings] == expected["input_ids"]
    assert [encoding.segment_ids for encoding in encodings] == expected["token_type_ids"]


@pytest.mark.parametrize("options", [{}, {"do_lower_case": False}, {"strip_accents": False}])
def test_saved_directory_loads_in_plain_transformers(tmp_path: Path, options: dict[str, bool]) -> None:
    from transformers import AutoTokenizer, BertTokenizerFast

    ours, _ = build_both(tmp_path, **options)
    ours.save(tmp_path / "saved")
    expected = [encoding.token_ids for encoding in ours.encode_batch(ODD_TEXTS)]
    for theirs in (BertTokenizerFast.from_pretrained, AutoTokenizer.from_pretrained):
        assert theirs(tmp_path / "saved")(ODD_TEXTS)["input_ids"] == expected
    (tmp_path / "saved" / "tokenizer.json").unlink()
    assert BertTokenizerFast.from_pretrained(tmp_path / "saved")(ODD_TEXTS)["input_ids"] == expected


def test_a_directory_saved_by_transformers_loads(tmp_path: Path) -> None:
    _, theirs = build_both(tmp_path, do_lower_case=False)
    theirs.save_pretrained(tmp_path / "theirs")  # type: ignore[attr-defined]
    ours = load_tokenizer(tmp_path / "theirs")
    assert ours.kind == "char"
    expected = theirs(ODD_TEXTS)["input_ids"]  # type: ignore[operator]
    assert [encoding.token_ids for encoding in ours.encode_batch(ODD_TEXTS)] == expected
