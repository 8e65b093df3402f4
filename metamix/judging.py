"""Paired comparison of answers: losses by row, or by fold where a scorer judges, and the verdict's rule."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import get_scorer

__all__ = ["Judge", "Paired", "Verdict", "paired", "short", "simplest_winner"]

Array = NDArray[np.float64]
# A later candidate must beat the current winner by this many standard errors.
STANDARD_ERRORS = 2.0
SMALLEST_PROBABILITY = 1e-15


@dataclass(frozen=True)
class Paired:
    """Mean of a paired difference and its standard error."""

    mean: float
    standard_error: float


def paired(difference: Array, weight: Array) -> Paired:
    """Weighted mean of differences over rows (or folds) and its standard error.

    Examples
    --------
    >>> paired(np.array([1.0, 3.0]), np.ones(2))
    Paired(mean=2.0, standard_error=1.0)
    """
    share = weight / weight.sum()
    mean = float(share @ difference)
    n = float(1 / np.square(share).sum())
    correction = n / (n - 1) if n > 1 else 1.0
    return Paired(mean, float(np.sqrt(correction * np.square(share) @ np.square(difference - mean))))


class _Given(BaseEstimator):
    """Answers that are known already, in the clothes of an estimator, for scorers."""

    def __init__(self, answers: Array | None = None) -> None:
        self.answers = answers

    def fit(self, X: Any, y: Any) -> _Given:
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True


class _GivenNumbers(RegressorMixin, _Given):
    def predict(self, X: Any) -> Any:
        return self.answers


class _GivenProbabilities(ClassifierMixin, _Given):
    def __init__(self, answers: Array | None = None, classes: NDArray[Any] | None = None) -> None:
        super().__init__(answers)
        self.classes = classes

    @property
    def classes_(self) -> Any:
        return self.classes

    def predict_proba(self, X: Any) -> Any:
        return self.answers

    def predict(self, X: Any) -> Any:
        assert self.classes is not None
        assert self.answers is not None
        return self.classes[self.answers.argmax(axis=1)]


@dataclass(frozen=True)
class Judge:
    """Turns answers into losses that can be compared in pairs.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Numbers, or class codes.
    sample_weight : ndarray of shape (n,)
    fold : ndarray of shape (n,)
        The fold that held a row out; -1 for rows that are not judged.
    classes : ndarray of shape (C,) or None
    scoring : None, str or callable
        None judges by squared error or log-loss, row by row; a scorer judges fold by fold.
    """

    y: NDArray[Any]
    sample_weight: Array
    fold: NDArray[np.intp]
    classes: NDArray[Any] | None = None
    scoring: Any = None

    @property
    def weight(self) -> Array:
        """Weight of each unit: rows (n,), or folds where a scorer judges."""
        if self.scoring is None:
            return np.where(self.fold >= 0, self.sample_weight, 0.0)
        return np.array([self.sample_weight[self.fold == f].sum() for f in self._judged()])

    def losses(self, answers: Array) -> Array:
        """Loss of each unit, smaller is better; answers are (n,) or (n, C)."""
        if self.scoring is None:
            judged = self.fold >= 0
            loss = np.zeros(len(self.y))
            if self.classes is None:
                loss[judged] = (self.y[judged] - answers[judged]) ** 2
            else:
                given = answers[judged, self.y[judged]] / answers[judged].sum(axis=1)
                loss[judged] = -np.log(np.maximum(given, SMALLEST_PROBABILITY))
            return loss
        scorer = get_scorer(self.scoring) if isinstance(self.scoring, str) else self.scoring
        losses = np.array([self._score(scorer, answers, self.fold == f) for f in self._judged()])
        if not np.isfinite(losses).all():
            raise ValueError(f"scoring={self.scoring!r} is not defined on these folds; give fewer, or another score.")
        return losses

    def _judged(self) -> NDArray[np.intp]:
        """Folds that a scorer can judge: of classes, those with more than one."""
        found = np.unique(self.fold[self.fold >= 0])
        if self.classes is None:
            return found
        several = [len(np.unique(self.y[self.fold == f])) > 1 for f in found]
        return np.asarray(found[several]) if any(several) else found

    def mean(self, losses: Array) -> float:
        """Weighted mean of unit losses."""
        return float(np.average(losses, weights=self.weight))

    def _score(self, scorer: Any, answers: Array, rows: NDArray[np.bool_]) -> float:
        given = answers[rows]
        if self.classes is None:
            return -float(scorer(_GivenNumbers(given), np.empty((len(given), 0)), self.y[rows]))
        shares = given / given.sum(axis=1, keepdims=True)
        labels = self.classes[self.y[rows]]
        return -float(scorer(_GivenProbabilities(shares, self.classes), np.empty((len(given), 0)), labels))


def simplest_winner(judge: Judge, losses: list[Array]) -> int:
    """The position of the winner, simplest candidate first.

    A later one takes over only where its paired gain over the current winner exceeds two standard errors.

    Examples
    --------
    >>> judge = Judge(np.zeros(4), np.ones(4), np.zeros(4, dtype=int))
    >>> simplest_winner(judge, [np.full(4, 1.0), np.array([0.9, 0.9, 0.9, 1.3]), np.full(4, 0.5)])
    2
    """
    winner = 0
    for i in range(1, len(losses)):
        gain = paired(losses[winner] - losses[i], judge.weight)
        if gain.mean > STANDARD_ERRORS * gain.standard_error and gain.mean > 1e-12 * abs(judge.mean(losses[winner])):
            winner = i
    return winner


def short(value: float, digits: int = 2) -> str:
    """A number for a sentence: so many digits, and never an exponent because it is large.

    Examples
    --------
    >>> short(0.12345), short(1234.5)
    ('0.12', '1234')
    """
    return f"{value:.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


@dataclass(frozen=True)
class Verdict:
    """Which candidate won, and by how much; prints as a sentence.

    Parameters
    ----------
    winner : str
        Candidate: "best single", "constant", "stack", "gated" or "specialised".
    loss : float
        Its honest loss (squared error, log-loss, or minus the score).
    gain, gain_error : float
        How much less it loses than the best single expert, and the standard error of that.
    stack_gain, stack_gain_error : float
        The same against the stack.
    best_single : str
        Name of the best single expert.
    measure : str
        What the loss is.
    unmeasured : tuple of str
        What the honest table could not see.
    stack_alone : bool
        Whether the last gate gives all its weight to the stack.

    Examples
    --------
    >>> print(Verdict("gated", 0.8, 0.2, 0.05, 0.1, 0.02, "ridge", "squared error"))
    A gate over the experts won: squared error 0.8, 20 % (± 5 %) below the best single expert (ridge) and \
11.1 % (± 2.2 %) below the stack.
    """

    winner: str
    loss: float
    gain: float
    gain_error: float
    stack_gain: float
    stack_gain_error: float
    best_single: str
    measure: str
    unmeasured: tuple[str, ...] = field(default=())
    stack_alone: bool = False

    def __str__(self) -> str:
        who = {
            "best single": f"One expert is enough ({self.best_single})",
            "constant": "Constant weights won",
            "stack": "The stack won",
            "gated": "A stack whose weights follow x won" if self.stack_alone else "A gate over the experts won",
            "specialised": "A stack that sees the specialised mixture won"
            if self.stack_alone
            else "The specialised mixture joined in and won",
        }[self.winner]
        parts = []
        if self.winner != "best single":
            parts.append(self._share(self.gain, self.gain_error) + f" the best single expert ({self.best_single})")
        if self.winner != "stack":
            parts.append(self._share(self.stack_gain, self.stack_gain_error) + " the stack")
        sentence = f"{who}: {self.measure} {short(self.loss, 4)}, {' and '.join(parts)}."
        return " ".join([sentence, *(f"Not measured: {what}." for what in self.unmeasured)])

    def _share(self, gain: float, error: float) -> str:
        whole = abs(self.loss + gain) or 1.0
        side = "below" if gain >= 0 else "above"
        return f"{short(100 * abs(gain) / whole, 3)} % (± {short(100 * error / whole)} %) {side}"
