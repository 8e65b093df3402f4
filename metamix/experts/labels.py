"""A Gaussian process classifier: regression on class indicators, calibrated by logistic regression."""

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
from metamix.experts.weighting import checked_weights, merge_equal_rows

__all__ = ["ProcessClassifier"]

Array = NDArray[np.float64]

# Smallest noise variance of the indicators, relative to that of the process; bounds the leverage.
LEAST_NOISE = 0.05
# Scores are clipped to this range: differences far beyond 0 and 1 carry no information on the class.
SCORE_RANGE = (-0.25, 1.25)
# Inverse penalty of the logistic regression.
CALIBRATION_C = 3.0


class ProcessClassifier(ClassifierMixin, BaseEstimator):
    """Probabilistic least-squares classification (Rasmussen & Williams 2006, section 6.5).

    A Gaussian process is fitted to the indicator of each class, all with the same length scales and noise; a
    logistic regression on its leave-one-out predictions yields probabilities. Unlike scikit-learn's
    GaussianProcessClassifier it accepts weights, and its time grows with n like that of `Kriging`.

    Parameters
    ----------
    kernel : {"auto", "smooth", "matern52", "matern32"}, default="auto"
    search_rows, exact_rows, n_centres, random_state : int
        As of `metamix.experts.kriging.Kriging`.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
    process_ : Kriging
        With C targets, or one target for two classes.
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
        """Fit to X (n, d), labels y (n,) and weights (n,).

        Raises
        ------
        ValueError
            If there is one class only, or the weights are invalid.
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
        # Equal rows are left out together, since each is predicted by the others.
        rows = merge_equal_rows(X, Y, weight)
        leverage = np.minimum(self.process_.leverage(rows.X, rows.weight), 1.0 - 1e-6)[:, None]
        predictions = self.process_.predict(rows.X).reshape(rows.Y.shape)
        left_out = (rows.Y - (rows.Y - predictions) / (1.0 - leverage))[rows.index]
        with config_context(enable_metadata_routing=False):
            model = LogisticRegression(C=CALIBRATION_C, max_iter=1000)
            self.calibration_ = model.fit(_scores(left_out), codes, sample_weight=weight)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict the labels (n,) of the rows of X (n, d)."""
        check_is_fitted(self)
        return np.asarray(self.classes_[self.predict_proba(X).argmax(axis=1)])

    def predict_proba(self, X: Any) -> Array:
        """Predict probabilities (n, C), in the order of `classes_`."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return np.asarray(self.calibration_.predict_proba(_scores(self.process_.predict(X))))


def _scores(predictions: Array) -> Array:
    predictions = predictions.reshape(len(predictions), -1)
    return np.clip(predictions, *SCORE_RANGE)
