"""Initial responsibilities: from proxy mixtures, clusters of x or of (x, y), at random, or the user's own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture

from metamix.data.columns import ColumnEncoder, giving_arrays
from metamix.data.gate_features import GateFeatures
from metamix.data.row_keys import content_order, distinct_rows
from metamix.data.tables import take_rows
from metamix.deadline import Deadline
from metamix.fitting import FitSession, Problem, SharedInputs
from metamix.training.regime_search.proxy_mixture import FoundRegimes, proxy_responsibilities
from metamix.training.regime_search.proxy_models import FREE, LINEAR

__all__ = [
    "SearchSettings", "fewest_rows", "from_user", "initial_responsibilities", "make_start", "prune", "search_regimes",
]  # fmt: skip

Array = NDArray[np.float64]

#: Starts by name; those that are clusters.
NAMES = ("uniform", "kmeans", "gmm", "joint_gmm", "random")
CLUSTERS = ("kmeans", "gmm", "joint_gmm")
#: Share of each row that a start leaves to the other components.
SOFTNESS = 0.1
#: Clusterings are tried from so many centres, of which the likeliest stays.
N_INIT = 4


def from_user(start: Any, n: int, K: int | None) -> Array:
    """Responsibilities from the user's own matrix (n, K) or labels (n,).

    Raises
    ------
    ValueError
        If the length is not n, the number of groups is not K (None: any), or a weight is negative or not finite.

    Examples
    --------
    >>> from_user(["low", "high", "low"], 3, 2)
    array([[0., 1.],
           [1., 0.],
           [0., 1.]])
    """
    given = np.asarray(start)
    if given.ndim not in (1, 2) or (given.dtype.kind == "O" and given.ndim == 2):
        raise ValueError(f"start={start!r} is neither labels (n,) nor weights (n, K) nor a name; give one of these.")
    if len(given) != n:
        raise ValueError(f"start has {len(given)} rows, X has {n}; give one label or one row of weights per row of X.")
    if given.ndim == 1:
        try:
            labels, codes = np.unique(given, return_inverse=True)
        except TypeError as error:
            raise ValueError(f"start has labels that cannot be told apart ({error}); give one type.") from error
        if K is not None and len(labels) != K:
            raise ValueError(f"start has {len(labels)} different labels, but there are {K} experts; one label each.")
        return np.eye(len(labels))[codes]
    try:
        given = given.astype(np.float64)
    except ValueError as error:
        raise ValueError(f"start has columns that are not numbers ({error}); give weights (n, K).") from error
    if K is not None and given.shape[1] != K:
        raise ValueError(f"start has shape {given.shape}, expected ({n}, {K or 'K'}): a column for each expert.")
    total = given.sum(axis=1, keepdims=True)
    if not np.isfinite(given).all() or (given < 0).any() or (total <= 0).any():
        raise ValueError("start must hold finite, non-negative weights with a positive sum in every row.")
    return np.asarray(given / total)


def make_start(name: str, Z: Any, y: Array, K: int, seed: int, weight: Array | None = None) -> Array:
    """Responsibilities (n, K) of one named start.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    Z : array or sparse matrix of shape (n, q), or frame
        Columns to cluster; standardised here, so that units do not matter.
    y : ndarray of shape (n,) or (n, m)
        Joined to the columns by `joint_gmm`: a column for each target or class.
    K : int
    seed : int
    weight : ndarray of shape (n,), optional
        Sample weights; rows without any do not shape the clusters.

    Returns
    -------
    ndarray of shape (n, K)

    Raises
    ------
    ValueError
        For an unknown name.

    Examples
    --------
    >>> make_start("uniform", np.zeros((2, 1)), np.zeros(2), 2, seed=0)
    array([[0.5, 0.5],
           [0.5, 0.5]])
    """
    n = len(y)
    if name not in NAMES:
        known = ", ".join((*NAMES, "proxy", "auto"))
        raise ValueError(f"start={name!r} is unknown; give one of {known}, labels or an (n, K) array.")
    if name == "uniform" or K == 1:
        return np.full((n, K), 1 / K)
    if name == "random":
        labels = np.random.default_rng(seed).integers(K, size=n)[np.argsort(content_order(Z, y))]
        return np.asarray((1 - SOFTNESS) * np.eye(K)[labels] + SOFTNESS / K)
    # Distinct rows in an order of their own: neither the order of the rows nor how often one is repeated matters.
    found = distinct_rows(np.ones(n) if weight is None else weight, Z, y)
    counts = found.rows
    rows = giving_arrays(ColumnEncoder()).fit(take_rows(Z, counts)).transform(Z)
    if name == "joint_gmm":
        target = y.reshape(n, -1)
        spread = target[counts].std(axis=0)
        target = (target - target[counts].mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        rows = sparse.hstack([rows, target], format="csr") if sparse.issparse(rows) else np.hstack([rows, target])
    distinct = min(K, len(counts))
    if name == "kmeans":
        clusters = KMeans(distinct, n_init=N_INIT, random_state=seed).fit(rows[counts], sample_weight=found.weight)
        return np.asarray((1 - SOFTNESS) * np.eye(K)[clusters.predict(rows)] + SOFTNESS / K)
    dense = rows.toarray() if sparse.issparse(rows) else rows
    # A full covariance has q² parameters; where rows are too few for that, axes are taken apart.
    kind = "full" if len(counts) > 10 * K * dense.shape[1] else "diag"
    model = GaussianMixture(distinct, covariance_type=kind, reg_covar=1e-4, n_init=N_INIT, random_state=seed)
    model.fit(dense[counts])
    soft = np.zeros((n, K))
    soft[:, :distinct] = model.predict_proba(dense)
    return np.asarray((1 - SOFTNESS) * soft + SOFTNESS / K)


@dataclass(frozen=True)
class SearchSettings:
    """What initial responsibilities follow from.

    Parameters
    ----------
    start : str, labels (n,) or weights (n, K)
    n_experts : int, "auto" or None
        None: one component for each of `n_pool` experts.
    n_pool : int
        Number of experts.
    alike : bool
        Whether some experts are equal, so that a uniform start could not separate them.
    seed : int
    features : GateFeatures
        Columns that divide the regimes; their laws are looked for in all columns.
    gate : gate
        Unfitted; the gate of proxy mixtures.
    likelihood : likelihood, optional
        With a method `stabilised`, that is how proxy mixtures, whose errors are Gaussian, see y.
    by_error : bool
        Count regimes by the squared error of the combined prediction too, and not by the log density alone.
    max_regimes : int
        How far "auto" counts.
    capacities : tuple of int
        How far the experts of proxy mixtures may bend; several compete.
    """

    start: Any
    n_experts: Any
    n_pool: int
    alike: bool
    seed: int
    features: GateFeatures
    gate: Any
    likelihood: Any = None
    by_error: bool = True
    max_regimes: int = 8
    capacities: tuple[int, ...] = (FREE, LINEAR)

    @property
    def uses_proxies(self) -> bool:
        """Whether proxy models stand for the experts of the pool: to count regimes or to find so many."""
        return isinstance(self.start, str) and (
            self.n_experts == "auto" or (self.n_experts is not None and self.searches)
        )

    @property
    def searches(self) -> bool:
        """Whether regimes are looked for, which then belong to no expert in particular."""
        return isinstance(self.start, str) and self.start in ("auto", "proxy")

    def bending(self, capacity: int) -> SearchSettings:
        """The same with proxies that bend so far, and straight ones beside them."""
        # A curve is one regime of proxies that bend, and several of straight ones; straight laws that change from
        # place to place are found with few rows by straight ones only.
        return replace(self, capacities=tuple(dict.fromkeys([capacity, LINEAR])))

    def take(self, rows: NDArray[np.intp]) -> SearchSettings:
        """The same for some rows: the user's own start is sliced."""
        return self if isinstance(self.start, str) else replace(self, start=np.asarray(self.start)[rows])


def initial_responsibilities(
    problem: Problem, settings: SearchSettings, deadline: Deadline | None = None
) -> FoundRegimes:
    """Initial responsibilities (n, K), without any fit of the experts, and how the starts were ranked.

    Parameters
    ----------
    problem : Problem
    settings : SearchSettings
    deadline : Deadline, optional
        Ends the count of regimes.

    Returns
    -------
    FoundRegimes
    """
    deadline = Deadline() if deadline is None else deadline
    asked = settings.n_experts
    K = settings.n_pool if asked is None else None if asked == "auto" else int(asked)
    if not isinstance(settings.start, str):
        return FoundRegimes(from_user(settings.start, problem.n, K), [])
    base = settings.features.base(problem.X)
    columns = problem.X if base is None else base
    target = _target(problem, settings.likelihood)
    ranking: list[dict[str, Any]] = []
    if settings.searches or K is None:
        # Experts that differ separate from a uniform start by themselves, unless regimes are found for them.
        one_each = settings.start == "auto" and asked is None and not settings.alike
        found = _search(problem, columns, target, settings, None if one_each else K, deadline)
        n_regimes, ranking = found.responsibilities.shape[1], found.ranking
        if settings.searches and not one_each:
            return found
        if one_each and n_regimes > 1:  # there are regimes: one for each expert
            return _search(problem, columns, target, settings, K, deadline)
        # Where the user names a start, proxy mixtures only count the regimes.
        K = settings.n_pool if one_each else n_regimes
    name = "uniform" if settings.start == "auto" else settings.start
    ranking = [*ranking, {"start": name, "score": np.nan}]
    return FoundRegimes(make_start(name, columns, target, K, settings.seed, problem.weight), ranking)


def search_regimes(session: FitSession, settings: SearchSettings, rows: str = "all rows") -> FoundRegimes:
    """`initial_responsibilities` for the rows of a session, as a task of it, which its checkpoint keeps.

    Parameters
    ----------
    session : FitSession
    settings : SearchSettings
    rows : str
        What its rows are called.
    """
    (found,) = session.map(_search_all_rows, [settings], [f"regimes, {rows}"], complete=lambda done: not done[1])
    if isinstance(found, BaseException):
        raise found
    regimes, left_out = found
    session.deadline.add(left_out)
    return cast(FoundRegimes, regimes)


def _search_all_rows(inputs: SharedInputs, settings: SearchSettings) -> tuple[FoundRegimes, dict[str, float]]:
    """A task: regimes, and what was left out."""
    return initial_responsibilities(inputs.problem, settings, inputs.deadline), inputs.deadline.refused


def _target(problem: Problem, likelihood: Any) -> Array:
    """The target (n, m) as proxy mixtures see it: one column for each number, or class, of each label two."""
    if problem.n_classes:
        return np.eye(problem.n_classes)[problem.y].reshape(problem.n, -1)
    target = problem.y.reshape(problem.n, -1).astype(np.float64)
    if not hasattr(likelihood, "stabilised"):
        return target
    counts = problem.weight > 0  # rows without weight must not tell how far y reaches
    stable = np.zeros_like(target)
    stable[counts] = np.column_stack([likelihood.stabilised(column) for column in target[counts].T])
    return stable


def _search(
    problem: Problem, columns: Any, target: Array, settings: SearchSettings, K: int | None, deadline: Deadline
) -> FoundRegimes:
    def clusters(regimes: int, rows: NDArray[np.intp]) -> dict[str, Array]:
        part, weight = take_rows(columns, rows), problem.weight[rows]
        return {name: make_start(name, part, target[rows], regimes, settings.seed, weight) for name in CLUSTERS}

    return proxy_responsibilities(
        settings.features.all_columns(problem.X), target, problem.weight, settings.gate, K, settings.seed,
        starts=clusters if settings.start == "auto" else None, n_classes=problem.n_classes,
        by_error=settings.by_error, capacities=settings.capacities, max_regimes=settings.max_regimes,
        groups=problem.groups, gate_X=columns if settings.features.are_chosen else None, deadline=deadline,
    )  # fmt: skip


def prune(responsibilities: Array, counts: Array) -> Array:
    """Responsibilities without regimes of too few rows, which go to the others.

    Parameters
    ----------
    responsibilities : ndarray of shape (n, K)
    counts : ndarray of shape (n,)
        How much each row adds to the number of rows, as `Problem.counts`.

    Examples
    --------
    >>> prune(np.array([[0.95, 0.05]] * 50), np.ones(50)).shape
    (50, 1)
    """
    while responsibilities.shape[1] > 1:
        mass = counts @ responsibilities
        least = int(mass.argmin())
        if mass[least] >= fewest_rows(float(counts.sum())):
            break
        responsibilities = np.delete(responsibilities, least, axis=1)
        total = responsibilities.sum(axis=1, keepdims=True)
        even = 1 / responsibilities.shape[1]
        responsibilities = np.where(total > 1e-12, responsibilities / np.maximum(total, 1e-12), even)
    return responsibilities


def fewest_rows(n: float) -> float:
    """Rows that a regime must have: a tenth of n rows, from 3 to 10.

    Examples
    --------
    >>> fewest_rows(20), fewest_rows(50), fewest_rows(5000)
    (3.0, 5.0, 10.0)
    """
    return min(max(n / 10, 3.0), 10.0)
