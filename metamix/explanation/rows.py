"""Explanations row by row: weights, contributions that add up to the prediction, regime and conditions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from metamix.data.tables import n_rows, take_rows
from metamix.drawing import area_style, colour, names_in_pictures, new_axes, readable
from metamix.explanation.border import Border, OtherCategory, nearest_border, other_categories
from metamix.explanation.rules import FEWEST_ROWS, RegionRules, find_rules
from metamix.training.mixture import FittedMixture
from metamix.training.prediction import Combination
from metamix.training.wording import short_number

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Explanation", "RowExplanation", "explain_rows", "regions_of"]

Array = NDArray[np.float64]
#: Rows in the text and the picture of several.
MOST_ROWS_SHOWN = 20
#: Columns with less weight are left out of sentences and pictures.
NEGLIGIBLE = 0.005


def regions_of(fitted: Combination) -> Combination:
    """What has the regimes: the specialised mixture if it has several, else the columns themselves."""
    mixture = getattr(fitted, "mixture", None)
    return mixture if isinstance(mixture, FittedMixture) and len(mixture.names) > 1 else fitted


@dataclass(frozen=True)
class Explanation:
    """What the predictions for n rows are made of; an item is the `RowExplanation` of one row.

    Parameters
    ----------
    names : list of K str
        Columns of `gate_weights`.
    weights : ndarray of shape (n, K)
    contributions : ndarray of shape (n, K) or (n, K, C)
        Weight × prediction of each column; over the columns they add up to `prediction`.
    prediction : ndarray of shape (n,) or (n, C)
        As of `predict`, or the probabilities of `predict_proba`.
    classes : ndarray of shape (C,) or None
    regimes : list of str
        The regimes of the specialised mixture, or the columns where it has one at most.
    regime_weights : ndarray of shape (n, number of regimes)
    rules : RegionRules or None
        Who leads where; None where too few rows were given to say so.
    X, background : tables
    leaders : callable
        Position of the leading regime in each row of a table.
    """

    names: list[str]
    weights: Array
    contributions: Array
    prediction: Array
    classes: NDArray[Any] | None
    regimes: list[str]
    regime_weights: Array
    rules: RegionRules | None
    X: Any
    background: Any
    leaders: Callable[[Any], NDArray[np.intp]]

    @property
    def leading(self) -> NDArray[Any]:
        """Name of the leading regime in each row, (n,)."""
        return np.array(self.regimes, dtype=object)[self.regime_weights.argmax(axis=1)]

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, row: int) -> RowExplanation:
        """One row in full; what would let another regime lead is looked for here."""
        if not -len(self) <= row < len(self):
            raise IndexError(f"there is no row {row}; X has {len(self)}.")
        row %= len(self)
        X = take_rows(self.X, np.array([row]))
        rule = None if self.rules is None else self.rules.rule_of(X)[0]
        border = nearest_border(self.leaders, X, self.background, self.regimes)
        leading = int(self.regime_weights[row].argmax())
        label, contributions, prediction = None, self.contributions[row], self.prediction[row]
        if self.classes is not None:
            likely = int(self.prediction[row].argmax())
            label = self.classes[likely]
            contributions, prediction = contributions[:, likely], prediction[likely]
        return RowExplanation(
            row, self.names, self.weights[row], contributions, float(prediction), label, self.regimes[leading],
            float(self.regime_weights[row, leading]), None if rule is None else rule.conditions,
            rule is not None and rule.leader == self.regimes[leading], border,
            other_categories(self.leaders, X, self.background, self.regimes),
        )  # fmt: skip

    def frame(self) -> pd.DataFrame:
        """A row for each row of X and column: weight, contribution (one for each class), leading regime of the row."""
        import pandas as pd

        n, K = self.weights.shape
        table = {
            "row": np.repeat(np.arange(n), K),
            "column": np.tile(np.array(self.names, dtype=object), n),
            "weight": self.weights.ravel(),
        }
        if self.classes is None:
            table["contribution"] = self.contributions.ravel()
        else:
            for c, label in enumerate(self.classes):
                table[f"contribution_{label}"] = self.contributions[:, :, c].ravel()
        return pd.DataFrame({**table, "leading": np.repeat(self.leading, K)})

    def __str__(self) -> str:
        lines = [str(self[i]) for i in range(min(len(self), MOST_ROWS_SHOWN))]
        more = len(self) - len(lines)
        return "\n".join([*lines, f"{more} more rows."] if more else lines)

    def plot(self, ax: Any = None) -> Any:
        """Draw the contributions of one row, or the weights of up to 20; returns the axes."""
        if len(self) == 1:
            return self[0].plot(ax)
        rows = min(len(self), MOST_ROWS_SHOWN)
        ax = new_axes(ax, 7.0, 1.2 + 0.3 * rows)
        left = np.zeros(rows)
        shown = [k for k in range(len(self.names)) if self.weights[:rows, k].max() >= NEGLIGIBLE]
        for k, name in zip(shown, names_in_pictures([self.names[k] for k in shown]), strict=True):
            ax.barh(range(rows), self.weights[:rows, k], left=left, label=name, **area_style(k))
            left += self.weights[:rows, k]
        ax.set(xlabel="weight", ylabel="row", xlim=(0, 1), yticks=range(rows), ylim=(rows - 0.5, -0.5))
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
        return ax


@dataclass(frozen=True)
class RowExplanation:
    """Why one row is predicted as it is; prints as sentences.

    Parameters
    ----------
    row : int
    names : list of K str
    weights, contributions : ndarrays of shape (K,)
    prediction : float
        The sum of the contributions: a number, or the probability of `label`.
    label : object
        The most probable class; None for numbers.
    regime : str
    regime_weight : float
    conditions : list of str or None
        That hold in this row; None where too few rows were given to find any.
    conditions_agree : bool
        Whether the rules name this regime for rows with these conditions.
    border : Border or None
        The smallest change of one number for another regime to lead.
    categories : list of OtherCategory
        Categories of one column in place of which another regime would lead.
    """

    row: int
    names: list[str]
    weights: Array
    contributions: Array
    prediction: float
    label: Any
    regime: str
    regime_weight: float
    conditions: list[str] | None
    conditions_agree: bool
    border: Border | None
    categories: list[OtherCategory] = field(default_factory=list)

    def frame(self) -> pd.DataFrame:
        """A row for each column: weight, prediction of the column, contribution."""
        import pandas as pd

        with np.errstate(invalid="ignore", divide="ignore"):
            own = np.where(self.weights > 0, self.contributions / self.weights, np.nan)
        return pd.DataFrame(
            {"column": self.names, "weight": self.weights, "prediction": own, "contribution": self.contributions}
        )

    def __str__(self) -> str:
        what = "prediction" if self.label is None else f"probability of {self.label!s}"
        order = [k for k in np.argsort(-self.weights, kind="stable") if self.weights[k] >= NEGLIGIBLE]
        parts = [
            f"{self.names[k]} {short_number(self.contributions[k], 3)} (weight {short_number(self.weights[k])})"
            for k in order
        ]
        whole = f"Row {self.row}: {what} {short_number(self.prediction, 4)} = {' + '.join(parts)}."
        return " ".join([whole, *self.sentences])

    @property
    def sentences(self) -> list[str]:
        """Who leads, under which conditions, and the smallest changes for another regime to lead."""
        said = [f"{self.regime} leads with weight {short_number(self.regime_weight)}{self._where()}."]
        changes = [str(one) for one in (self.border, *self.categories) if one is not None]
        said += [f"{change[0].upper()}{change[1:]}." for change in changes]
        if not changes and self.conditions is not None:
            said.append("No change of one number within its range, or of one category, lets another regime lead.")
        return said

    def _where(self) -> str:
        if not self.conditions:
            return ""
        words = " and ".join(self.conditions)
        return (
            f", as it mostly does where {words}"
            if self.conditions_agree
            else f", although another one mostly does where {words}"
        )

    def plot(self, ax: Any = None) -> Any:
        """Draw the contributions as bars from the largest to the smallest, and their sum; returns the axes."""
        order = [k for k in np.argsort(np.abs(self.contributions), kind="stable") if self.weights[k] >= NEGLIGIBLE]
        ax = new_axes(ax, 6.4, 1.4 + 0.35 * (len(order) + 1))
        names = names_in_pictures([self.names[k] for k in order])
        ax.barh(range(1, len(order) + 1), self.contributions[order], color=[colour(k) for k in order])
        ax.barh(0, self.prediction, facecolor="white", edgecolor="black")
        label = "prediction" if self.label is None else f"probability of {names_in_pictures([self.label])[0]}"
        weights = [f"{name} (weight {readable(self.weights[k])})" for name, k in zip(names, order, strict=True)]
        ax.set_yticks(range(len(order) + 1), ["sum", *weights])
        ax.set_xlabel(f"contribution to the {label}", loc="right")
        ax.axvline(0, color="black", linewidth=0.8)
        for y, value in enumerate([self.prediction, *self.contributions[order]]):
            side = 3 if value >= 0 else -3
            ax.annotate(
                readable(value), (value, y), (side, 0), textcoords="offset points", va="center",
                ha="left" if value >= 0 else "right",
            )  # fmt: skip
        ax.margins(x=0.15)
        ax.spines[["top", "right", "left"]].set_visible(False)
        ax.tick_params(axis="y", length=0)
        return ax


def explain_rows(
    fitted: Combination, X: Any, background: Any = None, target: int = 0, classes: NDArray[Any] | None = None
) -> Explanation:
    """Explain predictions of a fitted combination.

    Parameters
    ----------
    fitted : Combination
    X : table of shape (n, d)
        As the experts see it.
    background : table of shape (m, d), optional
        Rows on which conditions and borders are found; X by default.
    target : int
    classes : ndarray of shape (C,), optional
    """
    regions = regions_of(fitted)

    def regime_weights(X: Any) -> Array:
        return regions.weights(X)[target]

    def leaders(X: Any) -> NDArray[np.intp]:
        return np.asarray(regime_weights(X).argmax(axis=1))

    background = X if background is None else background
    found = fitted.predictions(X)[target]
    weights = found.weights if found.values.ndim == 2 else found.weights[:, :, None]
    contributions = np.where(weights > 0, weights * found.values, 0.0)
    if classes is not None:
        contributions /= contributions.sum(axis=(1, 2), keepdims=True)
    rules = find_rules(background, leaders(background), regions.names) if n_rows(background) >= FEWEST_ROWS else None
    return Explanation(
        fitted.names, found.weights, contributions, contributions.sum(axis=1), classes, regions.names,
        regime_weights(X), rules, X, background, leaders,
    )  # fmt: skip
