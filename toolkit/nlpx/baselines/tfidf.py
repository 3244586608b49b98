"""Logistic regression over TF-IDF of character n-grams, for texts and for pairs of texts.

TF-IDF over characters needs no segmentation and is hard to beat with few rows. A pair is [|a - b|, a * b, cos(a, b)] of
the TF-IDF vectors a and b of its texts, which have length one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nlpx.errors import InputError
from nlpx.metrics.library import sklearn

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAME = "TF-IDF, logistic regression"
LONGEST_NGRAM = 3  # characters
INVERSE_REGULARISATION = 10.0  # scikit-learn's C: TF-IDF vectors have length one, so weights must be large
MAX_ITERATIONS = 1000


class TfidfClassifier:
    """Fitted on texts, or on pairs if `seconds` are given, and their labels, any hashable values.

    `balanced` weighs classes by the inverse of their number, as a metric such as F1 wants where one class is rare.
    Raises `InputError` if all labels are the same, or no n-gram occurs twice.
    """

    def __init__(
        self,
        texts: Sequence[str],
        seconds: Sequence[str] | None,
        labels: Sequence[Any],
        *,
        balanced: bool = False,
        inverse_regularisation: float = INVERSE_REGULARISATION,
    ) -> None:
        numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
        self.classes = list(numbers)
        if len(self.classes) < 2:
            raise InputError(f"TF-IDF has nothing to tell apart: every row is of the class {self.classes[0]!r}")
        extraction, linear = sklearn("feature_extraction.text"), sklearn("linear_model")
        self.vectorizer = extraction.TfidfVectorizer(
            analyzer="char", ngram_range=(1, LONGEST_NGRAM), min_df=2, sublinear_tf=True, dtype=np.float32
        )
        try:
            self.vectorizer.fit([*texts, *(seconds or ())])
        except ValueError:  # scikit-learn's for a vocabulary without entries
            raise InputError("TF-IDF finds no n-gram that occurs in two of the training texts") from None
        self.regression = linear.LogisticRegression(
            C=inverse_regularisation, class_weight="balanced" if balanced else None, max_iter=MAX_ITERATIONS
        )
        self.regression.fit(self._features(texts, seconds), [numbers[label] for label in labels])

    def probabilities(self, texts: Sequence[str], seconds: Sequence[str] | None = None) -> NDArray[np.float64]:
        """Probability of each class, (rows, classes) in the order of `classes`."""
        found: NDArray[np.float64] = self.regression.predict_proba(self._features(texts, seconds))
        return found

    def _features(self, texts: Sequence[str], seconds: Sequence[str] | None) -> Any:
        from scipy import sparse

        first = self.vectorizer.transform(texts)  # (B, F)
        if seconds is None:
            return first
        second = self.vectorizer.transform(seconds)  # (B, F)
        product = first.multiply(second)
        cosine = sparse.csr_matrix(product.sum(axis=1))  # (B, 1)
        return sparse.hstack([abs(first - second), product, cosine], format="csr")  # (B, 2F + 1)
