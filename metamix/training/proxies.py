"""Cheap mixtures of ridge experts that find where regimes lie before strong experts are let in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from metamix.data.tables import take_rows
from metamix.recombination import posterior
from metamix.training.cheap import FREELY, Rows, Terms, cheap_experts, expert_log_prob, probabilities
from metamix.training.judging import STANDARD_ERRORS, paired
from metamix.training.model_tree import leaves
from metamix.training.pools import nearer

__all__ = ["ProxyMixture", "proxy_responsibilities"]

Array = NDArray[np.float64]

STARTS, ALLOCATIONS, ROUNDS, FINALISTS = 12, 8, 8, 2
MOST_ROWS, SEARCH_ROWS = 2000, 1000
BLOCK = 20_000
# A class says less of its row than a number does: starts go through EM with a gate before they are compared.
CLASS_ROUNDS = 4
# Experts that bend settle in a few rounds, and so does a sharper gate; one too soft at a border hides what
# regimes gain there.
RICH_ROUNDS, SHARP_ROUNDS, SHARP, CLASS_SHARP = 4, 3, 1e-5, 1e-4
# No expert dies of a row: at this share of every row, hardly visible in the scale of an exact expert.
FLOOR = 1e-5
# A regime more must add this share of what the others have gained: exact experts gain a little by every cut.
WORTH = 0.1
# Of a thousand rows one may be as a single regime has it: next to a border exact experts are wrong beyond measure, and
# one such row would hide what all others show.
DOUBT = 0.001
# So many are counted. Where rows are few a search costs next to nothing, and every number is tried.
MOST_REGIMES, FEW_ROWS = 4, 300
# Errors below this share of the target's spread count as one another.
EXACT = 1e-3


@dataclass
class ProxyMixture:
    """K ridge experts, for classes logistic ones, on one basis under a softmax gate."""

    coefficients: Array  # (K, p, m)
    scale: Array | None  # (K, m); None for classes
    gate: Any
    rich: bool = False

    def log_prob(self, rows: Rows) -> Array:
        """Log density (n, K) of the target under each expert."""
        return expert_log_prob(rows.basis(self.rich), rows.Y, self.coefficients, self.scale)

    def weights(self, rows: Rows) -> Array:
        """Weights (n, K) of the gate."""
        return (
            np.ones((len(rows.Y), 1)) if len(self.coefficients) == 1 else self.gate.predict_proba(rows.looks(self.rich))
        )

    def responsibilities(self, rows: Rows) -> tuple[Array, Array]:
        """Responsibilities (n, K) and log density (n,)."""
        return posterior(self.weights(rows), self.log_prob(rows))


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
    bends: int = FREELY,
) -> tuple[Array, list[dict[str, Any]]]:
    """Responsibilities found by cheap mixtures, ranked on held-out rows.

    Random soft starts are first reallocated by error alone (Späth 1979), the best few go through EM with a
    gate, and the mixture with the best held-out log density wins. Without `n_regimes` they are counted from
    one up, by mixtures whose experts bend along every column, so that a curve is not taken for two regimes:
    more regimes are claimed only if held-out rows say so by two standard errors. Model trees, which cut the table
    along its columns, enter the ranking too.

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
        More regimes must also bring the combined answer nearer to held-out rows, by one standard error of its
        squared error or two of the logarithm: two regimes that no column tells apart are of no use to it.
    classes : bool
        Whether the columns of Y are classes, which logistic experts learn.
    bends : int
        How far the cheap experts may bend: as far as those that they stand in for.

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
    weight = weight / weight[weight > 0].mean()
    if not classes:
        Y = Y - np.average(Y, axis=0, weights=weight)
        Y = Y / (np.sqrt(np.average(Y**2, axis=0, weights=weight)) + np.finfo(float).tiny)
    positions = rng.permutation(np.flatnonzero(weight > 0))[: 4 * MOST_ROWS // 3]
    terms = Terms(take_rows(X, positions), rng, classes, bends)
    known = terms(take_rows(X, positions), Y[positions], weight[positions])
    trials = _trials(known, gate, by_error, rng, few=len(positions) <= FEW_ROWS)
    if n_regimes is None:
        alone, winners = _count(trials)
    else:
        winners = [trial.search(n_regimes) for trial in trials]
        alone = [trial.one() for trial in trials] if len(trials) > 1 else winners
    # Quarters differ in how hard they are: what counts is the gain over one regime.
    gains = [trial.score(many) - trial.score(one) for trial, one, many in zip(trials, alone, winners, strict=True)]
    best = int(np.argmax(gains))
    trial, winner = trials[best], winners[best]
    K = len(winner.coefficients)
    if starts is not None and K > 1:
        for name, first in starts(K, positions[trial.taught]).items():
            winner = trial.better(winner, trial.enter(name, trial.begin(_floored(first))))
    responsibilities = np.empty((len(Y), K))
    for begin in range(0, len(Y), BLOCK):
        block = np.arange(begin, min(begin + BLOCK, len(Y)))
        rows = terms(take_rows(X, block), Y[block], weight[block])
        responsibilities[block] = winner.responsibilities(rows)[0]
    return responsibilities, sorted(trial.ranking, key=lambda row: row["score"])


def _trials(known: Rows, gate: Any, by_error: bool, rng: np.random.Generator, few: bool) -> list[_Trial]:
    """A quarter of the rows held out; where they are few, each quarter in turn."""
    n = len(known.Y)
    places = np.arange(n)
    hold = n // 4
    starts = range(0, 4 * hold, hold) if few and hold else [0]
    held = [places[start : start + hold] if hold else places for start in starts]
    taught = [np.delete(places, rows) if hold else places for rows in held]
    return [_Trial(known, *pair, gate, by_error, rng) for pair in zip(taught, held, strict=True)]


def _count(trials: list[_Trial]) -> tuple[list[ProxyMixture], list[ProxyMixture]]:
    """In each trial the best of one regime, and that of the fewest that no larger number betters."""
    share = np.concatenate([trial.share for trial in trials]) / len(trials)
    best = one = [trial.search(1) for trial in trials]
    plain = np.concatenate([trial.density(mixture) for trial, mixture in zip(trials, one, strict=True)])

    def density(mixtures: list[ProxyMixture]) -> Array:
        several = np.concatenate([trial.density(one) for trial, one in zip(trials, mixtures, strict=True)])
        return np.logaddexp(np.log1p(-DOUBT) + several, np.log(DOUBT) + plain)

    def errors(mixtures: list[ProxyMixture]) -> Array:
        return np.concatenate([trial.errors(one) for trial, one in zip(trials, mixtures, strict=True)])

    alone, clearly_not, rows = share @ plain, 0, len(trials[0].train.Y)
    for K in range(2, MOST_REGIMES + 1):
        if rows < 3 * K * min(trials[0].train.plain.shape[1], 10):
            break
        rival = [trial.search(K) for trial in trials]
        gains = paired(density(rival) - density(best), share)
        gain = gains.mean / gains.standard_error if gains.standard_error > 0 else 0.0
        closer = nearer(errors(best), errors(rival), share, EXACT**2) if trials[0].by_error else gain
        if gain > STANDARD_ERRORS and closer > 1 and gains.mean > WORTH * (share @ density(best) - alone):
            best, clearly_not = rival, 0
        else:  # two regimes may explain nothing where three or four do
            clearly_not += min(gain, closer) < 1
        if clearly_not > 1 and rows > FEW_ROWS:
            break
    return one, best


class _Trial:
    """Mixtures taught on some rows and ranked on others."""

    def __init__(
        self,
        known: Rows,
        taught: NDArray[np.intp],
        held: NDArray[np.intp],
        gate: Any,
        by_error: bool,
        rng: np.random.Generator,
    ) -> None:
        self.taught, self.train, self.held = taught, known.take(taught), known.take(held)
        self.by_error, self.gate, self.rng = by_error, gate, rng
        self.share = self.held.weight / self.held.weight.sum()
        self.ranking: list[dict[str, Any]] = []
        self.partitions: dict[str, list[NDArray[np.intp]]] = {}
        self.reach = 0  # how far partitions have been grown, in cuts

    def errors(self, mixture: ProxyMixture) -> Array:
        """Held-out squared error (n,) of the combined answer."""
        answers = self.held.basis(mixture.rich) @ mixture.coefficients
        if self.held.classes:
            answers = probabilities(answers)
        combined = np.einsum("nk,knm->nm", mixture.weights(self.held), answers)
        return np.asarray(np.square(self.held.Y - combined).sum(axis=1))

    def one(self) -> ProxyMixture:
        """The best of a single regime."""
        ones = np.ones((len(self.train.Y), 1))
        one, bent = self.fit(ones), self.fit(ones, rich=True)
        if self.train.classes:
            one, bent = self.refine(one, RICH_ROUNDS), self.refine(bent, RICH_ROUNDS, rich=True)
        return self.better(one, bent)

    def search(self, K: int) -> ProxyMixture:
        """The best mixture of K regimes from random starts."""
        if K == 1:
            return self.enter("uniform", self.one())
        best = max(_search(self.train, self.gate, K, self.rng), key=self.score)
        if self.train.classes:
            return self.enter(f"proxy, {K} regimes", self.better(best, self.sharpened(best)))
        if self.train.bumps is not None:
            best = self.better(best, self.refine(best, RICH_ROUNDS, rich=True))
        best = self.enter(f"proxy, {K} regimes", self.better(best, self.sharpened(best)))
        for name, labels in self.cut(K).items():
            found = self.sharpened(self.fit(_floored(np.eye(K)[labels])))
            best = self.better(best, self.enter(f"partition by {name}, {K} regimes", found))
        return best

    def cut(self, K: int) -> dict[str, NDArray[np.intp]]:
        """Partitions of the rows into K leaves, by the models that these hold."""
        if self.reach < K - 1:  # all up to K come at the price of the last
            train, self.reach = self.train, max(K, MOST_REGIMES) - 1
            models = {"lines": np.column_stack([np.ones(len(train.Z)), train.Z]), "curves": train.plain}
            self.partitions = {
                name: list(leaves(train.Z, terms, train.Y, train.weight, self.reach + 1))
                for name, terms in models.items()
            }
        return {name: grown[K - 2] for name, grown in self.partitions.items() if len(grown) > K - 2}

    def sharpened(self, mixture: ProxyMixture) -> ProxyMixture:
        """A few rounds of EM under a sharper gate, where its penalty can be set."""
        if not hasattr(self.gate, "penalty"):
            return mixture
        soft, classes = self.gate, self.train.classes
        self.gate = clone(soft).set_params(penalty=CLASS_SHARP if classes else SHARP)
        sharp = self.refine(mixture, RICH_ROUNDS if classes else SHARP_ROUNDS, mixture.rich)
        self.gate = soft
        return sharp

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


def _fit(
    rows: Rows, responsibilities: Array, gate: Any, rich: bool = False, begin: Array | None = None
) -> ProxyMixture:
    """Experts and gate from responsibilities (n, K)."""
    coefficients, scale = cheap_experts(rows, rows.basis(rich), responsibilities * rows.weight[:, None], begin)
    if responsibilities.shape[1] == 1:
        return ProxyMixture(coefficients, scale, None, rich)
    taught = clone(gate).fit(rows.looks(rich), responsibilities, sample_weight=rows.weight)
    return ProxyMixture(coefficients, scale, taught, rich)


def _floored(responsibilities: Array) -> Array:
    """Responsibilities that let no expert die."""
    return (1 - FLOOR) * responsibilities + FLOOR / responsibilities.shape[1]


def _search(rows: Rows, gate: Any, K: int, rng: np.random.Generator) -> list[ProxyMixture]:
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
            experts = cheap_experts(few, terms, responsibilities * few.weight[:, None], experts[0])
            log_prob = expert_log_prob(terms, few.Y, *experts)
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
