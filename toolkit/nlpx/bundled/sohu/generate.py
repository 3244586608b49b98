"""Writes `sample.jsonl`: pairs of all six variants, drawn from the hand-written events in `events/`.

An event has four headlines and two tellings of its story in different words (lead, detail, end); its topic has
background sentences that any of its stories may use. So two texts of one event may share few words, while two
different events of one topic share many: what A (same topic) and B (same event) ask for truly differs.

    python -m nlpx.bundled.sohu.generate --output sample.jsonl
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from nlpx.data.rows.sohu import VARIANTS
from nlpx.data.rows.splits import Split
from nlpx.io import write_text

FOLDER = Path(__file__).resolve().parent
SAMPLE = FOLDER / "sample.jsonl"
SEED = 2021
NUM_PAIRS: dict[Split, int] = {"train": 260, "dev": 90, "test": 180}  # a variant
POSITIVE_SHARE = {"A": 0.45, "B": 0.4}
# How the negatives and the loose positives of each criterion are made, with their shares.
RELATIONS: dict[tuple[str, int], tuple[tuple[str, float], ...]] = {
    ("A", 1): (("same event", 0.5), ("same topic", 0.5)),
    ("A", 0): (("same domain", 0.6), ("other domain", 0.4)),
    ("B", 1): (("same event", 1.0),),
    ("B", 0): (("same topic", 0.5), ("same domain", 0.25), ("other domain", 0.25)),
}
MIN_STORY_LENGTH = 150
OPENINGS = ("", "", "本报讯　", "记者获悉，", "据当地媒体报道，")
Item = TypeVar("Item")


@dataclass(frozen=True)
class Event:
    """One event: where it belongs, and what was written about it."""

    domain: str
    topic: str
    split: Split
    headlines: tuple[str, ...]
    tellings: tuple[tuple[str, str, str], ...]  # lead, detail, end
    background: tuple[str, ...]


class Dice:
    """Choices from `random()` alone, the one method whose sequence Python keeps for a seed across versions."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed).random

    def pick(self, items: Sequence[Item]) -> Item:
        """One of the items."""
        return items[int(self.random() * len(items))]

    def shuffled(self, items: Sequence[Item]) -> list[Item]:
        """The items in another order."""
        keys = [self.random() for _ in items]
        return [items[index] for index in sorted(range(len(items)), key=keys.__getitem__)]

    def weighted(self, choices: Sequence[tuple[str, float]]) -> str:
        """One of the names, each as likely as its share."""
        point = self.random()
        for name, share in choices:
            point -= share
            if point < 0:
                return name
        return choices[-1][0]


def read_events(folder: Path = FOLDER / "events") -> list[Event]:
    """Read the hand-written events and give each its split; no event is in two splits."""
    import yaml

    events = []
    for number, path in enumerate(sorted(folder.glob("*.yaml"))):
        domain = yaml.safe_load(path.read_text(encoding="utf-8"))
        for place, topic in enumerate(domain["topics"]):
            splits = _splits(place, even_domain=number % 2 == 0)
            for split, event in zip(splits, topic["events"], strict=False):
                events.append(_event(domain["domain"], topic, event, split))
    return events


def _splits(place: int, *, even_domain: bool) -> tuple[Split, ...]:
    """Of four topics two have half their events held out, one is for training only, one wholly unseen."""
    unseen: Split = "dev" if even_domain else "test"
    plans: tuple[tuple[Split, ...], ...] = (
        ("train", "train", "dev", "dev"),
        ("train", "train", "test", "test"),
        ("train", "train", "train"),
        (unseen, unseen, unseen),
    )
    return plans[place % len(plans)]


def _event(domain: str, topic: dict[str, Any], event: dict[str, Any], split: Split) -> Event:
    tellings = zip(event["leads"], event["details"], event["ends"], strict=True)
    return Event(
        domain=domain,
        topic=topic["topic"],
        split=split,
        headlines=tuple(event["headlines"]),
        tellings=tuple(tellings),
        background=tuple(topic["background"]),
    )


def generate(*, seed: int = SEED) -> Iterator[dict[str, str]]:
    """Yield the rows: each split in turn, its variants shuffled together."""
    dice = Dice(seed)
    events = read_events()
    for split, count in NUM_PAIRS.items():
        chosen = [event for event in events if event.split == split]
        rows = [row for variant in VARIANTS for row in _variant_rows(variant, split, count, chosen, dice)]
        yield from dice.shuffled(rows)


def _variant_rows(
    variant: str, split: Split, count: int, events: Sequence[Event], dice: Dice
) -> Iterator[dict[str, str]]:
    criterion = variant[-1]
    num_positive = round(count * POSITIVE_SHARE[criterion])
    seen: set[frozenset[str]] = set()
    while len(seen) < count:
        label = int(len(seen) < num_positive)
        first, second = _partners(dice.weighted(RELATIONS[criterion, label]), events, dice)
        source, target = _texts(variant[:2], first, second, dice)
        # Either order of two texts is the same question.
        if source != target and frozenset((source, target)) not in seen:
            seen.add(frozenset((source, target)))
            # Only test rows carry an id, as in the contest, whose submissions name rows by it.
            identifier = {"id": f"{variant}-{len(seen)}"} if split == "test" else {}
            texts = {"source": source, "target": target}
            yield identifier | texts | {f"label{criterion}": str(label), "variant": variant, "split": split}


def _partners(relation: str, events: Sequence[Event], dice: Dice) -> tuple[Event, Event]:
    while True:
        first = dice.pick(events)
        fitting = [event for event in events if _relation(first, event) == relation]
        if fitting:
            return first, dice.pick(fitting)


def _relation(first: Event, second: Event) -> str:
    if first is second:
        return "same event"
    if first.domain != second.domain:
        return "other domain"
    return "same topic" if first.topic == second.topic else "same domain"


def _texts(shape: str, first: Event, second: Event, dice: Dice) -> tuple[str, str]:
    """The two texts of a pair; where both tell one event, in different words and with different background."""
    telling = int(dice.random() * 2)
    background = dice.shuffled(first.background)
    source = dice.pick(first.headlines) if shape[0] == "s" else _story(first, telling, background, dice)
    if shape[1] == "s":
        others = [headline for headline in second.headlines if headline != source]
        return source, dice.pick(others)
    rest = background[::-1] if second.topic == first.topic else dice.shuffled(second.background)
    return source, _story(second, 1 - telling, rest, dice)


def _story(event: Event, telling: int, background: Sequence[str], dice: Dice) -> str:
    lead, detail, end = event.tellings[telling]
    first, second, *others = background
    while others and len(lead + detail + end + first + second) < MIN_STORY_LENGTH:
        second += others.pop(0)
    bodies = (
        (lead, detail, first, end, second),
        (lead, first, detail, second, end),
        (lead, detail, end, first, second),
        (first, lead, detail, second, end),
    )
    return dice.pick(OPENINGS) + "".join(dice.pick(bodies))


def main() -> None:
    """Write the sample."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=SAMPLE)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    rows = (json.dumps(row, ensure_ascii=False) for row in generate(seed=options.seed))
    write_text(options.output, "".join(f"{row}\n" for row in rows))


if __name__ == "__main__":
    main()
