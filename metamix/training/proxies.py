"""Cheap mixtures of ridge experts that find where regimes lie before strong experts are let in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve
from sklearn.base import clone
from sklearn.preprocessing import PolynomialFeatures

from metamix.columns import ColumnEncoder
from metamix.recombination import posterior
from metamix.tables import take_rows

__all__ = ["ProxyMixture", "proxy_responsibilities"]

Array = NDArray[np.float64]

STARTS, ALLOCATIONS, ROUNDS, FINALISTS = 12, 8, 8, 2
MOST_ROWS, SEARCH_ROWS, MOST_COLUMNS, MOST_TERMS = 2000, 1000, 40, 70
BLOCK = 20_000
RIDGE = 1e-3
# Regimes are claimed only where held-out rows say so by as many standard errors.
STANDARD_ERRORS = 2.0


@dataclass
class ProxyMixture:
    """K ridge experts on a quadratic (or linear) basis under a softmax gate, for one number of regimes."""

    coefficients: Array  # (K, p, m)
    scale: Array  # (K, m)
    gate: Any

    def log_prob(self, basis: Array, Y: Array) -> Array:
        """Log density (n, K) of Y (n, m) under each expert."""
        return _log_prob(basis, Y, self.coefficients, self.scale)

    def responsibilities(self, basis: Array, Z: Array, Y: Array) -> tuple[Array, Array]:
        """Responsibilities (n, K) and log density (n,)."""
        K = len(self.scale)
        weights = np.ones((len(Y), 1)) if K == 1 else self.gate.predict_proba(Z)
        return posterior(weights, self.log_prob(basis, Y))


def proxy_responsibilities(
    X: Any, Y: Array, weight: Array, gate: Any, n_regimes: int | None, seed: int
) -> tuple[Array, list[dict[str, Any]]]:
    """Responsibilities found by cheap mixtures, their number of regimes chosen on held-out rows.

    Random soft starts are first reallocated by error alone (Späth 1979), the best few go through EM with a
    gate, and the mixture with the best held-out log density wins. Without `n_regimes`, one regime stays
    unless more explain the held-out rows better by two standard errors.

    Parameters
    ----------
    X : array, sparse matrix or frame, n rows
        Columns; encoded and standardised here.
    Y : ndarray of shape (n, m)
        Target, standardised here; one column per class for classes.
    weight : ndarray of shape (n,)
    gate : gate
        Unfitted; learns soft labels.
    n_regimes : int or None
        None chooses among 1, 2, 3 and 4.
    seed : int

    Returns
    -------
    responsibilities : ndarray of shape (n, K)
    ranking : list of dict
        Held-out loss (minus the mean log density) of each number of regimes.

    Examples
    --------
    >>> from metamix.gates import SoftmaxGate
    >>> X = np.linspace(-1, 1, 200)[:, None]
    >>> Y = np.where(X < 0, 3 * X, 5 - 2 * X)
    >>> found, _ = proxy_responsibilities(X, Y, np.ones(200), SoftmaxGate(penalty=0.01), 2, seed=0)
    >>> bool(abs(found[:100, 0].mean() - found[100:, 0].mean()) > 0.9)
    True
    """
    rng = np.random.default_rng(seed)
    Y = Y - np.average(Y, axis=0, weights=weight)
    Y = Y / (np.sqrt(np.average(Y**2, axis=0, weights=weight)) + np.finfo(float).tiny)
    rows = rng.permutation(np.flatnonzero(weight > 0))[: 4 * MOST_ROWS // 3]
    terms = _Terms(take_rows(X, rows), rng)
    held, train = np.arange(len(rows) // 4), np.arange(len(rows) // 4, len(rows))
    Z, basis = terms(take_rows(X, rows))
    target, trust = Y[rows], weight[rows]
    counts = [1, 2, 3, 4] if n_regimes is None else [n_regimes]
    counts = [K for K in counts if K == 1 or len(train) >= 3 * K * min(basis.shape[1], 10)] or counts[:1]
    best: dict[int, tuple[ProxyMixture, Array]] = {}
    for K in counts:
        found = _search(basis[train], Z[train], target[train], trust[train], gate, K, rng)
        scored = [(mixture, mixture.responsibilities(basis[held], Z[held], target[held])[1]) for mixture in found]
        best[K] = max(scored, key=lambda pair: float(np.average(pair[1], weights=trust[held])))
    ranking = [
        {"start": f"proxy, {K} regimes", "score": -float(np.average(density, weights=trust[held]))}
        for K, (_, density) in best.items()
    ]
    winner = best[_fewest([(K, density) for K, (_, density) in best.items()], trust[held])][0]
    responsibilities = np.empty((len(Y), len(winner.scale)))
    for begin in range(0, len(Y), BLOCK):
        block = np.arange(begin, min(begin + BLOCK, len(Y)))
        Z, basis = terms(take_rows(X, block))
        responsibilities[block] = winner.responsibilities(basis, Z, Y[block])[0]
    return responsibilities, sorted(ranking, key=lambda row: row["score"])


def _fewest(densities: list[tuple[int, Array]], weight: Array) -> int:
    """The fewest regimes that more of them do not better by two standard errors."""
    share = weight / weight.sum()
    winner, density = densities[0]
    for K, other in densities[1:]:
        gain = other - density
        mean = float(share @ gain)
        if mean > STANDARD_ERRORS * np.sqrt(np.square(share) @ np.square(gain - mean)):
            winner, density = K, other
    return winner


class _Terms:
    """From rows of X to gate columns (n, q), standardised, and terms (n, p) of the ridge experts."""

    def __init__(self, X: Any, rng: np.random.Generator) -> None:
        self.encoder = ColumnEncoder().fit(X)
        Z = self.encoder.transform(X)
        self.projection: Array | None = None
        q = Z.shape[1]
        if sparse.issparse(Z) or q > MOST_COLUMNS:
            # Random directions keep distances (Johnson & Lindenstrauss 1984) and take dense or sparse columns.
            self.projection = rng.standard_normal((q, MOST_COLUMNS)) / np.sqrt(q)
            q = MOST_COLUMNS
        size = (q + 1) * (q + 2) // 2
        self.degree = 2 if size <= MOST_TERMS and Z.shape[0] >= 4 * size else 1

    def __call__(self, X: Any) -> tuple[Array, Array]:
        Z = self.encoder.transform(X)
        Z = np.asarray(Z if self.projection is None else Z @ self.projection)
        return Z, PolynomialFeatures(self.degree).fit_transform(np.clip(Z, -4, 4))


def _log_prob(basis: Array, Y: Array, coefficients: Array, scale: Array) -> Array:
    errors = Y[None] - basis @ coefficients
    return np.asarray((-0.5 * np.square(errors / scale[:, None]) - np.log(scale)[:, None]).sum(axis=2).T)


def _ridge(basis: Array, Y: Array, mass: Array) -> tuple[Array, Array]:
    """Weighted ridge experts: coefficients (K, p, m) and scales (K, m) from mass (n, K)."""
    coefficients, scale = [], []
    for k in range(mass.shape[1]):
        weighted = basis * mass[:, [k]]
        gram = basis.T @ weighted
        total = max(float(mass[:, k].sum()), 1e-9)
        gram[np.diag_indices_from(gram)] += RIDGE * total + 1e-9
        solution = cho_solve(cho_factor(gram, check_finite=False), weighted.T @ Y, check_finite=False)
        errors = Y - basis @ solution
        coefficients.append(solution)
        scale.append(np.sqrt((mass[:, k] @ np.square(errors)) / total + 1e-6))
    return np.stack(coefficients), np.stack(scale)


def _search(
    basis: Array, Z: Array, Y: Array, weight: Array, gate: Any, K: int, rng: np.random.Generator
) -> list[ProxyMixture]:
    """The best few mixtures of K ridge experts from random starts."""
    if K == 1:
        return [ProxyMixture(*_ridge(basis, Y, weight[:, None]), None)]
    everything = basis, Z, Y, weight
    basis, Z, Y, weight = (part[:SEARCH_ROWS] for part in everything)
    finalists = []
    lines = np.column_stack([np.ones(len(Z)), Z])
    for number in range(STARTS):
        # Half of the starts see straight lines only: fewer coefficients tell regimes apart with fewer rows.
        terms = lines if number % 4 < 2 else basis
        labels = rng.integers(K, size=len(Y))
        if number % 2:  # every other start cuts along a random direction
            direction = Z @ rng.standard_normal(Z.shape[1])
            labels = np.searchsorted(np.quantile(direction, np.arange(1, K) / K), direction)
        responsibilities = 0.9 * np.eye(K)[labels] + 0.1 / K
        for _ in range(ALLOCATIONS):
            log_prob = _log_prob(terms, Y, *_ridge(terms, Y, responsibilities * weight[:, None]))
            shares = np.broadcast_to(responsibilities.mean(axis=0), responsibilities.shape)
            responsibilities = posterior(shares, log_prob, floor=1e-3)[0]
        mixture = ProxyMixture(*_ridge(basis, Y, responsibilities * weight[:, None]), clone(gate))
        mixture.gate.fit(Z, responsibilities, sample_weight=weight)
        density = mixture.responsibilities(basis, Z, Y)[1]
        finalists.append((float(weight @ density), number, mixture))
    finalists.sort(key=lambda entry: -entry[0])
    return [_with_gate(*everything, gate, mixture) for _, _, mixture in finalists[:FINALISTS]]


def _with_gate(basis: Array, Z: Array, Y: Array, weight: Array, gate: Any, mixture: ProxyMixture) -> ProxyMixture:
    """EM with a gate, from a mixture that was learned on fewer rows."""
    for _ in range(ROUNDS):
        responsibilities = mixture.responsibilities(basis, Z, Y)[0]
        responsibilities = (1 - 1e-3) * responsibilities + 1e-3 / responsibilities.shape[1]
        mixture = ProxyMixture(*_ridge(basis, Y, responsibilities * weight[:, None]), clone(gate))
        mixture.gate.fit(Z, responsibilities, sample_weight=weight)
    return mixture
