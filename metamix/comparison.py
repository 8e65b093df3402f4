"""compare(): experts and their combinations on the same outer folds, from one cache of out-of-fold answers."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.utils import check_random_state

from metamix.data.folds import Folds, make_folds
from metamix.data.tables import n_rows, recognise_task, take_rows
from metamix.engines import Engine, current_engine
from metamix.estimators import MixtureClassifier, MixtureRegressor
from metamix.estimators.validation import check_rows, check_weights, check_X
from metamix.estimators.walks import Known
from metamix.fitting import FitSession, NamedExpert, Problem, enter, place_experts
from metamix.fitting.out_of_fold import Failure, OutOfFold
from metamix.progress import Event, emit
from metamix.training.judging import Judge, paired, short, simplest_winner
from metamix.training.objectives import LogScore, SquaredError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Comparison", "compare"]

Array = NDArray[np.float64]
WORDS = {"best single": "the best single expert", "average": "the plain average", "mixture": "the mixture"}
COMBINATIONS = ("best single", "average", "convex", "stacking", "mixture", "oracle")


@dataclass(frozen=True)
class Comparison:
    """Losses of experts and combinations on the same held-out rows.

    Parameters
    ----------
    rows : list of dict
        One for each expert and combination.
    verdict : str
        One sentence.
    failures : list of Failure
    measure : str
        What the loss is.
    mixtures : list
        The mixture fitted in each outer fold.
    """

    rows: list[dict[str, Any]]
    verdict: str
    failures: list[Failure]
    measure: str
    mixtures: list[Any] = field(default_factory=list, repr=False)

    def frame(self) -> pd.DataFrame:
        """Name, kind, loss, paired difference to stacking and its standard error, seconds to fit and predict."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    def plot(self, ax: Any = None) -> Any:
        """Draw each loss difference to stacking, with two standard errors; returns the matplotlib axes."""
        from matplotlib import pyplot as plt

        table = self.frame().iloc[::-1]
        if ax is None:
            _, ax = plt.subplots(figsize=(6.4, 0.35 * len(table) + 1.0), layout="constrained")
        colours = ["C0" if kind == "combination" else "0.55" for kind in table["kind"]]
        ax.errorbar(table["difference"], table["name"], xerr=2 * table["standard_error"], fmt="none", ecolor=colours)
        ax.scatter(table["difference"], table["name"], c=colours, zorder=3)
        ax.axvline(0, color="0.8", zorder=0)
        ax.set_xlabel(f"{self.measure}, difference to stacking (two standard errors); left is better")
        return ax

    def __str__(self) -> str:
        return self.verdict


def compare(
    X: Any,
    y: Any,
    experts: Any = None,
    *,
    cv: Any = 5,
    groups: Any = None,
    sample_weight: Any = None,
    scoring: Any = None,
    random_state: Any = None,
    n_jobs: int | None = None,
    task: str | None = None,
    device: str = "auto",
) -> Comparison:
    """Compare experts, voting, convex blend, scikit-learn's stacking, the mixture and the oracle.

    Every expert is fitted once for each pair of outer and inner fold and once for each outer fold, however
    many combinations look at its answers. Inside an outer fold the inner folds are the other outer folds.

    Parameters
    ----------
    X : array, sparse matrix or data frame of shape (n, d)
    y : array-like of shape (n,)
    experts : list, optional
        As in `MixtureRegressor`; its default pool otherwise.
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
    ['stacking', 'mixture', 'oracle']
    """
    if np.ndim(y) == 2 and np.shape(y)[1] > 1:
        raise ValueError(f"y has {np.shape(y)[1]} targets; give one column, such as y[:, 0], and compare them in turn.")
    task = recognise_task(y) if task is None else task
    if task not in ("regression", "classification"):
        raise ValueError(f"task={task!r} is unknown; give 'regression' or 'classification', or leave it out.")
    if cv is None:
        raise ValueError("cv=None would compare in sample; give a number of folds or a splitter.")
    seed = int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
    face = (MixtureRegressor if task == "regression" else MixtureClassifier)(
        experts, scoring=scoring, random_state=seed, n_jobs=n_jobs, device=device
    )
    X = check_X(face, X, reset=True)
    target, n_classes = face._target(y)
    classes = None if n_classes is None else face.classes_
    groups = check_rows(X, target, groups)
    data = Problem(X, target, check_weights(sample_weight, n_rows(X)), groups, n_classes)
    folds = make_folds(cv, X, target, groups, stratify=n_classes is not None, random_state=seed)
    named = face._resolved()
    seeds = check_random_state(seed).randint(np.iinfo(np.int32).max, size=len(named))
    entries = enter(named, seeds, place_experts(named, device))
    board = _Board(data, [name for name, _ in named], scoring)
    engine = current_engine(n_jobs)
    for f in range(len(folds)):
        emit(Event("start", f"outer fold {f + 1} of {len(folds)}", f, len(folds)))
        _outer_fold(board, face, entries, data, folds, f, engine, seed)
    emit(Event("end", "comparison", len(folds), len(folds)))
    judge = Judge(target, data.weight, folds.partition, classes, scoring)
    return board.comparison(judge)


def _outer_fold(
    board: _Board, face: Any, entries: list[NamedExpert], data: Problem, folds: Folds, f: int, engine: Engine, seed: int
) -> None:
    """Everything that is learned on the training rows of one outer fold, asked about its test rows."""
    rows, test = folds.pairs[f]
    present, y = None, data.y[rows]
    if data.n_classes is not None:  # training rows may lack a class
        present, y = np.unique(y, return_inverse=True)
    part = Problem(
        take_rows(data.X, rows),
        y,
        None if data.sample_weight is None else data.sample_weight[rows],
        None if data.groups is None else data.groups[rows],
        None if present is None else len(present),
    )
    inner = folds.inside(f, part.X, part.y, part.groups, seed)
    X_test = take_rows(data.X, test)
    with FitSession(entries, part, inner, engine) as session:
        alive, answers = session.cross_fit()
        found, failures = session.fit_all(alive)
    fitted = {alive[j]: one for j, one in found.items()}
    answers = answers.take(list(found))
    board.failures += answers.failures + failures
    given, seconds = [], []
    for k, one in list(fitted.items()):
        began = time.perf_counter()
        answer = one.try_predict(X_test, f)
        if isinstance(answer, Failure):
            board.failures.append(answer)
            answers = answers.take([j for j, other in enumerate(fitted) if other != k])
            del fitted[k]
            continue
        given.append(answer)
        seconds.append(time.perf_counter() - began)
        board.add(entries[k].name, test, answer, present, (one.seconds, seconds[-1]))
    if not given:
        session.raise_all_failed(board.failures)
    answers.predict_seconds = np.array(seconds)
    shared = float(answers.fit_seconds.sum() + sum(one.seconds for one in fitted.values()))
    part_of = _Part(part, inner, answers, np.stack(given, axis=1), test, present, shared)
    _combinations(board, part_of)
    began = time.perf_counter()
    mixture = type(face)(**face.get_params(deep=False))
    mixture._fit(part.X, part.y, part.sample_weight, part.groups, known=Known(inner, list(fitted), answers, fitted))
    fit_seconds = shared + time.perf_counter() - began
    began = time.perf_counter()
    answer = mixture.predict(X_test) if present is None else mixture.predict_proba(X_test)
    board.add("mixture", test, answer, present, (fit_seconds, time.perf_counter() - began))
    board.mixtures.append(mixture)


@dataclass(frozen=True)
class _Part:
    """What one outer fold's combinations are made of."""

    data: Problem  # training rows
    inner: Folds
    answers: OutOfFold
    values: Array  # the experts' answers to the test rows
    test: NDArray[np.intp]
    present: NDArray[np.intp] | None
    shared: float  # seconds that every combination costs


def _combinations(board: _Board, part: _Part) -> None:
    """Best single, average, convex blend, scikit-learn's stacking and the oracle, from known answers."""
    honest = np.flatnonzero(part.inner.held_out)
    known, y, weight = part.answers.values[honest], part.data.y[honest], part.data.weight[honest]
    codes = None if part.present is None else np.arange(len(part.present))
    judge = Judge(y, weight, part.inner.partition[honest], codes, board.scoring)
    best = int(np.argmin([judge.mean(judge.losses(known[:, k])) for k in range(known.shape[1])]))
    values, asking = part.values, part.answers.predict_seconds
    rows = np.arange(len(values))

    def add(name: str, answer: Array, more: float = 0.0, seconds: float | None = None) -> None:
        asked = float(asking.sum()) if seconds is None else seconds
        board.add(name, part.test, answer, part.present, (part.shared + more, asked))

    board.best.append(part.answers.names[best])
    add("best single", values[:, best], seconds=float(asking[best]))
    add("average", values.mean(axis=1))
    add("convex", np.einsum("k,nk...->n...", _convex(part.data, known, y, weight), values))
    began = time.perf_counter()
    stacked, predict = _sklearn_stack(part.data, known, y, None if part.data.sample_weight is None else weight)
    add("stacking", predict(stacked, values), time.perf_counter() - began)
    truth = board.data.y[part.test]
    if part.present is None:
        choice = np.argmin((values - truth[:, None]) ** 2, axis=1)
    else:
        place = np.minimum(np.searchsorted(part.present, truth), len(part.present) - 1)
        choice = np.argmax(values[rows, :, place], axis=1)
    add("oracle", values[rows, choice], np.nan)


def _convex(part: Problem, known: Array, y: Any, weight: Array) -> Array:
    from metamix import registry

    objective: SquaredError | LogScore = SquaredError(y, known)
    if part.n_classes is not None:
        objective = LogScore(np.log(np.clip(known[np.arange(len(y)), :, y], 1e-6, 1)))
    start = np.full(known.shape[1], 1 / known.shape[1])
    gate = registry.gates["constant"]().fit_objective(
        np.empty((len(y), 0)), objective, start=start, sample_weight=weight
    )
    return np.asarray(gate.predict_proba(np.empty((1, 0)))[0])


def _sklearn_stack(part: Problem, known: Array, y: Any, weight: Array | None) -> tuple[Any, Any]:
    """What StackingRegressor and StackingClassifier fit by default on these answers."""
    if part.n_classes is None:
        return RidgeCV().fit(known, y, sample_weight=weight), lambda model, values: model.predict(values)
    first = 1 if part.n_classes == 2 else 0  # of two classes it keeps the second

    def columns(values: Array) -> Array:
        return np.asarray(values[:, :, first:].reshape(len(values), -1))

    def answer(model: Any, values: Array) -> Array:
        shares = np.zeros((len(values), part.n_classes or 0))
        shares[:, model.classes_] = model.predict_proba(columns(values))
        return shares

    return LogisticRegression().fit(columns(known), y, sample_weight=weight), answer


class _Board:
    """Collects answers and seconds under each name, fold by fold."""

    def __init__(self, data: Problem, names: list[str], scoring: Any) -> None:
        self.data, self.names, self.scoring = data, names, scoring
        self.answers: dict[str, Array] = {}
        self.seconds: dict[str, tuple[float, float]] = {}
        self.failures: list[Failure] = []
        self.mixtures: list[Any] = []
        self.best: list[str] = []  # the best single expert of each outer fold

    def add(
        self,
        name: str,
        rows: NDArray[np.intp],
        answer: Array,
        present: NDArray[np.intp] | None,
        seconds: tuple[float, float],
    ) -> None:
        """Note an answer to some rows, over the classes present, and what fitting and asking took."""
        C = self.data.n_classes
        table = self.answers.setdefault(name, np.full((self.data.n,) if C is None else (self.data.n, C), np.nan))
        if present is not None:
            everything = np.zeros((len(rows), table.shape[1]))
            everything[:, present] = answer
            answer = everything
        table[rows] = np.where(np.isnan(table[rows]), answer, table[rows])
        before = self.seconds.get(name, (0.0, 0.0))
        self.seconds[name] = (before[0] + seconds[0], before[1] + seconds[1])

    def comparison(self, judge: Judge) -> Comparison:
        judged = judge.fold >= 0
        complete = [
            name
            for name in (*self.names, *COMBINATIONS)
            if name in self.answers and np.isfinite(self.answers[name][judged]).all()
        ]
        losses = {name: judge.losses(self.answers[name]) for name in complete}
        rows = []
        for name in complete:
            gap = paired(losses[name] - losses["stacking"], judge.weight)
            rows.append(
                {
                    "name": name,
                    "kind": "combination" if name in COMBINATIONS else "expert",
                    "loss": judge.mean(losses[name]),
                    "difference": gap.mean,
                    "standard_error": gap.standard_error,
                    "fit_seconds": self.seconds[name][0],
                    "predict_seconds": self.seconds[name][1],
                }
            )
        measure = "squared error" if judge.classes is None else "log-loss"
        if judge.scoring is not None:
            measure = f"minus {judge.scoring if isinstance(judge.scoring, str) else 'the score'}"
        return Comparison(
            rows,
            _sentence(judge, losses, measure, max(set(self.best), key=self.best.count)),
            self.failures,
            measure,
            self.mixtures,
        )


def _sentence(judge: Judge, losses: dict[str, Array], measure: str, single: str) -> str:
    """Which combination to trust, and by how much it beats the others; `single` is the expert mostly best."""
    order = ["best single", "average", "convex", "stacking", "mixture"]
    winner = order[simplest_winner(judge, [losses[name] for name in order])]
    parts = []
    for name in order:
        if name != winner and name != "convex":
            gap = paired(losses[name] - losses[winner], judge.weight)
            whole = abs(judge.mean(losses[name])) or 1.0
            share, error = 100 * gap.mean / whole, 100 * gap.standard_error / whole
            side = "below" if share >= 0 else "above"
            what = WORDS.get(name, name)
            equal = abs(share) < 0.01 and error < 0.01
            parts.append(f"equal to {what}" if equal else f"{short(abs(share))} % (± {short(error)} %) {side} {what}")
    who = {
        "best single": f"One expert is enough ({single})",
        "average": "Plain averaging is enough",
        "convex": "A convex blend is enough",
        "stacking": "Stacking is enough",
        "mixture": "Trust the mixture",
    }[winner]
    return f"{who}: {measure} {short(judge.mean(losses[winner]), 4)}, {', '.join(parts[:-1])} and {parts[-1]}."
