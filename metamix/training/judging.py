"""Paired comparison of answers: losses by row, or by fold where a scorer judges, and the verdict's rule."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import get_scorer

__all__ = ["Headroom", "Judge", "Paired", "Verdict", "Verdicts", "headroom", "paired", "short", "simplest_winner"]

Array = NDArray[np.float64]
# A later candidate must beat the current winner by this many standard errors.
STANDARD_ERRORS = 2.0
SMALLEST_PROBABILITY = 1e-15
# Where errors correlate by more than this in every pair, no gate on x was ever seen to help.
ALIKE = 0.9


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
    """OutOfFold that are known already, in the clothes of an estimator, for scorers."""

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
        None judges by squared error or log-loss, row by row; a scorer judges fold by fold, all rows with any weight
        alike.
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
        return np.array([self.sample_weight[self._rows(f)].sum() for f in self._judged()])

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
        try:
            losses = np.array([self._score(scorer, answers, self._rows(f)) for f in self._judged()])
        except ValueError as error:
            raise ValueError(
                f"scoring={self.scoring!r} refuses a fold: {error} Give fewer folds, or another score."
            ) from error
        if not np.isfinite(losses).all():
            raise ValueError(f"scoring={self.scoring!r} is not defined on these folds; give fewer, or another score.")
        return losses

    def _judged(self) -> NDArray[np.intp]:
        """Folds that a scorer can judge: of classes, those with more than one."""
        found = np.unique(self.fold[(self.fold >= 0) & (self.sample_weight > 0)])
        if self.classes is None:
            return found
        several = [len(np.unique(self.y[self._rows(f)])) > 1 for f in found]
        return np.asarray(found[several]) if any(several) else found

    def _rows(self, fold: int) -> NDArray[np.bool_]:
        return np.asarray((self.fold == fold) & (self.sample_weight > 0))

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
    alone : {"stack", "mixture"} or None
        Who has all the weight of the winner's gate; "mixture" also if it has that of the last one without having won.
    headroom : Headroom, optional
        What a choice between the experts could gain at all.

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
    alone: str | None = None
    headroom: Headroom | None = None

    def __str__(self) -> str:
        who = {
            "best single": f"One expert is enough ({self.best_single})",
            "constant": "Constant weights won",
            "stack": "The stack won",
            "gated": "A stack whose weights follow x won" if self.alone == "stack" else "A gate over the experts won",
            "specialised": {
                "stack": "A stack that sees the specialised mixture won",
                "mixture": "The specialised mixture won",
            }.get(self.alone or "", "The specialised mixture joined in and won"),
        }[self.winner]
        parts = []
        if self.winner != "best single":
            parts.append(self._share(self.gain, self.gain_error) + f" the best single expert ({self.best_single})")
        if self.winner != "stack":
            parts.append(self._share(self.stack_gain, self.stack_gain_error) + " the stack")
        sentence = f"{who}: {self.measure} {short(self.loss, 4)}, {' and '.join(parts)}."
        room = [] if self.headroom is None else [str(self.headroom)]
        if self.alone == "mixture" and self.winner != "specialised":
            room.insert(0, "The specialised mixture answers all the same, since its regimes are certain.")
        return " ".join([sentence, *room, *(f"Not measured: {what}." for what in self.unmeasured)])

    def _share(self, gain: float, error: float) -> str:
        if self.measure.startswith("minus"):  # shares of a score that may have any sign mean nothing
            side = "less" if gain >= 0 else "more"
            return f"{short(abs(gain), 3)} (± {short(error)}) {side} than"
        whole = abs(self.loss + gain) or 1.0
        side = "below" if gain >= 0 else "above"
        return f"{short(100 * abs(gain) / whole, 3)} % (± {short(100 * error / whole)} %) {side}"


@dataclass(frozen=True)
class Verdicts:
    """One verdict for each target; prints a line for each.

    Examples
    --------
    >>> one = Verdict("gated", 0.8, 0.2, 0.05, 0.1, 0.02, "ridge", "squared error")
    >>> len(Verdicts([one, one])), Verdicts([one])[0].winner
    (2, 'gated')
    """

    each: list[Verdict]

    def __len__(self) -> int:
        return len(self.each)

    def __getitem__(self, t: int) -> Verdict:
        return self.each[t]

    def __str__(self) -> str:
        return "\n".join(f"Target {t}: {verdict}" for t, verdict in enumerate(self.each))


@dataclass(frozen=True)
class Headroom:
    """How much better than the best single expert a choice between experts could be at all.

    Parameters
    ----------
    correlation : ndarray of shape (K, K)
        Between the experts' errors; zero with an expert whose error never changes.
    effective_experts : float
        Between 1 (all err alike) and K (none like another): the participation ratio (Σλ)² / Σλ² of the
        eigenvalues of `correlation`.
    best_loss, oracle_loss : float
        Squared error or log-loss of the best single expert, and of whoever is best in each row.

    References
    ----------
    Del Giudice (2021), Effective dimensionality: a tutorial, for the participation ratio.

    Examples
    --------
    >>> print(Headroom(np.eye(2), 2.0, 1.0, 0.36))
    Knowing the best expert of every row would save 64 % of the best single expert's loss. Errors correlate by 0 at \
most; 2 experts count as 2.
    """

    correlation: Array
    effective_experts: float
    best_loss: float
    oracle_loss: float

    @property
    def share(self) -> float:
        """Share of the best single expert's loss that the oracle does without, 0 … 1."""
        return 1 - self.oracle_loss / self.best_loss if self.best_loss else 0.0

    @property
    def pairs(self) -> Array:
        """Correlations of the K (K - 1) / 2 pairs of experts."""
        return np.asarray(self.correlation[np.triu_indices(len(self.correlation), 1)])

    @property
    def alike(self) -> bool:
        """Whether every pair of experts errs so much alike that a gate on x has little to choose from."""
        return len(self.correlation) > 1 and bool((self.pairs >= ALIKE).all())

    def __str__(self) -> str:
        K = len(self.correlation)
        if K == 1:
            return "There is one expert: only regimes of its own can gain."
        said = (
            f"Knowing the best expert of every row would save {short(100 * self.share)} % of the best single expert's "
            f"loss. Errors correlate by {short(float(self.pairs.max()))} at most; {K} experts count as "
            f"{short(self.effective_experts)}."
        )
        return f"{said} They err too much alike for a gate to gain." if self.alike else said


def headroom(y: NDArray[Any], answers: Array, sample_weight: Array | None = None) -> Headroom:
    """Error correlations, effective number of experts and oracle, from honest answers.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Numbers, or class codes 0 … C-1.
    answers : ndarray of shape (n, K) or (n, K, C)
        Out of fold. Rows with NaN take no part.
    sample_weight : ndarray of shape (n,), optional

    Returns
    -------
    Headroom
        Errors of classes are the C differences between what came and its probability.

    Raises
    ------
    ValueError
        If no row of positive weight has every answer.

    Examples
    --------
    >>> room = headroom(np.zeros(4), np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 0.0], [-1.0, 0.0]]))
    >>> room.best_loss, room.oracle_loss, room.effective_experts
    (0.5, 0.5, 2.0)
    """
    weight = np.ones(len(y)) if sample_weight is None else sample_weight
    rows = np.isfinite(answers).reshape(len(y), -1).all(axis=1) & (weight > 0)
    if not rows.any():
        raise ValueError("no row has every expert's answer and a weight, so there is nothing to compare.")
    y, answers, share = y[rows], answers[rows], weight[rows] / weight[rows].sum()
    classes = None if answers.ndim == 2 else np.arange(answers.shape[2])
    judge = Judge(y, share, np.zeros(len(y), dtype=np.intp), classes)
    losses = np.column_stack([judge.losses(answers[:, k]) for k in range(answers.shape[1])])
    truth = y[:, None] if classes is None else np.eye(len(classes))[y][:, None]
    correlation = _correlation(answers - truth, share)
    return Headroom(
        correlation,
        float(len(correlation) ** 2 / np.square(correlation).sum()),
        float((share @ losses).min()),
        float(share @ losses.min(axis=1)),
    )


def _correlation(errors: Array, share: Array) -> Array:
    """Weighted correlation (K, K) of errors (n, K) or (n, K, C), over rows and classes."""
    errors = errors.reshape(*errors.shape[:2], -1)
    size = np.sqrt(np.einsum("n,nkc,nkc->k", share, errors, errors))
    errors = errors - np.einsum("n,nkc->kc", share, errors)
    covariance = np.einsum("n,nkc,nlc->kl", share, errors, errors)
    deviation = np.sqrt(np.diag(covariance))
    deviation[deviation <= 1e-10 * size] = 0.0  # an error that never changes, but for rounding
    scale = np.outer(deviation, deviation)
    correlation = np.divide(covariance, scale, out=np.zeros_like(scale), where=scale > 0)
    np.fill_diagonal(correlation, 1.0)
    return np.asarray(np.clip(correlation, -1, 1))
