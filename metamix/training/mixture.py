"""The mixture whose experts specialise: regimes are found, EM alternates, and what it found is kept for prediction."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from metamix.fitting import FitSession
from metamix.fitting.out_of_fold import Failure, OutOfFold
from metamix.progress import Event, emit
from metamix.recombination import combine, floored, keep_top
from metamix.training.alternation import FLOOR, Alternation, MixtureSettings, Round, TargetRound, of_target
from metamix.training.gate_fitting import FittedGate
from metamix.training.prediction import Combination, GateRows
from metamix.training.recalibration import Calibration, fit_calibration

__all__ = ["FittedMixture", "MixtureTarget", "fit_mixture", "single_regime"]

Array = NDArray[np.float64]

#: What is said where maximum likelihood does not exist.
SEPARABLE = (
    "the gate's columns separate the regimes, so that its likelihood has no maximum: its slopes are bounded, and with "
    "them how steep the border is. Give a penalty, as in gate=SoftmaxGate(penalty=0.01), or cv=5, which chooses one."
)


@dataclass(frozen=True)
class MixtureTarget:
    """What was learned about one target.

    Parameters
    ----------
    gate : fitted gate
    likelihood : fitted likelihood
    predictions : ndarray of shape (n, K) or (n, K, C)
        Out of fold.
    responsibilities : ndarray of shape (n, K)
    calibration : Calibration or None
        None in sample.
    """

    gate: Any
    likelihood: Any
    predictions: Array
    responsibilities: Array
    calibration: Calibration | None = None


@dataclass(frozen=True)
class FittedMixture(Combination):
    """A fitted mixture: predicts rows, and says what was learned.

    Parameters
    ----------
    names, columns, features, n_targets, n_classes, top_k
        As in `Combination`; a column for each component.
    targets : list of MixtureTarget
    fold_of_row : ndarray of shape (n,), or (n, R) with repeats
    history, starts : list of dict
        A row for each round, and for each start.
    failures : list of Failure
    present : ndarray of int, optional
        Codes of the classes that the rows it was fitted to have.
    """

    targets: list[MixtureTarget]
    fold_of_row: NDArray[np.intp]
    history: list[dict[str, Any]]
    starts: list[dict[str, Any]]
    failures: list[Failure]
    present: NDArray[np.intp] | None = None

    @property
    def likelihoods(self) -> list[Any]:
        """Fitted likelihood of each target."""
        return [target.likelihood for target in self.targets]

    @property
    def calibrations(self) -> list[Calibration | None]:
        """Recalibration of the distribution of each target."""
        return [target.calibration for target in self.targets]

    def _gate_part(self, n: int) -> tuple[Any, NDArray[np.intp], float, Array]:
        K = len(self.names)
        return self.targets[0].gate, np.arange(K), 1.0, np.zeros((n, K))

    def _weights(self, rows: GateRows, t: int, values: Array | None) -> Array:
        return keep_top(self.targets[t].gate.predict_proba(self.features.join(rows.base, values)), self.top_k)


def fit_mixture(
    session: FitSession,
    settings: MixtureSettings,
    initial: Array | None = None,
    components: Sequence[int] | None = None,
) -> FittedMixture:
    """Find regimes, alternate between experts and gate, keep the best round, fit on all rows.

    Parameters
    ----------
    session : FitSession
        Open; its experts are the components or the pool.
    settings : MixtureSettings
    initial : ndarray of shape (n, K), optional
        Initial responsibilities, where they are known.
    components : sequence of int, length K, optional
        The expert behind each of them, where it is known.

    Returns
    -------
    FittedMixture

    References
    ----------
    Jacobs, Jordan, Nowlan & Hinton (1991); Jordan & Jacobs (1994).
    """
    em = Alternation(session, settings)
    emit(Event("part", "regimes"))
    starts: list[dict[str, Any]] = []
    if initial is None:
        initial, starts = em.start()
    if components is None:
        components, initial, failures = em.assign(initial)
    else:
        initial, failures = floored(initial, FLOOR), []
    emit(Event("part", "rounds"))
    best = em.run(components, initial)
    emit(Event("part", "all rows"))
    if settings.search.n_experts == "auto" and settings.search.searches and len(best.alive) > 1:
        best = em.single_expert_instead(best)
    gates = em.final_gates(best)
    best, columns = em.refit(best)
    if len(gates[0].weights[0]) != len(best.alive):  # an expert failed on all rows
        gates = em.final_gates(best)
    if em.in_sample and any(getattr(gate.gate, "separates_", False) for gate in gates):
        warnings.warn(SEPARABLE, ConvergenceWarning, stacklevel=2)
    failures = list(dict.fromkeys([*failures, *em.failures]))
    return _fitted(session, settings, best, gates, columns, em.history, starts, failures)


def single_regime(
    session: FitSession, settings: MixtureSettings, expert: int, predictions: OutOfFold, column: Any
) -> FittedMixture:
    """The mixture of one regime, whose expert is fitted already.

    Parameters
    ----------
    session : FitSession
    settings : MixtureSettings
    expert : int
    predictions : OutOfFold
        Of that expert.
    column : FittedExpert or FoldAverage
        The expert, fitted on all rows.
    """
    em = Alternation(session, settings)
    best = em.judged(np.ones((session.problem.n, 1)), predictions, 1, [expert])
    gates = [target.gate for target in best.targets]
    return _fitted(session, settings, best, gates, [column], [em.row_of(best)], [], [])


def _fitted(
    session: FitSession,
    settings: MixtureSettings,
    best: Round,
    gates: Sequence[FittedGate],
    columns: Sequence[Any],
    history: list[dict[str, Any]],
    starts: list[dict[str, Any]],
    failures: list[Failure],
) -> FittedMixture:
    problem = session.problem
    targets = [
        MixtureTarget(
            gate.gate,
            target.likelihood,
            of_target(problem, best.predictions, t).values,
            target.responsibilities,
            _calibration(session, settings, best.predictions, target, gate, t),
        )
        for t, (target, gate) in enumerate(zip(best.targets, gates, strict=True))
    ]
    return FittedMixture(
        best.predictions.names, columns, settings.features, problem.n_targets, problem.n_classes, settings.top_k,
        targets, session.folds.fold_of_row, history, starts, failures,
    )  # fmt: skip


def _calibration(
    session: FitSession,
    settings: MixtureSettings,
    predictions: OutOfFold,
    target: TargetRound,
    gate: FittedGate,
    t: int,
) -> Calibration | None:
    """Recalibration of one target by its out-of-fold predictions; none in sample and for classes."""
    problem = session.problem.target(t)
    continuous = problem.n_classes is None and hasattr(target.likelihood, "distribution")
    if session.folds.in_sample or not continuous or not settings.recalibrate:
        return None
    table = of_target(session.problem, predictions, t)
    weights = keep_top(gate.weights, settings.top_k)
    components = target.likelihood.distribution(table.values, scale=table.scale, X=problem.X)
    judged = np.where(gate.judged, problem.weight, 0.0)
    return fit_calibration(problem.y, weights, components, combine(weights, table.values), judged, problem.groups)
