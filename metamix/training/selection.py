"""The last gate over the honest table: stack, candidates from simple to rich, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from metamix.answers import Answers
from metamix.features import GateFeatures
from metamix.fitting import Data
from metamix.folds import Folds
from metamix.judging import STANDARD_ERRORS, Judge, Verdict, headroom, paired, simplest_winner
from metamix.objectives import LogScore, SquaredError
from metamix.recombination import combine, keep_top, posterior
from metamix.tables import take_rows
from metamix.training.gating import LearnedGate, learn_gate
from metamix.training.joining import join

__all__ = ["Selection", "Table", "select"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """The honest table and what may be done with it, everything unfitted.

    Parameters
    ----------
    data : Data
    folds : Folds
    base : array, sparse matrix, frame or None
        Gate features from X alone.
    features : GateFeatures
    gate, constant, stacker, likelihood : parts
    objective : {"prediction", "likelihood"}
    top_k : int or None
    classes : ndarray of shape (C,) or None
    scoring : None, str or callable
    stack_features : ndarray of shape (n, q) or None
        What the stack may look at besides the answers.
    answers : Answers
        Out of fold; the experts first, then the plain mixture where there is one.
    n_experts : int
        How many columns are experts: all, or all but the last.
    """

    data: Data
    folds: Folds
    base: Any
    features: GateFeatures
    gate: Any
    constant: Any
    stacker: Any
    likelihood: Any
    objective: str = "prediction"
    top_k: int | None = None
    classes: NDArray[Any] | None = None
    scoring: Any = None
    stack_features: Array | None = None
    answers: Answers = field(default_factory=Answers.empty)
    n_experts: int = 0

    def targets(self) -> list[Table]:
        """A table for each target."""
        if self.data.n_targets is None:
            return [self]
        several = range(self.data.n_targets)
        return [replace(self, data=self.data.target(t), answers=self.answers.target(t)) for t in several]

    def with_answers(self, answers: Answers, n_experts: int) -> Table:
        """The same table, filled in."""
        return replace(self, answers=answers, n_experts=n_experts)


@dataclass
class Selection:
    """What was learned from the honest table.

    `predictions` are the table's answers with the stack as last column, (n, K) or (n, K, C).
    """

    predictions: Array
    stacker: Any
    likelihood: Any
    learned: LearnedGate
    responsibilities: Array
    candidates: list[dict[str, Any]]
    verdict: Verdict


def select(table: Table) -> Selection:
    """Learn the last gate, and judge every simpler candidate on the same rows.

    Candidates, simplest first: the best single expert, constant convex weights, the stack of the experts
    (Wolpert 1992), a gate over experts and stack, and the same gate with the specialised mixture among
    them. All are read off out-of-fold answers, and whatever is learned from those is cross-fitted again.

    Parameters
    ----------
    table : Table

    Returns
    -------
    Selection
    """
    K, values = table.n_experts, table.answers.values
    experts = values[:, :K]
    plain, _ = _stack(table, experts, None)  # sees the experts alone, as scikit-learn's does
    stacked, stacker = _stack(table, experts, table.stack_features)
    own = table.answers.scale
    simple = _learn(table, _append(experts, stacked), None if own is None else own[:, :K])
    candidates = {"constant": _constant(table, experts), "stack": plain, "gated": simple.answers}
    whole = simple
    judged = Judge(table.data.y, table.data.weight, table.folds.partition, table.classes)
    if values.shape[1] > K:
        both = (stacked, stacker), _stack(table, values, table.stack_features)
        joined, stacker = join(*both, K, judged.losses, judged.weight)
        whole = _learn(table, _append(values, joined), own)
        candidates["specialised"] = whole.answers
    fold = np.where(whole.learned.judged & simple.learned.judged, table.folds.partition, -1)
    if not (fold >= 0).any():
        fold = table.folds.partition
    judge = Judge(table.data.y, table.data.weight, fold, table.classes, table.scoring)
    rows, verdict = _verdict(table, judge, candidates, {"gated": simple, "specialised": whole})
    return Selection(whole.predictions, stacker, whole.likelihood, whole.learned, whole.responsibilities, rows, verdict)


@dataclass
class _Learned:
    predictions: Array
    learned: LearnedGate
    likelihood: Any
    responsibilities: Array
    answers: Array


def _append(values: Array, column: Array) -> Array:
    return np.concatenate([values, column[:, None]], axis=1)


def _stack(table: Table, values: Array, features: Array | None) -> tuple[Array, Any]:
    """The final estimator's answers, out of fold, and the estimator fitted on every honest row."""
    data, folds = table.data, table.folds
    pairs = [(folds.learners(f), folds.judged(f)) for f in range(len(folds))]
    pairs = [(learn, test) for learn, test in pairs if len(test) and data.weight[learn].sum() > 0 and len(learn) > 1]
    answers = np.asarray(values.mean(axis=1))  # where no fold can learn, the plain average
    rows = np.flatnonzero(folds.honest & (data.weight > 0))
    fitted = clone(table.stacker).fit(
        values, data.y, pairs, rows=rows, sample_weight=data.sample_weight, features=features
    )
    known = np.isfinite(fitted.oof_).reshape(data.n, -1).all(axis=1)
    answers[known] = fitted.oof_[known]
    return answers, fitted


def _objectives(table: Table, predictions: Array, log_prob: Array) -> LogScore | SquaredError:
    if table.data.n_classes is None and table.objective == "prediction":
        return SquaredError(table.data.y, predictions)
    return LogScore(log_prob)


def _learn(table: Table, predictions: Array, own: Array | None) -> _Learned:
    """The gate over some columns, their likelihood given that gate, and who explained each row.

    `own` (n, K - 1) are the experts' standard deviations; the stack, which comes last, has none.
    """
    data, honest = table.data, table.folds.honest
    weight = data.weight
    scale = None if own is None else _append(own, np.full(len(own), np.nan))
    seen = ... if honest.all() else honest
    X = data.X if honest.all() else take_rows(data.X, np.flatnonzero(honest))
    responsibilities = np.full((data.n, predictions.shape[1]), 1 / predictions.shape[1])

    def likelihood_of(share: Array) -> tuple[Any, Array]:
        trust = share[seen] * weight[seen, None]
        given = None if scale is None else scale[seen]
        fitted = clone(table.likelihood).fit(data.y[seen], predictions[seen], trust, scale=given, X=X)
        return fitted, fitted.log_prob(data.y, predictions, scale=scale, X=data.X)

    descends = hasattr(table.gate, "fit_objective")
    if not descends and data.n_classes is None:
        responsibilities[honest] = _nearest(data.y[honest], predictions[honest], weight[honest])
    Z = table.features.join(table.base, predictions)
    for _ in range(1 if descends else 3):  # soft labels need scales, and scales need soft labels
        likelihood, log_prob = likelihood_of(responsibilities)
        objective = _objectives(table, predictions, log_prob)
        learned = learn_gate(
            table.gate,
            table.constant,
            Z,
            table.folds,
            objective,
            log_prob,
            weight,
            top=lambda weights: keep_top(weights, table.top_k),
        )
        responsibilities, _ = posterior(learned.weights, log_prob)
    if table.top_k is None and getattr(table.gate, "penalty", None) == "path":  # a gate of the user's stays
        learned = _stack_unless(table, predictions, objective, learned)
    for _ in range(5):  # scales and responsibilities settle, given the gate
        responsibilities, _ = posterior(learned.weights, log_prob)
        likelihood, log_prob = likelihood_of(responsibilities)
    responsibilities, _ = posterior(learned.weights, log_prob)
    if not honest.all():
        unheld = np.flatnonzero(~honest)
        responsibilities[unheld] = learned.gate.predict_proba(take_rows(Z, unheld))
    answers = combine(keep_top(learned.weights, table.top_k), predictions)
    return _Learned(predictions, learned, likelihood, responsibilities, answers)


def _nearest(y: Array, predictions: Array, weight: Array) -> Array:
    """Who came closest to each row, softly, (n, K): shares under one scale common to all experts."""
    errors = np.square(predictions - y[:, None])
    scale = float(np.average(errors.min(axis=1), weights=weight)) or 1.0
    return posterior(np.full(errors.shape, 1 / errors.shape[1]), -errors / (2 * scale))[0]


def _stack_unless(
    table: Table, predictions: Array, objective: LogScore | SquaredError, learned: LearnedGate
) -> LearnedGate:
    """The stack alone, unless other weights pay.

    Weights over experts and stack are learned from the same answers as the stack, and look better than
    they are: they must beat it by two standard errors. So the mixture is the stack where nothing is won.
    """
    rows = np.flatnonzero(learned.judged)
    weight = table.data.weight[rows]
    if not weight.any():
        return learned
    alone = np.zeros_like(learned.weights)
    alone[:, -1] = 1.0
    known = objective.take(rows)
    loss = known(keep_top(learned.weights[rows], table.top_k))[0]
    gain = paired(known(alone[rows])[0] - loss, weight)
    if gain.mean > STANDARD_ERRORS * gain.standard_error:
        return learned
    one = clone(table.constant).fit(np.empty((1, 0)), alone[:1])
    return LearnedGate(one, alone, learned.judged, np.inf)


def _constant(table: Table, experts: Array) -> Array:
    """Convex weights over the experts, cross-fitted: answers (n,) or (n, C)."""
    data = table.data
    fitted = clone(table.likelihood).fit(data.y, experts, np.ones(experts.shape[:2]), X=data.X)
    objective = _objectives(table, experts, fitted.log_prob(data.y, experts, X=data.X))
    start = np.full(experts.shape[1], 1 / experts.shape[1])
    weights = np.tile(start, (table.data.n, 1))
    for f in range(len(table.folds)):
        rows, test = table.folds.learners(f), table.folds.judged(f)
        if len(rows) > 1 and len(test):
            gate = clone(table.constant).fit_objective(
                np.empty((len(rows), 0)),
                objective.take(rows),
                start=start,
                sample_weight=table.data.weight[rows],
            )
            weights[test] = gate.predict_proba(np.empty((len(test), 0)))
    return combine(keep_top(weights, table.top_k), experts)


def _verdict(
    table: Table, judge: Judge, candidates: dict[str, Array], gates: dict[str, _Learned]
) -> tuple[list[dict[str, Any]], Verdict]:
    K, values = table.n_experts, table.answers.values
    singles = [judge.losses(values[:, k]) for k in range(K)]
    best = int(np.argmin([judge.mean(loss) for loss in singles]))
    names = ["best single", *candidates]
    losses = [singles[best], *(judge.losses(answers) for answers in candidates.values())]
    winner = simplest_winner(judge, losses)
    gains = [paired(losses[0] - loss, judge.weight) for loss in losses]
    against_stack = paired(losses[names.index("stack")] - losses[winner], judge.weight)
    rows = [
        {
            "candidate": name,
            "loss": judge.mean(loss),
            "gain": gain.mean,
            "standard_error": gain.standard_error,
            "winner": i == winner,
        }
        for i, (name, loss, gain) in enumerate(zip(names, losses, gains, strict=True))
    ]
    named = gates.get(names[winner])
    stack_alone = named is not None and bool((named.learned.weights[:, -1] == 1).all())
    unmeasured = []
    unseen = int((judge.fold < 0).sum())
    if unseen:
        unmeasured.append(f"{unseen} of {len(judge.fold)} rows, which no fold could judge")
    if table.answers.failures:
        failed = sorted({failure.expert for failure in table.answers.failures})
        unmeasured.append(f"experts that failed ({', '.join(failed)})")
    measure = table.scoring if isinstance(table.scoring, str) else getattr(table.scoring, "__name__", None)
    default = "squared error" if table.classes is None else "log-loss"
    verdict = Verdict(
        names[winner],
        judge.mean(losses[winner]),
        gains[winner].mean,
        gains[winner].standard_error,
        against_stack.mean,
        against_stack.standard_error,
        table.answers.names[best],
        default if table.scoring is None else f"minus {measure or 'the score'}",
        tuple(unmeasured),
        stack_alone,
        headroom(table.data.y, values[:, :K], table.data.weight),
    )
    return rows, verdict
