"""The honest table read: stack, candidates from simple to rich, the last gate, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from metamix.recombination import combine, keep_top
from metamix.training.gating import LearnedGate
from metamix.training.joining import Scatter, join, learn_scatter
from metamix.training.judging import Judge, Verdict, headroom, paired, simplest_winner
from metamix.training.last_gate import LastGate, Table, learn_last_gate, objective_of, unless_mixture, with_column

__all__ = ["Selection", "Table", "select"]

Array = NDArray[np.float64]


@dataclass
class Selection:
    """What was learned from the honest table.

    `predictions` are the table's answers with the stack as last column, (n, K) or (n, K, C).
    """

    predictions: Array
    stacker: Any
    scatter: Scatter | None
    likelihood: Any
    learned: LearnedGate
    responsibilities: Array
    candidates: list[dict[str, Any]]
    verdict: Verdict


def select(table: Table) -> Selection:
    """Learn the last gate, and judge every simpler candidate on the same rows.

    Candidates, simplest first: the best single expert, constant convex weights, the stack of the experts
    (Wolpert 1992), a gate over experts and stack, and the same gate with the specialised mixture among them, or
    the mixture alone where it has found regimes for certain. All are read off out-of-fold answers, and whatever
    is learned from those is cross-fitted again.

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
    own, scatter = table.answers.scale, None
    even = np.full(len(values), np.nan)  # the stack has one scale for all rows
    simple = learn_last_gate(
        table, with_column(experts, stacked), None if own is None else with_column(own[:, :K], even)
    )
    candidates = {"constant": _constant(table, experts), "stack": plain, "gated": simple.answers}
    whole = simple
    judged = Judge(table.data.y, table.data.weight, table.folds.partition, table.classes)
    if values.shape[1] > K:
        both = (stacked, stacker), _stack(table, values, table.stack_features)
        joined, stacker = join(*both, K, judged.losses, judged.weight)
        if own is not None and getattr(table.likelihood, "scale_is_deviation", False):
            errors = with_column(values, joined) - table.data.y[:, None]
            scatter = learn_scatter(errors, own, table.data.y, judged.weight)
            own = scatter(own)
        elif own is not None:
            own = with_column(own, even)
        whole = unless_mixture(table, learn_last_gate(table, with_column(values, joined), own, scatter), own, scatter)
        candidates["specialised"] = whole.answers
    fold = np.where(whole.learned.judged & simple.learned.judged, table.folds.partition, -1)
    if not table.data.weight[fold >= 0].any():
        fold = table.folds.partition
    judge = Judge(table.data.y, table.data.weight, fold, table.classes, table.scoring)
    rows, verdict = _verdict(table, judge, candidates, {"gated": simple, "specialised": whole})
    return Selection(
        whole.predictions, stacker, scatter, whole.likelihood, whole.learned, whole.responsibilities, rows, verdict
    )


def _stack(table: Table, values: Array, features: Array | None) -> tuple[Array, Any]:
    """The final estimator's answers, out of fold, and the estimator fitted on every honest row."""
    data, folds = table.data, table.folds
    pairs = [(folds.train_rows(f), folds.test_rows(f)) for f in range(len(folds))]
    pairs = [(learn, test) for learn, test in pairs if len(test) and data.weight[learn].sum() > 0 and len(learn) > 1]
    answers = np.asarray(values.mean(axis=1))  # where no fold can learn, the plain average
    rows = np.flatnonzero(folds.held_out & (data.weight > 0))
    fitted = clone(table.stacker).fit(
        values, data.y, pairs, rows=rows, sample_weight=data.sample_weight, features=features
    )
    known = np.isfinite(fitted.oof_).reshape(data.n, -1).all(axis=1)
    answers[known] = fitted.oof_[known]
    return answers, fitted


def _constant(table: Table, experts: Array) -> Array:
    """Convex weights over the experts, cross-fitted: answers (n,) or (n, C)."""
    data = table.data
    fitted = clone(table.likelihood).fit(data.y, experts, np.tile(data.weight[:, None], experts.shape[1]), X=data.X)
    objective = objective_of(table, experts, fitted.log_prob(data.y, experts, X=data.X))
    start = np.full(experts.shape[1], 1 / experts.shape[1])
    weights = np.tile(start, (table.data.n, 1))
    for f in range(len(table.folds)):
        rows, test = table.folds.train_rows(f), table.folds.test_rows(f)
        if len(rows) > 1 and len(test) and data.weight[rows].any():
            gate = clone(table.constant).fit_objective(
                np.empty((len(rows), 0)),
                objective.take(rows),
                start=start,
                sample_weight=table.data.weight[rows],
            )
            weights[test] = gate.predict_proba(np.empty((len(test), 0)))
    return combine(keep_top(weights, table.top_k), experts)


def _verdict(
    table: Table, judge: Judge, candidates: dict[str, Array], gates: dict[str, LastGate]
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
    named, whole = gates.get(names[winner]), gates["specialised"]
    alone = "stack" if named is not None and (named.learned.weights[:, -1] == 1).all() else None
    if table.certainty > 0 and (whole.learned.weights[:, -2] == 1).all():  # a mixture of several regimes
        alone = "mixture"
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
        alone,
        headroom(table.data.y, values[:, :K], table.data.weight),
    )
    return rows, verdict
