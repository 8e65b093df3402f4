"""MixtureRegressor: numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin

from metamix import registry
from metamix.estimators.checks import check_numbers
from metamix.estimators.mixture import Array, Mixture
from metamix.estimators.parts import resolve_likelihood
from metamix.recombination import combine, spread
from metamix.stacking import FeatureWeightedStack


class MixtureRegressor(RegressorMixin, Mixture):
    """Mixture of experts for regression.

    Parameters
    ----------
    experts : list of names, estimators or (name, estimator), optional
        A mixed pool by default. Experts by name prepare mixed columns, missing values and scales for
        themselves; an estimator gets X as it came.
    n_experts : int, "auto" or None
        Components of the plain mixture. With a number the list is a pool, and each of so many regimes takes
        the entry that fits it best out of fold; "auto" counts the regimes too. None is one component per
        entry with ``specialize=True``, and "auto" with ``specialize="auto"``.
    gate : str, gate or classifier, default "softmax"
        Whom to trust where: "constant", "softmax", "gmm", a gate of `metamix.gates`, or any classifier.
    gate_features : {"x", "predictions", "both"}, list of columns, or transformer
        What the gate looks at.
    likelihood : str or likelihood, default "gaussian"
    objective : {"prediction", "likelihood"}
        What the gate is finally tuned for.
    specialize : {"auto", True, False}
        True refits the experts by responsibility (the plain mixture); False fits them on all rows;
        "auto" puts both in one honest table.
    start : str, labels (n,) or weights (n, K), default "auto"
        Where responsibilities begin: "uniform", "kmeans", "gmm", "joint_gmm", "random", or "proxy": cheap
        mixtures of ridge experts look for the regimes first.
    max_rounds : int or "auto"
        Rounds of the alternation at most: 10 with cv; without, until the likelihood stands still.
    cv : int, splitter, list of (train, test), or None
        Folds, the same in every round. None is classical EM in sample.
    refit : bool
        Fit what was chosen on all rows, or keep the fold models and average them.
    top_k : int or None
        Weights kept per row at prediction; 1 is hard.
    on_error : {"drop", "raise"}
        Whether a failing expert is dropped and recorded, or ends the fit.
    device : {"auto", "cpu"}
    scoring : None, str or callable
        What the honest table is judged by; squared error by default.
    n_jobs, random_state, verbose
        As in scikit-learn; the same seed gives the same result, whatever n_jobs.

    Attributes
    ----------
    experts_ : list of K fitted experts
        In the order of the columns of `gate_weights`; `named_experts_` has them by name.
    gate_, likelihood_ : fitted parts
    oof_predictions_ : ndarray of shape (n, K)
        NaN in rows that were never held out; averaged over repeats.
    responsibilities_ : ndarray of shape (n, K)
    fold_of_row_ : ndarray of shape (n,), or (n, R) with repeats
    n_experts_ : int
        Number of components.
    mixture_ : MixtureRegressor
        The plain mixture, with ``specialize="auto"``.
    history_, candidates_, failures_, starts_ : data frames
    verdict_ : Verdict
        Which candidate won, and by how much.

    References
    ----------
    Jacobs, Jordan, Nowlan & Hinton (1991); Jordan & Jacobs (1994); Wolpert (1992) for the stack.

    Examples
    --------
    >>> from metamix import MixtureRegressor, make_regimes
    >>> X, y = make_regimes(200, random_state=0)
    >>> mixture = MixtureRegressor(["ridge", "boosting"], specialize=False, random_state=0).fit(X, y)
    >>> mixture.predict(X).shape, mixture.gate_weights(X).shape
    ((200,), (200, 3))
    """

    def __init__(
        self,
        experts: Any = None,
        *,
        n_experts: int | str | None = None,
        gate: Any = "softmax",
        gate_features: Any = "x",
        likelihood: Any = "gaussian",
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
        super().__init__(
            experts, n_experts=n_experts, gate=gate, gate_features=gate_features, objective=objective,
            specialize=specialize, start=start, max_rounds=max_rounds, cv=cv, refit=refit, top_k=top_k,
            on_error=on_error, device=device, scoring=scoring, n_jobs=n_jobs, random_state=random_state,
            verbose=verbose,
        )  # fmt: skip
        self.likelihood = likelihood

    @property
    def _known(self) -> Mapping[str, Any]:
        return registry.regressors

    @property
    def _pool(self) -> tuple[str, ...]:
        return ("ridge", "splines", "neighbours", "extra_trees", "boosting")

    def _likelihood_and_stacker(self) -> tuple[Any, Any]:
        return resolve_likelihood(self.likelihood), FeatureWeightedStack()

    def _target(self, y: Any) -> tuple[NDArray[Any], int | None]:
        return check_numbers(self, y), None

    def _codes(self, y: Any) -> NDArray[Any]:
        return check_numbers(self, y)

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """The mixture's answer.

        Parameters
        ----------
        X : array, sparse matrix or data frame of shape (n, d)
        return_std : bool
            Also the standard deviation of y, by the law of total variance: scatter within experts and
            disagreement between them, in the units of y.

        Returns
        -------
        ndarray of shape (n,), or a pair of them
        """
        weights, answers = self._weighed(self._checked(X))
        mean = combine(weights, answers)
        if not return_std:
            return mean
        scale: Array = np.broadcast_to(self.likelihood_.scale_, weights.shape)
        return mean, spread(weights, answers, scale)
