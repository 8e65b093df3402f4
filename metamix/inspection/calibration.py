"""CalibrationDisplay: whether intervals cover as much as they say, and probabilities are frequencies."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve

from metamix.data.tables import take_rows
from metamix.drawing import colour, names_in_pictures, new_axes, point_style
from metamix.inspection.inputs import InspectedRows, regimes_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CalibrationDisplay"]

Array = NDArray[np.float64]
#: Nominal coverage of the intervals.
LEVELS = np.linspace(0.05, 0.95, 19)
ALL_ROWS = "all rows"
#: Rows whose intervals are computed, at most: coverage is then known to half a per cent.
MOST_ROWS = 5_000
#: Regimes with fewer rows are left out of the picture.
FEWEST_ROWS = 20


class CalibrationDisplay:
    """Coverage of central intervals, or the reliability of class probabilities, in the rows given.

    Give rows that were not fitted to: in those of `fit`, intervals cover more and probabilities are more extreme than
    in new ones. Make one with `from_estimator`, or of probabilities with `from_predictions`.

    Parameters
    ----------
    table : DataFrame
        See `frame`.
    kind : {"coverage", "reliability"}
    of_fit : bool
        Whether the rows are those of `fit`.

    Examples
    --------
    >>> from metamix import MixtureRegressor, make_regimes
    >>> from metamix.inspection import CalibrationDisplay
    >>> X, y = make_regimes(300, random_state=0)
    >>> mixture = MixtureRegressor(["ridge", "neighbours"], specialize=False, random_state=0).fit(X[:200], y[:200])
    >>> list(CalibrationDisplay.from_estimator(mixture, X[200:], y[200:]).frame())
    ['regime', 'rows', 'nominal', 'observed', 'standard_error']
    """

    def __init__(self, table: pd.DataFrame, kind: str, of_fit: bool) -> None:
        self.table = table
        self.kind = kind
        self.of_fit = of_fit

    @classmethod
    def from_estimator(cls, mixture: Any, X: Any, y: Any, *, target: int = 0, n_bins: int = 10) -> Self:
        """Compare intervals or probabilities with what came.

        Parameters
        ----------
        mixture : MixtureRegressor or MixtureClassifier
            Fitted.
        X : table of shape (n, d)
        y : array-like of shape (n,) or (n, T)
        target : int
        n_bins : int
            Of probabilities, with about as many rows each.
        """
        rows = InspectedRows.read(mixture, cls.__name__, X, y, target, needs_y="what came")
        if hasattr(rows.mixture, "classes_"):
            probability = rows.mixture._fitted.predict_proba(rows.table)
            if rows.several_labels:
                probability = np.column_stack([1 - probability[:, rows.target], probability[:, rows.target]])
            return cls(_reliability(rows.truth, probability, rows.classes, n_bins), "reliability", rows.of_fit)
        return cls(_coverage(rows), "coverage", rows.of_fit)

    @classmethod
    def from_predictions(cls, y: Any, probabilities: Any, *, n_bins: int = 10) -> Self:
        """Compare probabilities of any classifier with what came.

        Parameters
        ----------
        y : array-like of shape (n,)
        probabilities : array-like of shape (n, C)
            A column for each class, in sorted order.
        n_bins : int

        Examples
        --------
        >>> probabilities = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]]
        >>> shown = CalibrationDisplay.from_predictions(["no", "no", "yes"], probabilities, n_bins=1)
        >>> shown.frame().round(2).to_dict("list")
        {'class': ['yes'], 'predicted': [0.33], 'observed': [0.33]}
        """
        classes, truth = np.unique(np.asarray(y), return_inverse=True)
        probability = np.asarray(probabilities, dtype=float)
        if probability.shape != (len(truth), len(classes)):
            raise ValueError(
                f"probabilities have shape {probability.shape}, and y has {len(truth)} rows of {len(classes)} classes; "
                "give a column for each class."
            )
        return cls(_reliability(truth, probability, classes, n_bins), "reliability", False)

    def frame(self) -> pd.DataFrame:
        """The numbers.

        Returns
        -------
        DataFrame
            Of numbers, for all rows, for those that each regime leads, and for each nominal coverage: rows, coverage
            observed and its standard error; of more than 5,000 rows so many are drawn at random. Of classes, for each
            class (the second of two) and bin of its probability: mean probability, share of the rows that are of the
            class.
        """
        return self.table

    def plot(self, ax: Any = None) -> Self:
        """Draw what was observed against what was predicted; the diagonal is right."""
        key = "regime" if self.kind == "coverage" else "class"
        across = "nominal" if self.kind == "coverage" else "predicted"
        self.ax_ = new_axes(ax, 7.6, 4.6)
        self.figure_ = self.ax_.figure
        self.ax_.plot([0, 1], [0, 1], color="0.8", linewidth=1, zorder=0)
        groups = [(name, part) for name, part in self.table.groupby(key, sort=False)]
        if self.kind == "coverage":
            whole = groups[0][1]
            ends = [whole["observed"] + sign * 2 * whole["standard_error"] for sign in (-1, 1)]
            self.ax_.fill_between(whole["nominal"], *ends, color="0.9", label="two standard errors")
            groups = [(name, part) for name, part in groups if name == ALL_ROWS or part["rows"].iloc[0] >= FEWEST_ROWS]
        labels = names_in_pictures([name for name, _ in groups])
        for i, ((name, part), label) in enumerate(zip(groups, labels, strict=True)):
            look = {"color": "black", "linewidth": 2.5} if name == ALL_ROWS else point_style(i - (key == "regime"))
            self.ax_.plot(part[across], part["observed"], label=label, markersize=4.5, **look)
        words = {
            "coverage": ("nominal coverage of central intervals", "coverage observed"),
            "reliability": ("mean predicted probability", "share of the rows of the class"),
        }[self.kind]
        self.ax_.set(xlabel=words[0], ylabel=words[1], xlim=(0, 1), ylim=(-0.02, 1.02))
        self.ax_.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)
        if self.of_fit:
            self.ax_.set_title("rows of fit: better than on new rows", fontsize=10, loc="left", color=colour(3))
        self.ax_.spines[["top", "right"]].set_visible(False)
        return self


def _coverage(rows: InspectedRows) -> pd.DataFrame:
    """Nominal and observed coverage, for all rows and for each regime."""
    import pandas as pd

    n = len(rows.truth)
    if n > MOST_ROWS:
        some = np.sort(np.random.default_rng(0).choice(n, MOST_ROWS, replace=False))
        assert rows.y is not None
        rows = replace(rows, table=take_rows(rows.table, some), y=rows.y[some])
    lower, upper = (1 - LEVELS) / 2, (1 + LEVELS) / 2
    found = rows.mixture._fitted.predictions(rows.table, scaled=True)[rows.target]
    ends = found.quantile(np.concatenate([lower, upper]))
    y = rows.truth[:, None]
    inside = (ends[:, : len(LEVELS)] <= y) & (y <= ends[:, len(LEVELS) :])
    regimes = regimes_of(rows.mixture)
    leading = rows.weights(regimes).argmax(axis=1)
    groups = [(ALL_ROWS, np.ones(len(y), dtype=bool))]
    groups += [(name, leading == k) for k, name in enumerate(regimes.named_experts_) if (leading == k).any()]
    groups = groups[:1] if len(groups) == 2 else groups  # one regime leads everywhere
    tables = []
    for name, mine in groups:
        share = inside[mine].mean(axis=0)
        error = np.sqrt(share * (1 - share) / mine.sum())
        columns = {"regime": name, "rows": int(mine.sum()), "nominal": LEVELS, "observed": share}
        tables.append(pd.DataFrame({**columns, "standard_error": error}))
    return pd.concat(tables, ignore_index=True)


def _reliability(truth: NDArray[Any], probability: Array, classes: Any, n_bins: int) -> pd.DataFrame:
    """Mean probability and frequency of each class in bins of its probability (n, C)."""
    import pandas as pd

    tables = []
    for c in range(1, 2) if len(classes) == 2 else range(len(classes)):
        observed, predicted = calibration_curve(
            truth == c, np.clip(probability[:, c], 0, 1), n_bins=n_bins, strategy="quantile"
        )
        tables.append(pd.DataFrame({"class": classes[c], "predicted": predicted, "observed": observed}))
    return pd.concat(tables, ignore_index=True)
