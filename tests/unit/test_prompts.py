"""What of a text may change, and that the rest comes back as it was typed."""

from __future__ import annotations

import pytest

import tiny
from nlpx import load_tokenizer
from nlpx.data.batches.masking import SpecialIds
from nlpx.decode.prompts import check_length, open_prompt, parse_length, parse_span, read_prompt, write_text
from nlpx.errors import InputError, UsageError

WORDS = ["春风", "秋雨", "山川"]
LATIN = ["wind", "rain", "##y", "a"]


@pytest.fixture(params=["char", "word"])
def tokenizer(request, tmp_path):
    entries = [*tiny.VOCAB, *LATIN, *(WORDS if request.param == "word" else [])]
    return load_tokenizer(tiny.write_vocab(tmp_path, entries), kind=request.param)


def prompt_of(text, tokenizer, *keep):
    return read_prompt(text, tokenizer, SpecialIds.of(tokenizer), [parse_span(span) for span in keep])


def unchanged(prompt):
    return [(token_id, place) for place, token_id in enumerate(prompt.token_ids)]


def free(prompt, tokenizer):
    found = zip(prompt.token_ids, prompt.is_free, strict=True)
    return [tokenizer.vocab.tokens[token_id] for token_id, is_free in found if is_free]


@pytest.mark.parametrize(
    "text",
    ["春夏秋冬", " Wind  春 RAINY龘 秋 ", "春风[MASK]秋雨[MASK]", "[MASK]春", "a rainy wind", "山川　湖\u200b海"],
)
def test_what_did_not_change_is_as_it_was_typed(text, tokenizer):
    prompt = prompt_of(text, tokenizer)
    assert write_text(prompt, unchanged(prompt), tokenizer) == text


def test_only_masks_change_where_there_are_some(tokenizer):
    prompt = prompt_of("春风[MASK]秋[MASK]", tokenizer)
    assert free(prompt, tokenizer) == ["[MASK]", "[MASK]"]
    mountain = tokenizer.vocab.ids["山"]
    tokens = [
        (mountain if is_free else i, n)
        for n, (i, is_free) in enumerate(zip(prompt.token_ids, prompt.is_free, strict=True))
    ]
    assert write_text(prompt, tokens, tokenizer) == "春风山秋山"


@pytest.mark.parametrize(
    ("spans", "changed"),
    [
        ((), ["春", "夏", "秋", "冬"]),
        (("0:2",), ["秋", "冬"]),
        (("2:",), ["春", "夏"]),
        ((":-1",), ["冬"]),
        (("-2:-1",), ["春", "夏", "冬"]),
        (("0:1", "3:4"), ["夏", "秋"]),
    ],
)
def test_spans_are_held(spans, changed, tokenizer):
    assert free(prompt_of("春夏秋冬", tokenizer, *spans), tokenizer) == changed


def test_a_token_that_a_span_touches_is_held(tokenizer):
    prompt = prompt_of("wind 春风", tokenizer, "1:2")
    assert "wind" not in free(prompt, tokenizer)


def test_new_words_do_not_grow_together(tokenizer):
    prompt, ids = prompt_of("春 夏秋冬", tokenizer), tokenizer.vocab.ids
    tokens = [(prompt.token_ids[0], 0), (ids["wind"], 1), (ids["rain"], 2), (ids["##y"], None), (ids["春"], 3)]
    assert write_text(prompt, tokens, tokenizer) == "春 wind rainy春"
    assert write_text(prompt, [(prompt.token_ids[0], 0), (prompt.token_ids[3], 3)], tokenizer) == "春冬"


def test_text_from_nothing_is_decoded(tokenizer):
    prompt = open_prompt(3, tokenizer.mask_token_id)
    ids = tokenizer.vocab.ids
    assert write_text(prompt, [(ids["春"], 0), (ids["wind"], 1), (ids["rain"], 2)], tokenizer) == "春wind rain"


@pytest.mark.parametrize(
    ("text", "spans", "message"),
    [
        ("春夏", ("0:9",), "--keep 0:9 lies outside of the text of 2 characters"),
        ("春夏", ("-9:1",), "lies outside"),
        ("春夏", ("1:1",), "lies outside"),
        ("春夏", ("0:2",), "no position of the text is free"),
        ("", (), "no position of the text is free"),
        ("春[MASK]", ("0:1",), "--keep has no effect beside"),
    ],
)
def test_what_cannot_be_started_from(text, spans, message, tokenizer):
    with pytest.raises(InputError, match=message):
        prompt_of(text, tokenizer, *spans)


@pytest.mark.parametrize(("text", "length"), [("8:32", (8, 32)), ("20", (20, 20)), ("1:1", (1, 1))])
def test_lengths(text, length):
    assert parse_length(text) == length


@pytest.mark.parametrize("text", ["", "0", "9:8", "0:4", "-1:4", "8-32", "a:b", "8:"])
def test_no_lengths(text):
    with pytest.raises(UsageError, match="--length"):
        parse_length(text)


@pytest.mark.parametrize("text", ["", "3", "a:b", "1:2:3", "--1:2"])
def test_no_spans(text):
    with pytest.raises(UsageError, match="--keep"):
        parse_span(text)


def test_a_text_too_long():
    check_length(5, 5, place="here")
    with pytest.raises(InputError, match="here: 6 tokens, and the model has positions for 5"):
        check_length(6, 5, place="here")
