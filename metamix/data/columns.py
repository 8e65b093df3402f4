"""Encoding of mixed columns as a numeric array, for experts and gates that need numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted, validate_data

from metamix.data.cells import codes_of, column_kind, date_part, dates_of, numbers_of, sorted_levels
from metamix.data.frames import array_of_lists, check_frame, column_names, find_columns, frame_columns, is_frame
from metamix.data.scalars import is_whole

__all__ = ["ColumnEncoder", "giving_arrays"]

_DATE_PARTS = ("month", "weekday", "hour")
_CODED = ("text", "category", "empty")  # neither imputed nor scaled after encoding
_MISSING = -1  # the code of a missing text


def giving_arrays(part: Any) -> Any:
    """Make the transformers of a part, at any depth, return arrays, whatever scikit-learn is configured to return.

    What metamix computes with is an array or a sparse matrix; ``sklearn.set_config(transform_output=...)`` is for the
    transformers of the user's.

    Parameters
    ----------
    part : estimator or transformer

    Returns
    -------
    The part itself.

    Examples
    --------
    >>> import sklearn
    >>> with sklearn.config_context(transform_output="pandas"):
    ...     giving_arrays(StandardScaler()).fit_transform([[1.0], [3.0]])
    array([[-1.],
           [ 1.]])
    """
    for one in [part, *part.get_params(deep=True).values()]:
        if hasattr(one, "set_output") and not isinstance(one, type) and not isinstance(one, Pipeline):
            one.set_output(transform="default")
    return part


class ColumnEncoder(TransformerMixin, BaseEstimator):
    """Encode numbers, booleans, dates, text and categories as numbers.

    Numbers are imputed by their median and standardised; booleans become 0 and 1; dates become seconds
    (since 1970; with a time zone in UTC) and month, weekday and hour where these vary; text and
    categories become a 0/1 column for each frequent value, or its rank. A numeric column that was constant
    in training is 0 when scaled, a column without any value is 0, whatever they hold later. A sparse X
    stays sparse: it is divided by its standard deviation, not centred, and missing entries become 0.

    Parameters
    ----------
    categories : {"onehot", "ordinal"}
        "onehot": a column per value, one for missing values where training had any, one for rare values
        where there are rare ones, which also takes values never seen. "ordinal": ranks in sorted order, or in
        the order that the category type gives; then a rank for rare and one for missing values. Unseen values
        are -1 where there is no rank for rare ones.
    scale : bool
        Standardise numbers and dates to mean 0 and standard deviation 1.
    missing : {"impute", "keep"}
        "keep" leaves NaN in what comes from numbers, booleans and dates, and in ordinal ranks.
    max_categories : int or None
        Largest number of values per column; the rarest are merged into one category. If any are merged, so are
        all values that occur once. None keeps all.
    missing_indicator : bool
        Add a 0/1 column for each column of numbers, booleans or dates with missing values in training
        (with ``missing="impute"`` only).

    Attributes
    ----------
    kinds_ : list of str
        (d,) type of each column in training, see `metamix.data.cells.column_kind`.
    categories_ : list
        (d,) for text and categories the list of separate values, else None.
    n_features_in_, feature_names_in_
        d, and (d,) the names of a frame whose names are all text.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"size": [1.0, None, 3.0], "city": ["Rome", "Oslo", "Rome"]})
    >>> encoder = ColumnEncoder().fit(frame)
    >>> list(encoder.get_feature_names_out())
    ['size', 'city=Oslo', 'city=Rome', 'size (missing)']
    >>> encoder.transform(frame[1:2]).tolist()
    [[0.0, 1.0, 0.0, 1.0]]
    """

    def __init__(
        self,
        categories: str = "onehot",
        scale: bool = True,
        missing: str = "impute",
        max_categories: int | None = 20,
        missing_indicator: bool = True,
    ) -> None:
        self.categories = categories
        self.scale = scale
        self.missing = missing
        self.max_categories = max_categories
        self.missing_indicator = missing_indicator

    def fit(self, X: Any, y: Any = None) -> ColumnEncoder:
        """Learn kinds, values, medians and scales.

        Parameters
        ----------
        X : array, sparse matrix or data frame
            (n, d).
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            X is empty or not two-dimensional, a number is infinite, two columns share a name, or a parameter
            has an invalid value.
        """
        self._learn(X)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Fit and transform the same X, reading it once; as `fit` and `transform` otherwise."""
        return self._finish(self._learn(X), X)

    def transform(self, X: Any) -> Any:
        """Encode X.

        Parameters
        ----------
        X : array, sparse matrix or data frame
            (n, d); the columns of a frame are found by name, in any order.

        Returns
        -------
        ndarray or sparse CSR
            (n, D) float64 in C order. X itself where there is nothing to do.

        Raises
        ------
        ValueError
            Columns are absent or too many, a number is infinite, or a column of numbers or dates has
            another type now.
        """
        check_is_fitted(self)
        return self._finish(self._raw(self._read(X)), X)

    @property
    def centre_(self) -> np.ndarray:
        """What is subtracted from each encoded column before it is multiplied by `factor_`, (D,)."""
        check_is_fitted(self)
        return np.append(self._centre, np.zeros(len(self._indicators)))

    @property
    def factor_(self) -> np.ndarray:
        """Factors by which centred encoded columns are multiplied, (D,)."""
        check_is_fitted(self)
        return np.append(self._factor, np.ones(len(self._indicators)))

    @property
    def fill_(self) -> np.ndarray:
        """What stands for a missing value in each encoded column but the indicators, which follow them."""
        check_is_fitted(self)
        return self._fill

    @property
    def source_(self) -> np.ndarray:
        """Position of the column of X that each encoded column is made of, (D,)."""
        check_is_fitted(self)
        source = np.repeat(np.arange(self.n_features_in_), [len(ends) for ends in self._ends])
        return np.concatenate([source, source[self._indicators]])

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the encoded columns.

        Parameters
        ----------
        input_features : array of str, optional
            (d,) names of the columns where training had none; else they must be the training's.

        Returns
        -------
        ndarray of object
            (D,), such as ``size``, ``city=Rome``, ``city (other)``, ``sold (month)``, ``size (missing)``.

        Raises
        ------
        ValueError
            `input_features` does not fit what was seen in training.
        """
        check_is_fitted(self)
        known = getattr(self, "feature_names_in_", None)
        names = [f"x{j}" for j in range(self.n_features_in_)] if known is None else list(known)
        if input_features is not None:
            given = list(input_features)
            if len(given) != len(names):
                raise ValueError(f"input_features should have length equal to number of features: {len(names)}")
            if known is not None and given != names:
                raise ValueError("input_features is not equal to feature_names_in_")
            names = given
        out = [name + ending for name, part in zip(names, self._ends, strict=True) for ending in part]
        out += [f"{out[i]} (missing)" for i in self._indicators]
        return np.asarray(out, dtype=object)

    def __sklearn_tags__(self) -> Any:
        """Tags: mixed columns, missing values and sparse input are supported."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.input_tags.sparse = True
        return tags

    def _read(self, X: Any, reset: bool = False) -> Any:
        """X as an array, CSR matrix or list of columns, with the number of columns checked against training."""
        if not is_frame(X):
            if isinstance(X, list | tuple):
                X = array_of_lists(X)
            if not reset and self._is_as_in_training(X):
                return X
            rules = {"dtype": None, "accept_sparse": "csr", "ensure_all_finite": False}
            return validate_data(self, X, reset=reset, ensure_min_samples=int(reset), **rules)
        columns, names = frame_columns(X), column_names(X)
        if reset:
            check_frame(columns, names)
            self.n_features_in_ = len(columns)
            self.__dict__.pop("feature_names_in_", None)
            if names is not None:
                self.feature_names_in_ = np.asarray(names, dtype=object)
            return columns
        known = getattr(self, "feature_names_in_", None)
        if names is not None and known is not None:
            return [columns[i] for i in find_columns(names, list(known))]
        if len(columns) != (d := self.n_features_in_):
            raise ValueError(f"X has {len(columns)} features, but ColumnEncoder is expecting {d} features as input")
        return columns

    def _is_as_in_training(self, X: Any) -> bool:
        """Whether X is an array of numbers that needs no check: checking one row takes longer than encoding it."""
        return (
            type(X) is np.ndarray
            and X.dtype.kind in "fiu"
            and X.ndim == 2
            and X.shape[1] == self.n_features_in_
            and not hasattr(self, "feature_names_in_")  # scikit-learn warns of their absence
        )

    def _raw(self, read: Any) -> Any:
        """Encode without imputing or scaling: (n, D), missing as NaN; X itself if no conversion is needed."""
        if sparse.issparse(read) and self._sparse:
            numbers_of(read.data, "of sparse X")  # raises an error for infinity
            return read.astype(np.float64, copy=False)
        read = read.toarray() if sparse.issparse(read) else read
        if self._plain and isinstance(read, np.ndarray) and read.dtype.kind in "fiub":
            raw = np.ascontiguousarray(read, dtype=np.float64)
            if not _surely_finite(raw):
                for j in range(raw.shape[1]):
                    numbers_of(raw[:, j], self._name(j))
            return raw
        if isinstance(read, np.ndarray):
            read = list(read.T)
        raw = np.zeros((len(read[0]), sum(map(len, self._ends))))
        at = 0
        for j, (column, ending) in enumerate(zip(read, self._ends, strict=True)):
            self._write(j, column, raw[:, at : at + len(ending)])
            at += len(ending)
        return raw

    def _write(self, j: int, column: Any, out: np.ndarray) -> None:
        kind = self.kinds_[j]
        if kind == "empty":
            return  # zeros are there already
        if kind in ("text", "category"):
            self._write_codes(j, column, out)
        elif kind == "date":
            dates = dates_of(column, self._name(j))
            for i, part in enumerate(["seconds", *self._parts[j]]):
                out[:, i] = date_part(dates, part)
        else:
            out[:, 0] = numbers_of(column, self._name(j))

    def _write_codes(self, j: int, column: Any, out: np.ndarray) -> None:
        codes, levels, _ = codes_of(column)
        kept = self.categories_[j] or []
        rare = len(kept) if self._has_rare[j] else -1
        table = {value: i for i, value in enumerate(kept)}
        missing = len(kept) + self._has_rare[j] if self._has_missing[j] else -1
        ranks = np.array([table.get(level, rare) for level in levels] + [missing], dtype=np.intp)[codes]
        if self.categories == "onehot":
            rows = np.flatnonzero(ranks >= 0)
            out[rows, ranks[rows]] = 1.0
        else:
            out[:, 0] = ranks
            if self.missing == "keep":
                out[codes == _MISSING, 0] = np.nan

    def _learn(self, X: Any) -> Any:
        self._check_parameters()
        read = self._read(X, reset=True)
        self._sparse = sparse.issparse(read)
        if self._sparse:
            return self._learn_sparse(read)
        columns = list(read.T) if isinstance(read, np.ndarray) else read
        d = len(columns)
        self.kinds_ = [column_kind(column) for column in columns]
        self.categories_: list[list[str] | None] = [None] * d
        self._parts: list[list[str]] = [[] for _ in range(d)]
        self._has_rare, self._has_missing = [False] * d, [False] * d
        for j, column in enumerate(columns):
            if self.kinds_[j] in ("text", "category"):
                self._learn_values(j, column)
            elif self.kinds_[j] == "date":
                dates = dates_of(column, self._name(j))
                dates = dates[~np.isnat(dates)]
                self._parts[j] = [p for p in _DATE_PARTS if len(np.unique(date_part(dates, p))) > 1]
        self._plain = set(self.kinds_) <= {"number", "boolean"}
        self._ends = self._endings()
        raw = self._raw(read)
        self._learn_scales(raw)
        return raw

    def _check_parameters(self) -> None:
        for name, known in {"categories": ("onehot", "ordinal"), "missing": ("impute", "keep")}.items():
            if not isinstance(getattr(self, name), str) or getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r}: {known[0]!r} or {known[1]!r} would do")
        for name in ("scale", "missing_indicator"):
            if not isinstance(getattr(self, name), bool | np.bool_):
                raise ValueError(f"{name}={getattr(self, name)!r}: True or False would do")
        most = self.max_categories
        if most is not None and not is_whole(most):
            raise ValueError(f"max_categories={most!r}: a whole number of at least 1, or None, would do")

    def _learn_values(self, j: int, column: Any) -> None:
        codes, levels, ordered = codes_of(column)
        counts: dict[str, int] = {}  # 1 and "1" are two levels of one text
        for level, times in zip(levels, np.bincount(codes + 1, minlength=len(levels) + 1)[1:], strict=True):
            counts[level] = counts.get(level, 0) + int(times)
        in_order = list(counts) if ordered else sorted_levels(counts)
        seen = [(level, counts[level]) for level in in_order if counts[level]]
        self._has_missing[j] = bool((codes == _MISSING).any())
        if self.max_categories is not None and len(seen) > self.max_categories:
            # Most frequent first, ties in order: the choice does not depend on the order of the rows.
            order = sorted(range(len(seen)), key=lambda i: (-seen[i][1], i))[: self.max_categories - 1]
            seen = [seen[i] for i in sorted(order) if seen[i][1] > 1]
            self._has_rare[j] = True
        self.categories_[j] = [level for level, _ in seen]

    def _learn_scales(self, raw: np.ndarray) -> None:
        """Fill, centre and factor (D,) of every encoded column, and which get an indicator."""
        kinds = [kind for kind, ends in zip(self.kinds_, self._ends, strict=True) for _ in ends]
        first = [i == 0 for ends in self._ends for i in range(len(ends))]  # not the parts of a date
        D, indicate = raw.shape[1], self.missing_indicator and self.missing == "impute"
        self._fill, self._centre, self._factor = np.zeros(D), np.zeros(D), np.ones(D)
        self._indicators: list[int] = []
        self._numeric = np.array([i for i, kind in enumerate(kinds) if kind not in _CODED], dtype=np.intp)
        finite = _surely_finite(raw)
        for i, kind in enumerate(kinds):
            if kind in _CODED:
                continue
            values = raw[:, i] if finite else raw[:, i][~np.isnan(raw[:, i])]
            if indicate and first[i] and len(values) < len(raw):
                self._indicators.append(i)
            if not len(values):  # for example dates that are all NaT: always 0
                self._factor[i] = 0.0
            elif kind == "boolean":
                self._fill[i] = float(values.mean() >= 0.5)
            else:
                self._fill[i] = np.median(values)
                if self.scale:
                    full = self.missing == "keep" or len(values) == len(raw)
                    values = values if full else np.where(np.isnan(raw[:, i]), self._fill[i], raw[:, i])
                    self._centre[i], self._factor[i] = _standard(values)

    def _learn_sparse(self, read: Any) -> Any:
        d = self.n_features_in_
        self.kinds_, self.categories_ = ["number"] * d, [None] * d
        self._parts, self._has_rare, self._has_missing = [[] for _ in range(d)], [False] * d, [False] * d
        self._plain, self._indicators, self._ends, self._numeric = True, [], [[""]] * d, np.arange(d)
        raw = self._raw(read)
        self._fill, self._centre, self._factor = np.zeros(d), np.zeros(d), np.ones(d)
        if self.scale:
            self._factor = 1.0 / StandardScaler(with_mean=False).fit(raw).scale_
        return raw

    def _finish(self, raw: Any, X: Any) -> Any:
        """Impute, mark and scale; a new array unless there is nothing to do."""
        if sparse.issparse(raw):
            return self._finish_sparse(raw)
        marks = self._indicators
        impute = self.missing == "impute" and not _surely_finite(raw)
        if not (impute or marks or self.scale):
            return raw
        D, some, out = raw.shape[1], self._numeric, raw
        # A new array may be modified in place, the caller's may not.
        if marks or (isinstance(X, np.ndarray) and np.may_share_memory(raw, X)):
            out = np.zeros((len(raw), D + len(marks)))
            out[:, :D] = raw
        block = out[:, :D] if len(some) == D else out[:, some]
        missing = np.isnan(block) if impute else None
        if self.scale:
            block -= self._centre[some]
            block *= self._factor[some]
        if missing is not None:
            np.copyto(block, ((self._fill - self._centre) * self._factor)[some], where=missing)
            out[:, D:] = missing[:, np.searchsorted(some, marks)]
        if len(some) < D:
            out[:, some] = block
        return out

    def _finish_sparse(self, raw: Any) -> Any:
        missing = np.isnan(raw.data)
        if not self.scale and not (missing.any() and self.missing == "impute"):
            return raw
        out = raw.copy()
        if self.missing == "impute":
            out.data[missing] = 0.0
        out.data *= self._factor[out.indices]
        return out

    def _endings(self) -> list[list[str]]:
        """Suffixes of the names of the encoded columns (D in all), for each input column."""
        endings = []
        for kept, parts, rare, missing in zip(
            self.categories_, self._parts, self._has_rare, self._has_missing, strict=True
        ):
            if kept is None or self.categories == "ordinal":
                endings.append(["", *(f" ({part})" for part in parts)])
            else:
                extra = [" (other)"] * rare + [" (missing)"] * missing
                endings.append([f"={value}" for value in kept] + extra)
        return endings

    def _name(self, j: int) -> str:
        names = getattr(self, "feature_names_in_", None)
        return str(j) if names is None else repr(str(names[j]))


def _surely_finite(values: np.ndarray) -> bool:
    # One pass without a mask; a sum that overflows only costs the slower way.
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.sum()))


def _standard(values: np.ndarray) -> tuple[float, float]:
    """Mean and 1 / standard deviation of (n,) values; (value, 0) where they are constant up to rounding."""
    low, high = float(values.min()), float(values.max())
    largest = max(abs(low), abs(high))
    if high - low <= 10 * np.finfo(float).eps * largest:
        return low, 0.0
    centre = float(values.mean())
    spread = max(high - centre, centre - low)  # squares of very large or small numbers would overflow or underflow
    return centre, float(1.0 / (spread * np.sqrt(np.mean(((values - centre) / spread) ** 2))))
