"""What regressor and classifier share: parameters, the walk through fit, weights, answers, densities."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils import Bunch, check_random_state
from sklearn.utils.validation import check_is_fitted

from metamix import registry
from metamix.data.folds import Folds, make_folds
from metamix.data.gate_features import GateFeatures, StackColumns
from metamix.data.tables import n_rows
from metamix.engines import current_engine
from metamix.estimators.answering import Opinion, every_answer, opinions, weights_of
from metamix.estimators.places import place_inside, told, where_columns_ran, where_it_would_run
from metamix.estimators.resolution import (
    accepts,
    check_parameters,
    default_rivals,
    name_experts,
    resolve_experts,
    resolve_gate,
)
from metamix.estimators.state import packed, unpacked
from metamix.estimators.table_walk import Specialist, fit_table
from metamix.estimators.validation import check_folds, check_rows, check_weights, check_X
from metamix.estimators.walks import Known, Learned, fit_plain
from metamix.fitting import FitSession, FittedExpert, NamedExpert, Placement, Problem, enter, join_devices, prepare
from metamix.progress import listen, narrate
from metamix.recombination import posterior
from metamix.training.estep import Parts
from metamix.training.judging import Verdicts
from metamix.training.selection import Table
from metamix.training.starts import Beginning, from_user

Array = NDArray[np.float64]

# A row with less responsibility than this is left out when an expert is refitted.
NEGLIGIBLE = 0.01
# A gate by name looks at so many principal components where x is wider.
MOST_GATE_COLUMNS = 40


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
        y : array-like of shape (n,); numbers also (n, T), one gate per target over shared experts
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
        X = check_X(self, X, reset=True)
        target, n_classes = self._target(y)
        groups = check_rows(X, target, groups)
        regimes = int(self.n_experts) if isinstance(self.n_experts, Integral) else None
        start = self.start if isinstance(self.start, str) else from_user(self.start, n_rows(X), regimes)
        data = Problem(X, target, check_weights(sample_weight, n_rows(X)), groups, n_classes)
        named = self._resolved()
        components = regimes or len(named)
        if components > data.n:
            raise ValueError(
                f"{components} experts need at least as many rows, got n_samples = {data.n}; "
                "name fewer experts, set n_experts lower, or bring more rows."
            )
        seeds = check_random_state(self.random_state).randint(np.iinfo(np.int32).max, size=len(named) + 3)
        gate_seed, fold_seed, start_seed = (int(seed) for seed in seeds[-3:])
        places = place_inside(self, named)
        entries = enter(named, seeds, places)
        parts, stacker = self._parts(data, gate_seed, places[-1])
        alike = len({repr(expert) for _, expert in named}) < len(named)
        how = Beginning(start, self.n_experts, len(named), alike, start_seed, parts.likelihood)
        table = self.cv is not None and self.specialize is not True
        plain = self._plain(start_seed) if table and self.specialize == "auto" else None
        if plain is not None:
            entries.append(NamedExpert("mixture", plain, device=told(places)))
        with ExitStack() as stack:
            if self.verbose:
                stack.enter_context(listen(narrate))
            folds = (
                known.folds
                if known
                else make_folds(self.cv, X, target, groups, stratify=n_classes is not None, random_state=fold_seed)
            )
            check_folds(folds, data.weight)
            negligible = 0.0 if folds.in_sample else NEGLIGIBLE
            engine = current_engine(self.n_jobs)
            session = stack.enter_context(FitSession(entries, data, folds, engine, self.on_error, negligible))
            if table:
                learned = self._fit_table(session, parts, stacker, how, plain, known)
            else:
                rounds = self.max_rounds if self.max_rounds != "auto" else 1000 if folds.in_sample else 10
                learned = fit_plain(session, parts, how, int(rounds), self.refit, known)
        self._keep(learned, folds)
        return self

    def _parts(self, data: Problem, seed: int, place: Placement) -> tuple[Parts, Any]:
        """What training is made of, names resolved, and the final estimator of the stack."""
        gate, raw = resolve_gate(self.gate)
        likelihood, stacker = self._likelihood_and_stacker()
        widest = MOST_GATE_COLUMNS if isinstance(self.gate, str) else None
        features = GateFeatures(self.gate_features, raw, widest).fit(data.X, data.y)
        softmax = registry.gates["softmax"](penalty=0.01, max_iter=50, tol=1e-3)
        constant = registry.gates["constant"]()
        rivals = default_rivals(seed) if isinstance(self.gate, str) and self.gate == "softmax" else ()
        gate = prepare(gate, seed, place.settings)
        return Parts(gate, constant, likelihood, features, softmax, self.objective, self.top_k, rivals), stacker

    def _fit_table(
        self, session: FitSession, parts: Parts, stacker: Any, how: Beginning, plain: Any, known: Known | None
    ) -> Learned:
        data = session.data
        base = parts.features.base(data.X)
        # The stack bends with what the gate looks at; the pool of classifiers looks at answers only.
        columns = None if data.n_classes or base is None else StackColumns().fit(base)
        table = Table(
            data, session.folds.second_level(data.y, data.groups, how.seed), base, parts.features, parts.gate,
            parts.constant, stacker, parts.likelihood, self.objective, self.top_k,
            getattr(self, "classes_", None), self.scoring, None if columns is None else columns.dense(base),
        )  # fmt: skip

        def single(known: Known) -> FittedExpert:
            one = clone(plain)._fit(data.X, data.y, data.sample_weight, data.groups, known)
            classes = None if data.n_classes is None else np.arange(data.n_classes)
            return FittedExpert(
                "mixture", one, data.n_classes, classes, 0.0, data.n_targets, join_devices(one.devices_.values())
            )

        specialist = None
        if plain is not None:
            regimes = "auto" if how.n_experts is None else how.n_experts
            specialist = Specialist(replace(how, n_experts=regimes), parts.features, parts.proxy_gate, single)
        return fit_table(session, how.pool, table, self.refit, columns, specialist, known)

    def _plain(self, seed: int) -> Mixture:
        """The plain mixture of the same parts, to be cross-fitted like any other expert."""
        plain: Mixture = clone(self)
        return plain.set_params(specialize=True, random_state=seed, n_jobs=None, verbose=0)

    def _keep(self, learned: Learned, folds: Folds) -> None:
        import pandas as pd

        self._learned = learned
        self.n_experts_ = len(learned.names) if learned.n_regimes is None else learned.n_regimes
        self._show_experts()
        self.oof_predictions_ = self._stacked([side.predictions for side in learned.sides])
        self.responsibilities_ = self._stacked([side.responsibilities for side in learned.sides])
        self.fold_of_row_ = folds.fold_of_row
        self.devices_ = where_columns_ran(learned)
        self.failures_ = pd.DataFrame(
            [vars(failure) for failure in learned.failures], columns=["expert", "fold", "error"]
        )
        self.history_ = pd.DataFrame(learned.history)
        self.starts_ = pd.DataFrame(learned.starts, columns=["start", "score"])
        if hasattr(self, "mixture_"):
            self.history_, self.mixture_.starts_ = self.mixture_.history_, self.starts_
            self.n_experts_ = self.mixture_.n_experts_
        chosen = [side.selection for side in learned.sides if side.selection is not None]
        self.candidates_ = self.verdict_ = None
        if chosen:
            frames = [pd.DataFrame(one.candidates) for one in chosen]
            several = learned.n_targets is not None
            self.candidates_ = pd.concat(frames, keys=range(len(frames)), names=["target"]) if several else frames[0]
            self.verdict_ = Verdicts([one.verdict for one in chosen]) if several else chosen[0].verdict

    def _stacked(self, tables: list[Array]) -> Array:
        """One table, or the tables of all targets with those on a last axis."""
        return tables[0] if self._learned.n_targets is None else np.stack(tables, axis=-1)

    def _show_experts(self) -> None:
        """Set what shows the experts, gates and likelihoods, all of it read off `_learned`."""
        learned = self._learned
        several = learned.n_targets is not None
        gates, likelihoods, stackers = (
            [getattr(side, part) for side in learned.sides] for part in ("gate", "likelihood", "stacker")
        )
        self.gate_: Any = gates if several else gates[0]
        self.likelihood_: Any = likelihoods if several else likelihoods[0]
        self.experts_ = [column.model for column in learned.columns]
        if stackers[0] is not None:
            self.experts_.append(stackers if several else stackers[0])
        self.named_experts_ = Bunch(**dict(zip(learned.names, self.experts_, strict=True)))
        mixture = self.named_experts_.get("mixture")
        if isinstance(mixture, Mixture):
            self.mixture_ = mixture  # with refit=False there is one per fold, and named_experts_ has the list
        elif hasattr(self, "mixture_"):  # of an earlier fit
            del self.mixture_

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
        ndarray of shape (n, K), or (n, K, T) with several targets
            Rows sum to one over K; columns in the order of `experts_`.
        """
        X = self._checked(X)
        if self._learned.features.asks_experts:
            return self._stacked([opinion.weights for opinion in opinions(self._learned, X, self.top_k)])
        return self._stacked(weights_of(self._learned, X, self.top_k))

    def predict_experts(self, X: Any) -> Array:
        """Every expert's answer to every row: (n, K), probabilities (n, K, C), or (n, K, T)."""
        X = self._checked(X)
        return every_answer(self._learned, X)[0]

    def assign(self, X: Any) -> NDArray[np.intp]:
        """Index of the leading expert of each row, (n,) or (n, T)."""
        return np.asarray(self.gate_weights(X).argmax(axis=1))

    def responsibilities(self, X: Any, y: Any) -> Array:
        """Who explained each row once y is seen, (n, K) or (n, K, T); the E-step of training."""
        return self._stacked([posterior(*pair)[0] for pair in self._weights_and_log_prob(X, y)])

    def score_samples(self, X: Any, y: Any) -> Array:
        """Log density, or log probability of the class, of each row under the mixture, (n,) or (n, T)."""
        return self._stacked([posterior(*pair)[1] for pair in self._weights_and_log_prob(X, y)])

    @abstractmethod
    def _codes(self, y: Any) -> NDArray[Any]:
        """Y as the likelihood sees it."""

    def _weights_and_log_prob(self, X: Any, y: Any) -> list[tuple[Array, Array]]:
        X = self._checked(X)
        codes = self._codes(y)
        check_rows(X, codes)
        several = self._learned.n_targets is not None
        return [
            (opinion.weights, opinion.log_prob(codes[:, t] if several else codes))
            for t, opinion in enumerate(opinions(self._learned, X, self.top_k, scaled=True, everywhere=True))
        ]

    def _checked(self, X: Any) -> Any:
        check_is_fitted(self)
        return check_X(self, X, reset=False)

    def _opinions(self, X: Any, *, scaled: bool = False) -> list[Opinion]:
        """Weights and answers of each target; an expert answers only the rows where it counts."""
        X = self._checked(X)
        return opinions(self._learned, X, self.top_k, scaled=scaled)

    def __metamix_device__(self, device: str) -> tuple[str, str]:
        return where_it_would_run(self, device)

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
