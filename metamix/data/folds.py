"""Cross-validation folds as fixed pairs of training and held-out rows."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold, TimeSeriesSplit

from metamix.data.frames import take_rows
from metamix.data.row_keys import content_order

__all__ = ["Folds", "make_folds", "repeatable"]

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Folds:
    """Pairs of training and held-out rows that stay fixed during a fit.

    Parameters
    ----------
    n : int
        Number of rows.
    pairs : tuple of (train, test)
        Row positions of each fold.
    in_sample : bool
        True for the single fold of in-sample EM, in which all rows are both training and held-out rows.
    splitter : object
        The argument `cv` (int, splitter or list); `inside` applies it again if too few folds are left.

    Examples
    --------
    >>> folds = make_folds(2, np.zeros((4, 1)), np.zeros(4), random_state=0)
    >>> [len(test) for _, test in folds.pairs]
    [2, 2]
    """

    n: int
    pairs: tuple[tuple[Rows, Rows], ...]
    in_sample: bool = False
    splitter: Any = field(default=None, repr=False)
    stratify: bool = False

    def __len__(self) -> int:
        return len(self.pairs)

    @cached_property
    def fold_of_row(self) -> Rows:
        """Folds in which each row was held out, (n,), or (n, R) with repeats; -1 for none."""
        times = np.zeros(self.n, dtype=np.intp)
        for _, test in self.pairs:
            times[test] += 1
        table = np.full((self.n, max(int(times.max(initial=0)), 1)), -1, dtype=np.intp)
        times[:] = 0
        for f, (_, test) in enumerate(self.pairs):
            table[test, times[test]] = f
            times[test] += 1
        return table[:, 0] if table.shape[1] == 1 else table

    @cached_property
    def partition(self) -> Rows:
        """The first fold in which each row was held out, (n,); -1 for none."""
        return self.fold_of_row if self.fold_of_row.ndim == 1 else self.fold_of_row[:, 0]

    @cached_property
    def held_out(self) -> NDArray[np.bool_]:
        """Mask (n,) of the rows that were held out at least once."""
        return self.partition >= 0

    @cached_property
    def forward(self) -> bool:
        """Whether rows are held out in their order, each fold after the rows that it is trained on, as in a series."""
        end = -1
        for train, test in self.pairs:
            if not len(test) or max(end, int(train.max(initial=-1))) >= int(test.min()):
                return False
            end = int(test.max())
        return len(self) > 1

    def train_rows(self, f: int) -> Rows:
        """Rows on which a gate is fitted that predicts the held-out rows of fold f.

        They are the training rows of fold f that have out-of-fold predictions, so that groups are not split and
        time order is kept, if the splitter does so.
        """
        train = self.pairs[f][0]
        return train if self.in_sample else train[self.held_out[train]]

    def test_rows(self, f: int) -> Rows:
        """Rows that were first held out in fold f; these sets partition the held-out rows."""
        return np.flatnonzero(self.partition == f)

    def second_level(self, y: NDArray[Any], groups: Any = None, seed: int = 0) -> Folds:
        """Folds for models fitted to out-of-fold predictions: gates and stacks.

        They are these folds, unless none of them has training rows that were held out elsewhere. That is the
        case for a single hold-out set, whose rows are then split into new folds, groups kept together.
        """
        usable = any(len(self.train_rows(f)) > 1 and len(self.test_rows(f)) for f in range(len(self)))
        rows = np.flatnonzero(self.held_out)
        if self.in_sample or usable or len(rows) < 2:
            return self
        groups = None if groups is None else np.asarray(groups)[rows]
        most = len(rows) if groups is None else len(np.unique(groups))
        if most < 2:
            return self
        fresh = make_folds(
            min(5, most), np.empty((len(rows), 0)), y[rows], groups, stratify=self.stratify, random_state=seed
        )
        return Folds(self.n, tuple((rows[train], rows[test]) for train, test in fresh.pairs), stratify=self.stratify)

    def merged(self, k: int, counts: NDArray[np.bool_] | None = None) -> Folds:
        """Merge the folds into k larger ones, to save fits.

        Only a partition of all rows is merged; time series, repeats and incomplete lists are returned unchanged.
        The mask counts (n,) selects the rows by whose number the folds are balanced, by default all.

        Examples
        --------
        >>> folds = make_folds(4, np.zeros((8, 1)), np.zeros(8), random_state=0).merged(2)
        >>> [(len(train), len(test)) for train, test in folds.pairs]
        [(4, 4), (4, 4)]
        """
        whole = all(len(train) + len(test) == self.n for train, test in self.pairs)
        if self.in_sample or len(self) <= k or not whole or self.fold_of_row.ndim > 1 or not self.held_out.all():
            return self
        held = np.array([len(test) if counts is None else np.count_nonzero(counts[test]) for _, test in self.pairs])
        sizes, members = np.zeros(k), np.empty(len(self), dtype=np.intp)
        for f in np.argsort(-held, kind="stable"):
            members[f] = sizes.argmin()
            sizes[members[f]] += held[f]
        of_row = members[self.partition]
        pairs = tuple((np.flatnonzero(of_row != g), np.flatnonzero(of_row == g)) for g in range(k))
        return Folds(self.n, pairs, splitter=self.splitter, stratify=self.stratify)

    def inside(self, f: int, X: Any, y: NDArray[Any], groups: Any = None, seed: int = 0) -> Folds:
        """Folds for a model that is cross-fitted within the training rows of fold f.

        They are the *other* folds restricted to these rows, which preserves groups and time order. If fewer
        than two are left, as at the beginning of a time series, the splitter is applied again.

        Parameters
        ----------
        f : int
            The outer fold.
        X, y, groups
            The training rows of fold f only, in case the splitter is applied again.
        seed : int
            Seed of the splitter in that case.
        """
        rows = self.pairs[f][0]
        pairs = self._others(f)
        if len(pairs) >= 2:
            place = np.full(self.n, -1, dtype=np.intp)
            place[rows] = np.arange(len(rows))
            local = tuple((place[train], place[test]) for train, test in pairs)
            return Folds(len(rows), local, splitter=self.splitter, stratify=self.stratify)
        again = self.splitter
        if not (isinstance(again, Integral) or hasattr(again, "split")):
            # A list of folds cannot be applied again; KFold without shuffling keeps a time order approximately.
            again = None
        for splitter in (again, TimeSeriesSplit(2) if isinstance(again, TimeSeriesSplit) else None, GroupKFold(2)):
            if splitter is None or (splitter is not again and isinstance(splitter, GroupKFold) and groups is None):
                continue
            try:
                return make_folds(splitter, X, y, groups, stratify=self.stratify, random_state=seed)
            except Exception:
                continue  # too few rows, groups or folds, or a splitter made for other rows: try a simpler one
        return make_folds(KFold(min(3, len(rows))), X, y, stratify=self.stratify, random_state=seed)

    def nested(self, X: Any, y: NDArray[Any], groups: Any = None, seed: int = 0) -> tuple[Folds | None, ...]:
        """Folds within the training rows of each fold, in row numbers of the whole table.

        A model that is fitted to out-of-fold predictions and judged on fold f learns from predictions of models that
        were trained on the rows of fold f. Predictions from the inner folds are free of that.

        Parameters
        ----------
        X, y, groups
            All rows, in case the splitter is applied again.
        seed : int
            Seed of the splitter in that case.

        Returns
        -------
        tuple of Folds or None
            One for each fold; None where no model behind the predictions of its training rows has seen the rows that
            it holds out, as in a time series, or where other folds held them out first, as with repeats.

        Examples
        --------
        >>> folds = make_folds(4, np.zeros((8, 1)), np.zeros(8), random_state=0)
        >>> [len(inner) for inner in folds.nested(np.zeros((8, 1)), np.zeros(8))]
        [3, 3, 3, 3]
        """
        return tuple(
            self._nested(f, X, y, groups, seed) if needed else None for f, needed in enumerate(self.needs_nesting)
        )

    @cached_property
    def needs_nesting(self) -> tuple[bool, ...]:
        """For each fold, whether it judges rows that a model behind the predictions of its training rows has seen."""
        return tuple(len(self.test_rows(f)) > 0 and self._seen(f) for f in range(len(self)))

    def _nested(self, f: int, X: Any, y: NDArray[Any], groups: Any, seed: int) -> Folds:
        pairs = self._others(f)
        if len(pairs) < 2:
            rows = self.pairs[f][0]
            inner = self.inside(f, take_rows(X, rows), y[rows], None if groups is None else groups[rows], seed)
            pairs = [(rows[train], rows[test]) for train, test in inner.pairs]
        return Folds(self.n, tuple(pairs), splitter=self.splitter, stratify=self.stratify)

    def _seen(self, f: int) -> bool:
        """Whether a model that predicts training rows of fold f was trained on rows that it holds out."""
        mine, held_out = (self._mask(rows) for rows in self.pairs[f])
        return any(mine[test].any() and held_out[train].any() for g, (train, test) in enumerate(self.pairs) if g != f)

    def _others(self, f: int) -> list[tuple[Rows, Rows]]:
        """The other folds, restricted to the training rows of fold f; of repeats those of the same one, if two are."""
        mine, held_out = (self._mask(rows) for rows in self.pairs[f])
        same, every = [], []
        for g, (train, test) in enumerate(self.pairs):
            inner_train, inner_test = train[mine[train]], test[mine[test]]
            if g == f or len(inner_train) < 2 or not len(inner_test) or np.isin(inner_test, inner_train).any():
                continue
            every.append((inner_train, inner_test))
            if not held_out[test].any():
                same.append(every[-1])
        covered = np.zeros(self.n, dtype=bool)
        for _, test in same:
            covered[test] = True
        return same if len(same) >= 2 and covered[mine].all() else every

    def _mask(self, rows: Rows) -> NDArray[np.bool_]:
        mask = np.zeros(self.n, dtype=bool)
        mask[rows] = True
        return mask


def make_folds(
    cv: Any,
    X: Any,
    y: NDArray[Any],
    groups: Any = None,
    *,
    stratify: bool = False,
    random_state: int | None = None,
) -> Folds:
    """Convert `cv` to fixed pairs of rows; a splitter passed by the user is not modified.

    Parameters
    ----------
    cv : None, int, splitter, or iterable of (train, test)
        None is in sample. An int makes shuffled folds (tables are often sorted) that do not depend on the order of
        the rows, stratified for classes, and grouped if `groups` are given.
    X : array or frame, n rows
        Passed to the splitter.
    y : ndarray of shape (n,) or (n, T)
        Target; integer codes if `stratify` is set, of which several columns are labels.
    groups : array-like of shape (n,), optional
        Rows of a group are kept in the same fold.
    stratify : bool
        Whether to preserve the proportions of the classes; for several labels, those of the sets of labels that occur.
    random_state : int, optional
        Seed of shuffled splitters without one of their own.

    Returns
    -------
    Folds

    Raises
    ------
    ValueError
        If `cv` cannot split these rows; the message says which value can.

    Examples
    --------
    >>> make_folds(None, np.zeros((3, 1)), np.zeros(3)).in_sample
    True
    >>> make_folds([([0, 1], [2])], np.zeros((3, 1)), np.zeros(3)).held_out
    array([False, False,  True])
    """
    n = len(y)
    if isinstance(cv, type):
        raise ValueError(f"cv is the class {cv.__name__}; give an object of it, {cv.__name__}(5).")
    if cv is None:
        everything = np.arange(n)
        return Folds(n, ((everything, everything),), in_sample=True)
    if isinstance(cv, Integral) and not isinstance(cv, bool):
        strata = np.unique(y, axis=0, return_inverse=True)[1].reshape(n) if stratify and y.ndim == 2 else y
        splitter = _splitter(int(cv), n, strata, groups, stratify, random_state)
    elif hasattr(cv, "split") and not isinstance(cv, str | bytes):
        # A copy, since splitting may advance the user's random state.
        splitter = copy.deepcopy(cv)
        if getattr(splitter, "random_state", 0) is None and getattr(splitter, "shuffle", True):
            splitter.random_state = random_state
    elif isinstance(cv, Iterable) and not isinstance(cv, str | bytes):
        pairs = [_rows_of(pair, n, f) for f, pair in enumerate(cv)]
        if not pairs:
            raise ValueError("cv is an empty list of folds; give at least one (train, test) pair, or cv=5.")
        return Folds(n, tuple(pairs), splitter=pairs, stratify=stratify)
    else:
        raise ValueError(
            f"cv={cv!r} is not a cross-validation scheme; give a number of folds (cv=5), a splitter of "
            "sklearn.model_selection, a list of (train, test) pairs, or None for EM in sample."
        )
    order = None
    if isinstance(cv, Integral):  # shuffled anyway: by content, so that the order of the rows does not matter
        order = content_order(X, y) if groups is None else content_order(X, y, groups)
        X, y, groups = np.empty((n, 0)), strata[order], None if groups is None else np.asarray(groups)[order]
    with warnings.catch_warnings():
        # A class with fewer rows than folds is missing from some folds; predictions are aligned by class.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        try:
            found = list(splitter.split(X, y, groups))
        except ValueError as error:
            if stratify and y.ndim == 2:
                raise ValueError(
                    f"cv={cv!r} cannot divide rows of several labels ({error}); give a number of folds, which are "
                    "stratified by the sets of labels, or a splitter that takes y of shape (n, L)."
                ) from error
            raise
        except Exception as error:  # a foreign splitter may raise anything
            raise ValueError(f"cv={cv!r} cannot divide these rows ({type(error).__name__}: {error}).") from error
        pairs = [_rows_of(pair, n, f) for f, pair in enumerate(found)]
    if order is not None:
        pairs = [(np.sort(order[train]), np.sort(order[test])) for train, test in pairs]
    return Folds(n, tuple(pairs), splitter=cv, stratify=stratify)


def repeatable(cv: Any) -> Any:
    """A generator of folds as a list, which can be copied, stored and read again; anything else as it is.

    Examples
    --------
    >>> repeatable(iter([([0], [1])])), repeatable(5)
    ([([0], [1])], 5)
    """
    return list(cv) if isinstance(cv, Iterator) and not hasattr(cv, "split") else cv


def _splitter(k: int, n: int, y: Any, groups: Any, stratify: bool, seed: int | None) -> Any:
    if k < 2:
        raise ValueError(f"cv={k} makes no folds; give 2 or more, or None for EM in sample.")
    available = n if groups is None else len(np.unique(np.asarray(groups)))
    if available < k:
        what = "rows" if groups is None else "groups"
        raise ValueError(
            f"cv={k} needs at least {k} {what}, got n_samples = {n} with {available} {what}; set cv lower."
        )
    # Stratification is impossible if no class has at least k rows.
    stratify = stratify and int(np.bincount(np.asarray(y, dtype=np.intp)).max()) >= k
    if groups is None:
        return (StratifiedKFold if stratify else KFold)(k, shuffle=True, random_state=seed)
    return StratifiedGroupKFold(k, shuffle=True, random_state=seed) if stratify else GroupKFold(k)


def _rows_of(pair: Any, n: int, f: int) -> tuple[Rows, Rows]:
    try:
        train, test = (np.atleast_1d(np.asarray(part)) for part in pair)
        if any(rows.ndim > 1 or (rows.size and rows.dtype.kind not in "biu") for rows in (train, test)):
            raise TypeError("row positions are whole numbers, or a mask")
        train, test = (np.flatnonzero(r) if r.dtype == bool else r.astype(np.intp) for r in (train, test))
    except (TypeError, ValueError) as error:
        raise ValueError(f"a fold must be a pair (train, test) of row positions, got {type(pair).__name__}.") from error
    for rows in (train, test):
        if not len(rows) or rows.min() < -n or rows.max() >= n:
            raise ValueError(f"a fold names no rows, or rows that do not exist: there are {n}, counted from 0.")
    train, test = train % n, test % n
    both = np.intersect1d(train, test)
    if len(both):
        raise ValueError(
            f"fold {f} trains on {len(both)} of the rows that it holds out, such as row {both[0]}, so that its "
            "predictions for them would not be out of fold; give folds whose train and test rows are disjoint."
        )
    return train, test
