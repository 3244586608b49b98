"""What generated texts are compared with references by: ROUGE by characters and by words, BLEU, equality.

Texts are lower-cased, since many tokenizers do so, and blanks do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nlpx.metrics.bleu import Tokenize, corpus_bleu, sentence_bleu
from nlpx.metrics.rouge import MAIN, Counting, Rouge, mean, rouge

SCORE = "main ROUGE"
SCORE_IS = f"{MAIN}, by characters"

Split = Callable[[str], list[str]]


def evaluate(
    predictions: Sequence[str],
    references: Sequence[str],
    *,
    words: Split,
    counting: Counting = "sets",
    bleu_tokenize: Tokenize = "zh",
) -> dict[str, Any]:
    """Return all metrics of one evaluation as JSON values; the texts are parallel, `words` parts one into words.

    Keys: `score` (what `score_is` says), `rows`, `characters` and `words` with the three ROUGE F and their `main`,
    `ngrams_as` (sets or multisets), `bleu` of the whole set, by `bleu_tokenize` of sacrebleu, `sentence_bleu` (mean, by
    characters), `exact_match`, mean lengths in characters, and how many predictions are `empty`.
    """
    ours, theirs = ([characters(text) for text in texts] for texts in (predictions, references))
    pairs = list(zip(ours, theirs, strict=True))
    by_characters = mean([rouge(*pair, counting) for pair in pairs])
    by_words = mean(
        [
            rouge(_words(prediction, words), _words(reference, words), counting)
            for prediction, reference in zip(predictions, references, strict=True)
        ]
    )
    return {
        "score": by_characters.main,
        "score_is": SCORE_IS,
        "rows": len(pairs),
        "characters": _figures(by_characters),
        "words": _figures(by_words),
        "ngrams_as": counting,
        "bleu": corpus_bleu(["".join(text) for text in ours], ["".join(text) for text in theirs], bleu_tokenize),
        "bleu_tokenize": bleu_tokenize,
        "sentence_bleu": _mean([sentence_bleu(*pair) for pair in pairs]),
        "exact_match": _mean([float(one == other) for one, other in pairs]),
        "predicted_length": _mean([float(len(text)) for text in ours]),
        "reference_length": _mean([float(len(text)) for text in theirs]),
        "empty": sum(not text for text in ours),
    }


def characters(text: str) -> list[str]:
    """The characters of a text, lower-cased, without blanks."""
    return [character for character in text.lower() if not character.isspace()]


def _words(text: str, words: Split) -> list[str]:
    return [word for word in words(text.lower()) if word.strip()]


def _figures(scores: Rouge) -> dict[str, float]:
    return {**scores._asdict(), "main": scores.main}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
