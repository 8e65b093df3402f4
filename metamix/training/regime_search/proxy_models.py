"""Proxy models of the regime search, ridge or logistic, and the terms that they are linear in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve
from sklearn.preprocessing import PolynomialFeatures

from metamix.data.columns import ColumnEncoder, giving_arrays

__all__ = [
    "FREE",
    "LINEAR",
    "QUADRATIC",
    "ProxyColumns",
    "ProxyRows",
    "class_probabilities",
    "fit_proxies",
    "proxy_log_prob",
]

Array = NDArray[np.float64]

#: Capacity of proxy models: linear, quadratic, or with radial terms along every column.
LINEAR, QUADRATIC, FREE = range(3)
MOST_COLUMNS, MOST_TERMS = 40, 70
#: Radial terms along each column; at least so many, and so many terms in all at most.
BUMPS, FEWEST_BUMPS, MOST_RICH = 10, 4, 140
#: Ridge penalties per unit of weight, larger with radial terms, which overlap; and the smallest scale of errors, in
#: standard deviations of the target.
RIDGE, RICH_RIDGE, LEAST_SCALE = 1e-5, 1e-4, 1e-3
#: Newton steps of a logistic expert in a round, its penalty, and the smallest curvature and probability.
NEWTON, LOGISTIC_RIDGE, LEAST_CURVATURE, LEAST_PROBABILITY = 2, 3e-3, 0.02, 0.01


@dataclass(frozen=True)
class ProxyRows:
    """Rows as proxy models see them: columns (n, q), two bases, target (n, m) and weight (n,).

    With `n_classes` the target has so many columns of zeros and ones, or several times as many, for several labels.
    `gate` has the rows as the gate sees them, where its columns are others.
    """

    Z: Array
    plain: Array
    bumps: Array | None
    Y: Array
    weight: Array
    n_classes: int | None = None
    gate: ProxyRows | None = None

    def take(self, rows: Any) -> ProxyRows:
        """Some of the rows."""
        bumps = None if self.bumps is None else self.bumps[rows]
        gate = None if self.gate is None else self.gate.take(rows)
        return ProxyRows(self.Z[rows], self.plain[rows], bumps, self.Y[rows], self.weight[rows], self.n_classes, gate)

    @property
    def lines(self) -> Array:
        """Terms (n, q + 1) of straight lines."""
        return np.column_stack([np.ones(len(self.Z)), self.Z])

    def gate_columns(self, rich: bool = False) -> Array:
        """Columns of the gate, which divide the rows; with squares and products where the experts bend."""
        seen = self if self.gate is None else self.gate
        return seen.plain[:, 1:] if rich else seen.Z

    def basis(self, rich: bool) -> Array:
        """Terms (n, p) of the experts: a polynomial, or with radial terms along each column."""
        return np.hstack([self.plain, self.bumps]) if rich and self.bumps is not None else self.plain


class ProxyColumns:
    """From rows of X to standardised columns (n, q) and terms (n, p) of the experts; of `gate_X` for the gate."""

    def __init__(
        self, X: Any, rng: np.random.Generator, n_classes: int | None, capacity: int = FREE, gate_X: Any = None
    ) -> None:
        self.n_classes = n_classes
        self.gate = None if gate_X is None else ProxyColumns(gate_X, rng, n_classes, min(capacity, QUADRATIC))
        self.encoder = giving_arrays(ColumnEncoder()).fit(X)
        Z = self.encoder.transform(X)
        self.projection: Array | None = None
        q = Z.shape[1]
        if sparse.issparse(Z) or q > MOST_COLUMNS:
            # Random directions keep distances (Johnson & Lindenstrauss 1984) and take dense or sparse columns.
            self.projection = rng.standard_normal((q, MOST_COLUMNS)) / np.sqrt(q)
            q = MOST_COLUMNS
        size = (q + 1) * (q + 2) // 2
        self.degree = 2 if capacity > LINEAR and size <= MOST_TERMS and Z.shape[0] >= 4 * size else 1
        self.centres: Array | None = None
        self.widths = np.ones(q)
        size = size if self.degree == 2 else q + 1
        bumps = 0 if self.projection is not None or not q else (min(MOST_RICH, Z.shape[0] // 6) - size) // q
        if capacity == FREE and bumps >= FEWEST_BUMPS:
            self.centres = np.quantile(Z, np.linspace(0.02, 0.98, min(bumps, BUMPS)), axis=0)
            self.widths = np.maximum((self.centres[-1] - self.centres[0]) / (len(self.centres) - 1), 1e-3)

    def __call__(self, X: Any, Y: Array, weight: Array, gate_X: Any = None) -> ProxyRows:
        """Rows of X (n, d) with their target (n, m) and weight (n,)."""
        gate = None if self.gate is None else self.gate(gate_X, Y, weight)
        Z = self.encoder.transform(X)
        Z = np.asarray(Z if self.projection is None else Z @ self.projection)
        plain = giving_arrays(PolynomialFeatures(self.degree)).fit_transform(np.clip(Z, -4, 4))
        bent = None
        if self.centres is not None:
            away = (Z[:, None, :] - self.centres) / self.widths
            bent = np.exp(-0.5 * np.square(away)).reshape(len(Z), -1)
        if self.n_classes:  # a class carries little information: several regimes have linear logits, one may bend
            q = Z.shape[1] + 1
            plain, bent = plain[:, :q], plain[:, q:] if bent is None else np.hstack([plain[:, q:], bent])
        return ProxyRows(Z, plain, bent, Y, weight, self.n_classes, gate)


def proxy_log_prob(
    basis: Array, Y: Array, coefficients: Array, scale: Array | None, n_classes: int | None = None
) -> Array:
    """Log density (n, K) of the target (n, m) under each expert, given the terms (n, p); summed over labels."""
    if n_classes is not None:
        given = _by_label(class_probabilities(basis @ coefficients, n_classes) * Y, n_classes).sum(axis=3)
        return np.asarray(np.log(np.clip(given, LEAST_PROBABILITY, 1.0)).sum(axis=2).T)
    assert scale is not None
    errors = Y[None] - basis @ coefficients
    return np.asarray((-0.5 * np.square(errors / scale[:, None]) - np.log(scale)[:, None]).sum(axis=2).T)


def class_probabilities(logits: Array, n_classes: int) -> Array:
    """Softmax over the classes of each label, which lie one label after the other on the last axis."""
    logits = _by_label(logits, n_classes)
    exponent = np.exp(logits - logits.max(axis=-1, keepdims=True))
    given = exponent / exponent.sum(axis=-1, keepdims=True)
    return np.asarray(given.reshape(*given.shape[:-2], -1))


def _by_label(table: Array, n_classes: int) -> Array:
    """The last axis as two: labels and their classes."""
    return table.reshape(*table.shape[:-1], -1, n_classes)


def fit_proxies(rows: ProxyRows, terms: Array, mass: Array, start: Array | None) -> tuple[Array, Array | None]:
    """Experts from mass (n, K): ridge, or for classes a few steps of logistic regression from `start`."""
    C = rows.n_classes
    if C is None:
        return _ridge(terms, rows.Y, mass, RICH_RIDGE if terms.shape[1] > rows.plain.shape[1] else RIDGE)
    p = terms.shape[1]
    coefficients = np.zeros((mass.shape[1], p, rows.Y.shape[1])) if start is None else start.copy()
    for k in range(mass.shape[1]):
        penalty = LOGISTIC_RIDGE * max(float(mass[:, k].sum()), 1e-9) + 1e-9
        for _ in range(NEWTON):
            given = class_probabilities(terms @ coefficients[k], C)
            slope = terms.T @ (mass[:, [k]] * (rows.Y - given)) - penalty * coefficients[k]
            # One curvature for all classes and labels, the largest: with one of its own each class would step too far.
            curved = mass[:, k] * np.maximum((given * (1 - given)).max(axis=1), LEAST_CURVATURE)
            hessian = terms.T @ (terms * curved[:, None])
            hessian[np.diag_indices(p)] += penalty
            step = cho_solve(cho_factor(hessian, check_finite=False), slope, check_finite=False)
            coefficients[k] += (C - 1) / C * step
    return coefficients, None


def _ridge(basis: Array, Y: Array, mass: Array, ridge: float) -> tuple[Array, Array]:
    """Weighted ridge experts: coefficients (K, p, m) and scales (K, m) from mass (n, K)."""
    total = np.maximum(mass.sum(axis=0), 1e-9)
    weighted = (basis * mass.T[:, :, None]).transpose(0, 2, 1)
    gram = weighted @ basis
    gram[:, np.arange(basis.shape[1]), np.arange(basis.shape[1])] += ridge * total[:, None] + 1e-9
    coefficients = np.linalg.solve(gram, weighted @ Y)
    errors = Y - basis @ coefficients
    variance = np.einsum("nk,knm->km", mass, np.square(errors)) / total[:, None]
    return np.asarray(coefficients), np.asarray(np.sqrt(variance + LEAST_SCALE**2))
