"""The shipped sample: made by its generator, sound in form, disjoint by event, and neither trivial nor noise."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from nlpx import bundled
from nlpx.bundled.sohu.generate import NUM_PAIRS, SAMPLE, Event, generate, read_events
from nlpx.data.rows.sohu import VARIANTS, Pair, Splits, describe, read_splits
from nlpx.errors import UsageError


@pytest.fixture(scope="module")
def splits() -> Splits:
    return read_splits(bundled.path("sohu"))


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return read_events()


def parts(splits: Splits) -> dict[str, list[Pair]]:
    return {"train": splits.train, "dev": splits.dev, "test": splits.test}


def find(text: str, events: list[Event]) -> Event:
    """The one event a text was made from."""
    return next(
        event
        for event in events
        if text in event.headlines or any(lead in text and detail in text for lead, detail, _ in event.tellings)
    )


def test_generator_writes_the_shipped_bytes() -> None:
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in generate())
    assert SAMPLE.read_bytes() == content.encode("utf-8")
    assert len(content.encode("utf-8")) < 2_200_000


def test_another_seed_gives_other_pairs() -> None:
    assert next(generate(seed=1)) != next(generate())


def test_each_variant_has_its_share(splits: Splits) -> None:
    for name, pairs in parts(splits).items():
        table = describe(pairs)
        assert [row["variant"] for row in table] == list(VARIANTS)
        assert {row["pairs"] for row in table} == {NUM_PAIRS[name]}  # type: ignore[index]
        assert all(0.35 <= row["positive_share"] <= 0.5 for row in table)
    (taken,) = splits.notes
    assert taken.endswith("sample.jsonl: train 1,560, dev 540, test 1,080")
    assert NUM_PAIRS["train"] >= 100


def test_material_is_as_large_as_the_card_says(events: list[Event]) -> None:
    assert len({event.domain for event in events}) == 10
    assert len({(event.domain, event.topic) for event in events}) == 80
    assert len(events) == 280
    assert all(len(set(event.headlines)) == 4 and len(event.tellings) == 2 for event in events)
    assert all(len(set(event.background)) == 4 for event in events)


def test_no_sentence_was_written_twice(events: list[Event]) -> None:
    sentences = Counter(
        sentence for event in events for sentence in [*event.headlines, *(part for t in event.tellings for part in t)]
    )
    assert [sentence for sentence, count in sentences.items() if count > 1] == []


def test_labels_follow_from_topic_and_event(splits: Splits, events: list[Event]) -> None:
    for pair in splits.train + splits.dev + splits.test:
        first, second = find(pair.source, events), find(pair.target, events)
        same_topic = (first.domain, first.topic) == (second.domain, second.topic)
        assert pair.label == int(same_topic if VARIANTS[pair.variant].endswith("A") else first is second)
        assert first.split == second.split == pair.split


def test_no_text_occurs_in_two_splits(splits: Splits) -> None:
    texts = [{text for pair in pairs for text in (pair.source, pair.target)} for pairs in parts(splits).values()]
    assert not texts[0] & texts[1]
    assert not texts[0] & texts[2]
    assert not texts[1] & texts[2]


def test_strict_variants_have_hard_negatives_and_loose_ones_easy_words(splits: Splits, events: list[Event]) -> None:
    strict = [pair for pair in splits.train if pair.variant % 2 == 1 and pair.label == 0]
    hard = [pair for pair in strict if find(pair.source, events).topic == find(pair.target, events).topic]
    assert 0.35 < len(hard) / len(strict) < 0.65
    loose = [pair for pair in splits.train if pair.variant % 2 == 0 and pair.label == 1]
    apart = [pair for pair in loose if find(pair.source, events) is not find(pair.target, events)]
    assert 0.35 < len(apart) / len(loose) < 0.65


def test_lengths(splits: Splits) -> None:
    for pair in splits.train:
        shape = VARIANTS[pair.variant]
        for letter, text in zip(shape, (pair.source, pair.target), strict=False):
            assert len(text) <= 30 if letter == "s" else 150 <= len(text) <= 350


def test_shared_words_inform_but_do_not_decide(splits: Splits) -> None:
    def overlap(pair: Pair) -> float:
        first, second = ({text[at : at + 2] for at in range(len(text) - 1)} for text in (pair.source, pair.target))
        return len(first & second) / min(len(first), len(second))

    pairs = [(overlap(pair), pair.label) for pair in splits.train if pair.variant == 1]
    positive = [value for value, label in pairs if label == 1]
    negative = [value for value, label in pairs if label == 0]
    wins = sum((a > b) + 0.5 * (a == b) for a in positive for b in negative) / (len(positive) * len(negative))
    assert 0.6 < wins < 0.95  # area under the ROC curve of the overlap alone


def test_bundled_names() -> None:
    assert "sohu" in bundled.names()
    with pytest.raises(UsageError) as caught:
        bundled.path("sohuu")
    assert "`sohu`" in str(caught.value.hint)
