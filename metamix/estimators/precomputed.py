"""Candidates and blend over out-of-fold predictions of models that were fitted elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from metamix import registry
from metamix.data.folds import Folds, make_folds, repeatable
from metamix.data.scalars import check_seed
from metamix.data.tables import n_rows, recognise_task
from metamix.estimators.parameters import check_count, check_final, check_top_k
from metamix.estimators.precomputed_input import check_answers, known_rows, read_answers, warn_of_hits
from metamix.estimators.resolution import (
    constant_gate,
    gate_features,
    input_tags,
    resolve_gates,
    resolve_likelihood,
    try_likelihood,
)
from metamix.estimators.scoring import check_scoring, try_scoring
from metamix.estimators.session_parts import with_session_parts
from metamix.estimators.validation import (
    check_classes,
    check_folds,
    check_known_classes,
    check_numbers,
    check_rows,
    check_weights,
    check_X,
    clean_X,
)
from metamix.fitting import Problem, prepare
from metamix.fitting.out_of_fold import OutOfFold
from metamix.recombination import posterior
from metamix.training.candidates import CandidateSettings
from metamix.training.fit import fit_combination
from metamix.training.prediction import TargetPrediction
from metamix.training.stacking import EstimatorStack, FeatureWeightedStack, LinearStack, LogOpinionPool
from metamix.training.verdict import ELSEWHERE

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MixtureOfPredictions", "fit_predictions"]

Array = NDArray[np.float64]


def _classifies(estimator: MixtureOfPredictions) -> bool:
    return getattr(estimator, "classes_", None) is not None


def _predicts_numbers(estimator: MixtureOfPredictions) -> bool:
    return not _classifies(estimator)


class MixtureOfPredictions(BaseEstimator):
    """Candidates and blend over predictions of models that were fitted elsewhere; `fit_predictions` makes one.

    Its parameters are those of `fit_predictions`; columns are in the order of `names_`.

    Attributes
    ----------
    names_ : list of K str
        Of all columns: the models, stack, feature-weighted stack (of numbers), mean.
    classes_ : ndarray of shape (C,) or None
    oof_predictions_ : ndarray of shape (n, K) or (n, K, C)
        What was given, and the out-of-fold predictions of the other columns.
    responsibilities_ : ndarray of shape (n, K)
        Rows that took no part have the gate's weights.
    fold_of_row_ : ndarray of shape (n,), or (n, R) with repeats
        -1 for rows that took no part.
    gate_, likelihood_ : fitted parts
    stacks_ : dict from column to fitted stack
    candidates_ : data frame
        As of `MixtureRegressor`, without the mixture.
    verdict_ : Verdict

    Examples
    --------
    >>> from metamix import fit_predictions
    >>> rng = np.random.default_rng(0)
    >>> y = rng.normal(size=60)
    >>> answers = y[:, None] + rng.normal(size=(60, 2))
    >>> mixture = fit_predictions(answers, X=y[:, None], y=y, random_state=0)
    >>> mixture.names_, mixture.gate_weights(y[:5, None], predictions=answers[:5]).shape
    (['model-1', 'model-2', 'stack', 'feature-weighted stack', 'mean'], (5, 5))
    """

    def __init__(
        self,
        names: Sequence[str] | None = None,
        *,
        task: str = "auto",
        gate: Any = "auto",
        gate_features: Any = "x",
        likelihood: Any = "gaussian",
        objective: str = "prediction",
        final: str = "blend",
        final_estimator: Any = None,
        top_k: int | None = None,
        cv: Any = 5,
        scoring: Any = None,
        columns: Any = None,
        random_state: Any = None,
    ) -> None:
        self.names = names
        self.task = task
        self.gate = gate
        self.gate_features = gate_features
        self.likelihood = likelihood
        self.objective = objective
        self.final = final
        self.final_estimator = final_estimator
        self.top_k = top_k
        self.cv = cv
        self.scoring = scoring
        self.columns = columns
        self.random_state = random_state

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name."""
        self.cv = repeatable(self.cv)  # a generator could not be copied
        return dict(super().get_params(deep=deep))

    def __getstate__(self) -> dict[str, Any]:
        self.cv = repeatable(self.cv)
        return with_session_parts(super().__getstate__())

    def fit(self, X: Any, y: Any, predictions: Any, sample_weight: Any = None, groups: Any = None) -> Self:
        """Learn the gate; parameters as for `fit_predictions`."""
        self.cv = repeatable(self.cv)
        self._check_parameters()
        resolved = resolve_gates(self.gate)
        target, n_classes = self._target(y)
        names, given = read_answers(predictions, self.names, self.classes_)
        if len(given) != len(target):
            raise ValueError(f"predictions have {len(given)} rows, y has {len(target)}; give the same rows, in order.")
        values = check_answers(given, names, self.classes_)
        check_final(self.final_estimator, classifier=self.classes_ is not None)
        check_top_k(self.top_k, len(names) + (1 if n_classes else 2))
        self._input_tags = input_tags([], resolved, self.gate_features)
        X = self._checked_X(X, len(target), reset=True)
        groups = check_rows(given, target, groups)
        weight = check_weights(sample_weight, len(target))
        known = known_rows(values, names)
        warn_of_hits(values[known], target[known], names)
        gate_seed, fold_seed = (int(s) for s in check_random_state(self.random_state).randint(2**31 - 1, size=2))
        features = gate_features(self.gate_features, resolved).fit(X, target)
        base = features.base(X)
        several = resolved.gates_for(base)[: resolved.n_over_experts(base)]
        gates = tuple(prepare(gate, gate_seed) for gate in several)
        folds = _folds(self.cv, known, X, target, groups, n_classes is not None, fold_seed)
        problem = Problem(_rows_of(X, len(target)), target, weight, groups, n_classes, self.classes_)
        check_folds(folds, problem.weight)
        try_scoring(self.scoring, problem, folds, self.classes_)
        stack: Any = LogOpinionPool() if n_classes else LinearStack()
        if self.final_estimator is not None:
            stack = EstimatorStack(prepare(self.final_estimator, gate_seed), self.classes_)
        settings = CandidateSettings(
            gates, constant_gate(), resolved.constant_competes, stack, None if n_classes else FeatureWeightedStack(),
            registry.likelihoods["categorical"]() if n_classes else resolve_likelihood(self.likelihood), features,
            self.final, self.objective, self.top_k, self.classes_, self.scoring,
        )  # fmt: skip
        nothing = np.zeros(len(names))
        first_level = OutOfFold(list(names), values, fit_seconds=nothing, predict_seconds=nothing.copy())
        self._fitted = fit_combination(problem, folds, first_level, (), settings).not_nested(ELSEWHERE)
        learned = self._fitted.targets[0]
        self.names_ = self._fitted.names
        self.gate_, self.likelihood_ = learned.gate, learned.likelihood
        self.stacks_ = {name: stack for name, (stack, _) in learned.stacks.items()}
        self.oof_predictions_, self.responsibilities_ = learned.predictions, learned.responsibilities
        self.fold_of_row_ = folds.fold_of_row
        self.verdict_, self._candidates = learned.verdict, learned.candidates
        return self

    @property
    def candidates_(self) -> pd.DataFrame:
        """A row for each candidate, the simplest first, and one for the blend."""
        import pandas as pd

        check_is_fitted(self, "_candidates")
        return pd.DataFrame(self._candidates)

    def predict(self, X: Any, predictions: Any = None) -> NDArray[Any]:
        """The mixture's answer (n,): numbers, or the most probable class.

        Parameters
        ----------
        X : array, sparse matrix or data frame of shape (n, d)
            May be None where the gate looks at the predictions alone.
        predictions : array-like of shape (n, K) or (n, K, C), data frame, or mapping
            The models' answers to these rows, in the form that `fit` had them. By name, they may come in any
            order, and others beside them are left out.

        Raises
        ------
        ValueError
            If an answer is missing, not a number, or of the wrong shape.
        """
        if _classifies(self):
            likely = self.predict_proba(X, predictions).argmax(axis=1)
            return np.asarray(self.classes_[likely])
        return self._combined(X, predictions).combined()

    @available_if(_classifies)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any, predictions: Any = None) -> Array:
        """Class probabilities (n, C), in the order of `classes_`."""
        mixed = self._combined(X, predictions).combined()
        return np.asarray(mixed / mixed.sum(axis=1, keepdims=True))

    @available_if(_predicts_numbers)  # type: ignore[untyped-decorator]
    def predict_quantile(self, X: Any, q: Any, predictions: Any = None) -> Array:
        """Quantiles of y, (n,) or (n, m), as of `MixtureRegressor`; predictions as for `predict`."""
        return self._combined(X, predictions).quantile(q)

    @available_if(_predicts_numbers)  # type: ignore[untyped-decorator]
    def predict_interval(self, X: Any, coverage: float = 0.9, predictions: Any = None) -> Array:
        """Interval (n, 2) that holds y with probability `coverage`, with equal tails; predictions as for `predict`."""
        return self._combined(X, predictions).interval(coverage)

    def gate_weights(self, X: Any, predictions: Any = None) -> Array:
        """Weights of the columns in each row, (n, K); rows sum to one.

        `predictions` may be left out where the gate looks at X alone.
        """
        check_is_fitted(self)
        if predictions is None and not self._fitted.features.asks_experts:
            return self._fitted.weights(self._checked_X(X, None))[0]
        return self._combined(X, predictions).weights

    def assign(self, X: Any, predictions: Any = None) -> NDArray[np.intp]:
        """Index in `names_` of the column with the largest weight in each row, (n,)."""
        return np.asarray(self.gate_weights(X, predictions).argmax(axis=1))

    def responsibilities(self, X: Any, y: Any, predictions: Any = None) -> Array:
        """Posterior probabilities of the columns given y, (n, K)."""
        return self._explained(X, y, predictions)[0]

    def log_prob(self, X: Any, y: Any, predictions: Any = None) -> Array:
        """Log density, or log probability of the class, of y given each row, (n,)."""
        return self._explained(X, y, predictions)[1]

    def _explained(self, X: Any, y: Any, predictions: Any) -> tuple[Array, Array]:
        found = self._combined(X, predictions)
        if _classifies(self):
            codes: NDArray[Any] = check_known_classes(y, self.classes_)
        else:
            codes = check_numbers(self, y, None)
        check_rows(found.values, codes)
        return posterior(found.weights, found.log_prob(codes))[0], found.log_density(codes)

    def _combined(self, X: Any, predictions: Any) -> TargetPrediction:
        """Weights and predictions of all columns, from the models' predictions."""
        check_is_fitted(self)
        names = self.names_[: self._fitted.n_first_level]
        if predictions is None:
            raise ValueError(
                f"the mixture has no models of its own: give their answers to these rows as predictions=..., a column "
                f"for each of {', '.join(names)}."
            )
        _, given = read_answers(predictions, names, self.classes_)
        X = self._checked_X(X, len(given))
        values = check_answers(given, names, self.classes_, complete=True)
        return self._fitted.combine(_rows_of(X, len(given)), values)[0]

    def _check_parameters(self) -> None:
        for name, values in (
            ("task", ("auto", "regression", "classification")),
            ("objective", ("prediction", "likelihood")),
            ("final", ("blend", "best", "simplest")),
        ):
            if not (isinstance(getattr(self, name), str) and getattr(self, name) in values):
                raise ValueError(f"{name}={getattr(self, name)!r} is unknown; give one of {', '.join(values)}.")
        check_scoring(self.scoring)
        check_seed(self.random_state)
        check_count("top_k", self.top_k, "number of models to keep", (None,))
        if self.cv is None:
            raise ValueError("cv=None would judge the gate on rows it learned from; give cv=5, a splitter or folds.")

    def _target(self, y: Any) -> tuple[NDArray[Any], int | None]:
        task = recognise_task(y) if self.task == "auto" and y is not None else self.task
        self.classes_: Any = None
        if task != "classification":
            numbers = check_numbers(self, y)
            if numbers.ndim != 1:
                raise ValueError(f"y has shape {numbers.shape}; fit one mixture of predictions for each target.")
            try_likelihood(resolve_likelihood(self.likelihood), numbers)
            return numbers, None
        if not (isinstance(self.likelihood, str) and self.likelihood == "gaussian"):
            raise ValueError(f"likelihood={self.likelihood!r} is for numbers, and y has classes; leave it out.")
        self.classes_, codes = check_classes(self, y)
        return codes, len(self.classes_)

    def _checked_X(self, X: Any, n: int | None, reset: bool = False) -> Any:
        """X as the gate will see it; None where the gate looks at predictions alone and nothing is given."""
        if X is None:
            if isinstance(self.gate_features, str) and self.gate_features == "predictions":
                return None
            raise ValueError("X is None; give the rows' features, or set gate_features='predictions'.")
        X = check_X(self, clean_X(self, X, reset=reset), reset=reset)
        if n is not None and n_rows(X) != n:
            what = "y has" if reset else "the predictions have"
            raise ValueError(f"X has {n_rows(X)} rows, {what} {n}; give the same rows in the same order.")
        return X

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_fitted")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        found = getattr(self, "_input_tags", None)
        if found is None:
            try:
                found = input_tags([], resolve_gates(self.gate), self.gate_features)
            except (ValueError, TypeError, KeyError, ImportError):  # reported by fit; reading tags must not fail
                return tags
        for name, value in found.items():
            setattr(tags.input_tags, name, value)
        return tags


def _rows_of(X: Any, n: int) -> Any:
    """X, or n rows without columns where there is none."""
    return np.empty((n, 0)) if X is None else X


def _folds(cv: Any, known: NDArray[np.bool_], X: Any, y: NDArray[Any], groups: Any, stratify: bool, seed: int) -> Folds:
    """Folds of the rows that every model answered; a number divides these rows, a splitter sees all."""
    n, rows = len(y), np.flatnonzero(known)
    if isinstance(cv, Integral):
        inside = None if groups is None else groups[rows]
        some = make_folds(cv, np.empty((len(rows), 0)), y[rows], inside, stratify=stratify, random_state=seed)
        return Folds(n, tuple((rows[train], rows[test]) for train, test in some.pairs), stratify=stratify)
    every = make_folds(cv, _rows_of(X, n), y, groups, stratify=stratify, random_state=seed)
    pairs = [(train[known[train]], test[known[test]]) for train, test in every.pairs]
    kept = tuple((train, test) for train, test in pairs if len(test))
    if not kept:
        raise ValueError("these folds hold out no row that every model answered; give others, or cv=5.")
    return Folds(n, kept, stratify=stratify)


def fit_predictions(
    predictions: Any,
    X: Any,
    y: Any,
    *,
    names: Sequence[str] | None = None,
    task: str = "auto",
    gate: Any = "auto",
    gate_features: Any = "x",
    likelihood: Any = "gaussian",
    objective: str = "prediction",
    final: str = "blend",
    final_estimator: Any = None,
    top_k: int | None = None,
    cv: Any = 5,
    scoring: Any = None,
    columns: Any = None,
    sample_weight: Any = None,
    groups: Any = None,
    random_state: Any = None,
) -> MixtureOfPredictions:
    """Combine out-of-fold predictions of models of any origin; no expert is fitted.

    Candidates, blend and verdict are those of `MixtureRegressor` with ``specialize=False``.

    Parameters
    ----------
    predictions : array-like of shape (n, K) or (n, K, C), data frame, or mapping from name to answers
        Of numbers, a column for each model. Of classes, probabilities in the order of ``np.unique(y)``; of
        two classes, (n, K) holds the probability of the second, as ``predict_proba(X)[:, 1]`` does. A
        mapping holds (n,) or (n, C) for each model; columns of a frame there that have names are aligned by these,
        which are the classes. Rows with NaN, which a model did not hold out, take no
        part. Answers to rows that a model was trained on would make it look better than it is.
    X : array, sparse matrix or data frame of shape (n, d)
        What the gate looks at; None with ``gate_features="predictions"``.
    y : array-like of shape (n,)
    names : list of K str, optional
        Of an array's columns, "model-1" and so on by default; of a frame or mapping, which ones to take.
    task : {"auto", "regression", "classification"}
        Recognised from y by default.
    gate, gate_features, likelihood, objective, final, final_estimator, top_k, scoring, columns
        As in `MixtureRegressor`.
    cv : int, splitter or list of (train, test), default 5
        Folds for gate and stack. Those that the answers came from are best, where they are known.
    sample_weight, groups : array-like of shape (n,), optional
    random_state : int, RandomState or None

    Returns
    -------
    MixtureOfPredictions
        Its `predict(X, predictions=...)` takes the models' new answers.

    Raises
    ------
    ValueError
        For parameters or data that will not do; the message says what would.

    Warns
    -----
    UserWarning
        If a model's answers equal y in nearly every row.

    References
    ----------
    Wolpert (1992), Stacked generalization; Yao, Pirš, Vehtari & Gelman (2022), Bayesian hierarchical stacking.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.model_selection import cross_val_predict
    >>> from sklearn.neighbors import KNeighborsRegressor
    >>> from metamix import fit_predictions, make_regimes
    >>> X, y = make_regimes(200, random_state=0)
    >>> models = {"ridge": Ridge(), "near": KNeighborsRegressor()}
    >>> given = {name: cross_val_predict(model, X, y) for name, model in models.items()}
    >>> mixture = fit_predictions(given, X, y, random_state=0)
    >>> new = {name: model.fit(X, y).predict(X[:3]) for name, model in models.items()}
    >>> mixture.predict(X[:3], predictions=new).shape
    (3,)
    """
    mixture = MixtureOfPredictions(
        names, task=task, gate=gate, gate_features=gate_features, likelihood=likelihood, objective=objective,
        final=final, final_estimator=final_estimator, top_k=top_k, cv=cv, scoring=scoring, columns=columns,
        random_state=random_state,
    )  # fmt: skip
    return mixture.fit(X, y, predictions, sample_weight=sample_weight, groups=groups)
