"""Where responsibilities begin: uniform, clusters of x or of (x, y), random, the user's labels or matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture

from metamix.data.columns import ColumnEncoder
from metamix.data.gate_features import GateFeatures
from metamix.data.tables import take_rows
from metamix.fitting import Problem, SharedInputs
from metamix.training.cheap import FREELY
from metamix.training.pools import fewest_rows
from metamix.training.proxies import proxy_responsibilities

__all__ = [
    "NAMES", "Beginning", "Scouting", "begin", "candidates", "from_user", "make_start", "prune", "ranked", "scout",
]  # fmt: skip

Array = NDArray[np.float64]
Ranking = list[dict[str, Any]]

NAMES = ("uniform", "kmeans", "gmm", "joint_gmm", "random")
CLUSTERS = ("kmeans", "gmm", "joint_gmm")
# A random start leaves a tenth of each row to the other experts, so that none sees a hard cut.
SOFTNESS = 0.1


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
    if len(given) != n:
        raise ValueError(f"start has {len(given)} rows, X has {n}; give one label or one row of weights per row of X.")
    if given.ndim == 1:
        labels, codes = np.unique(given, return_inverse=True)
        if K is not None and len(labels) != K:
            raise ValueError(f"start has {len(labels)} different labels, but there are {K} experts; one label each.")
        return np.eye(len(labels))[codes]
    given = given.astype(np.float64)
    if given.ndim != 2 or (K is not None and given.shape[1] != K):
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
    y : ndarray of shape (n,)
        Joined to the columns by `joint_gmm`.
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
        labels = np.random.default_rng(seed).integers(K, size=n)
        return np.asarray((1 - SOFTNESS) * np.eye(K)[labels] + SOFTNESS / K)
    weight = np.ones(n) if weight is None else weight
    counts = np.flatnonzero(weight > 0)
    rows = ColumnEncoder().fit(take_rows(Z, counts)).transform(Z)
    if name == "joint_gmm":
        column = ((y - y[counts].mean()) / (y[counts].std() or 1.0))[:, None]
        rows = sparse.hstack([rows, column], format="csr") if sparse.issparse(rows) else np.hstack([rows, column])
    distinct = min(K, len(counts))
    if name == "kmeans":
        clusters = KMeans(distinct, n_init=4, random_state=seed).fit(rows[counts], sample_weight=weight[counts])
        return np.asarray((1 - SOFTNESS) * np.eye(K)[clusters.predict(rows)] + SOFTNESS / K)
    dense = rows.toarray() if sparse.issparse(rows) else rows
    # A full covariance has q² parameters; where rows are too few for that, axes are taken apart.
    kind = "full" if len(counts) > 10 * K * dense.shape[1] else "diag"
    model = GaussianMixture(distinct, covariance_type=kind, reg_covar=1e-4, random_state=seed).fit(dense[counts])
    soft = np.zeros((n, K))
    soft[:, :distinct] = model.predict_proba(dense)
    return np.asarray((1 - SOFTNESS) * soft + SOFTNESS / K)


@dataclass(frozen=True)
class Beginning:
    """How a plain mixture is to begin.

    Parameters
    ----------
    start : str, labels (n,) or weights (n, K)
    n_experts : int, "auto" or None
        None: one component for each of `pool` experts.
    pool : int
        Number of experts.
    alike : bool
        Whether some experts are equal, so that a uniform start could not tell them apart.
    seed : int
    likelihood : likelihood, optional
        With a method `stabilised`, that is how cheap mixtures, whose errors are Gaussian, see y.
    bends : int
        How far experts of cheap mixtures may bend.
    """

    start: Any
    n_experts: Any
    pool: int
    alike: bool
    seed: int
    likelihood: Any = None
    bends: int = FREELY

    @property
    def mimics(self) -> bool:
        """Whether cheap experts stand in for the pool, to count regimes or to find so many."""
        return isinstance(self.start, str) and (
            self.n_experts == "auto" or (self.n_experts is not None and self.searches)
        )

    @property
    def searches(self) -> bool:
        """Whether regimes are looked for, which then belong to no expert in particular."""
        return isinstance(self.start, str) and self.start in ("auto", "proxy")

    def of(self, rows: NDArray[np.intp]) -> Beginning:
        """The same beginning for some rows: the user's own start is sliced."""
        return self if isinstance(self.start, str) else replace(self, start=np.asarray(self.start)[rows])


def begin(data: Problem, columns: Any, proxy_gate: Any, how: Beginning) -> tuple[Array, Ranking]:
    """First responsibilities (n, K), without any fit of the experts, and how the starts were ranked.

    Parameters
    ----------
    data : Problem
    columns : array, sparse matrix or frame, n rows
        What regimes are looked for in.
    proxy_gate : gate
        Unfitted, for cheap mixtures.
    how : Beginning

    Returns
    -------
    (ndarray of shape (n, K), list of dict)
    """
    K = how.pool if how.n_experts is None else None if how.n_experts == "auto" else int(how.n_experts)
    if not isinstance(how.start, str):
        return from_user(how.start, data.n, K), []
    target = np.eye(data.n_classes)[data.y] if data.n_classes else data.y.reshape(data.n, -1).astype(np.float64)
    if hasattr(how.likelihood, "stabilised"):
        counts = data.weight > 0  # other rows say nothing, not even how far y reaches
        steady = np.zeros_like(target)
        steady[counts] = np.column_stack([how.likelihood.stabilised(column) for column in target[counts].T])
        target = steady
    ranking: Ranking = []
    if how.searches or K is None:

        def clusters(regimes: int, rows: NDArray[np.intp]) -> dict[str, Array]:
            part, first, weight = take_rows(columns, rows), target[rows, 0], data.weight[rows]
            return {name: make_start(name, part, first, regimes, how.seed, weight) for name in CLUSTERS}

        def search(regimes: int | None) -> tuple[Array, Ranking]:
            others = clusters if how.start == "auto" else None
            return proxy_responsibilities(
                columns, target, data.weight, proxy_gate, regimes, how.seed, others,
                classes=bool(data.n_classes), bends=how.bends,
            )  # fmt: skip

        named = how.start == "auto" and how.n_experts is None and not how.alike
        found, ranking = search(None if named else K)
        if how.searches and not named:
            return found, ranking
        if named and found.shape[1] > 1:  # there are regimes: one for each expert, which it will be matched with
            return search(K)
        # Experts that differ break the symmetry of a uniform start by themselves. And where the user names a
        # start, cheap mixtures only count the regimes that it is to find.
        K = how.pool if named else found.shape[1]
    name = "uniform" if how.start == "auto" else how.start
    taken = {"start": name, "score": np.nan}  # beside the ranking that counted regimes, where there is one
    return make_start(name, columns, target[:, 0], K, how.seed, data.weight), [*ranking, taken]


@dataclass(frozen=True)
class Scouting:
    """A task: where the responsibilities of one fold's training rows begin; fold -1 has all rows."""

    fold: int
    features: GateFeatures
    gate: Any
    how: Beginning


def scout(inputs: SharedInputs, job: Scouting) -> tuple[Array, Ranking]:
    """First responsibilities of one fold's training rows, starving regimes pruned; runs in a worker."""
    rows = np.arange(inputs.data.n) if job.fold < 0 else inputs.folds.pairs[job.fold][0]
    data = inputs.data.take(rows)
    base = job.features.base(data.X)
    found, ranking = begin(data, data.X if base is None else base, job.gate, job.how.of(rows))
    return found if job.how.n_experts is None else prune(found, data.weight), ranking


def prune(responsibilities: Array, weight: Array) -> Array:
    """Responsibilities without regimes that starve; their rows go to the others.

    Examples
    --------
    >>> prune(np.array([[0.95, 0.05]] * 50), np.ones(50)).shape
    (50, 1)
    """
    while responsibilities.shape[1] > 1:
        mass = (weight > 0) @ responsibilities
        least = int(mass.argmin())
        if mass[least] >= fewest_rows(int(np.count_nonzero(weight))):
            break
        responsibilities = np.delete(responsibilities, least, axis=1)
        total = responsibilities.sum(axis=1, keepdims=True)
        even = 1 / responsibilities.shape[1]
        responsibilities = np.where(total > 1e-12, responsibilities / np.maximum(total, 1e-12), even)
    return responsibilities


def candidates() -> list[tuple[str, int]]:
    """The (name, seed) pairs that ``start="auto"`` runs in sample, where a round is cheap.

    Clusters and random soft starts compete (Biernacki, Celeux & Govaert 2003).

    Examples
    --------
    >>> candidates()[:3]
    [('kmeans', 0), ('gmm', 0), ('random', 0)]
    """
    return [("kmeans", 0), ("gmm", 0), *(("random", s) for s in range(8))]


def ranked(starts: Iterable[tuple[str, Array]], score: Callable[[Array], float]) -> tuple[Array, Ranking]:
    """The start with the lowest score after a short run, and the ranking of all.

    Examples
    --------
    >>> best, table = ranked([("a", np.ones((1, 1))), ("b", np.zeros((1, 1)))], lambda start: float(start.sum()))
    >>> [row["start"] for row in table]
    ['b', 'a']
    """
    listed = list(starts)
    if len(listed) == 1:
        return listed[0][1], [{"start": listed[0][0], "score": np.nan}]
    scores = [score(start) for _, start in listed]
    order = np.argsort(scores, kind="stable")
    return listed[int(order[0])][1], [{"start": listed[i][0], "score": scores[i]} for i in order]
