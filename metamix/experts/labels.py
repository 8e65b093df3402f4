"""A classifier from a Gaussian process: regression on the labels, its answers turned into probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from metamix.experts.kriging import Kriging
from metamix.experts.weighting import checked_weights, gather

__all__ = ["ProcessClassifier"]

Array = NDArray[np.float64]

# Labels are never so sure that what is left out could not surprise.
LEAST_NOISE = 0.05
# OutOfFold beyond 0 and 1 are sure of a class; how far beyond is chance.
SURE = (-0.25, 1.25)
# Of the logistic regression: weak, for scores between 0 and 1.
CALIBRATION_STRENGTH = 3.0


class ProcessClassifier(ClassifierMixin, BaseEstimator):
    """Probabilistic least-squares classification (Rasmussen & Williams 2006, section 6.5).

    A Gaussian process is fitted to an indicator of each class, all with the same lengths and noise; a
    logistic regression makes probabilities of its answers to the training rows when each is left out. It
    takes weights and its time grows with the table as that of `Kriging` does, which scikit-learn's own
    classifier does not offer.

    Parameters
    ----------
    kernel : {"auto", "smooth", "matern52", "matern32"}, default="auto"
    search_rows, exact_rows, n_centres, random_state : int
        As of `metamix.experts.kriging.Kriging`.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
    process_ : Kriging
        With C targets, or one for two classes.
    calibration_ : LogisticRegression

    Examples
    --------
    >>> import numpy as np
    >>> x = np.linspace(-3.0, 3.0, 40)[:, None]
    >>> model = ProcessClassifier().fit(x, np.where(np.abs(x[:, 0]) < 1, "in", "out"))
    >>> model.predict([[0.0], [2.0]]).tolist()
    ['in', 'out']
    """

    def __init__(
        self,
        kernel: str = "auto",
        search_rows: int = 300,
        exact_rows: int = 1500,
        n_centres: int = 500,
        random_state: int = 0,
    ) -> None:
        self.kernel = kernel
        self.search_rows = search_rows
        self.exact_rows = exact_rows
        self.n_centres = n_centres
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> ProcessClassifier:
        """Learn from X (n, d), labels y (n,) and weights (n,).

        Raises
        ------
        ValueError
            There is one class only, or the weights are none.
        """
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        weight = checked_weights(sample_weight, len(X))
        used = weight > 0
        X, weight = X[used], weight[used]
        self.classes_, codes = np.unique(y[used], return_inverse=True)
        C = len(self.classes_)
        if C < 2:
            raise ValueError(f"Classifier can't train when only one class is present: {self.classes_.tolist()}")
        Y = np.eye(C)[codes][:, 1:] if C == 2 else np.eye(C)[codes]
        self.process_ = Kriging(
            kernel=self.kernel,
            search_rows=self.search_rows,
            exact_rows=self.exact_rows,
            n_centres=self.n_centres,
            least_noise=LEAST_NOISE,
            random_state=self.random_state,
        ).fit(X, Y, weight)
        # Equal rows are left out together: what one of them says would be known from the others.
        rows = gather(X, Y, weight)
        leverage = np.minimum(self.process_.leverage(rows.X, rows.weight), 1.0 - 1e-6)[:, None]
        answers = self.process_.predict(rows.X).reshape(rows.Y.shape)
        left_out = (rows.Y - (rows.Y - answers) / (1.0 - leverage))[rows.place]
        with config_context(enable_metadata_routing=False):
            model = LogisticRegression(C=CALIBRATION_STRENGTH, max_iter=1000)
            self.calibration_ = model.fit(_scores(left_out), codes, sample_weight=weight)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Most probable label of the rows of X (n, d): (n,)."""
        check_is_fitted(self)
        return np.asarray(self.classes_[self.predict_proba(X).argmax(axis=1)])

    def predict_proba(self, X: Any) -> Array:
        """Probabilities (n, C), in the order of `classes_`."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return np.asarray(self.calibration_.predict_proba(_scores(self.process_.predict(X))))


def _scores(answers: Array) -> Array:
    answers = answers.reshape(len(answers), -1)
    return np.clip(answers, *SURE)
