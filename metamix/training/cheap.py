"""Cheap experts, ridge or logistic, and the terms of each row that they rest on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve
from sklearn.preprocessing import PolynomialFeatures

from metamix.data.columns import ColumnEncoder

__all__ = ["CURVES", "FREELY", "LINES", "Rows", "Terms", "cheap_experts", "expert_log_prob", "probabilities"]

Array = NDArray[np.float64]

#: How far experts may bend: not at all, as parabolas, or along every column as they like.
LINES, CURVES, FREELY = range(3)
MOST_COLUMNS, MOST_TERMS = 40, 70
# Bumps along each column bend the experts that count regimes.
BUMPS, FEWEST_BUMPS, MOST_RICH = 10, 4, 140
# Bumps overlap and need more of it. Nothing is believed to be more exact than a thousandth of the target's spread.
RIDGE, RICH_RIDGE, LEAST_SCALE = 1e-5, 1e-4, 1e-3
# Logistic experts take a few steps at a time, since responsibilities move on; nobody is believed to be certain.
NEWTON, LOGISTIC_RIDGE, LEAST_CURVATURE, LEAST_PROBABILITY = 2, 3e-3, 0.02, 0.01


@dataclass(frozen=True)
class Rows:
    """Rows as the proxies see them: gate columns (n, q), two bases, target (n, m) and weight (n,)."""

    Z: Array
    plain: Array
    bumps: Array | None
    Y: Array
    weight: Array
    classes: bool = False

    def take(self, rows: Any) -> Rows:
        """Some of the rows."""
        bumps = None if self.bumps is None else self.bumps[rows]
        return Rows(self.Z[rows], self.plain[rows], bumps, self.Y[rows], self.weight[rows], self.classes)

    def looks(self, rich: bool) -> Array:
        """What the gate looks at: columns, or with squares and products, since borders bend too."""
        return self.plain[:, 1:] if rich else self.Z

    def basis(self, rich: bool) -> Array:
        """Terms (n, p) of the ridge experts: a polynomial, or with bumps along each column."""
        return np.hstack([self.plain, self.bumps]) if rich and self.bumps is not None else self.plain


class Terms:
    """From rows of X to gate columns (n, q), standardised, and terms (n, p) of the ridge experts."""

    def __init__(self, X: Any, rng: np.random.Generator, classes: bool, bends: int = FREELY) -> None:
        self.classes = classes
        self.encoder = ColumnEncoder().fit(X)
        Z = self.encoder.transform(X)
        self.projection: Array | None = None
        q = Z.shape[1]
        if sparse.issparse(Z) or q > MOST_COLUMNS:
            # Random directions keep distances (Johnson & Lindenstrauss 1984) and take dense or sparse columns.
            self.projection = rng.standard_normal((q, MOST_COLUMNS)) / np.sqrt(q)
            q = MOST_COLUMNS
        size = (q + 1) * (q + 2) // 2
        self.degree = 2 if bends > LINES and size <= MOST_TERMS and Z.shape[0] >= 4 * size else 1
        self.centres: Array | None = None
        self.widths = np.ones(q)
        size = size if self.degree == 2 else q + 1
        bumps = 0 if self.projection is not None or not q else (min(MOST_RICH, Z.shape[0] // 6) - size) // q
        if bends == FREELY and bumps >= FEWEST_BUMPS:
            self.centres = np.quantile(Z, np.linspace(0.02, 0.98, min(bumps, BUMPS)), axis=0)
            self.widths = np.maximum((self.centres[-1] - self.centres[0]) / (len(self.centres) - 1), 1e-3)

    def __call__(self, X: Any, Y: Array, weight: Array) -> Rows:
        """Rows of X (n, d) with their target (n, m) and weight (n,)."""
        Z = self.encoder.transform(X)
        Z = np.asarray(Z if self.projection is None else Z @ self.projection)
        plain = PolynomialFeatures(self.degree).fit_transform(np.clip(Z, -4, 4))
        bent = None
        if self.centres is not None:
            away = (Z[:, None, :] - self.centres) / self.widths
            bent = np.exp(-0.5 * np.square(away)).reshape(len(Z), -1)
        if self.classes:  # a class says little of its row: regimes are told apart by straight logits, one may bend
            q = Z.shape[1] + 1
            plain, bent = plain[:, :q], plain[:, q:] if bent is None else np.hstack([plain[:, q:], bent])
        return Rows(Z, plain, bent, Y, weight, self.classes)


def expert_log_prob(basis: Array, Y: Array, coefficients: Array, scale: Array | None) -> Array:
    """Log density (n, K) of the target (n, m) under each expert, given the terms (n, p)."""
    if scale is None:
        given = (probabilities(basis @ coefficients) * Y).sum(axis=2)
        return np.asarray(np.log(np.clip(given, LEAST_PROBABILITY, 1.0)).T)
    errors = Y[None] - basis @ coefficients
    return np.asarray((-0.5 * np.square(errors / scale[:, None]) - np.log(scale)[:, None]).sum(axis=2).T)


def probabilities(logits: Array) -> Array:
    """Softmax over the last axis."""
    exponent = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(exponent / exponent.sum(axis=-1, keepdims=True))


def cheap_experts(rows: Rows, terms: Array, mass: Array, begin: Array | None) -> tuple[Array, Array | None]:
    """Experts from mass (n, K): ridge, or for classes a few steps of logistic regression from `begin`."""
    if not rows.classes:
        return _ridge(terms, rows.Y, mass, RICH_RIDGE if terms.shape[1] > rows.plain.shape[1] else RIDGE)
    p, C = terms.shape[1], rows.Y.shape[1]
    coefficients = np.zeros((mass.shape[1], p, C)) if begin is None else begin.copy()
    for k in range(mass.shape[1]):
        penalty = LOGISTIC_RIDGE * max(float(mass[:, k].sum()), 1e-9) + 1e-9
        for _ in range(NEWTON):
            given = probabilities(terms @ coefficients[k])
            slope = terms.T @ (mass[:, [k]] * (rows.Y - given)) - penalty * coefficients[k]
            # One curvature for all classes, that of the least certain; each class alone would step too far.
            curved = mass[:, k] * np.maximum((given * (1 - given)).max(axis=1), LEAST_CURVATURE)
            hessian = terms.T @ (terms * curved[:, None])
            hessian[np.diag_indices(p)] += penalty
            step = cho_solve(cho_factor(hessian, check_finite=False), slope, check_finite=False)
            coefficients[k] += (C - 1) / C * step
    return coefficients, None


def _ridge(basis: Array, Y: Array, mass: Array, ridge: float) -> tuple[Array, Array]:
    """Weighted ridge experts: coefficients (K, p, m) and scales (K, m) from mass (n, K)."""
    coefficients, scale = [], []
    for k in range(mass.shape[1]):
        weighted = basis * mass[:, [k]]
        gram = basis.T @ weighted
        total = max(float(mass[:, k].sum()), 1e-9)
        gram[np.diag_indices_from(gram)] += ridge * total + 1e-9
        solution = cho_solve(cho_factor(gram, check_finite=False), weighted.T @ Y, check_finite=False)
        errors = Y - basis @ solution
        coefficients.append(solution)
        scale.append(np.sqrt((mass[:, k] @ np.square(errors)) / total + LEAST_SCALE**2))
    return np.stack(coefficients), np.stack(scale)
