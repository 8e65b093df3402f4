"""Where responsibilities begin: uniform, clusters of x or of (x, y), random, the user's labels or matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture

from metamix.columns import ColumnEncoder
from metamix.tables import take_rows

__all__ = ["NAMES", "candidates", "from_user", "make_start", "ranked"]

Array = NDArray[np.float64]

NAMES = ("uniform", "kmeans", "gmm", "joint_gmm", "random")
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


def candidates(in_sample: bool) -> list[tuple[str, int]]:
    """The (name, seed) pairs that ``start="auto"`` looks at where no cheap mixtures are asked.

    Experts that differ break the symmetry of a uniform start by themselves. In sample, where a round is
    cheap, clusters and random soft starts compete (Biernacki, Celeux & Govaert 2003).

    Examples
    --------
    >>> candidates(in_sample=False)
    [('uniform', 0)]
    """
    if in_sample:
        return [("kmeans", 0), ("gmm", 0), *(("random", s) for s in range(8))]
    return [("uniform", 0)]


def ranked(starts: Iterable[tuple[str, Array]], score: Callable[[Array], float]) -> tuple[Array, list[dict[str, Any]]]:
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
