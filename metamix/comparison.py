"""compare(): experts and their combinations on the same outer folds, from one cache of out-of-fold answers."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.utils import check_random_state

from metamix.data.folds import Folds, make_folds
from metamix.data.leaks import suspicious_columns
from metamix.data.scalars import check_seed
from metamix.data.tables import n_rows, recognise_task, take_rows
from metamix.deadline import Deadline
from metamix.drawing import leave_out_far, new_axes
from metamix.engines import Engine, current_engine
from metamix.estimators import MixtureClassifier, MixtureRegressor
from metamix.estimators.checkpointing import open_checkpoint, seed_of
from metamix.estimators.memory_limits import sentence, within_memory
from metamix.estimators.mixture import around, source_of
from metamix.estimators.parameters import check_parameters
from metamix.estimators.resolution import ResolvedGates, input_tags, resolve_gates
from metamix.estimators.scoring import try_scoring
from metamix.estimators.setup import draw_seeds, set_up
from metamix.estimators.validation import (
    check_folds,
    check_in_memory,
    check_no_names,
    check_rows,
    check_weights,
    check_X,
    clean_X,
    loaded,
)
from metamix.experts.on_columns import with_positions
from metamix.fitting import Checkpoint, FitSession, Problem, fit_expert, name_and_prepare, place_experts
from metamix.fitting.out_of_fold import Failure
from metamix.progress import Event, emit, show_progress
from metamix.training.candidates import CANDIDATES, FEATURE_STACK
from metamix.training.expert_columns import CrossFittedExperts, cross_fit_experts
from metamix.training.fit import NEGLIGIBLE, blend_predictions
from metamix.training.last_fold import worse_last_fold
from metamix.training.selection import HeldOutLoss
from metamix.training.verdict import PHRASES, UNWEIGHTED
from metamix.training.wording import compared, measure_name, shown_loss

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Comparison", "compare"]

Array = NDArray[np.float64]
#: Names of combinations, in the order of the table.
COMBINATIONS = (*CANDIDATES, "blend", "stacking", "oracle")
#: What the row "blend" is, by what `predict` is to answer with.
FINAL = {
    "blend": "the blend",
    "best": "the candidate with the smallest out-of-fold loss in each fold",
    "simplest": "the simplest good candidate of each fold",
}


@dataclass(frozen=True)
class Comparison:
    """Losses of experts and combinations on the same held-out rows.

    Parameters
    ----------
    rows : list of dict
        One for each expert and combination.
    verdict : str
        The simplest combination that does as well as the best, and columns that may not be known beforehand.
    failures : list of Failure
    measure : str
        What the loss is.
    mixtures : list
        The mixture fitted in each outer fold whose training rows have more than one class.
    winner : str
        The combination that the verdict names.
    best_single : list of str
        The best single expert inside each outer fold.
    """

    rows: list[dict[str, Any]]
    verdict: str
    failures: list[Failure]
    measure: str
    mixtures: list[Any] = field(default_factory=list, repr=False)
    winner: str = ""
    best_single: list[str] = field(default_factory=list)

    def frame(self) -> pd.DataFrame:
        """Name, kind, loss, paired difference to stacking and its standard error, seconds to fit and predict.

        Seconds are added up over folds and over processes that work at the same time, so that they may be more than
        the time that passed. The candidates from "mean of y" to "blend" are made in one fit and share its seconds,
        those of the experts included.
        """
        import pandas as pd

        return pd.DataFrame(self.rows)

    def plot(self, ax: Any = None) -> Any:
        """Draw each loss difference to stacking, with two standard errors; returns the matplotlib axes."""
        table = self.frame().iloc[::-1]
        ax = new_axes(ax, 6.4, 0.35 * len(table) + 1.0)
        colours = ["C0" if kind == "combination" else "0.55" for kind in table["kind"]]
        error = 2 * table["standard_error"].fillna(0.0).to_numpy()
        ax.errorbar(table["difference"], table["name"], xerr=error, fmt="none", ecolor=colours)
        ax.scatter(table["difference"], table["name"], c=colours, zorder=3)
        ax.axvline(0, color="0.8", zorder=0)
        mean = (table["name"] == CANDIDATES[0]).to_numpy()
        leave_out_far(ax, table["difference"].to_numpy(), error, np.arange(len(table)), mean)
        ax.set_xlabel(f"{self.measure}, difference to stacking\n(two standard errors); left is better")
        return ax

    def __str__(self) -> str:
        return self.verdict


def compare(
    X: Any,
    y: Any,
    experts: Any = None,
    *,
    gate: Any = "auto",
    final: str = "blend",
    cv: Any = 5,
    groups: Any = None,
    sample_weight: Any = None,
    scoring: Any = None,
    random_state: Any = None,
    n_jobs: int | None = None,
    task: str | None = None,
    device: str = "auto",
    columns: Any = None,
    time_limit: float | None = None,
    expert_time_limit: float | None = None,
    checkpoint: Any = None,
    verbose: int = 0,
) -> Comparison:
    """Compare experts, all candidates, the blend, scikit-learn's stacking and the oracle.

    Every expert is fitted once for each outer fold and once for each pair of outer and inner fold, however many
    combinations use its predictions; and for each pair of inner folds where the candidates of an outer fold are close.
    Inside an outer fold the inner folds are the other outer folds.

    Parameters
    ----------
    X : array, sparse matrix or data frame of shape (n, d), or function that returns one
        As in `MixtureRegressor`; workers on other machines call the function once for each outer fold.
    y : array-like of shape (n,)
    experts : list, optional
        As in `MixtureRegressor`; its default pool otherwise.
    gate, final
        As in `MixtureRegressor`. The row "blend" is what its `predict` answers with.
    cv : int, splitter or list of (train, test)
        Outer folds.
    groups, sample_weight : array-like of shape (n,), optional
    scoring : None, str or callable
        Squared error or log-loss by default.
    random_state, n_jobs
        As in scikit-learn.
    task : {"regression", "classification"}, optional
        Recognised from y by default.
    device : {"auto", "cpu", "cuda"} or "cuda:N"
        As in `MixtureRegressor`.
    columns : mapping of str to str, cleaner or None
        As in `MixtureRegressor`.
    time_limit : float, optional
        Seconds, divided among the outer folds; in each it does what it does in `MixtureRegressor`. An expert that one
        fold leaves out is in no later one, and not in the table. The verdict says what was left out.
    expert_time_limit : float, optional
        As in `MixtureRegressor`: seconds that one fit of an expert may take.
    checkpoint : str or path, optional
        As in `MixtureRegressor`: a folder that keeps each finished fit, so that the same call continues after it was
        interrupted. Reading it runs code that it contains.
    verbose : int
        1 shows how far it is.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        For data or parameters that will not do.

    Examples
    --------
    >>> from metamix import compare, make_regimes
    >>> X, y = make_regimes(150, random_state=0)
    >>> compare(X, y, ["ridge", "neighbours"], cv=3, random_state=0).frame()["name"].tolist()[-3:]
    ['blend', 'stacking', 'oracle']
    """
    function, X = X, loaded(X)
    check_in_memory(X)
    check_no_names(sample_weight=sample_weight, groups=groups)
    if y is None:
        raise ValueError("y is None; give the column to predict, one value for each row of X.")
    if np.ndim(y) == 2 and np.shape(y)[1] > 1:
        raise ValueError(f"y has {np.shape(y)[1]} targets; give one column, such as y[:, 0], and compare them in turn.")
    task = recognise_task(y) if task is None else task
    if not isinstance(task, str) or task not in ("regression", "classification"):
        raise ValueError(f"task={task!r} is unknown; give 'regression' or 'classification', or leave it out.")
    if cv is None:
        raise ValueError("cv=None would compare in sample; give a number of folds or a splitter.")
    check_seed(random_state)
    mixture = (MixtureRegressor if task == "regression" else MixtureClassifier)(
        experts, gate=gate, final=final, scoring=scoring, random_state=random_state, n_jobs=n_jobs, device=device,
        columns=columns, time_limit=time_limit, expert_time_limit=expert_time_limit, checkpoint=checkpoint,
    )  # fmt: skip
    check_parameters(mixture)
    deadline = Deadline(time_limit, expert_time_limit)
    named, gates = mixture._resolve_experts(), resolve_gates(mixture.gate)
    mixture._input_tags = input_tags([expert for _, expert in named], gates, mixture.gate_features)
    given = X
    X = check_X(mixture, clean_X(mixture, X, reset=True), reset=True)
    named = with_positions(named, given, X)
    target, n_classes = mixture._check_target(y)
    classes = None if n_classes is None else mixture.classes_
    groups = check_rows(X, target, groups)
    weight, source = check_weights(sample_weight, n_rows(X)), source_of(mixture, function)
    problem = Problem(X, target, weight, groups, n_classes, classes, source)
    kept = open_checkpoint(mixture, named, problem, "compare", cv=cv)
    seed = int(check_random_state(seed_of(mixture, kept)).randint(np.iinfo(np.int32).max))
    mixture.random_state = seed
    engine = current_engine(n_jobs)
    named, too_large = within_memory(mixture, named, problem, engine)
    folds = make_folds(cv, X, target, groups, stratify=n_classes is not None, random_state=seed)
    check_folds(folds, problem.weight)
    if kept is not None:
        kept.check_folds(folds.pairs)
    try_scoring(scoring, problem, folds, classes)
    outer = _OuterFolds(
        problem,
        folds,
        mixture,
        named,
        gates,
        classes,
        engine,
        deadline,
        kept,
        too_large,
    )
    with show_progress("compare") if verbose else nullcontext():
        for f in range(len(folds)):
            emit(Event("start", f"outer fold {f + 1} of {len(folds)}", f, len(folds)))
            outer.run(f)
    emit(Event("end", "comparison", len(folds), len(folds)))
    loss = HeldOutLoss(target, problem.weight, folds.partition, classes, scoring, groups)
    found = outer.comparison(loss)
    deadline.warn()
    return found


@dataclass
class _OuterFolds:
    """Predictions and seconds under each name, collected fold by fold."""

    problem: Problem
    folds: Folds
    mixture: Any
    named: list[tuple[str, Any]]
    gates: ResolvedGates
    classes: NDArray[Any] | None
    engine: Engine
    deadline: Deadline
    checkpoint: Checkpoint | None = None
    too_large: list[str] = field(default_factory=list)
    predictions: dict[str, Array] = field(default_factory=dict)
    seconds: dict[str, tuple[float, float]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    mixtures: list[Any] = field(default_factory=list)
    best: list[str] = field(default_factory=list)

    def run(self, f: int) -> None:
        """Fit everything to the training rows of one outer fold, and predict its test rows."""
        rows, test = self.folds.pairs[f]
        whole = self.problem.take(rows)
        part, present = whole.with_present_classes()
        if part.n_classes == 1:
            self._run_on_one_class(whole, f)
            return
        classes = None if present is None or self.classes is None else self.classes[present]
        seeds = draw_seeds(self.mixture.random_state, self.named)
        inner = self.folds.inside(f, part.X, part.y, part.groups, int(seeds[-2]))
        parts = set_up(self.mixture, self.named, self.gates, part, classes, seeds)
        X_test = take_rows(self.problem.X, test)
        deadline = self.deadline.share(len(self.folds) - f)
        with FitSession(
            parts.experts, part, inner, self.engine, negligible=NEGLIGIBLE, deadline=deadline,
            checkpoint=self.checkpoint,
        ) as session:  # fmt: skip
            experts = cross_fit_experts(session)
            self.named = [(name, expert) for name, expert in self.named if name not in experts.left_out]
            experts, values, asked = self._ask(session, experts, X_test, f)
            shared = float(experts.predictions.fit_seconds.sum() + sum(one.seconds for one in experts.columns))
            for k, (name, column) in enumerate(zip(experts.predictions.names, experts.columns, strict=True)):
                self._add(name, test, values[:, k], present, (column.seconds, asked[k]))
            began = time.perf_counter() + session.restored_seconds
            fitted = blend_predictions(session, experts, parts.candidates, parts.mixture)
            fitted = fitted.with_left_out(f"{sentence(self.too_large)} {deadline.sentence}".strip())
            more = time.perf_counter() + session.restored_seconds - began
        self.failures += fitted.failures
        self.deadline.add(deadline.refused)
        began = time.perf_counter()
        found = fitted.candidate_predictions(X_test)
        asking = time.perf_counter() - began
        for name, one in found.items():
            self._add(name, test, one, present, (shared + more, asking))
        self.best.append(fitted.targets[0].verdict.best_single)
        began = time.perf_counter()
        stacked = _sklearn_stack(part, inner, experts.predictions.values, values)
        self._add("stacking", test, stacked, present, (shared + time.perf_counter() - began, float(sum(asked))))
        self._add("oracle", test, self._oracle(values, test, present), present, (np.nan, np.nan))
        mixture = around(self.mixture, fitted, classes, inner.fold_of_row)
        mixture.left_out_ = [*self.too_large, *deadline.left_out]
        self.mixtures.append(mixture)

    def _run_on_one_class(self, part: Problem, f: int) -> None:
        """Where the training rows have one class there is nothing to combine: combinations predict this class."""
        test, every = self.folds.pairs[f][1], np.arange(part.n_classes or 0)
        X_test = take_rows(self.problem.X, test)
        seeds = draw_seeds(self.mixture.random_state, self.named)
        values = []
        for expert in name_and_prepare(self.named, list(seeds), place_experts(self.named, self.mixture.device)):
            began = time.perf_counter()
            try:
                values.append(fit_expert(expert, part, None, None).predict(X_test))
            except Exception as error:  # a foreign estimator may raise anything
                self.failures.append(Failure(expert.name, f, f"{type(error).__name__}: {error}"))
                continue
            self._add(expert.name, test, values[-1], every, (time.perf_counter() - began, 0.0))
        if not values:
            FitSession.raise_all_failed(self.failures)
        certain = np.tile(np.eye(len(every))[part.y[0]], (len(test), 1))
        for name in COMBINATIONS:
            if name not in (FEATURE_STACK, "oracle"):  # the first is for numbers
                self._add(name, test, certain, every, (0.0, 0.0))
        self._add("oracle", test, self._oracle(np.stack(values, axis=1), test, every), every, (np.nan, np.nan))

    def _ask(
        self, session: FitSession, experts: CrossFittedExperts, X: Any, f: int
    ) -> tuple[CrossFittedExperts, Array, list[float]]:
        """The experts that can predict the test rows, their predictions (n, K) or (n, K, C), and seconds."""
        found, seconds, kept = [], [], []
        for k, column in enumerate(experts.columns):
            began = time.perf_counter()
            one = column.try_predict(X, f)
            if isinstance(one, Failure):
                self.failures.append(one)
                continue
            found.append(one)
            seconds.append(time.perf_counter() - began)
            kept.append(k)
        if not kept:
            session.raise_all_failed(self.failures)
        experts = CrossFittedExperts(
            [experts.positions[k] for k in kept], experts.predictions.take(kept), [experts.columns[k] for k in kept]
        )
        return experts, np.stack(found, axis=1), seconds

    def _oracle(self, values: Array, test: NDArray[np.intp], present: NDArray[np.intp] | None) -> Array:
        """Predictions of the expert that is closest in each row."""
        truth = self.problem.y[test]
        rows = np.arange(len(values))
        if present is None:
            return values[rows, np.argmin((values - truth[:, None]) ** 2, axis=1)]
        place = np.minimum(np.searchsorted(present, truth), len(present) - 1)
        return values[rows, np.argmax(values[rows, :, place], axis=1)]

    def _add(
        self,
        name: str,
        rows: NDArray[np.intp],
        values: Array,
        present: NDArray[np.intp] | None,
        seconds: tuple[float, float],
    ) -> None:
        """Record predictions of some rows, over the classes present, and the seconds of fitting and predicting."""
        n, C = self.problem.n, self.problem.n_classes
        table = self.predictions.setdefault(name, np.full((n,) if C is None else (n, C), np.nan))
        if present is not None:
            everything = np.zeros((len(rows), table.shape[1]))
            everything[:, present] = values
            values = everything
        table[rows] = np.where(np.isnan(table[rows]), values, table[rows])
        before = self.seconds.get(name, (0.0, 0.0))
        self.seconds[name] = (before[0] + seconds[0], before[1] + seconds[1])

    def comparison(self, loss: HeldOutLoss) -> Comparison:
        """The table of losses, and the sentence."""
        judged = loss.fold >= 0
        names = [*(name for name, _ in self.named), *COMBINATIONS]
        complete = [
            name for name in names if name in self.predictions and np.isfinite(self.predictions[name][judged]).all()
        ]
        units = {name: loss.units(self.predictions[name]) for name in complete}
        rows = []
        for name in complete:
            difference = loss.difference(units[name], units["stacking"])
            rows.append(
                {
                    "name": name,
                    "kind": "combination" if name in COMBINATIONS else "expert",
                    "loss": loss.mean(units[name]),
                    "difference": difference.mean,
                    "standard_error": difference.standard_error,
                    "fit_seconds": self.seconds[name][0],
                    "predict_seconds": self.seconds[name][1],
                }
            )
        unweighted = loss.weights_refused(self.predictions[complete[0]])
        name, times = Counter(self.best or [self.named[0][0]]).most_common(1)[0]  # of equals the first
        single = name if times >= len(self.best) else f"chosen in each fold; {name} in {times} of {len(self.best)}"
        problem = self.problem
        leaks = suspicious_columns(problem.X, problem.y, classes=problem.n_classes is not None)
        order = [name for name in CANDIDATES if name in units]
        winner = order[loss.simplest([units[name] for name in order])]
        phrases = PHRASES | {
            "best single": f"the best single expert ({single})",
            "blend": FINAL[self.mixture.final],
            "stacking": "scikit-learn's stacking",
        }
        last_fold = worse_last_fold(loss, units["blend"], self.folds)
        said = [_sentence(loss, units, winner, phrases, unweighted), last_fold, sentence(self.too_large)]
        said += [self.deadline.sentence, *leaks]
        verdict = " ".join(one for one in said if one)
        return Comparison(rows, verdict, self.failures, loss.measure, self.mixtures, winner, self.best)


def _sklearn_stack(part: Problem, inner: Folds, known: Array, values: Array) -> Array:
    """Predictions of what StackingRegressor and StackingClassifier fit by default to the same predictions."""
    held_out = np.flatnonzero(inner.held_out)
    known, y = known[held_out], part.y[held_out]
    weight = None if part.sample_weight is None else part.weight[held_out]
    if part.n_classes is None:
        return np.asarray(RidgeCV().fit(known, y, sample_weight=weight).predict(values))
    first = 1 if part.n_classes == 2 else 0  # of two classes it keeps the second

    def columns(probabilities: Array) -> Array:
        return np.asarray(probabilities[:, :, first:].reshape(len(probabilities), -1))

    shares = np.zeros((len(values), part.n_classes))
    if len(np.unique(y)) == 1:
        shares[:, y[0]] = 1.0
        return shares
    model = LogisticRegression().fit(columns(known), y, sample_weight=weight)
    shares[:, model.classes_] = model.predict_proba(columns(values))
    return shares


def _sentence(
    loss: HeldOutLoss, units: dict[str, Array], winner: str, phrases: dict[str, str], unweighted: bool
) -> str:
    """The simplest candidate that does as well as the best, and how the blend compares.

    `phrases` says what each combination is; `unweighted` that the scorer takes no sample weights, where there are some.
    """

    def against(one: str, other: str) -> str:
        difference = loss.difference(units[other], units[one])
        whole = loss.mean(units[other])
        return compared(loss.measure, difference.mean, difference.standard_error, whole, phrases[other])

    others = [name for name in ("best single", "stacking") if name != winner]
    said = f"The simplest candidate that does as well as the best is {phrases[winner]}: "
    said += f"{shown_loss(loss.measure, loss.mean(units[winner]))}, which is "
    said += f"{' and '.join(against(winner, other) for other in others)}. "
    name = measure_name(loss.measure)
    said += f"The {name} of {phrases['blend']}, which predict answers with, is {against('blend', winner)}."
    return f"{said} Not measured: {UNWEIGHTED.format(loss.measure)}." if unweighted else said
