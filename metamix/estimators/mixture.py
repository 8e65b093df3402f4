"""What regressor and classifier share: parameters, the walk through fit, weights, answers, densities."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils import Bunch, check_random_state
from sklearn.utils.validation import check_is_fitted

from metamix import registry
from metamix.answers import Answers
from metamix.engines import current_engine
from metamix.estimators.checks import check_rows, check_weights, check_X
from metamix.estimators.parts import accepts, check_parameters, name_experts, resolve_experts, resolve_gate
from metamix.estimators.state import packed, unpacked
from metamix.estimators.walks import Beginning, Learned, fit_plain, fit_table
from metamix.features import GateFeatures, StackColumns
from metamix.fitting import Data, Entry, Fitted, Workshop, prepare
from metamix.folds import Folds, make_folds
from metamix.progress import listen, narrate
from metamix.recombination import keep_top, posterior
from metamix.tables import n_rows, take_rows
from metamix.training.em import Parts
from metamix.training.selection import Table
from metamix.training.starts import from_user

Array = NDArray[np.float64]

# A row with less responsibility than this is left out when an expert is refitted.
NEGLIGIBLE = 0.01
# A gate by name looks at so many principal components where x is wider.
MOST_GATE_COLUMNS = 40
Known = tuple[Folds, list[int], Answers, dict[int, Fitted]]


class Mixture(BaseEstimator, ABC):
    """Mixture of experts; abstract. See `MixtureRegressor` and `MixtureClassifier`."""

    def __init__(
        self,
        experts: Any = None,
        *,
        n_experts: int | str | None = None,
        gate: Any = "softmax",
        gate_features: Any = "x",
        objective: str = "prediction",
        specialize: bool | str = "auto",
        start: Any = "auto",
        max_rounds: int | str = "auto",
        cv: Any = 5,
        refit: bool = True,
        top_k: int | None = None,
        on_error: str = "drop",
        device: str = "auto",
        scoring: Any = None,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.experts = experts
        self.n_experts = n_experts
        self.gate = gate
        self.gate_features = gate_features
        self.objective = objective
        self.specialize = specialize
        self.start = start
        self.max_rounds = max_rounds
        self.cv = cv
        self.refit = refit
        self.top_k = top_k
        self.on_error = on_error
        self.device = device
        self.scoring = scoring
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @property
    @abstractmethod
    def _known(self) -> Mapping[str, Any]:
        """Registry of experts by name."""

    @property
    @abstractmethod
    def _pool(self) -> tuple[str, ...]:
        """Names of the experts used where none are given."""

    @abstractmethod
    def _likelihood_and_stacker(self) -> tuple[Any, Any]:
        """Unfitted likelihood and final estimator."""

    @abstractmethod
    def _target(self, y: Any) -> tuple[NDArray[Any], int | None]:
        """Y as the experts see it, and the number of classes; sets `classes_`."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters, those of named experts among them as ``name`` and ``name__parameter``."""
        params = dict(super().get_params(deep=deep))
        if deep:
            for name, expert in self._named():
                if hasattr(expert, "get_params") and not isinstance(expert, type):
                    params[name] = expert
                    params.update({f"{name}__{key}": value for key, value in expert.get_params().items()})
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters; an expert is replaced by its name and reached by ``name__parameter``."""
        if "experts" in params:
            self.experts = params.pop("experts")
        named = self._named()
        own = inspect.signature(type(self)).parameters
        for name, _ in named:
            if name in params and name not in own:
                named = [(one, params[name] if one == name else expert) for one, expert in named]
                self.experts = named
                del params[name]
        inside: dict[str, dict[str, Any]] = {}
        for key in [key for key in params if key.partition("__")[0] in dict(named) and "__" in key]:
            name, _, rest = key.partition("__")
            inside.setdefault(name, {})[rest] = params.pop(key)
        for name, values in inside.items():
            if not hasattr(dict(named)[name], "set_params"):
                raise ValueError(
                    f"expert {name!r} is given by name and has no parameters to set yet; give an estimator, "
                    f"as in experts=[({name!r}, estimator)]."
                )
            dict(named)[name].set_params(**values)
        super().set_params(**params)
        return self

    def _named(self) -> list[tuple[str, Any]]:
        try:
            return name_experts(self.experts or [])
        except (TypeError, ValueError):  # fit says what is wrong; looking at parameters must not
            return []

    def _resolved(self) -> list[tuple[str, Any]]:
        experts = list(self._pool) if self.experts is None else self.experts
        return resolve_experts(experts, self._known, inspect.signature(type(self)).parameters)

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Self:
        """Fit experts and gate.

        Parameters
        ----------
        X : array, sparse matrix or data frame of shape (n, d)
            Reaches each expert untouched.
        y : array-like of shape (n,)
        sample_weight : array-like of shape (n,), optional
        groups : array-like of shape (n,), optional
            Rows of one group are never split between folds.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For parameters or data that will not do; the message says what would.
        """
        return self._fit(X, y, sample_weight, groups)

    def _fit(self, X: Any, y: Any, sample_weight: Any, groups: Any, known: Known | None = None) -> Self:
        check_parameters(self)
        specialize = True if self.cv is None else self.specialize
        X = check_X(self, X, reset=True)
        target, n_classes = self._target(y)
        groups = check_rows(X, target, groups)
        if not isinstance(self.start, str):
            from_user(self.start, n_rows(X), None)
        data = Data(X, target, check_weights(sample_weight, n_rows(X)), groups, n_classes)
        named = self._resolved()
        components = self.n_experts if isinstance(self.n_experts, int) else len(named)
        if components > data.n:
            raise ValueError(
                f"{components} experts need at least as many rows, got n_samples = {data.n}; "
                "name fewer experts, set n_experts lower, or bring more rows."
            )
        seeds = check_random_state(self.random_state).randint(np.iinfo(np.int32).max, size=len(named) + 3)
        gate_seed, fold_seed, start_seed = (int(seed) for seed in seeds[-3:])
        entries = [
            Entry(name, prepare(expert, int(s)), seed=int(s)) for (name, expert), s in zip(named, seeds, strict=False)
        ]
        gate, raw = resolve_gate(self.gate)
        likelihood, stacker = self._likelihood_and_stacker()
        by_name = isinstance(self.gate, str)
        features = GateFeatures(self.gate_features, raw, MOST_GATE_COLUMNS if by_name else None).fit(X, target)
        parts = Parts(
            prepare(gate, gate_seed), registry.gates["constant"](), likelihood, features,
            registry.gates["softmax"](penalty=0.01, max_iter=50, tol=1e-3), self.objective, self.top_k,
        )  # fmt: skip
        stratify = n_classes is not None
        with ExitStack() as stack:
            if self.verbose:
                stack.enter_context(listen(narrate))
            folds = (
                known[0] if known else make_folds(self.cv, X, target, groups, stratify=stratify, random_state=fold_seed)
            )
            if not folds.honest.any():
                raise ValueError("no row is ever held out by these folds, so nothing could be judged; give others.")
            if specialize == "auto":
                entries.append(Entry("mixture", self._plain(start_seed), self._fold_params(data, folds, fold_seed)))
            engine = current_engine(self.n_jobs)
            negligible = 0.0 if folds.in_sample else NEGLIGIBLE
            workshop = stack.enter_context(Workshop(entries, data, folds, engine, self.on_error, negligible))
            if specialize is True:
                rounds = self.max_rounds if self.max_rounds != "auto" else 1000 if folds.in_sample else 10
                alike = len({repr(expert) for _, expert in named}) < len(named)
                how = Beginning(self.start, self.n_experts, alike, int(rounds), start_seed)
                learned = fit_plain(workshop, parts, how, self.refit)
            else:
                base = features.base(X)
                # The stack bends with what the gate looks at; the pool of classifiers looks at answers only.
                columns = None if n_classes or base is None else StackColumns().fit(base)
                table = Table(
                    data, folds.second_level(target, groups, fold_seed), base, features, parts.gate,
                    parts.constant, stacker, likelihood, self.objective, self.top_k,
                    getattr(self, "classes_", None), self.scoring, None if columns is None else columns.dense(base),
                )  # fmt: skip
                learned = fit_table(workshop, len(named), table, self.refit, columns, known[1:] if known else None)
        self._keep(learned, folds)
        return self

    def _plain(self, seed: int) -> Mixture:
        """The plain mixture of the same parts, to be cross-fitted like any other expert."""
        plain: Mixture = clone(self)
        n_experts = "auto" if self.n_experts is None else self.n_experts
        return plain.set_params(specialize=True, n_experts=n_experts, random_state=seed, n_jobs=None, verbose=0)

    def _fold_params(self, data: Data, folds: Folds, seed: int) -> list[dict[str, Any]]:
        """What the plain mixture is told in each fold, and last for all rows: folds and start of its rows."""
        params: list[dict[str, Any]] = []
        for f in range(len(folds)):
            rows = folds.pairs[f][0]
            groups = None if data.groups is None else data.groups[rows]
            inner = folds.inside(f, take_rows(data.X, rows), data.y[rows], groups, seed)
            params.append({"cv": list(inner.pairs)})
            if not isinstance(self.start, str):
                params[-1]["start"] = np.asarray(self.start)[rows]
        return [*params, {"cv": list(folds.pairs)}]

    def _keep(self, learned: Learned, folds: Folds) -> None:
        import pandas as pd

        self._learned = learned
        self.n_experts_ = len(learned.names)
        self._show_experts()
        self.gate_, self.likelihood_ = learned.gate, learned.likelihood
        self.oof_predictions_ = learned.predictions
        self.responsibilities_ = learned.responsibilities
        self.fold_of_row_ = folds.fold_of_row
        self.devices_ = dict.fromkeys(learned.names, "cpu")
        self.failures_ = pd.DataFrame(
            [vars(failure) for failure in learned.failures], columns=["expert", "fold", "error"]
        )
        self.history_ = pd.DataFrame(learned.history)
        self.starts_ = pd.DataFrame(learned.starts, columns=["start", "score"])
        self.candidates_ = self.verdict_ = None
        if learned.selection is not None:
            self.candidates_ = pd.DataFrame(learned.selection.candidates)
            self.verdict_ = learned.selection.verdict
        mixture = self.named_experts_.get("mixture")
        if isinstance(mixture, list):
            self.n_experts_ = mixture[0].n_experts_
        elif mixture is not None:
            self.history_, self.starts_ = self.mixture_.history_, self.mixture_.starts_
            self.n_experts_ = self.mixture_.n_experts_

    def _show_experts(self) -> None:
        """Set what shows the experts, all of it read off `_learned`."""
        learned = self._learned
        models = [column.model for column in learned.columns]
        self.experts_ = models if learned.stacker is None else [*models, learned.stacker]
        self.named_experts_ = Bunch(**dict(zip(learned.names, self.experts_, strict=True)))
        mixture = self.named_experts_.get("mixture")
        if isinstance(mixture, Mixture):
            self.mixture_ = mixture  # with refit=False there is one per fold, and named_experts_ has the list

    def __getstate__(self) -> dict[str, Any]:
        return packed(super().__getstate__())

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(unpacked(state))
        if "_learned" in state:
            self._show_experts()

    def gate_weights(self, X: Any) -> Array:
        """Whom the mixture trusts in each row.

        Parameters
        ----------
        X : array, sparse matrix or data frame of shape (n, d)

        Returns
        -------
        ndarray of shape (n, K)
            Rows sum to one; columns in the order of `experts_`.
        """
        X = self._checked(X)
        return self._weights(X, self._every_answer(X) if self._learned.features.asks_experts else None)

    def predict_experts(self, X: Any) -> Array:
        """Every expert's answer to every row: (n, K), or probabilities (n, K, C)."""
        return self._every_answer(self._checked(X))

    def assign(self, X: Any) -> NDArray[np.intp]:
        """Index of the leading expert of each row, (n,)."""
        return np.asarray(self.gate_weights(X).argmax(axis=1))

    def responsibilities(self, X: Any, y: Any) -> Array:
        """Who explained each row once y is seen, (n, K); the E-step of training."""
        return posterior(*self._weights_and_log_prob(X, y))[0]

    def score_samples(self, X: Any, y: Any) -> Array:
        """Log density, or log probability of the class, of each row under the mixture, (n,)."""
        return posterior(*self._weights_and_log_prob(X, y))[1]

    @abstractmethod
    def _codes(self, y: Any) -> NDArray[Any]:
        """Y as the likelihood sees it."""

    def _weights_and_log_prob(self, X: Any, y: Any) -> tuple[Array, Array]:
        X = self._checked(X)
        codes = self._codes(y)
        check_rows(X, codes)
        answers = self._every_answer(X)
        return self._weights(X, answers), self.likelihood_.log_prob(codes, answers)

    def _checked(self, X: Any) -> Any:
        check_is_fitted(self)
        return check_X(self, X, reset=False)

    def _weights(self, X: Any, answers: Array | None) -> Array:
        features = self._learned.features
        Z = features.join(features.base(X), answers)
        return keep_top(self.gate_.predict_proba(Z), self.top_k)

    def _every_answer(self, X: Any) -> Array:
        answers = np.stack([column.answer(X) for column in self._learned.columns], axis=1)
        return self._with_stack(X, answers)

    def _with_stack(self, X: Any, answers: Array) -> Array:
        stacker = self._learned.stacker
        if stacker is None:
            return answers
        known = np.isfinite(answers).reshape(len(answers), -1).all(axis=1)
        stacked = np.full((len(answers), 1, *answers.shape[2:]), np.nan)
        if known.any():
            rows, columns = X if known.all() else take_rows(X, np.flatnonzero(known)), self._learned.stack_columns
            features = None if columns is None else columns.dense(self._learned.features.base(rows))
            stacked[known, 0] = stacker.predict(answers[known], features)
        return np.concatenate([answers, stacked], axis=1)

    def _weighed(self, X: Any) -> tuple[Array, Array]:
        """Weights (n, K) and answers; an expert answers only the rows where it counts, NaN elsewhere."""
        if self._learned.features.asks_experts:
            answers = self._every_answer(X)
            return self._weights(X, answers), answers
        weights = self._weights(X, None)
        n, columns = len(weights), self._learned.columns
        needed = weights[:, : len(columns)] > 0
        if self._learned.stacker is not None:
            needed = needed | (weights[:, [-1]] > 0)
        collected: Array | None = None
        for k, column in enumerate(columns):
            rows = np.flatnonzero(needed[:, k])
            if not len(rows):
                continue
            given = column.answer(X if len(rows) == n else take_rows(X, rows))
            if collected is None:
                collected = np.full((n, len(columns), *given.shape[1:]), np.nan)
            collected[rows, k] = given
        assert collected is not None
        return weights, self._with_stack(X, collected)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        try:
            experts = [expert for _, expert in self._resolved()]
            by_name = self.gate_features == "x" if isinstance(self.gate_features, str) else False
            gate, raw = resolve_gate(self.gate)
        except Exception:
            return tags
        gates = [gate.classifier] if raw else []
        for tag in ("sparse", "allow_nan", "string", "categorical"):
            setattr(tags.input_tags, tag, all(accepts(part, tag) for part in [*experts, *gates]))
        if not (raw or by_name):
            tags.input_tags.sparse = tags.input_tags.sparse and isinstance(self.gate_features, str)
        return tags
