"""The gate of bagged trees: soft labels averaged over leaves, borders along columns, soft where trees disagree."""

from __future__ import annotations

import copy
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestRegressor
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeRegressor
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from metamix.data.columns import ColumnEncoder, giving_arrays
from metamix.data.row_keys import content_order
from metamix.data.tables import take_rows
from metamix.gates.soft_labels import check_responsibilities, check_row_weights, count_rows
from metamix.gates.trees import BoundedColumns
from metamix.protocols import FloatArray

#: So many of the latest rows are kept for trees that `partial_fit` grows.
_RECENT_ROWS = 1000
#: Digits of a responsibility that a gate can make anything of.
_DECIMALS = 4


class ForestGate(BaseEstimator):
    """Bagged regression trees that learn responsibilities as they are, as soft labels.

    Every tree sees all columns and a bootstrap sample of the rows; a leaf answers with the mean responsibility
    of its rows, so that weights sum to one, and the forest with the mean over its trees. Between rows of
    different experts, where the border may lie anywhere, the weights pass over from one to the other.

    Parameters
    ----------
    n_estimators : int, default 100
    min_samples_leaf : int, default 1
    sharpness : float, default 1.0
        Power that the odds are raised to. Bootstrap samples leave out rows next to a border, so that the trees
        disagree over a wider strip than the rows do; where labels are hard, 2 corrects for that.
    random_state : int, RandomState instance or None
    n_jobs : int or None

    Attributes
    ----------
    model_ : Pipeline
        Encoder of columns and fitted forest.
    n_experts_ : int

    References
    ----------
    Breiman (1996), Bagging predictors.

    Examples
    --------
    >>> X, labels = np.arange(100.0)[:, None], np.repeat(np.eye(2), 50, axis=0)
    >>> ForestGate(random_state=0).fit(X, labels).predict_proba([[10.0], [90.0]])
    array([[1., 0.],
           [0., 1.]])
    """

    #: Weights change at the trees' cuts only: between them their gradient is zero.
    piecewise_constant: ClassVar[bool] = True

    def __init__(
        self,
        n_estimators: int = 100,
        min_samples_leaf: int = 1,
        sharpness: float = 1.0,
        random_state: Any = None,
        n_jobs: int | None = None,
    ) -> None:
        self.n_estimators = n_estimators
        self.min_samples_leaf = min_samples_leaf
        self.sharpness = sharpness
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X: Any, responsibilities: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Grow the trees.

        Parameters
        ----------
        X : array, sparse matrix or frame of n rows
            Missing values and text columns are welcome.
        responsibilities : array-like of shape (n, K)
        sample_weight : array-like of shape (n,) or None

        Returns
        -------
        ForestGate
            Itself, fitted.

        Raises
        ------
        ValueError
            If responsibilities or sample_weight do not match X or are not finite, or sharpness is not above zero.
        """
        if not self.sharpness > 0:
            raise ValueError(f"sharpness={self.sharpness!r} is not above zero; 1 leaves the odds as they are.")
        n = count_rows(X)
        # Rounded: splits between like gains must not turn on the last digits, which depend on the units of a table.
        labels = np.round(check_responsibilities(responsibilities, n), _DECIMALS)
        weight = check_row_weights(sample_weight, n)
        forest = RandomForestRegressor(
            self.n_estimators,
            min_samples_leaf=self.min_samples_leaf,
            max_features=None,
            random_state=self.random_state,
            n_jobs=self.n_jobs,
        )
        encoder = ColumnEncoder(categories="ordinal", missing="keep")
        columns = giving_arrays(Pipeline([("encode", encoder), ("bound", BoundedColumns())]))
        self.n_experts_ = labels.shape[1]
        kept = np.flatnonzero(weight > 0)  # rows without weight would be drawn, too
        rows = kept[content_order(take_rows(X, kept), labels[kept])]  # rows are drawn by their place
        target = labels[rows, 0] if self.n_experts_ == 1 else labels[rows]
        # Fitted one after the other: a pipeline hands weights on in two ways, as metadata routing is on or off.
        encoded = columns.fit_transform(take_rows(X, rows))
        forest.fit(encoded, target, sample_weight=weight[rows])
        self.model_ = Pipeline([("columns", columns), ("forest", forest)])
        some = rows[:_RECENT_ROWS]  # their order is random
        self._recent = encoded[:_RECENT_ROWS].astype(np.float32), labels[some], weight[some] / weight[some].sum()
        self._due, self._grown = 0.0, 0
        return self

    def partial_fit(
        self, X: Any, responsibilities: ArrayLike, sample_weight: ArrayLike | None = None, *, step: float
    ) -> Self:
        """Follow new rows: the oldest trees give way to others, grown on the latest 1,000 rows.

        The weights of earlier rows shrink by 1 - `step`, and so does the share of earlier trees.

        Parameters
        ----------
        X, responsibilities, sample_weight
            As in `fit`.
        step : float
            Between 0 and 1; 1 forgets all earlier rows.

        Returns
        -------
        ForestGate
            Itself.
        """
        check_is_fitted(self)
        labels = np.round(check_responsibilities(responsibilities, count_rows(X)), _DECIMALS)
        weight = check_row_weights(sample_weight, len(labels))
        kept = np.flatnonzero(weight > 0)
        rows: list[NDArray[Any]] = [self._encoded(X)[kept], labels[kept], step * weight[kept]]
        if step < 1 and hasattr(self, "_recent"):  # files of earlier versions have none
            encoded, before, shares = self._recent
            earlier: list[NDArray[Any]] = [encoded, before, (1 - step) * shares]
            rows = [np.concatenate(both) for both in zip(earlier, rows, strict=True)]
        encoded, labels, weight = (one[-_RECENT_ROWS:] for one in rows)
        forest = copy.copy(self.model_["forest"])
        due, grown = getattr(self, "_due", 0.0) + step * len(forest.estimators_), getattr(self, "_grown", 0)
        new = [self._tree(grown + i, encoded, labels, weight) for i in range(int(due))]
        forest.estimators_ = [*forest.estimators_, *new][-len(forest.estimators_) :]
        self.model_ = Pipeline([self.model_.steps[0], ("forest", forest)])
        self._recent, self._due, self._grown = (encoded, labels, weight), due - len(new), grown + len(new)
        return self

    def predict_proba(self, X: Any) -> FloatArray:
        """Weights (n, K) of the rows of X."""
        check_is_fitted(self)
        weights = self._tree_means(self._encoded(X))
        largest = weights.max(axis=1, keepdims=True)
        odds = np.divide(weights, largest, out=np.ones(weights.shape), where=largest > 0) ** self.sharpness
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))

    def _tree(self, number: int, encoded: Any, labels: FloatArray, weight: FloatArray) -> DecisionTreeRegressor:
        """A tree on rows (m, q) drawn in proportion to their weights, as many as these are worth (Kish 1965)."""
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        random = np.random.default_rng([seed, number])
        worth = max(round(weight.sum() ** 2 / np.square(weight).sum()), 1)
        drawn = random.choice(len(weight), worth, p=weight / weight.sum())
        tree = DecisionTreeRegressor(
            min_samples_leaf=self.min_samples_leaf, random_state=int(random.integers(np.iinfo(np.int32).max))
        )
        return tree.fit(encoded[drawn], labels[drawn, 0] if self.n_experts_ == 1 else labels[drawn])

    def _encoded(self, X: Any) -> NDArray[np.float32]:
        """Columns (n, q) as the trees see them."""
        for _, step in self.model_["columns"].steps:  # a pipeline in a pipeline takes as long as the trees for one row
            X = step.transform(X)
        return np.asarray(X, dtype=np.float32)

    def _tree_means(self, encoded: NDArray[np.float32]) -> FloatArray:
        """Mean (n, K) of the trees, with the bits of the forest's own `predict`.

        That replaces the warning filters of the process for each tree, which threads must not do at once, and takes ten
        times as long for one row.
        """
        forest = self.model_[-1]
        total = np.zeros((len(encoded), self.n_experts_))
        for tree in forest.estimators_:
            total += tree.tree_.predict(encoded).reshape(total.shape)
        return total / len(forest.estimators_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = tags.input_tags.allow_nan = True
        return tags
