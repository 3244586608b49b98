"""BLEU of generated texts: of a whole set by sacrebleu, and the mean over texts, as it is reported for Chinese titles.

Both lie within [0, 1]; multiply by 100 to compare with what papers print.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal

Tokenize = Literal["zh", "char"]

LONGEST_NGRAM = 4
# What an n-gram length without a match counts as (method 1 of Chen and Cherry 2014, aclanthology.org/W14-3346).
UNMATCHED = 0.1


def corpus_bleu(predictions: Sequence[str], references: Sequence[str], tokenize: Tokenize = "zh") -> float:
    """BLEU of all texts together, one reference each; 0 for none.

    `zh` parts Chinese characters and keeps other words whole, `char` parts everything.
    """
    from sacrebleu.metrics.bleu import BLEU

    if not predictions:
        return 0.0
    return float(BLEU(tokenize=tokenize).corpus_score(list(predictions), [list(references)]).score) / 100


def sentence_bleu(prediction: Sequence[str], reference: Sequence[str]) -> float:
    """BLEU of one text, both given as tokens; 0 where they share no token.

    Its mean over characters is what titles of CSL are compared by (kexue.fm/archives/7867), there computed by NLTK with
    smoothing method 1.
    """
    if not prediction:
        return 0.0
    logarithms = []
    for n in range(1, LONGEST_NGRAM + 1):
        ours, theirs = (Counter(zip(*(tokens[start:] for start in range(n)), strict=False)) for tokens in
                        (prediction, reference))  # fmt: skip
        common = (ours & theirs).total()
        if n == 1 and not common:
            return 0.0
        logarithms.append(math.log((common or UNMATCHED) / max(ours.total(), 1)))
    brevity = min(0.0, 1 - len(reference) / len(prediction))
    return math.exp(brevity + sum(logarithms) / LONGEST_NGRAM)
