"""Sentences: where they end, and that nothing is lost on the way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlpx.data.corpus.sentences import split_sentences

PIECES = st.sampled_from([*"春江。！？；…”』）\"'\n\r\t \u3000a.;?!0", "潮水", "\u2028", "𠀀", "\ufeff"])


@given(st.one_of(st.text(), st.lists(PIECES).map("".join)))
def test_joined_they_are_the_text(text):
    sentences = split_sentences(text)
    assert "".join(sentences) == text
    assert "" not in sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", []),
        ("没有句号", ["没有句号"]),
        ("下雨了。带伞！走吗？走；好…", ["下雨了。", "带伞！", "走吗？", "走；", "好…"]),
        ("It rains; take care! Really? Yes.", ["It rains; ", "take care! ", "Really? ", "Yes."]),
        ("他问：“去吗？”她说：“去！”就走了", ["他问：“去吗？”", "她说：“去！”", "就走了"]),
        ("真的吗？！……（是的！）。完", ["真的吗？！……", "（是的！）。", "完"]),
        ("第一行\n“第二行”\n\n  第三行", ["第一行\n", "“第二行”\n\n  ", "第三行"]),
        ("句子。\n\n下一句", ["句子。\n\n", "下一句"]),
        ("\n\n开头", ["\n\n", "开头"]),
    ],
)
def test_where_they_end(text, sentences):
    assert split_sentences(text) == sentences


def test_a_long_text_without_an_end_is_one_sentence():
    text = "雨" * 2_000_000
    assert split_sentences(text) == [text]
