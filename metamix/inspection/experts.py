"""ExpertsDisplay: what each regime says, as coefficients or as the importance of columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler

from metamix.data.columns import ColumnEncoder, giving_arrays
from metamix.data.features import shuffle_feature
from metamix.data.tables import n_rows, take_rows
from metamix.drawing import caption, grid, names_in_pictures, new_axes, readable
from metamix.estimators.coefficients import LinearTerms, linear_terms
from metamix.estimators.mixture import Mixture
from metamix.fitting import FoldAverage, NamedExpert, Problem, fit_expert
from metamix.fitting.fitted import PerTarget
from metamix.inspection.inputs import InspectedRows, regimes_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ExpertsDisplay"]

Array = NDArray[np.float64]
COEFFICIENT, IMPORTANCE, INTERCEPT = "coefficient", "importance", "intercept"
#: Columns in the picture, those with the largest effects.
MOST_COLUMNS = 15
#: Probability that bootstrap intervals hold.
COVERAGE = 0.95
#: Shuffles of a column for its importance.
REPEATS = 5


class ExpertsDisplay:
    """What each regime says of y: coefficients of linear experts, and of others the importance of the columns.

    Coefficients are in units of y for a unit of the column, for classes in those of the log odds. The importance of a
    column is how much the loss of the regime's expert rises, in the rows that the regime leads, when the values of the
    column are shuffled among them. Make one with `from_estimator`.

    Parameters
    ----------
    table : DataFrame
        See `frame`.
    names : list of str
        Of the regimes.
    measure : str
        What the loss is.
    shown : object
        The class in the picture; None for numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from metamix import MixtureRegressor
    >>> from metamix.inspection import ExpertsDisplay
    >>> X = np.linspace(0, 100, 40)[:, None]
    >>> mixture = MixtureRegressor(["linear"], specialize=False, random_state=0).fit(X, 2 * X[:, 0] + 1)
    >>> ExpertsDisplay.from_estimator(mixture, X).frame()[["column", "value"]].round(3).to_dict("list")
    {'column': ['x0', 'intercept'], 'value': [2.0, 1.0]}
    """

    def __init__(self, table: pd.DataFrame, names: list[str], measure: str, shown: Any = None) -> None:
        self.table = table
        self.names = names
        self.measure = measure
        self.shown = shown

    @classmethod
    def from_estimator(
        cls, mixture: Any, X: Any, y: Any = None, *, target: int = 0, n_bootstrap: int = 0, random_state: int = 0
    ) -> Self:
        """Laws of the regimes of ``mixture.mixture_`` where it has several, else of the experts.

        Parameters
        ----------
        mixture : MixtureRegressor or MixtureClassifier
            Fitted.
        X : table of shape (n, d)
        y : array-like of shape (n,) or (n, T), optional
            For bootstrap intervals, and for experts that are not linear.
        target : int
        n_bootstrap : int
            Refits of each linear expert to rows drawn with replacement, weighted by their responsibilities, for
            intervals that hold a coefficient with probability 95 %. The regimes themselves stay as they are. Give the
            rows of `fit`, and 200 or more.
        random_state : int

        Raises
        ------
        ValueError
            If y is needed and was not given.
        """
        rows = InspectedRows.read(
            mixture, cls.__name__, X, y, target, needs_y="bootstrap intervals" if n_bootstrap else ""
        )
        regimes = regimes_of(rows.mixture)
        experts = _experts(regimes)
        names = [name for name, _ in experts]
        terms = [linear_terms(one if isinstance(one, FoldAverage) else one.model) for _, one in experts]
        others = [name for name, one in zip(names, terms, strict=True) if one is None]
        if others and y is None:
            raise ValueError(
                f"y is None, and not linear, so that importance needs y: {', '.join(others)}; give y, as for fit."
            )
        classes = None if rows.several_labels else getattr(regimes, "classes_", None)
        leading = rows.weights(regimes).argmax(axis=1) if regimes is not rows.mixture or not _blends(regimes) else None
        rng = np.random.default_rng(random_state)
        found: list[dict[str, Any]] = []
        for k, ((name, expert), known) in enumerate(zip(experts, terms, strict=True)):
            if known is None:
                inside = np.arange(n_rows(rows.table)) if leading is None else np.flatnonzero(leading == k)
                found += [{"regime": name, **one} for one in _importances(rows, expert, inside, rng)]
                continue
            drawn = _bootstrap(rows, regimes, k, expert, n_bootstrap, rng) if n_bootstrap else []
            found += [{"regime": name, **one} for one in _coefficients(rows, expert, known, drawn, classes)]
        table = _with_effects(found, rows)
        return cls(table, names, rows.measure, None if classes is None else classes[-1])

    def frame(self) -> pd.DataFrame:
        """A row for each regime and column (and class).

        Returns
        -------
        DataFrame
            Kind ("coefficient" or "importance"), value, with bootstrap its low and high end, and for coefficients
            `per_deviation`: the coefficient for one standard deviation of the column.
        """
        return self.table

    def plot(self, ax: Any = None) -> Self:
        """Draw a table with a column for each regime; colours are effects of a standard deviation."""
        table = self.table
        if self.shown is not None and "class" in table:
            table = table[table["class"].isna() | (table["class"] == self.shown)]
        size = table.groupby("column")["strength"].max().drop(INTERCEPT, errors="ignore")
        columns = size.sort_values(ascending=False, kind="stable").index[:MOST_COLUMNS].tolist()
        columns += [INTERCEPT] if (table["column"] == INTERCEPT).any() else []
        intervals = "low" in table
        cells = np.ones((len(columns), len(self.names), 3))
        texts = [[""] * len(self.names) for _ in columns]
        kinds = dict(zip(table["regime"], table["kind"], strict=True))
        for one in table.to_dict("records"):
            if one["column"] in columns:
                i, k = columns.index(one["column"]), self.names.index(one["regime"])
                texts[i][k] = readable(one["value"])
                if intervals and np.isfinite(one["low"]):
                    texts[i][k] += f"\n{readable(one['low'])} … {readable(one['high'])}"
                cells[i, k] = _shade(one)
        several = len(set(kinds.values())) > 1
        heads = names_in_pictures(self.names)
        if several:
            heads = [
                f"{head}\n({kinds[name]})" if name in kinds else head
                for head, name in zip(heads, self.names, strict=True)
            ]
        wide = 1.5 if intervals else 0.85
        self.ax_ = new_axes(ax, 3.2 + wide * len(heads), 1.9 + (0.5 if intervals else 0.34) * len(columns))
        self.figure_ = self.ax_.figure
        grid(self.ax_, cells, texts, names_in_pictures(columns), heads)
        said = []
        if COEFFICIENT in kinds.values():
            of = "" if self.shown is None else f" of the log odds of {names_in_pictures([self.shown])[0]}"
            said.append(f"coefficients{of} in units of X and y; colour: per standard deviation")
        if IMPORTANCE in kinds.values():
            said.append(f"importance: rise of the {self.measure} when shuffled (grey)")
        caption(self.ax_, said)
        return self


def _experts(mixture: Mixture) -> list[tuple[str, Any]]:
    """Names and fitted experts; the mixture among the columns is none."""
    fitted = mixture._fitted
    found = list(zip(fitted.names, fitted.columns, strict=False))
    return found[:-1] if getattr(fitted, "mixture", None) is not None else found


def _blends(mixture: Mixture) -> bool:
    """Whether the experts were fitted to all rows, and lead no regions of their own."""
    return mixture.candidates_ is not None


def _importances(rows: InspectedRows, expert: Any, inside: NDArray[np.intp], rng: Any) -> list[dict[str, Any]]:
    """How much the loss rises when a column is shuffled, mean over shuffles."""
    missing = [{"column": name, "kind": IMPORTANCE, "value": np.nan} for name in rows.names]
    if len(inside) < 2:
        return missing
    X, truth = take_rows(rows.table, inside), rows.truth[inside]

    def loss(X: Any) -> float:
        predictions = np.asarray(expert.predict(X))
        predictions = predictions if rows.mixture._fitted.n_targets is None else predictions[:, rows.target]
        return float(rows.row_losses(truth, predictions).mean())

    before = loss(X)
    for j, one in enumerate(missing):
        shuffled = [loss(shuffle_feature(X, j, rng.permutation(len(inside)))) for _ in range(REPEATS)]
        one["value"] = float(np.mean(shuffled)) - before
    return missing


def _coefficients(
    rows: InspectedRows, expert: Any, terms: LinearTerms, drawn: list[LinearTerms], classes: Any
) -> list[dict[str, Any]]:
    """Coefficients and intercept, and where they were drawn again their intervals."""
    known = None if classes is None else list(classes[_codes(expert)])
    labels = [None] if known is None else known[1:] if len(terms.slopes) == 1 else known
    several = rows.mixture._fitted.n_targets is not None
    lines = [rows.target] if several else range(len(labels))
    found = []
    for i, line in enumerate(lines):
        # The weights of the fit itself are those of a round before: only deviations from a fit with these are used.
        again = [_line(one, line) for one in drawn]
        centre = again.pop(0) if again else {}
        for column, value in _line(terms, line).items():
            one = {"column": column, "kind": COEFFICIENT, "value": float(value)}
            if labels[i] is not None:
                one["class"] = labels[i]
            moved = [each[column] - centre[column] for each in again if column in each and column in centre]
            if moved:
                ends = np.quantile(moved, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
                one["low"], one["high"] = float(value + ends[0]), float(value + ends[1])
            found.append(one)
    return found


def _line(terms: LinearTerms, line: int) -> dict[str, float]:
    """Coefficients of one target or class by column, the intercept last."""
    values = [*terms.slopes[line], terms.intercept[line]]
    return dict(zip([*terms.columns, INTERCEPT], map(float, values), strict=True))


def _codes(expert: Any) -> NDArray[np.intp]:
    """Codes of the classes that an expert knows."""
    return np.asarray((expert.members[0] if isinstance(expert, FoldAverage) else expert).classes)


def _bootstrap(rows: InspectedRows, regimes: Mixture, k: int, expert: Any, times: int, rng: Any) -> list[LinearTerms]:
    """Terms of a linear expert, fitted again to all rows and to rows drawn with replacement."""
    n = n_rows(rows.table)
    weight = np.ones(n)
    if not _blends(regimes):
        known = regimes.responsibilities_ if rows.of_fit else regimes.responsibilities(rows.X, _as_given(rows))
        weight = known[:, k]
        weight = weight.mean(axis=1) if weight.ndim == 2 else weight
    model = expert.members[0].model if isinstance(expert, FoldAverage) else expert.model
    model = model.models[0] if isinstance(model, PerTarget) else model
    fitted, classes = regimes._fitted, getattr(regimes, "classes_", None)
    assert rows.y is not None
    problem = Problem(rows.table, rows.y, n_classes=fitted.n_classes, labels=classes)
    named = NamedExpert(expert.name, clone(model))
    found = []
    for i in range(times + 1):
        drawn = weight * (np.bincount(rng.integers(n, size=n), minlength=n) if i else 1)
        terms = linear_terms(fit_expert(named, problem, None, drawn).model) if drawn.any() else None
        if terms is not None:
            found.append(terms)
    return found


def _as_given(rows: InspectedRows) -> NDArray[Any]:
    """Y as users give it: labels of classes."""
    assert rows.y is not None
    classes = getattr(rows.mixture, "classes_", None)
    return rows.y if classes is None else np.asarray(classes[rows.y])


def _with_effects(found: list[dict[str, Any]], rows: InspectedRows) -> pd.DataFrame:
    """The frame, with the effect of one standard deviation, and how strong it is among its kind, 0 … 1."""
    import pandas as pd

    encoder = giving_arrays(ColumnEncoder(scale=False)).fit(rows.table)
    Z = encoder.transform(rows.table)
    spread = StandardScaler(with_mean=False).fit(Z).var_ ** 0.5  # of sparse columns too
    deviation = dict(zip(encoder.get_feature_names_out(), spread, strict=True))
    table = pd.DataFrame(found)
    linear = table["kind"] == COEFFICIENT
    per = np.array([deviation.get(name, np.nan) for name in table["column"]])
    table["per_deviation"] = np.where(linear, table["value"] * per, np.nan)
    size = np.where(linear, table["per_deviation"].abs(), np.maximum(table["value"], 0.0))
    largest = pd.Series(size).groupby([table["kind"].where(linear, table["regime"])]).transform("max")
    table["strength"] = np.nan_to_num(np.divide(size, largest, out=np.zeros(len(table)), where=largest.to_numpy() > 0))
    return table


def _shade(one: dict[str, Any]) -> Array:
    """Colour of a cell: brown to violet for coefficients, grey for importance, white for intercepts."""
    from matplotlib import colormaps

    if one["column"] == INTERCEPT:
        return np.ones(3)
    if one["kind"] == IMPORTANCE:
        return np.full(3, 1 - 0.5 * one["strength"])
    return np.asarray(colormaps["PuOr_r"](0.5 + 0.4 * np.sign(one["value"]) * one["strength"])[:3])
