"""Cheap mixtures of ridge experts that find where regimes lie before strong experts are let in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
# A class says less of its row than a number does: starts go through EM with a gate before they are compared.
CLASS_ROUNDS = 4
SHARP = 1e-4  # penalty of the gate in the last rounds for classes
# Bumps along each column bend the experts that count regimes; they settle in a few rounds.
BUMPS, FEWEST_BUMPS, MOST_RICH, RICH_ROUNDS = 10, 4, 140, 4
RIDGE = 1e-3
# Logistic experts take a few steps at a time, since responsibilities move on; nobody is believed to be certain.
NEWTON, LOGISTIC_RIDGE, LEAST_CURVATURE, LEAST_PROBABILITY = 2, 3e-3, 0.02, 0.01
# Regimes are claimed only where held-out rows say so by as many standard errors.
STANDARD_ERRORS = 2.0


@dataclass
class ProxyMixture:
    """K ridge experts, for classes logistic ones, on one basis under a softmax gate."""

    coefficients: Array  # (K, p, m)
    scale: Array | None  # (K, m); None for classes
    gate: Any
    rich: bool = False

    def log_prob(self, rows: _Rows) -> Array:
        """Log density (n, K) of the target under each expert."""
        return _log_prob(rows.basis(self.rich), rows.Y, self.coefficients, self.scale)

    def weights(self, rows: _Rows) -> Array:
        """Weights (n, K) of the gate."""
        return (
            np.ones((len(rows.Y), 1)) if len(self.coefficients) == 1 else self.gate.predict_proba(rows.looks(self.rich))
        )

    def responsibilities(self, rows: _Rows) -> tuple[Array, Array]:
        """Responsibilities (n, K) and log density (n,)."""
        return posterior(self.weights(rows), self.log_prob(rows))


@dataclass(frozen=True)
class _Rows:
    """Rows as the proxies see them: gate columns (n, q), two bases, target (n, m) and weight (n,)."""

    Z: Array
    plain: Array
    bumps: Array | None
    Y: Array
    weight: Array
    classes: bool = False

    def take(self, rows: Any) -> _Rows:
        """Some of the rows."""
        bumps = None if self.bumps is None else self.bumps[rows]
        return _Rows(self.Z[rows], self.plain[rows], bumps, self.Y[rows], self.weight[rows], self.classes)

    def looks(self, rich: bool) -> Array:
        """What the gate looks at: columns, or with squares and products, since borders bend too."""
        return self.plain[:, 1:] if rich else self.Z

    def basis(self, rich: bool) -> Array:
        """Terms (n, p) of the ridge experts: a polynomial, or with bumps along each column."""
        return np.hstack([self.plain, self.bumps]) if rich and self.bumps is not None else self.plain


def proxy_responsibilities(
    X: Any,
    Y: Array,
    weight: Array,
    gate: Any,
    n_regimes: int | None,
    seed: int,
    starts: Callable[[int, NDArray[np.intp]], Mapping[str, Array]] | None = None,
    by_error: bool = True,
    classes: bool = False,
) -> tuple[Array, list[dict[str, Any]]]:
    """Responsibilities found by cheap mixtures, ranked on held-out rows.

    Random soft starts are first reallocated by error alone (Späth 1979), the best few go through EM with a
    gate, and the mixture with the best held-out log density wins. Without `n_regimes` they are counted from
    one up, by mixtures whose experts bend along every column, so that a curve is not taken for two regimes:
    another regime stays only if held-out rows say so by two standard errors.

    Parameters
    ----------
    X : array, sparse matrix or frame, n rows
        Columns; encoded and standardised here.
    Y : ndarray of shape (n, m)
        Target, standardised here; for classes one column of zeros and ones each.
    weight : ndarray of shape (n,)
    gate : gate
        Unfitted; learns soft labels.
    n_regimes : int or None
        None chooses among 1, 2, 3 and 4.
    seed : int
    starts : callable, optional
        (K, positions) -> other first responsibilities by name, each (len(positions), K), which go through
        EM as well and are ranked with the random ones.
    by_error : bool
        Another regime must also lower the held-out squared error of the combined answer, by one standard
        error: two regimes that no column tells apart are of no use to it.
    classes : bool
        Whether the columns of Y are classes, which logistic experts learn.

    Returns
    -------
    responsibilities : ndarray of shape (n, K)
    ranking : list of dict
        Held-out loss (minus the mean log density) of each start.

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
    if not classes:
        Y = Y - np.average(Y, axis=0, weights=weight)
        Y = Y / (np.sqrt(np.average(Y**2, axis=0, weights=weight)) + np.finfo(float).tiny)
    positions = rng.permutation(np.flatnonzero(weight > 0))[: 4 * MOST_ROWS // 3]
    terms = _Terms(take_rows(X, positions), rng, classes)
    known = terms(take_rows(X, positions), Y[positions], weight[positions])
    hold = len(positions) // 4
    trial = _Trial(known.take(slice(hold, None)), known.take(slice(0, hold or None)), gate, by_error, rng)
    winner = trial.count() if n_regimes is None else trial.search(n_regimes)
    K = len(winner.coefficients)
    if starts is not None and K > 1:
        for name, first in starts(K, positions[hold:]).items():
            winner = trial.better(winner, trial.enter(name, trial.begin(_floored(first))))
    responsibilities = np.empty((len(Y), K))
    for begin in range(0, len(Y), BLOCK):
        block = np.arange(begin, min(begin + BLOCK, len(Y)))
        rows = terms(take_rows(X, block), Y[block], weight[block])
        responsibilities[block] = winner.responsibilities(rows)[0]
    return responsibilities, sorted(trial.ranking, key=lambda row: row["score"])


class _Trial:
    """Mixtures taught on some rows and ranked on others."""

    def __init__(self, train: _Rows, held: _Rows, gate: Any, by_error: bool, rng: np.random.Generator) -> None:
        self.by_error = by_error
        self.train, self.held, self.gate, self.rng = train, held, gate, rng
        self.share = held.weight / held.weight.sum()
        self.ranking: list[dict[str, Any]] = []

    def count(self) -> ProxyMixture:
        """The mixture with the fewest regimes that one more does not better by two standard errors."""
        best = self.search(1)
        for K in (2, 3, 4):
            if len(self.train.Y) < 3 * K * min(self.train.plain.shape[1], 10):
                break
            rival = self.search(K)
            gain = self.gain(self.density(rival) - self.density(best))
            nearer = self.gain(self.errors(best) - self.errors(rival)) if self.by_error else gain
            if gain > STANDARD_ERRORS and nearer > 1:
                best = rival
            elif min(gain, nearer) < 1:
                break
        return best

    def gain(self, gains: Array) -> float:
        """Mean of paired gains (n,) on held-out rows, in standard errors."""
        mean = float(self.share @ gains)
        error = float(np.sqrt(np.square(self.share) @ np.square(gains - mean)))
        return mean / error if error > 0 else 0.0

    def errors(self, mixture: ProxyMixture) -> Array:
        """Held-out squared error (n,) of the combined answer."""
        answers = self.held.basis(mixture.rich) @ mixture.coefficients
        if self.held.classes:
            answers = _softmax(answers)
        combined = np.einsum("nk,knm->nm", mixture.weights(self.held), answers)
        return np.asarray(np.square(self.held.Y - combined).sum(axis=1))

    def search(self, K: int) -> ProxyMixture:
        """The best mixture of K regimes from random starts."""
        if K == 1:
            ones = np.ones((len(self.train.Y), 1))
            one, bent = self.fit(ones), self.fit(ones, rich=True)
            if self.train.classes:
                one, bent = self.refine(one, RICH_ROUNDS), self.refine(bent, RICH_ROUNDS, rich=True)
            return self.enter("uniform", self.better(one, bent))
        found = _search(self.train, self.gate, K, self.rng)
        best = max(found, key=self.score)
        if self.train.bumps is not None and not self.train.classes:
            best = self.better(best, self.refine(best, RICH_ROUNDS, rich=True))
        if self.train.classes and hasattr(self.gate, "penalty"):
            # Logits of experts are small next to a border: a gate too soft at it hides what regimes gain.
            soft, self.gate = self.gate, clone(self.gate).set_params(penalty=SHARP)
            best, self.gate = self.better(best, self.refine(best, RICH_ROUNDS)), soft
        return self.enter(f"proxy, {K} regimes", best)

    def begin(self, first: Array) -> ProxyMixture:
        """A few rounds of EM from first responsibilities (n, K)."""
        rich = self.train.bumps is not None and not self.train.classes
        return self.refine(self.fit(first, rich), RICH_ROUNDS, rich)

    def refine(self, mixture: ProxyMixture, rounds: int, rich: bool = False) -> ProxyMixture:
        """EM with a gate, from a mixture."""
        for _ in range(rounds):
            begin = mixture.coefficients if mixture.rich == rich else None
            mixture = self.fit(_floored(mixture.responsibilities(self.train)[0]), rich, begin)
        return mixture

    def fit(self, responsibilities: Array, rich: bool = False, begin: Array | None = None) -> ProxyMixture:
        """Experts and gate from responsibilities (n, K)."""
        return _fit(self.train, responsibilities, self.gate, rich, begin)

    def density(self, mixture: ProxyMixture) -> Array:
        """Held-out log density (n,)."""
        return mixture.responsibilities(self.held)[1]

    def score(self, mixture: ProxyMixture) -> float:
        """Mean held-out log density."""
        return float(self.share @ self.density(mixture))

    def better(self, one: ProxyMixture, other: ProxyMixture) -> ProxyMixture:
        """The one with the better score; the first of equals."""
        return other if self.score(other) > self.score(one) else one

    def enter(self, name: str, mixture: ProxyMixture) -> ProxyMixture:
        """The same mixture, entered in the ranking."""
        self.ranking.append({"start": name, "score": -self.score(mixture)})
        return mixture


class _Terms:
    """From rows of X to gate columns (n, q), standardised, and terms (n, p) of the ridge experts."""

    def __init__(self, X: Any, rng: np.random.Generator, classes: bool) -> None:
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
        self.degree = 2 if size <= MOST_TERMS and Z.shape[0] >= 4 * size else 1
        self.centres: Array | None = None
        self.widths = np.ones(q)
        size = size if self.degree == 2 else q + 1
        bumps = 0 if self.projection is not None or not q else (min(MOST_RICH, Z.shape[0] // 6) - size) // q
        if bumps >= FEWEST_BUMPS:
            self.centres = np.quantile(Z, np.linspace(0.02, 0.98, min(bumps, BUMPS)), axis=0)
            self.widths = np.maximum((self.centres[-1] - self.centres[0]) / (len(self.centres) - 1), 1e-3)

    def __call__(self, X: Any, Y: Array, weight: Array) -> _Rows:
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
        return _Rows(Z, plain, bent, Y, weight, self.classes)


def _log_prob(basis: Array, Y: Array, coefficients: Array, scale: Array | None) -> Array:
    if scale is None:
        given = (_softmax(basis @ coefficients) * Y).sum(axis=2)
        return np.asarray(np.log(np.clip(given, LEAST_PROBABILITY, 1.0)).T)
    errors = Y[None] - basis @ coefficients
    return np.asarray((-0.5 * np.square(errors / scale[:, None]) - np.log(scale)[:, None]).sum(axis=2).T)


def _softmax(logits: Array) -> Array:
    exponent = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(exponent / exponent.sum(axis=-1, keepdims=True))


def _experts(rows: _Rows, terms: Array, mass: Array, begin: Array | None) -> tuple[Array, Array | None]:
    """Experts from mass (n, K): ridge, or for classes a few steps of logistic regression from `begin`."""
    if not rows.classes:
        return _ridge(terms, rows.Y, mass)
    p, C = terms.shape[1], rows.Y.shape[1]
    coefficients = np.zeros((mass.shape[1], p, C)) if begin is None else begin.copy()
    for k in range(mass.shape[1]):
        penalty = LOGISTIC_RIDGE * max(float(mass[:, k].sum()), 1e-9) + 1e-9
        for _ in range(NEWTON):
            given = _softmax(terms @ coefficients[k])
            slope = terms.T @ (mass[:, [k]] * (rows.Y - given)) - penalty * coefficients[k]
            # One curvature for all classes, that of the least certain; each class alone would step too far.
            curved = mass[:, k] * np.maximum((given * (1 - given)).max(axis=1), LEAST_CURVATURE)
            hessian = terms.T @ (terms * curved[:, None])
            hessian[np.diag_indices(p)] += penalty
            step = cho_solve(cho_factor(hessian, check_finite=False), slope, check_finite=False)
            coefficients[k] += (C - 1) / C * step
    return coefficients, None


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


def _fit(
    rows: _Rows, responsibilities: Array, gate: Any, rich: bool = False, begin: Array | None = None
) -> ProxyMixture:
    """Experts and gate from responsibilities (n, K)."""
    coefficients, scale = _experts(rows, rows.basis(rich), responsibilities * rows.weight[:, None], begin)
    if responsibilities.shape[1] == 1:
        return ProxyMixture(coefficients, scale, None, rich)
    taught = clone(gate).fit(rows.looks(rich), responsibilities, sample_weight=rows.weight)
    return ProxyMixture(coefficients, scale, taught, rich)


def _floored(responsibilities: Array) -> Array:
    """Responsibilities that let no expert die."""
    return (1 - 1e-3) * responsibilities + 1e-3 / responsibilities.shape[1]


def _search(rows: _Rows, gate: Any, K: int, rng: np.random.Generator) -> list[ProxyMixture]:
    """The best few mixtures of K ridge experts from random starts."""
    few = rows.take(slice(0, SEARCH_ROWS))
    finalists = []
    lines = np.column_stack([np.ones(len(few.Z)), few.Z])
    for number in range(STARTS):
        # Half of the starts see straight lines only: fewer coefficients tell regimes apart with fewer rows.
        terms = lines if number % 4 < 2 else few.plain
        labels = rng.integers(K, size=len(few.Y))
        if number % 2:  # every other start cuts along a random direction
            direction = few.Z @ rng.standard_normal(few.Z.shape[1])
            labels = np.searchsorted(np.quantile(direction, np.arange(1, K) / K), direction)
        responsibilities = 0.9 * np.eye(K)[labels] + 0.1 / K
        experts: tuple[Array | None, Array | None] = None, None
        for _ in range(ALLOCATIONS):
            experts = _experts(few, terms, responsibilities * few.weight[:, None], experts[0])
            log_prob = _log_prob(terms, few.Y, *experts)
            shares = np.broadcast_to(responsibilities.mean(axis=0), responsibilities.shape)
            responsibilities = posterior(shares, log_prob, floor=1e-3)[0]
        mixture = _fit(few, responsibilities, gate)
        for _ in range(CLASS_ROUNDS if rows.classes else 0):
            mixture = _fit(few, _floored(mixture.responsibilities(few)[0]), gate, begin=mixture.coefficients)
        finalists.append((float(few.weight @ mixture.responsibilities(few)[1]), number, mixture))
    finalists.sort(key=lambda entry: -entry[0])
    best = [mixture for _, _, mixture in finalists[:FINALISTS]]
    for _ in range(ROUNDS):
        best = [
            _fit(rows, _floored(mixture.responsibilities(rows)[0]), gate, begin=mixture.coefficients)
            for mixture in best
        ]
    return best
