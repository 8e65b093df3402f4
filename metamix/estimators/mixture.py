"""What regressor and classifier share: parameters, validation, fitted attributes, weights and predictions."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from metamix.data.folds import make_folds, repeatable
from metamix.data.parquet import ParquetTable, scan
from metamix.data.partitions import is_dask, named_columns
from metamix.data.row_keys import table_key
from metamix.data.tables import n_rows
from metamix.deadline import Deadline
from metamix.engines import current_engine
from metamix.estimators.callbacks import CallbackSupport, displayed, follow
from metamix.estimators.checkpointing import open_checkpoint, seed_of
from metamix.estimators.coefficients import coefficient_frame
from metamix.estimators.in_chunks import fit_in_chunks
from metamix.estimators.memory_limits import sentence, within_memory
from metamix.estimators.parameters import check_parameters, check_top_k, most_gate_columns
from metamix.estimators.representation import mixture_html
from metamix.estimators.resolution import (
    DROP,
    GivenExpert,
    input_tags,
    name_experts,
    resolve_experts,
    resolve_gates,
)
from metamix.estimators.scoring import try_scoring
from metamix.estimators.session_parts import with_session_parts
from metamix.estimators.setup import draw_seeds, set_up
from metamix.estimators.state import packed, unpacked
from metamix.estimators.validation import (
    check_folds,
    check_no_names,
    check_order,
    check_rows,
    check_target_number,
    check_weights,
    check_X,
    clean_X,
    loaded,
    warn_of_failures,
    warn_of_lost_regimes,
)
from metamix.experts.on_columns import with_positions
from metamix.experts.pools import expert_pool, loadable
from metamix.explanation import Explanation, explain_rows
from metamix.fitting import Problem, TableSource, find_placements, join_devices
from metamix.recombination import posterior
from metamix.registry import PartMapping
from metamix.training.blend import FittedBlend
from metamix.training.fit import fit_blend, fit_single_mixture
from metamix.training.mixture import FittedMixture
from metamix.training.prediction import Combination, TargetPrediction
from metamix.training.verdict import Verdicts

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]


#: What a mixture knows of the X that it was fitted to, and the names of several labels or targets.
OF_INPUT = (
    "n_features_in_", "feature_names_in_", "_input_tags", "_array_of_numbers", "cleaner_", "label_names_",
    "target_names_", "_key_of_fit",
)  # fmt: skip


class Mixture(CallbackSupport, TransformerMixin, BaseEstimator, ABC):
    """Mixture of experts; abstract. See `MixtureRegressor` and `MixtureClassifier`."""

    mixture_: Any
    classes_: Any
    left_out_: list[str]

    def __init__(
        self,
        experts: Any = None,
        *,
        n_experts: int | str | None = None,
        gate: Any = "auto",
        gate_features: Any = "x",
        objective: str = "prediction",
        final: str = "blend",
        final_estimator: Any = None,
        specialize: bool | str = "auto",
        start: Any = "auto",
        max_regimes: int = 8,
        max_rounds: int | str = "auto",
        cv: Any = 5,
        refit: bool = True,
        top_k: int | None = None,
        on_error: str = "drop",
        device: str = "auto",
        scoring: Any = None,
        columns: Any = None,
        time_limit: float | None = None,
        expert_time_limit: float | None = None,
        checkpoint: Any = None,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.experts = experts
        self.n_experts = n_experts
        self.gate = gate
        self.gate_features = gate_features
        self.objective = objective
        self.final = final
        self.final_estimator = final_estimator
        self.specialize = specialize
        self.start = start
        self.max_regimes = max_regimes
        self.max_rounds = max_rounds
        self.cv = cv
        self.refit = refit
        self.top_k = top_k
        self.on_error = on_error
        self.device = device
        self.scoring = scoring
        self.columns = columns
        self.time_limit = time_limit
        self.expert_time_limit = expert_time_limit
        self.checkpoint = checkpoint
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @property
    @abstractmethod
    def _registry(self) -> PartMapping:
        """Registry of experts by name."""

    @abstractmethod
    def _likelihood_and_stacks(self) -> tuple[Any, Any, Any]:
        """Unfitted likelihood, stack and feature-weighted stack (None where there is none)."""

    @abstractmethod
    def _check_target(self, y: Any) -> tuple[NDArray[Any], int | None]:
        """Y as the experts see it, and the number of classes, 2 of several labels; sets `classes_`."""

    @abstractmethod
    def _check_known_target(self, y: Any) -> NDArray[Any]:
        """Y of new rows, as the likelihood sees it."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters, those of named experts among them as ``name`` and ``name__parameter``."""
        self.cv = repeatable(self.cv)  # a generator could not be copied
        params = dict(super().get_params(deep=deep))
        if deep:
            for name, expert, _ in [] if self.experts is None else self._named_experts():
                if isinstance(expert, str):
                    params.setdefault(name, expert)
                elif hasattr(expert, "get_params") and not isinstance(expert, type):
                    params[name] = expert
                    params.update({f"{name}__{key}": value for key, value in expert.get_params().items()})
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters; an expert is replaced by its name, left out by "drop", and reached by ``name__parameter``."""
        if "experts" in params:
            self.experts = params.pop("experts")
        named = self._named_experts()
        own = inspect.signature(type(self)).parameters
        for name in [one.name for one in named]:
            if name in params and name not in own:
                named = [one._replace(expert=params[name]) if one.name == name else one for one in named]
                self.experts = [one.entry for one in named]
                del params[name]
        given = {one.name: one.expert for one in named}
        inside: dict[str, dict[str, Any]] = {}
        for key in [key for key in params if key.partition("__")[0] in given and "__" in key]:
            name, _, rest = key.partition("__")
            inside.setdefault(name, {})[rest] = params.pop(key)
        for name, values in inside.items():
            if not hasattr(given[name], "set_params"):
                what = "dropped" if given[name] == DROP else f"given by name ({given[name]!r})"
                raise ValueError(
                    f"expert {name!r} is {what} and has no parameters to set; give an estimator, as in "
                    f"set_params({name}=estimator)."
                )
            given[name].set_params(**values)
        super().set_params(**params)
        return self

    def _named_experts(self) -> list[GivenExpert]:
        try:
            return name_experts(self._given_experts())
        except (TypeError, ValueError):  # reported by fit; reading parameters must not fail
            return []

    def _resolve_experts(self) -> list[tuple[str, Any]]:
        """Named, unfitted experts; names become parts."""
        experts = self._given_experts()
        if experts is not self.experts:
            experts = loadable(experts, self._registry)
        own = inspect.signature(type(self)).parameters
        return resolve_experts(experts, self._registry, own, classifier=isinstance(self, ClassifierMixin))

    def _given_experts(self) -> Any:
        """The experts, those of a pool by name."""
        if self.experts is None or isinstance(self.experts, str):
            return expert_pool(self.experts or "auto", classes=isinstance(self, ClassifierMixin))
        return self.experts

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Self:
        """Fit experts and gate.

        Parameters
        ----------
        X : array, sparse matrix or data frame of shape (n, d), function that returns one, or ParquetTable
            Reaches each expert as it is, but for what `columns` says: text that is numbers or dates is converted, an
            index and identifiers are left out. A table of `metamix.scan` may be larger than the memory, and so may a
            frame of dask, which is taken as ``scan(X)``. A function is called without arguments, such as
            ``functools.partial(pandas.read_parquet, "s3://bucket/rows.parquet")``, in this process and, with the
            engine of Dask, by workers on other machines, which then receive no rows.
        y : array-like of shape (n,); numbers also (n, T), and zeros and ones (n, L); or str
            One gate per target or label over shared experts. With a `ParquetTable`, the name of its column; with a
            frame of dask a name or a Series of dask, and so for weights and groups.
        sample_weight : array-like of shape (n,), or str, optional
        groups : array-like of shape (n,), or str, optional
            Rows of one group are never split between folds.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For parameters or data that cannot be used; the message says what can. `metamix.engines.DifferentDataError`
            if a function returns other rows to a worker than to this process.
        InsufficientMemoryError
            If the fit is expected to take more than three times the memory that there is; nothing is fitted then.
        """
        self.cv = repeatable(self.cv)
        check_parameters(self)
        if is_dask(X):
            X, names = named_columns(X, y=y, sample_weight=sample_weight, groups=groups)
            X, y, sample_weight, groups = scan(X), *names.values()
        if isinstance(X, ParquetTable):
            with displayed(self):
                fit_in_chunks(self, X, y, sample_weight, groups)
            return self
        check_no_names(y=y, sample_weight=sample_weight, groups=groups)
        deadline = Deadline(self.time_limit, self.expert_time_limit)
        named, gates = self._resolve_experts(), resolve_gates(self.gate)
        n_stacks = sum(stack is not None for stack in self._likelihood_and_stacks()[1:])
        check_top_k(self.top_k, most_gate_columns(self, len(named), n_stacks))
        self._input_tags = input_tags([expert for _, expert in named], gates, self.gate_features)
        function, given = X, loaded(X)
        X = check_X(self, clean_X(self, given, reset=True), reset=True)
        named = with_positions(named, given, X)
        target, n_classes = self._check_target(y)
        groups = check_rows(X, target, groups)
        classes = None if n_classes is None else np.arange(2) if target.ndim == 2 else self.classes_
        weight, source = check_weights(sample_weight, n_rows(X)), source_of(self, function)
        problem = Problem(X, target, weight, groups, n_classes, classes, source)
        checkpoint = open_checkpoint(self, named, problem)
        engine = current_engine(self.n_jobs)
        named, too_large = within_memory(self, named, problem, engine)
        seeds = draw_seeds(seed_of(self, checkpoint), named)
        stratify = n_classes is not None
        folds = make_folds(self.cv, X, target, groups, stratify=stratify, random_state=int(seeds[-2]))
        check_folds(folds, problem.weight)
        check_order(gates.gates, folds)
        if checkpoint is not None:
            checkpoint.check_folds(folds.pairs)
        if self.specialize is not True:
            try_scoring(self.scoring, problem, folds, classes)
        parts = set_up(self, named, gates, problem, classes, seeds, in_sample=folds.in_sample)

        def train() -> FittedBlend | FittedMixture:
            fitted: FittedBlend | FittedMixture
            if folds.in_sample or self.specialize is True:
                fitted = fit_single_mixture(
                    parts.experts, problem, folds, engine, parts.mixture, self.on_error, deadline, checkpoint
                )
            else:
                mixture = parts.mixture if self.specialize == "auto" else None
                fitted = fit_blend(
                    parts.experts, problem, folds, engine, parts.candidates, mixture, self.refit, self.on_error,
                    deadline, checkpoint,
                )  # fmt: skip
            self.__dict__.pop("_online", None)  # of rows that were learned one batch after the other
            if too_large and isinstance(fitted, FittedBlend):
                fitted = fitted.with_left_out(f"{sentence(too_large)} {deadline.sentence}".strip())
            self._key_of_fit = table_key(X, target)  # by which inspection knows the rows of fit
            self._rows_of_fit = [float((problem.weight > 0).sum()), float(problem.weight.sum())]
            self._store(fitted, folds.fold_of_row)
            return fitted

        fitted = follow(self, given, y, train)
        self.left_out_ = [*too_large, *deadline.left_out]
        deadline.warn()
        # An expert that failed within a fold of the mixture only is still a column.
        if self.specialize is not False and (isinstance(fitted, FittedMixture) or fitted.mixture is not None):
            rows = float(problem.counts.sum())
            warn_of_lost_regimes(self.n_experts, self.n_experts_, rows, bool(fitted.failures))
        warn_of_failures([one for one in fitted.failures if one.expert not in fitted.names])
        return self

    def _store(self, fitted: Combination, fold_of_row: NDArray[np.intp]) -> None:
        """Set the fitted attributes."""
        import pandas as pd

        assert isinstance(fitted, FittedBlend | FittedMixture)
        self._fitted = fitted
        self.left_out_ = []
        self.oof_predictions_ = fitted.stack_predictions([target.predictions for target in fitted.targets])
        self.responsibilities_ = fitted.stack_targets([target.responsibilities for target in fitted.targets])
        self.fold_of_row_ = fold_of_row
        self.failures_ = pd.DataFrame([vars(one) for one in fitted.failures], columns=["expert", "fold", "error"])
        self.history_ = pd.DataFrame(fitted.history)
        self.starts_ = pd.DataFrame(fitted.starts, columns=["start", "score"])
        self.candidates_ = self.verdict_ = None
        if isinstance(fitted, FittedBlend) and fitted.targets[0].candidates:
            names = self._target_names
            self.candidates_ = pd.DataFrame(
                [
                    row if names is None else {"target": names[t], **row}
                    for t, target in enumerate(fitted.targets)
                    for row in target.candidates
                ]
            )
            verdicts = [target.verdict for target in fitted.targets]
            kind = "Label" if fitted.several_labels else "Target"
            self.verdict_ = verdicts[0] if names is None else Verdicts(verdicts, names, kind)
        self._show()

    def _show(self) -> None:
        """Set the attributes that show parts of `_fitted`: experts, gates, likelihoods, the mixture's own face."""
        fitted = self._fitted
        several = fitted.n_targets is not None
        gates, likelihoods = [target.gate for target in fitted.targets], fitted.likelihoods
        self.gate_: Any = gates if several else gates[0]
        self.likelihood_: Any = likelihoods if several else likelihoods[0]
        self.experts_ = [column.model for column in fitted.columns]
        self.n_experts_ = len(fitted.names)
        self.devices_ = dict.fromkeys(fitted.names, "cpu") | {
            name: column.device for name, column in zip(fitted.names, fitted.columns, strict=False)
        }
        self.__dict__.pop("mixture_", None)  # of an earlier fit
        if isinstance(fitted, FittedBlend):
            if fitted.mixture is not None:
                faces = [
                    self._face(one)
                    for one in (fitted.mixture if isinstance(fitted.mixture, list) else [fitted.mixture])
                ]
                self.experts_[-1] = faces if isinstance(fitted.mixture, list) else faces[0]
                # Where the experts of the folds are kept, each fold has its own mixture.
                self.n_experts_ = min(len(face._fitted.names) for face in faces)
                if not isinstance(fitted.mixture, list):
                    self.mixture_ = faces[0]
            for name in fitted.stack_names:
                stacks = [target.stacks[name][0] for target in fitted.targets]
                self.experts_.append(stacks if several else stacks[0])
            means = [target.mean for target in fitted.targets]
            self.experts_.append(means if several else means[0])
        self.named_experts_ = Bunch(**dict(zip(fitted.names, self.experts_, strict=True)))

    @property
    def _target_names(self) -> list[Any] | None:
        """Names of the labels or targets, numbers where they have none; None for a single target."""
        if self._fitted.n_targets is None:
            return None
        named = getattr(self, "label_names_", getattr(self, "target_names_", None))
        return list(range(self._fitted.n_targets) if named is None else named)

    def _face(self, fitted: FittedMixture) -> Mixture:
        """An estimator around a mixture that is fitted already."""
        classes = None
        if fitted.n_classes is not None:
            classes = self.classes_ if fitted.present is None else self.classes_[fitted.present]
        return around(self, fitted, classes, fitted.fold_of_row, specialize=True)

    def __getstate__(self) -> dict[str, Any]:
        self.cv = repeatable(self.cv)
        return packed(with_session_parts(super().__getstate__(), self._registry))

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(unpacked(state))
        for name, parameter in inspect.signature(type(self)).parameters.items():
            if not hasattr(self, name):  # a parameter that the version that saved it did not have
                setattr(self, name, parameter.default)
        if "_fitted" in state:
            self._show()

    @property
    def prequential_(self) -> pd.DataFrame:
        """Losses of each batch of `partial_fit` before it was learned from."""
        import pandas as pd

        if not hasattr(self, "_online"):
            raise AttributeError("prequential_ is of partial_fit, which was not called since fit")
        return pd.DataFrame(self._online.history)

    def gate_weights(self, X: Any) -> Array:
        """Weights of the columns in each row.

        Parameters
        ----------
        X : array, sparse matrix or data frame of shape (n, d)

        Returns
        -------
        ndarray of shape (n, K), or (n, K, T) with several targets, (n, K, L) with several labels
            Rows sum to one over K. Columns are those of `experts_`: experts, mixture, stack, feature-weighted stack,
            stack with mixture, mean; with ``specialize=True`` the components.
        """
        X = self._check_new(X)
        return self._fitted.stack_targets(self._fitted.weights(X))

    def predict_experts(self, X: Any) -> Array:
        """Predictions of every column for every row: (n, K) or (n, K, T), probabilities (n, K, C) or (n, K, L)."""
        X = self._check_new(X)
        return self._fitted.column_predictions(X)[0]

    def transform(self, X: Any) -> Array:
        """Predictions of every column, flattened over classes, targets or labels to (n, p)."""
        found = self.predict_experts(X)
        return found.reshape(len(found), -1)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Names of the columns of `transform`."""
        check_is_fitted(self)
        names, labels = self._fitted.names, self._target_names
        if labels is None and hasattr(self, "classes_"):
            labels = list(self.classes_)
        if labels is None:
            return np.array(names, dtype=object)
        return np.array([f"{name}_{label}" for name in names for label in labels], dtype=object)

    def coefficients(self) -> pd.DataFrame:
        """Coefficients of linear and polynomial experts, and of those of the mixture's regimes, in units of X and y.

        Returns
        -------
        DataFrame
            A row for each expert ("mixture: ..." for the regimes), target, label or class where there are several, and
            column; the last of each is the intercept. A category has a column for each value. Of polynomials
            ("quadratic", "cubic", PolynomialFeatures) products are terms too, such as ``x0^2`` and ``x0 x1``; those of
            experts by name hold within the range of training, extended by half of it. For classes, units are those of
            the log odds, of the second class where there are two. Other experts are left out.

        Examples
        --------
        >>> import numpy as np
        >>> from metamix import MixtureRegressor
        >>> x = np.linspace(0, 100, 40)[:, None]
        >>> mixture = MixtureRegressor(["linear"], specialize=False, gate="constant", random_state=0)
        >>> mixture.fit(x, 2 * x[:, 0] + 1).coefficients().round(3).to_dict("list")
        {'expert': ['linear', 'linear'], 'column': ['x0', 'intercept'], 'coefficient': [2.0, 1.0]}
        """
        check_is_fitted(self)
        fitted = self._fitted
        experts = list(zip(fitted.names, fitted.columns, strict=False))
        mixture = getattr(fitted, "mixture", None)
        if mixture is not None:
            experts.pop()  # its column is the mixture as a whole
            if isinstance(mixture, FittedMixture):
                experts += [(f"mixture: {name}", one) for name, one in zip(mixture.names, mixture.columns, strict=True)]
        classes = None if fitted.several_labels else getattr(self, "classes_", None)
        return coefficient_frame(experts, classes, self._target_names)

    def explain(self, X: Any, background: Any = None, target: int = 0) -> Explanation:
        """What the predictions are made of, and who leads where.

        Parameters
        ----------
        X : array, sparse matrix or data frame of shape (n, d)
        background : table of shape (m, d), optional
            Rows, such as those of `fit`, on which the conditions of the regimes and their borders are found; X by
            default. From fewer than 20 rows no conditions are found.
        target : int
            Which one, where y had several.

        Returns
        -------
        Explanation
            Of n rows: weights, contributions that add up to the prediction, the leading regime. An item of it explains
            one row, with the conditions and the nearest border. Both have `frame`, `plot` and print as sentences.

        Examples
        --------
        >>> from metamix import MixtureRegressor, make_regimes
        >>> X, y = make_regimes(200, random_state=0)
        >>> mixture = MixtureRegressor(["ridge", "neighbours"], specialize=False, random_state=0).fit(X, y)
        >>> found = mixture.explain(X[:3], background=X)
        >>> bool(np.allclose(found.contributions.sum(axis=1), mixture.predict(X[:3])))
        True
        """
        X = self._check_new(X)
        background = None if background is None else self._check_new(background)
        check_target_number(target, self._fitted.n_targets)
        return explain_rows(self._fitted, X, background, target, getattr(self, "classes_", None))

    def assign(self, X: Any) -> NDArray[np.intp]:
        """Index of the column with the largest weight in each row, (n,), (n, T) or (n, L)."""
        return np.asarray(self.gate_weights(X).argmax(axis=1))

    def responsibilities(self, X: Any, y: Any) -> Array:
        """Posterior probabilities of the columns given y, (n, K), (n, K, T) or (n, K, L); the E-step of training."""
        found = [posterior(one.weights, one.log_prob(known))[0] for one, known in self._with_known(X, y)]
        return self._fitted.stack_targets(found)

    def log_prob(self, X: Any, y: Any) -> Array:
        """Log density, or log probability of the class, of y given each row, (n,), (n, T) or (n, L)."""
        found = [one.log_density(known) for one, known in self._with_known(X, y)]
        return self._fitted.stack_targets(found)

    def _with_known(self, X: Any, y: Any) -> list[tuple[TargetPrediction, NDArray[Any]]]:
        """Weights and predictions of every column for each target, and the target."""
        X = self._check_new(X)
        known = self._check_known_target(y)
        check_rows(X, known)
        several = self._fitted.n_targets is not None
        return [
            (one, known[:, t] if several else known)
            for t, one in enumerate(self._fitted.predictions(X, scaled=True, everywhere=True))
        ]

    def _check_new(self, X: Any) -> Any:
        check_is_fitted(self)
        return _as_in_fit(self, X)

    def _predictions(self, X: Any, *, scaled: bool = False) -> list[TargetPrediction]:
        """Weights and predictions for each target; experts predict only the rows where they have weight."""
        X = self._check_new(X)
        return self._fitted.predictions(X, scaled=scaled)

    def __metamix_device__(self, device: str) -> tuple[str, str]:
        """What the parts of this mixture would get of a device, and why not more."""
        try:
            named, gates = self._resolve_experts(), resolve_gates(self.gate).named
        except (ValueError, TypeError, KeyError, ImportError):  # reported by fit
            return "cpu", ""
        placements, refused = find_placements([*named, *gates], device)
        used = [placement.device for placement in placements[: len(named)]]
        used += [one for placement in placements[len(named) :] for one in placement.devices]
        return join_devices(used), ", ".join(refused)

    @property
    def _repr_html_(self) -> Callable[[], str]:
        """What notebooks show; as in scikit-learn there is none with ``set_config(display="text")``."""
        if get_config()["display"] != "diagram":
            raise AttributeError("_repr_html_ needs sklearn.set_config(display='diagram')")
        return lambda: mixture_html(self)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """The same for Jupyter, which asks for this first."""
        shown = {"text/plain": repr(self)}
        if get_config()["display"] == "diagram":
            shown["text/html"] = mixture_html(self)
        return shown

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_fitted")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        found = getattr(self, "_input_tags", None)
        if found is None:
            try:
                experts = [expert for _, expert in self._resolve_experts()]
                found = input_tags(experts, resolve_gates(self.gate), self.gate_features)
            except (ValueError, TypeError, KeyError, ImportError):  # reported by fit; reading tags must not fail
                return tags
        for name, value in found.items():
            setattr(tags.input_tags, name, value)
        return tags


def source_of(mixture: Mixture, function: Any) -> TableSource | None:
    """How workers make the X of a mixture that has seen it; None where it comes from no function."""
    if not callable(function):
        return None
    return TableSource(function, partial(_as_in_fit, _like(mixture, experts=None, cv=None, start="auto")))


def _as_in_fit(mixture: Mixture, X: Any) -> Any:
    return check_X(mixture, clean_X(mixture, X, reset=False), reset=False)


def around(
    template: Mixture, fitted: Combination, classes: Any, fold_of_row: NDArray[np.intp], **parameters: Any
) -> Mixture:
    """An estimator with the parameters and columns of another, around something that is fitted already."""
    face = _like(template, **parameters)
    if classes is not None:
        face.classes_ = classes
    face._store(fitted, fold_of_row)
    return face


def _like(template: Mixture, **parameters: Any) -> Mixture:
    """An unfitted estimator with the parameters of another, which knows what that knows of its X."""
    made = type(template)(**{**template.get_params(deep=False), **parameters})
    for name in OF_INPUT:
        if hasattr(template, name):
            setattr(made, name, getattr(template, name))
    return made
