"""Vectors of texts, such as titles and reviews, for models that need numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from metamix.data.columns import giving_arrays

__all__ = ["TextVectors", "holds_prose"]

Array = NDArray[np.float64]

#: A column of words is text, and no category, if its values have so many words on average and more than such a share of
#: the rows differ.
WORDS, DISTINCT = 4, 0.5
#: Entries of a vector at most.
COMPONENTS = 30


def holds_prose(texts: Sequence[str], counts: NDArray[np.intp]) -> bool:
    """Whether a column with these distinct values, which occur so often, holds texts and no categories.

    Examples
    --------
    >>> holds_prose(["a very good film", "not so good a film"], np.array([1, 1])), holds_prose(["good"], np.array([1]))
    (True, False)
    """
    total = int(counts.sum())
    if not total or len(texts) <= DISTINCT * total:
        return False
    return float(np.array([one.count(" ") + 1 for one in texts]) @ counts) / total >= WORDS


class TextVectors:
    """Frequencies of three and four letters in a row, weighed by how rare they are, in their principal directions.

    The method of skrub's StringEncoder, by scikit-learn's parts.

    Attributes
    ----------
    n_columns : int
        Length V of a vector, 30 at most.

    References
    ----------
    Deerwester, Dumais, Furnas, Landauer & Harshman (1990), Indexing by latent semantic analysis.

    Examples
    --------
    >>> texts = ["a very good film", "a good film", "a bad book", "a very bad book"]
    >>> vectors = TextVectors().fit(texts).transform(texts)
    >>> vectors.shape, bool(vectors[0] @ vectors[1] > vectors[0] @ vectors[2])
    ((4, 3), True)
    """

    def fit(self, texts: Sequence[str]) -> TextVectors:
        """Learn from texts (n,)."""
        self.letters_ = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4))
        try:
            frequencies = self.letters_.fit_transform(texts)
        except ValueError:  # nothing that has letters
            self.n_columns = 0
            return self
        self.n_columns = max(min(COMPONENTS, len(texts) - 1, frequencies.shape[1] - 1), 0)
        if self.n_columns:
            self.directions_ = giving_arrays(TruncatedSVD(self.n_columns, random_state=0)).fit(frequencies)
        return self

    def transform(self, texts: Sequence[str]) -> Array:
        """Vectors (n, V) of texts (n,)."""
        if not self.n_columns:
            return np.empty((len(texts), 0))
        return np.asarray(self.directions_.transform(self.letters_.transform(texts)), dtype=np.float64)
