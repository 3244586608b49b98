"""The sentence nearest to a question, by TF-IDF of characters, as its answer: what reading has to beat."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from nlpx.errors import InputError
from nlpx.metrics.library import sklearn

NAME = "the nearest sentence by TF-IDF"
LONGEST_NGRAM = 2  # characters

_SENTENCE = re.compile(r"[^。！？!?\n]+[。！？!?]*")


class BestSentence:
    """Fitted on passages. Raises `InputError` if they hold no n-gram twice."""

    def __init__(self, passages: Sequence[str]) -> None:
        extraction = sklearn("feature_extraction.text")
        self.vectorizer = extraction.TfidfVectorizer(
            analyzer="char", ngram_range=(1, LONGEST_NGRAM), min_df=2, sublinear_tf=True, dtype=np.float32
        )
        try:
            self.vectorizer.fit(passages)
        except ValueError:  # scikit-learn's for a vocabulary without entries
            raise InputError("TF-IDF finds no n-gram that occurs in two of the passages") from None

    def answer(self, question: str, passages: Sequence[str]) -> str:
        """The sentence of the passages with the largest cosine with the question; the first of equal ones."""
        sentences = [found.strip() for passage in passages for found in _SENTENCE.findall(passage) if found.strip()]
        if not sentences:
            return ""
        vectors = self.vectorizer.transform(sentences)  # (S, F)
        cosines = (vectors @ self.vectorizer.transform([question]).T).toarray()[:, 0]  # (S,)
        best: str = sentences[int(cosines.argmax())]
        return best
