"""MixtureClassifier: classes."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from metamix import registry
from metamix.estimators.indicators import check_indicators, check_known_indicators, has_several_labels
from metamix.estimators.mixture import Array, Mixture
from metamix.estimators.online import check_batch_classes, if_experts_have_partial_fit, learn_batch
from metamix.estimators.validation import check_classes, check_known_classes, check_new_labels
from metamix.training.stacking import LogOpinionPool


class MixtureClassifier(ClassifierMixin, Mixture):
    """Mixture of experts for classification.

    Parameters and attributes are those of `MixtureRegressor`, without `likelihood`: the likelihood is the probability
    that an expert gave to the class observed. The pool "auto" is logistic, neighbours, extra_trees and the same boosted
    trees, "fast" logistic, extra_trees and boosted trees, and "best" adds svm, forest and mlp to "auto". There is no
    feature-weighted stack. Experts are fitted to the labels of y, or to codes 0, 1, … where their `fit` refuses these
    and none of their parameters names a class; their probabilities are aligned by `classes_`. Those without
    `predict_proba` are calibrated: a logistic regression turns their decision values, or predicted classes, of rows
    held out into probabilities. `oof_predictions_` has shape (n, K, C).

    y of shape (n, L) holds zeros and ones in a column for each of L labels; the columns of a frame name them. The
    experts are shared: trees, forests, neighbours and others that take several labels get them all, any other is fitted
    to one label after the other. Each label has a gate, candidates and a verdict of its own; where one choice is made
    for all, as for regimes and the types of experts, the log-loss is averaged over labels. `predict_proba`,
    `oof_predictions_` and the like hold the probability of 1 in an axis for the labels, as targets have it in
    `MixtureRegressor`; `scoring` judges one label at a time.

    Attributes
    ----------
    classes_ : ndarray of shape (C,), or list of L such arrays
    label_names_ : list of L names
        With several labels: the columns of y, by their numbers where it is no frame.

    Examples
    --------
    >>> from metamix import MixtureClassifier, make_regimes
    >>> X, y = make_regimes(200, task="classification", random_state=0)
    >>> mixture = MixtureClassifier(["logistic", "boosting"], specialize=False, random_state=0).fit(X, y)
    >>> mixture.predict_proba(X).shape
    (200, 2)

    Two labels over the same experts:

    >>> both = mixture.fit(X, np.column_stack([y, X[:, 0] > 0]))
    >>> both.predict(X).shape, both.gate_weights(X).shape
    ((200, 2), (200, 4, 2))
    """

    label_names_: list[Any]

    @property
    def _registry(self) -> registry.PartMapping:
        return registry.classifiers

    def _likelihood_and_stacks(self) -> tuple[Any, Any, Any]:
        return registry.likelihoods["categorical"](), LogOpinionPool(), None

    def _check_target(self, y: Any) -> tuple[NDArray[Any], int | None]:
        self.__dict__.pop("label_names_", None)  # of an earlier fit
        if has_several_labels(y):
            self.label_names_, codes = check_indicators(self, y)
            self.classes_ = [np.arange(2) for _ in self.label_names_]
            return codes, 2
        self.classes_, codes = check_classes(self, y)
        return codes, len(self.classes_)

    def _check_known_target(self, y: Any) -> NDArray[Any]:
        if self._several_labels:
            return check_known_indicators(self, y, self.label_names_)
        return check_known_classes(y, self.classes_)

    @property
    def _several_labels(self) -> bool:
        return hasattr(self, "label_names_")

    @if_experts_have_partial_fit
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Continue training with one batch of rows; see `MixtureRegressor.partial_fit`.

        Parameters
        ----------
        X : array, sparse matrix or data frame of shape (n, d)
        y : array-like of shape (n,)
        classes : array-like of shape (C,)
            All classes that may come; needed by the first call, unless after `fit`. A batch may lack some.
        sample_weight : array-like of shape (n,), optional

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For parameters or data that cannot be used; the message says what can.

        Examples
        --------
        >>> from sklearn.linear_model import SGDClassifier
        >>> from sklearn.naive_bayes import GaussianNB
        >>> from metamix import make_regimes
        >>> X, y = make_regimes(400, task="classification", random_state=0)
        >>> mixture = MixtureClassifier([GaussianNB(), SGDClassifier(loss="log_loss")], random_state=0)
        >>> for batch in np.split(np.arange(400), 4):
        ...     mixture = mixture.partial_fit(X[batch], y[batch], classes=[0, 1])
        >>> mixture.predict_proba(X).shape
        (400, 2)
        """
        first = not hasattr(self, "_fitted")
        if first:
            self.__dict__.pop("classes_", None)  # of a first call that failed
            self.__dict__.pop("label_names_", None)
        elif self._several_labels:
            raise ValueError("partial_fit learns one target; fit a mixture for each label, or all at once with fit.")
        learn_batch(self, X, check_batch_classes(self, y, classes), sample_weight, first=first)
        return self

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Share of the rows of X whose class is predicted, of several labels all of them; weighted."""
        check_is_fitted(self)
        known = self._check_known_target(y) if self._several_labels else check_new_labels(self, y)
        return float(super().score(X, known, sample_weight))

    def predict_proba(self, X: Any) -> Array:
        """Class probabilities (n, C), in the order of `classes_`; of several labels, the probabilities (n, L) of 1."""
        X = self._check_new(X)
        return self._fitted.predict_proba(X)

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class of each row, (n,), or of each label, (n, L)."""
        proba = self.predict_proba(X)
        if self._several_labels:
            return (proba > 0.5).astype(np.intp)
        return np.asarray(self.classes_[proba.argmax(axis=1)])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
