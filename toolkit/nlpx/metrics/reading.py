"""What answers to questions are compared with accepted ones by: WebQA's measures, and those of CMRC 2018's own scorer.

WebQA (as in kexue.fm's accounts of it): whether an answer equals one of the accepted ones once punctuation, blanks,
case and width are gone, or has the same parts in another order; the F1 of its characters, as multisets, with the best
of them; and the mean of the two. CMRC 2018: F1 by the longest common substring, in Chinese characters and other words;
what that scorer has NLTK part into words is here parted by a regular expression.

An empty answer is right where nothing is accepted. WebQA's scorer, whose questions all have an answer, never counts it.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

SCORE = "answer score"
SCORE_IS = "mean of accuracy and character F1"

# What CMRC's scorer takes for punctuation; each stands alone, or is left out.
_CMRC_MARKS = frozenset("-:_*^/\\~`+=，。：？！“”；’《》…·、「」（）－～『』")  # fmt: skip
_CMRC_SEGMENT = re.compile(r"[\u4e00-\u9fa5]|[^\W\u4e00-\u9fa5]+|[^\w\s]")
_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}


def evaluate(predictions: Sequence[str], accepted: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return all metrics of one evaluation as JSON values; `accepted` holds the right answers of each question.

    Keys: `score` (what `score_is` says), `rows`, `accuracy`, `f1`, `cmrc` with its `f1`, `exact_match` and `average`,
    how many questions are `unanswerable`, and how many predictions are `empty`.
    """
    pairs = [(prediction, answers or ("",)) for prediction, answers in zip(predictions, accepted, strict=True)]
    accuracy = _mean([float(is_accepted(*pair)) for pair in pairs])
    f1 = _mean([character_f1(*pair) for pair in pairs])
    cmrc_f1 = _mean([max(cmrc_overlap(prediction, answer) for answer in answers) for prediction, answers in pairs])
    exact = _mean([float(_cmrc_plain(prediction) in map(_cmrc_plain, answers)) for prediction, answers in pairs])
    return {
        "score": (accuracy + f1) / 2,
        "score_is": SCORE_IS,
        "rows": len(pairs),
        "accuracy": accuracy,
        "f1": f1,
        "cmrc": {"exact_match": exact, "f1": cmrc_f1, "average": (exact + cmrc_f1) / 2},
        "unanswerable": sum(not answers for answers in accepted),
        "empty": sum(not prediction.strip() for prediction in predictions),
    }


def plain(text: str) -> str:
    """Half width, lower case, without punctuation (Unicode's) and blanks."""
    return "".join(_parts(text))


def is_accepted(prediction: str, answers: Sequence[str]) -> bool:
    """Whether an answer equals one of the accepted ones, or has its parts in another order."""
    ours = _parts(prediction)
    return any("".join(ours) == "".join(theirs) or set(ours) == set(theirs) for theirs in map(_parts, answers))


def character_f1(prediction: str, answers: Sequence[str]) -> float:
    """The best F1 of characters, as multisets, with one of the accepted answers."""
    return max(_f1(Counter(plain(prediction)), Counter(plain(answer))) for answer in answers)


def cmrc_overlap(prediction: str, answer: str) -> float:
    """F1 by the longest common substring of the segments, as CMRC's scorer counts."""
    ours, theirs = (_cmrc_segments(text) for text in (prediction, answer))
    if not ours and not theirs:
        return 1.0
    common = longest_common_run(ours, theirs)
    return 2 * common / (len(ours) + len(theirs)) if common else 0.0


def longest_common_run(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest sequence that stands in both without a gap."""
    longest, row = 0, [0] * (len(second) + 1)  # row[j]: length of the run that ends at second[j - 1]
    for token in first:
        row = [0, *(row[index] + 1 if token == other else 0 for index, other in enumerate(second))]
        longest = max(longest, *row)
    return longest


def _parts(text: str) -> list[str]:
    """What punctuation and blanks separate, in half width and lower case."""
    lowered = text.translate(_FULL_WIDTH).lower()
    return "".join(" " if unicodedata.category(character)[0] == "P" else character for character in lowered).split()


def _f1(ours: Counter[str], theirs: Counter[str]) -> float:
    if not ours and not theirs:
        return 1.0
    common = (ours & theirs).total()
    return 2 * common / (ours.total() + theirs.total()) if common else 0.0


def _cmrc_plain(text: str) -> str:
    return "".join(character for character in text.lower().strip() if character not in _CMRC_MARKS)


def _cmrc_segments(text: str) -> list[str]:
    return _CMRC_SEGMENT.findall(_cmrc_plain(text))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
