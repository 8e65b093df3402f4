"""Mixtures of ridge (for classes logistic) experts that find the regimes before the user's experts are fitted."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from metamix.data.row_keys import distinct_rows
from metamix.data.tables import take_rows
from metamix.deadline import Deadline
from metamix.recombination import floored, posterior
from metamix.training.regime_search.model_tree import leaves
from metamix.training.regime_search.proxy_models import (
    FREE,
    LINEAR,
    ProxyColumns,
    ProxyRows,
    class_probabilities,
    fit_proxies,
    proxy_log_prob,
)
from metamix.training.selection import simplest

__all__ = ["FoundRegimes", "ProxyMixture", "proxy_responsibilities"]

Array = NDArray[np.float64]
Starts = Callable[[int, NDArray[np.intp]], Mapping[str, Array]]

#: Random starts, rounds of reallocation by error alone, rounds of EM, and starts that go through EM.
N_STARTS, REALLOCATIONS, EM_ROUNDS, FINALISTS = 12, 8, 8, 2
#: Rows that the search looks at, and those of the reallocation.
SEARCH_ROWS, START_ROWS = 2000, 1000
#: Rows for which responsibilities are worked out at a time.
BLOCK = 20_000
#: Rounds of EM, with a gate, of each random start for classes; reallocation alone is not enough there.
CLASS_ROUNDS = 4
#: Rounds of EM from a start that is given, and under a gate with a weak penalty.
START_ROUNDS, SHARP_ROUNDS = 4, 3
#: Weak penalties of the gate: with a strong one, the overlap at a border hides what regimes gain there.
SHARP_PENALTY, CLASS_SHARP_PENALTY = 1e-5, 1e-4
#: Share of the uniform distribution in responsibilities, so that no regime is lost in a round.
FLOOR = 1e-5
#: Regimes of so few rows are counted with every quarter held out in turn.
FEW_ROWS = 300
#: Leaves of a model tree at most, and rows of a leaf at least; two more than the terms of a line, where it has more.
MOST_LEAVES, FEWEST_IN_LEAF = 50, 5
#: Counting ends with so many numbers of regimes in a row that do not lower the held-out loss.
PATIENCE = 2


class FoundRegimes(NamedTuple):
    """Regimes of n rows.

    Parameters
    ----------
    responsibilities : ndarray of shape (n, K)
    ranking : list of dict
        Held-out loss (minus the mean log density) of each start.
    capacity : int or None
        How far the proxies bend that found them; None where none were fitted.
    """

    responsibilities: Array
    ranking: list[dict[str, Any]]
    capacity: int | None = None


@dataclass
class ProxyMixture:
    """K ridge or logistic experts on one basis under a softmax gate.

    Parameters
    ----------
    coefficients : ndarray of shape (K, p, m)
    scale : ndarray of shape (K, m) or None
        None for classes.
    gate : fitted gate
    rich : bool
        Whether the experts bend along every column.
    """

    coefficients: Array
    scale: Array | None
    gate: Any
    rich: bool = False

    def log_prob(self, rows: ProxyRows) -> Array:
        """Log density (n, K) of the target under each expert."""
        return proxy_log_prob(rows.basis(self.rich), rows.Y, self.coefficients, self.scale, rows.n_classes)

    def weights(self, rows: ProxyRows) -> Array:
        """Weights (n, K) of the gate."""
        if len(self.coefficients) == 1:
            return np.ones((len(rows.Y), 1))
        return np.asarray(self.gate.predict_proba(rows.gate_columns(self.rich)))

    def responsibilities(self, rows: ProxyRows) -> tuple[Array, Array]:
        """Responsibilities (n, K) and log density (n,)."""
        return posterior(self.weights(rows), self.log_prob(rows))

    def errors(self, rows: ProxyRows) -> Array:
        """Squared error (n,) of the combined prediction, summed over targets or classes."""
        values = rows.basis(self.rich) @ self.coefficients
        values = values if rows.n_classes is None else class_probabilities(values, rows.n_classes)
        combined = np.einsum("nk,knm->nm", self.weights(rows), values)
        return np.asarray(np.square(rows.Y - combined).sum(axis=1))


def proxy_responsibilities(
    X: Any,
    Y: Array,
    weight: Array,
    gate: Any,
    n_regimes: int | None,
    seed: int,
    starts: Starts | None = None,
    n_classes: int | None = None,
    by_error: bool = True,
    capacities: Sequence[int] = (FREE, LINEAR),
    max_regimes: int = 8,
    groups: NDArray[Any] | None = None,
    gate_X: Any = None,
    deadline: Deadline | None = None,
) -> FoundRegimes:
    """Responsibilities found by mixtures of proxy models, ranked on held-out rows.

    Random starts are reallocated by error alone (Späth 1979), the best few go through EM with a gate, and the mixture
    with the best held-out log density is taken. Model trees, which cut the table along its columns, are ranked with
    them.

    Parameters
    ----------
    X : array, sparse matrix or frame, n rows
        Columns; encoded and standardised here.
    Y : ndarray of shape (n, m)
        Target, standardised here; for classes one column of zeros and ones each, of several labels one after the
        other.
    weight : ndarray of shape (n,)
    gate : gate
        Unfitted; fitted to responsibilities.
    n_regimes : int or None
        None counts them.
    seed : int
    starts : callable, optional
        (K, positions) -> other initial responsibilities by name, each (len(positions), K), which go through EM as
        well and are ranked with the random ones.
    n_classes : int, optional
        Of each label, where the columns of Y are classes, for which the experts are logistic.
    by_error : bool
        Count regimes by the squared error of the combined prediction too; else, and for classes, by the log density
        alone.
    capacities : sequence of int
        How far the experts may bend; see `capacity_of`. Of several the one that needs fewer regimes is taken, unless
        the other does clearly better; for classes the first.
    max_regimes : int
    groups : ndarray of shape (n,), optional
        Rows of one group are not independent.
    gate_X : array, sparse matrix or frame, n rows, optional
        Columns that divide the rows, where they are others than those of X.
    deadline : Deadline, optional
        Ends the count.

    Returns
    -------
    FoundRegimes

    References
    ----------
    Späth (1979), Clusterwise linear regression.

    Examples
    --------
    >>> from metamix.gates import SoftmaxGate
    >>> X = np.linspace(-1, 1, 200)[:, None]
    >>> Y = np.where(X < 0, 3 * X, 5 - 2 * X)
    >>> found = proxy_responsibilities(X, Y, np.ones(200), SoftmaxGate(penalty=0.01), 2, seed=0).responsibilities
    >>> bool(abs(found[:100, 0].mean() - found[100:, 0].mean()) > 0.9)
    True
    """
    deadline = Deadline() if deadline is None else deadline
    rng = np.random.default_rng(seed)
    # Distinct rows in an order of their own: neither the order of the rows nor how often one is repeated matters.
    distinct = distinct_rows(weight, X, Y) if groups is None else distinct_rows(weight, X, Y, groups)
    if n_classes is None:
        Y = Y - np.average(Y, axis=0, weights=weight)
        Y = Y / (np.sqrt(np.average(Y**2, axis=0, weights=weight)) + np.finfo(float).tiny)
    chosen = rng.permutation(len(distinct.rows))[: 4 * SEARCH_ROWS // 3]
    positions, merged = distinct.rows[chosen], distinct.weight[chosen] / distinct.weight.mean()
    units = None if groups is None else groups[positions]
    found: list[tuple[int, int, _Proxies]] = []
    # Logits of several regimes are straight at any capacity.
    for capacity in capacities[:1] if n_classes else capacities:
        if found and not deadline.allows("the search for regimes with linear models"):
            break
        columns = ProxyColumns(take_rows(X, positions), rng, n_classes, capacity, _taken(gate_X, positions))
        known = columns(take_rows(X, positions), Y[positions], merged, _taken(gate_X, positions))
        searches = _searches(known, gate, rng, units, counted=n_regimes is None)
        proxies = _Proxies(columns, searches, by_error and n_classes is None, units)
        K = proxies.count(max_regimes, deadline) if n_regimes is None else n_regimes
        found.append((K, capacity, proxies))
    found.sort(key=lambda one: one[0])
    K, capacity, proxies = found[found[0][2].simplest([one.losses(k) for k, _, one in found])]
    columns, search = proxies.columns, proxies.search(K)
    winner = search.mixture(K)
    if starts is not None and K > 1:
        for name, first in starts(K, positions[search.fitted_rows]).items():
            winner = search.better(
                winner, search.enter(name, search.refined(search.fit(floored(first, FLOOR), True), True))
            )
    responsibilities = np.empty((len(Y), K))
    for begin in range(0, len(Y), BLOCK):
        block = np.arange(begin, min(begin + BLOCK, len(Y)))
        rows = columns(take_rows(X, block), Y[block], np.ones(len(block)), _taken(gate_X, block))
        responsibilities[block] = winner.responsibilities(rows)[0]
    return FoundRegimes(responsibilities, sorted(search.ranking, key=lambda row: row["score"]), capacity)


@dataclass(frozen=True)
class _Proxies:
    """Searches with proxies of one capacity, which hold out different rows."""

    columns: ProxyColumns
    searches: list[_Search]
    by_error: bool
    groups: NDArray[Any] | None

    def count(self, max_regimes: int, deadline: Deadline) -> int:
        """The smallest number of regimes that does as well as the best; counting ends where the losses only grow."""
        train = self.searches[0].train
        n, terms = len(train.Y), min(train.plain.shape[1], 10)
        weight = np.concatenate([one.held.weight for one in self.searches])
        losses: list[list[Array]] = []
        for K in range(1, max_regimes + 1):
            best = [int(np.argmin([weight @ loss for loss in one])) for one in zip(*losses, strict=True)]
            if K > 1 and (n < 3 * K * terms or K - 2 - max(best) >= PATIENCE):
                break
            if K > 2 and not deadline.allows("larger numbers of regimes"):
                break
            losses.append(self.losses(K))
        return 1 + self.simplest(losses)

    def losses(self, K: int) -> list[Array]:
        """Minus the log density of the rows that the searches hold out, and with `by_error` their squared errors."""
        pairs = [(one, one.mixture(K)) for one in self.searches]
        density = np.concatenate([one.density_loss(mixture) for one, mixture in pairs])
        if not self.by_error:
            return [density]
        return [density, np.concatenate([mixture.errors(one.held) for one, mixture in pairs])]

    def simplest(self, losses: list[list[Array]]) -> int:
        """Position of the simplest of several candidates within 1.75 standard errors of the best.

        By the log density alone, noise whose scale depends on x is counted as regimes; by the error alone, more regimes
        than there are make up for the blurred border between two. Where errors judge, both must say so.
        """
        weight = np.concatenate([one.held.weight for one in self.searches])
        groups = None if self.groups is None else np.concatenate([self.groups[one.held_rows] for one in self.searches])
        return min(simplest(np.column_stack(one), weight, groups) for one in zip(*losses, strict=True))

    def search(self, K: int) -> _Search:
        """The best search; where every quarter is held out, which differ in difficulty, by the gain over K = 1."""
        several = len(self.searches) > 1
        gains = [one.score(one.mixture(K)) - (one.score(one.mixture(1)) if several else 0.0) for one in self.searches]
        return self.searches[int(np.argmax(gains))]


def _searches(
    known: ProxyRows, gate: Any, rng: np.random.Generator, groups: NDArray[Any] | None, *, counted: bool
) -> list[_Search]:
    """A search with a quarter of the rows held out; to count with few rows one for each quarter.

    Groups are not divided.
    """
    rows = np.arange(len(known.Y))
    quarters = _quarters(len(rows), groups)
    if len(quarters) < 2:
        return [_Search(known, rows, rows, gate, rng)]
    if not counted or len(rows) > FEW_ROWS:
        quarters = [min(quarters, key=lambda part: abs(len(part) - len(rows) / 4))]
    return [_Search(known, np.setdiff1d(rows, held), held, gate, rng) for held in quarters]


def _quarters(n: int, groups: NDArray[Any] | None) -> list[NDArray[np.intp]]:
    """Rows in four parts of about the same size, whole groups where there are some, in the order of the rows.

    Examples
    --------
    >>> [part.tolist() for part in _quarters(4, None)]
    [[0], [1], [2], [3]]
    >>> [part.tolist() for part in _quarters(6, np.array(["b", "a", "b", "a", "c", "c"]))]
    [[0, 2], [1, 3], [4, 5]]
    """
    if groups is None:
        quarter = n // 4
        return [np.arange(begin, begin + quarter) for begin in range(0, 4 * quarter, quarter or 1)]
    _, first, codes, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(first)
    before = np.empty(len(order), dtype=np.intp)
    before[order] = np.cumsum(sizes[order]) - sizes[order]
    part = (4 * before // n)[codes]
    return [np.flatnonzero(part == q) for q in np.unique(part)]


@dataclass
class _Search:
    """Mixtures fitted on some rows and ranked on others, each number of regimes once."""

    known: ProxyRows
    fitted_rows: NDArray[np.intp]
    held_rows: NDArray[np.intp]
    gate: Any
    rng: np.random.Generator
    ranking: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.train, self.held = self.known.take(self.fitted_rows), self.known.take(self.held_rows)
        self._found: dict[int, ProxyMixture] = {}
        self._trees: dict[str, tuple[Iterator[NDArray[np.intp]], list[NDArray[np.intp]]]] = {}

    @property
    def bends(self) -> bool:
        """Whether experts that bend along every column are among the proxies."""
        return self.train.bumps is not None and self.train.n_classes is None

    def mixture(self, K: int) -> ProxyMixture:
        """The best mixture of K regimes by held-out log density."""
        if K not in self._found:
            self._found[K] = self._single() if K == 1 else self._several(K)
        return self._found[K]

    def density_loss(self, mixture: ProxyMixture) -> Array:
        """Minus the log density (n,) of held-out rows."""
        return -mixture.responsibilities(self.held)[1]

    def score(self, mixture: ProxyMixture) -> float:
        """Mean held-out log density."""
        return -float(np.average(self.density_loss(mixture), weights=self.held.weight))

    def better(self, one: ProxyMixture, other: ProxyMixture) -> ProxyMixture:
        """The one with the better score; the first of equals."""
        return other if self.score(other) > self.score(one) else one

    def enter(self, name: str, mixture: ProxyMixture) -> ProxyMixture:
        """The same mixture, entered in the ranking."""
        self.ranking.append({"start": name, "score": -self.score(mixture)})
        return mixture

    def fit(self, responsibilities: Array, rich: bool = False, start: Array | None = None) -> ProxyMixture:
        """Experts and gate from responsibilities (n, K); `rich` where experts may bend and do."""
        return _fit(self.train, responsibilities, self.gate, rich and self.bends, start)

    def refined(self, mixture: ProxyMixture, rich: bool = False, rounds: int = START_ROUNDS) -> ProxyMixture:
        """Rounds of EM from a mixture."""
        for _ in range(rounds):
            start = mixture.coefficients if mixture.rich == (rich and self.bends) else None
            mixture = self.fit(floored(mixture.responsibilities(self.train)[0], FLOOR), rich, start)
        return mixture

    def sharpened(self, mixture: ProxyMixture) -> ProxyMixture:
        """Rounds of EM under a gate with a weak penalty, where it has one."""
        if not hasattr(self.gate, "penalty"):
            return mixture
        classes, gate = self.train.n_classes is not None, self.gate
        self.gate = clone(gate).set_params(penalty=CLASS_SHARP_PENALTY if classes else SHARP_PENALTY)
        sharp = self.refined(mixture, mixture.rich, START_ROUNDS if classes else SHARP_ROUNDS)
        self.gate = gate
        return sharp

    def _single(self) -> ProxyMixture:
        ones = np.ones((len(self.train.Y), 1))
        plain = _fit(self.train, ones, self.gate)
        bent = _fit(self.train, ones, self.gate, rich=True)
        if self.train.n_classes is not None:  # logistic experts take a few steps at a time
            for _ in range(START_ROUNDS):
                plain = _fit(self.train, ones, self.gate, start=plain.coefficients)
                bent = _fit(self.train, ones, self.gate, rich=True, start=bent.coefficients)
        return self.enter("uniform", self.better(plain, bent))

    def _several(self, K: int) -> ProxyMixture:
        best = max(_random_starts(self.train, self.gate, K, self.rng), key=self.score)
        if self.bends:
            best = self.better(best, self.refined(best, rich=True))
        best = self.enter(f"proxy, {K} regimes", self.better(best, self.sharpened(best)))
        if self.train.n_classes is not None:
            return best
        for name, labels in self._leaves(K).items():
            found = self.sharpened(_fit(self.train, floored(np.eye(K)[labels], FLOOR), self.gate))
            best = self.better(best, self.enter(f"model tree with {name}, {K} regimes", found))
        return best

    def _leaves(self, K: int) -> dict[str, NDArray[np.intp]]:
        """Leaves (n,) of model trees with K leaves, by the kind of their models."""
        if not self._trees:
            train = self.train
            cut, line = train.gate_columns(), train.lines.shape[1]
            for name, terms in {"lines": train.lines, "curves": train.plain}.items():
                fewest = max(FEWEST_IN_LEAF, min(terms.shape[1], line) + 2)
                self._trees[name] = leaves(cut, terms, train.Y, train.weight, MOST_LEAVES, fewest), []
        for growing, grown in self._trees.values():  # a tree of K leaves contains those of fewer
            grown += itertools.islice(growing, max(K - 1 - len(grown), 0))
        return {name: grown[K - 2] for name, (_, grown) in self._trees.items() if len(grown) > K - 2}


def _fit(
    rows: ProxyRows, responsibilities: Array, gate: Any, rich: bool = False, start: Array | None = None
) -> ProxyMixture:
    """Experts and gate from responsibilities (n, K)."""
    coefficients, scale = fit_proxies(rows, rows.basis(rich), responsibilities * rows.weight[:, None], start)
    if responsibilities.shape[1] == 1:
        return ProxyMixture(coefficients, scale, None, rich)
    fitted = clone(gate).fit(rows.gate_columns(rich), responsibilities, sample_weight=rows.weight)
    return ProxyMixture(coefficients, scale, fitted, rich)


def _taken(X: Any, rows: NDArray[np.intp]) -> Any:
    """Some rows of X, or None."""
    return None if X is None else take_rows(X, rows)


def _random_starts(rows: ProxyRows, gate: Any, K: int, rng: np.random.Generator) -> list[ProxyMixture]:
    """The best few mixtures of K experts from random starts."""
    few = rows.take(slice(0, START_ROWS))
    columns = few.gate_columns()
    found = []
    for number in range(N_STARTS):
        # Half of the starts fit straight lines only: fewer coefficients separate regimes with fewer rows.
        terms = few.lines if number % 4 < 2 else few.plain
        labels = rng.integers(K, size=len(few.Y))
        if number % 2:  # every other start cuts the rows along a random direction
            direction = columns @ rng.standard_normal(columns.shape[1])
            labels = np.searchsorted(np.quantile(direction, np.arange(1, K) / K), direction)
        responsibilities = 0.9 * np.eye(K)[labels] + 0.1 / K
        experts: tuple[Array | None, Array | None] = None, None
        for _ in range(REALLOCATIONS):
            experts = fit_proxies(few, terms, responsibilities * few.weight[:, None], experts[0])
            shares = np.broadcast_to(responsibilities.mean(axis=0), responsibilities.shape)
            responsibilities = posterior(shares, proxy_log_prob(terms, few.Y, *experts, few.n_classes), floor=1e-3)[0]
        mixture = _fit(few, responsibilities, gate)
        for _ in range(0 if rows.n_classes is None else CLASS_ROUNDS):
            mixture = _fit(few, floored(mixture.responsibilities(few)[0], FLOOR), gate, start=mixture.coefficients)
        found.append((float(few.weight @ mixture.responsibilities(few)[1]), mixture))
    found.sort(key=lambda entry: -entry[0])
    best = [mixture for _, mixture in found[:FINALISTS]]
    for _ in range(EM_ROUNDS):
        best = [_fit(rows, floored(one.responsibilities(rows)[0], FLOOR), gate, start=one.coefficients) for one in best]
    return best
