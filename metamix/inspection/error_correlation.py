"""ErrorCorrelationDisplay: how much alike the experts err, and what a choice between them could gain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from metamix.drawing import caption, grid, names_in_pictures, new_axes
from metamix.estimators.validation import check_target_number
from metamix.inspection.inputs import InspectedRows, check_mixture
from metamix.training.error_correlation import Headroom, headroom

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ErrorCorrelationDisplay"]


class ErrorCorrelationDisplay:
    """Correlations of the experts' errors, and the headroom of an oracle that knows the best of each row.

    Make one with `from_estimator`, or with `from_predictions` of models fitted elsewhere.

    Parameters
    ----------
    names : list of K str
        Of the experts; mixture, stacks and mean are no experts.
    headroom : Headroom
        With the correlations (K, K).

    Examples
    --------
    >>> from metamix import MixtureRegressor, make_regimes
    >>> from metamix.inspection import ErrorCorrelationDisplay
    >>> X, y = make_regimes(200, random_state=0)
    >>> mixture = MixtureRegressor(["ridge", "neighbours"], specialize=False, random_state=0).fit(X, y)
    >>> ErrorCorrelationDisplay.from_estimator(mixture).frame().shape
    (2, 2)
    """

    def __init__(self, names: list[str], headroom: Headroom) -> None:
        self.names = names
        self.headroom = headroom

    @classmethod
    def from_estimator(cls, mixture: Any, X: Any = None, y: Any = None, *, target: int = 0) -> Self:
        """Correlations of errors: without X and y of the out-of-fold errors in `fit`, as the verdict has them.

        Parameters
        ----------
        mixture : MixtureRegressor or MixtureClassifier
        X, y : of shapes (n, d) and (n,) or (n, T), optional
            Rows whose errors are taken; those of `fit` get their out-of-fold predictions, sample weights left out.
        target : int

        Raises
        ------
        ValueError
            If X and y are needed: with ``specialize=True``.
        """
        mixture = check_mixture(mixture, cls.__name__)
        fitted = mixture._fitted
        number = check_target_number(target, fitted.n_targets)
        blend = mixture.verdict_ is not None
        count = len(fitted.columns) - (blend and getattr(fitted, "mixture", None) is not None)
        names = list(fitted.names[:count])
        if X is None and blend:
            verdict: Any = mixture.verdict_
            known = (verdict if fitted.n_targets is None else verdict[number]).headroom
            if known is not None:
                return cls(names, known)
        rows = InspectedRows.read(mixture, cls.__name__, X, y, number, needs_y="errors")
        return cls(names, headroom(rows.truth, rows.predictions()[:, :count]))

    @classmethod
    def from_predictions(cls, y: Any, predictions: Mapping[str, Any]) -> Self:
        """Correlations of the errors of any models, such as out-of-fold predictions for `metamix.fit_predictions`.

        Parameters
        ----------
        y : array-like of shape (n,)
        predictions : mapping of str to array-like of shape (n,), or (n, C) for classes
            By the name of the model; probabilities have a column for each class, in sorted order.

        Examples
        --------
        >>> y = [1.0, 2.0, 3.0, 4.0]
        >>> one, other = [1.5, 1.5, 3.5, 3.5], [0.5, 2.5, 2.5, 4.5]
        >>> ErrorCorrelationDisplay.from_predictions(y, {"one": one, "other": other}).frame().round(2).values.tolist()
        [[1.0, -1.0], [-1.0, 1.0]]
        """
        truth = np.asarray(y)
        values = np.stack([np.asarray(one, dtype=float) for one in predictions.values()], axis=1)
        if values.ndim == 3:
            labels, truth = np.unique(truth, return_inverse=True)
            if len(labels) != values.shape[2]:
                raise ValueError(f"y has {len(labels)} classes, and predictions {values.shape[2]}; give all of y's.")
        if len(truth) != len(values):
            raise ValueError(f"y has {len(truth)} rows, and predictions {len(values)}; give the same rows.")
        return cls(list(predictions), headroom(truth, values))

    def frame(self) -> pd.DataFrame:
        """Correlations, a row and a column for each expert."""
        import pandas as pd

        return pd.DataFrame(self.headroom.correlation, index=self.names, columns=self.names)

    def plot(self, ax: Any = None) -> Self:
        """Draw the correlations as a table with numbers."""
        from matplotlib import colormaps

        K = len(self.names)
        self.ax_ = new_axes(ax, 3.4 + 0.62 * K, 2.6 + 0.48 * K)
        self.figure_ = self.ax_.figure
        correlation = self.headroom.correlation
        # Brown is for errors alike, violet for errors that cancel.
        colours = colormaps["PuOr_r"](0.5 + correlation / 2)[..., :3]
        texts = [[f"{value:.2f}".replace("-0.00", "0.00") for value in line] for line in correlation]
        names = names_in_pictures(self.names)
        grid(self.ax_, colours, texts, names, names)
        caption(self.ax_, [str(self.headroom)])
        return self

    def __str__(self) -> str:
        return str(self.headroom)
