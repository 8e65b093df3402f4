"""Who leads where, in words: a small decision tree from the columns of X to the leading regime, and its tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.model_selection import KFold, permutation_test_score
from sklearn.tree import DecisionTreeClassifier

from metamix.data.columns import ColumnEncoder, giving_arrays
from metamix.data.features import feature_names
from metamix.data.tables import n_rows, take_rows
from metamix.explanation.conditions import Split, in_words
from metamix.training.selection import simplest
from metamix.training.wording import short_number

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RegionRules", "Rule", "find_rules"]

Array = NDArray[np.float64]
Leaders = NDArray[np.intp]

MOST_LEAVES = 8
#: A leaf has at least this share of the rows.
SMALLEST_LEAF = 0.05
FOLDS = 5
#: With fewer rows nothing can be said of regions.
FEWEST_ROWS = 20
#: The tree is grown and tested on so many rows at most, drawn at random.
MOST_ROWS = 5_000
#: Of these so many are permuted, since the test grows a tree for each permutation and fold.
MOST_PERMUTED = 1_000


@dataclass(frozen=True)
class Rule:
    """Conditions, and who leads where they hold.

    Parameters
    ----------
    leader : str
    conditions : list of str
        All of them hold; none where the rule is for all rows.
    share : float
        Share of the rows that fulfil the conditions.
    accuracy : float
        Share of these rows, held out, whose leader the rules name.
    """

    leader: str
    conditions: list[str]
    share: float
    accuracy: float

    def __str__(self) -> str:
        where = f"where {' and '.join(self.conditions)}" if self.conditions else "everywhere"
        share, right = short_number(100 * self.share), short_number(100 * self.accuracy)
        return f"{self.leader} leads {where} ({share} % of the rows, right for {right} % of them when held out)."


@dataclass(frozen=True)
class RegionRules:
    """Rules that name the leading regime of a row; one for each leaf of a tree.

    Parameters
    ----------
    rules : list of Rule
        In the order of the regimes, for each the most frequent first.
    accuracy : float
        Share of held-out rows whose leader the rules name.
    chance : float
        Share of the rows that the most frequent leader leads.
    p_value : float
        Of a permutation test of a tree with `MOST_LEAVES` leaves on `MOST_PERMUTED` rows at most; NaN where none was
        asked for, or one regime leads.
    importances : list of dict
        For each column of X what accuracy is lost out of fold when its values are shuffled, and the p-value.
    encoder, tree : fitted
        None where one regime leads all rows.
    leaves : dict from leaf of the tree to position of its rule
    """

    rules: list[Rule]
    accuracy: float
    chance: float
    p_value: float
    importances: list[dict[str, Any]]
    encoder: Any
    tree: Any
    leaves: dict[int, int]

    def frame(self) -> pd.DataFrame:
        """A row for each column of X: importance, its standard deviation over shuffles, and p-value."""
        import pandas as pd

        return pd.DataFrame(self.importances, columns=["column", "importance", "deviation", "p_value"])

    def rule_of(self, X: Any) -> list[Rule]:
        """The rule that holds in each of n rows."""
        if self.tree is None:
            return [self.rules[0]] * n_rows(X)
        return [self.rules[self.leaves[int(leaf)]] for leaf in self.tree.apply(self.encoder.transform(X))]


def find_rules(
    X: Any, leading: Leaders, names: Sequence[str], *, n_permutations: int = 0, random_state: int = 0
) -> RegionRules:
    r"""Put into words which column of the mixture leads where.

    Parameters
    ----------
    X : array, sparse matrix or data frame of shape (n, d)
    leading : ndarray of int, shape (n,)
        Positions in `names`.
    names : sequence of K str
    n_permutations : int
        For p-values; 0 leaves the tests out.
    random_state : int

    Returns
    -------
    RegionRules
        The tree has the fewest leaves whose held-out accuracy is within 1.75 standard errors of the best,
        among 1 … 8.

    Raises
    ------
    ValueError
        If there are too few rows.

    References
    ----------
    Breiman (2001), Random forests, for permutation importance; Ojala & Garriga (2010), Permutation tests for studying
    classifier performance, for the test of the whole.

    Examples
    --------
    >>> x = np.linspace(0, 1, 100)[:, None]
    >>> print(*find_rules(x, (x[:, 0] > 0.3).astype(int), ["left", "right"]).rules, sep="\n")
    left leads where x0 ≤ 0.3 (30 % of the rows, right for 100 % of them when held out).
    right leads where x0 > 0.3 (70 % of the rows, right for 100 % of them when held out).
    """
    n, features = n_rows(X), feature_names(X)
    if n < FEWEST_ROWS:
        raise ValueError(f"X has {n} rows; regions are described from {FEWEST_ROWS} rows on, such as those of fit.")
    shares = np.bincount(leading, minlength=len(names)) / n
    chance = float(shares.max())
    importances = [{"column": name, "importance": 0.0, "deviation": 0.0, "p_value": 1.0} for name in features]
    if chance == 1:
        only = Rule(str(names[int(leading[0])]), [], 1.0, 1.0)
        return RegionRules([only], 1.0, 1.0, np.nan, importances, None, None, {})
    rng = np.random.default_rng(random_state)
    some = np.sort(rng.choice(n, MOST_ROWS, replace=False)) if n > MOST_ROWS else np.arange(n)
    encoder = giving_arrays(ColumnEncoder(scale=False)).fit(X)
    Z, lead = encoder.transform(take_rows(X, some)), leading[some]
    folds = list(KFold(FOLDS, shuffle=True, random_state=random_state).split(Z))
    held_out = [_held_out(leaves, Z, lead, folds) for leaves in range(1, MOST_LEAVES + 1)]
    errors = np.column_stack([found != lead for found, _ in held_out]).astype(np.float64)
    best = simplest(errors, np.ones(len(lead)))
    tree = _tree(best + 1).fit(Z, lead)
    at, every = tree.apply(Z), tree.apply(encoder.transform(X))
    leader = {leaf: int(tree.classes_[tree.tree_.value[leaf, 0].argmax()]) for leaf in np.unique(at).tolist()}
    paths = _paths(tree, Z)
    # In the order of the regimes, for each the most frequent first.
    leaves = sorted(leader, key=lambda leaf: (leader[leaf], -np.mean(every == leaf)))
    rules = [
        Rule(
            str(names[leader[leaf]]), in_words(paths[leaf], encoder, features), float(np.mean(every == leaf)),
            float(1 - errors[at == leaf, best].mean()),
        )
        for leaf in leaves
    ]  # fmt: skip
    p_value = np.nan
    if n_permutations:
        few = np.arange(len(lead))
        if len(few) > MOST_PERMUTED:
            few = np.sort(rng.choice(few, MOST_PERMUTED, replace=False))
        _, _, p_value = permutation_test_score(
            _tree(MOST_LEAVES), Z[few], lead[few], cv=KFold(FOLDS, shuffle=True, random_state=random_state),
            n_permutations=n_permutations, random_state=random_state,
        )  # fmt: skip
        trees = held_out[best][1]
        columns = [np.flatnonzero(encoder.source_ == j) for j in range(len(features))]
        importances = [
            {"column": name, **_importance(mine, trees, Z, lead, folds, n_permutations, rng)}
            for name, mine in zip(features, columns, strict=True)
        ]
    return RegionRules(
        rules, float(1 - errors[:, best].mean()), chance, float(p_value), importances, encoder, tree,
        {leaf: position for position, leaf in enumerate(leaves)},
    )  # fmt: skip


def _tree(leaves: int) -> DecisionTreeClassifier:
    if leaves == 1:  # no split lowers the impurity by more than one half
        return DecisionTreeClassifier(min_impurity_decrease=1.0, random_state=0)
    return DecisionTreeClassifier(max_leaf_nodes=leaves, min_samples_leaf=SMALLEST_LEAF, random_state=0)


def _held_out(leaves: int, Z: Any, lead: Leaders, folds: Sequence[Any]) -> tuple[Leaders, list[Any]]:
    """Leaders that trees name for rows they have not seen, and the trees."""
    found, trees = np.empty_like(lead), []
    for train, test in folds:
        trees.append(_tree(leaves).fit(Z[train], lead[train]))
        found[test] = trees[-1].predict(Z[test])
    return found, trees


def _paths(tree: Any, Z: Any) -> dict[int, list[Split]]:
    """The splits that lead to each leaf."""
    nodes = tree.tree_
    found: dict[int, list[Split]] = {}

    def descend(node: int, path: list[Split]) -> None:
        if nodes.children_left[node] < 0:
            found[node] = path
            return
        column = int(nodes.feature[node])
        values = Z[:, [column]].toarray()[:, 0] if sparse.issparse(Z) else Z[:, column]
        # Trees compare in single precision.
        low = values.astype(np.float32) <= nodes.threshold[node]
        ends = column, float(values[low].max()), float(values[~low].min())
        descend(int(nodes.children_left[node]), [*path, Split(*ends, above=False)])
        descend(int(nodes.children_right[node]), [*path, Split(*ends, above=True)])

    descend(0, [])
    return found


def _importance(
    mine: Leaders, trees: Sequence[Any], Z: Any, lead: Leaders, folds: Sequence[Any], times: int, rng: Any
) -> dict[str, float]:
    """Accuracy lost in held-out rows when the encoded columns of one column of X are shuffled together."""
    if not any(np.isin(tree.tree_.feature, mine).any() for tree in trees):
        return {"importance": 0.0, "deviation": 0.0, "p_value": 1.0}
    right = sum(int((tree.predict(Z[test]) == lead[test]).sum()) for tree, (_, test) in zip(trees, folds, strict=True))
    lost = np.empty(times)
    for i in range(times):
        still = 0
        for tree, (_, test) in zip(trees, folds, strict=True):
            shuffled = Z[test].tolil() if sparse.issparse(Z) else Z[test]
            shuffled[:, mine] = shuffled[rng.permutation(len(test))][:, mine]
            shuffled = shuffled.tocsr() if sparse.issparse(Z) else shuffled
            still += int((tree.predict(shuffled) == lead[test]).sum())
        lost[i] = (right - still) / len(lead)
    # The order that was observed is one of those that are equally likely where the column does not matter.
    p_value = (1 + np.count_nonzero(lost <= 0)) / (1 + times)
    return {"importance": float(lost.mean()), "deviation": float(lost.std()), "p_value": float(p_value)}
