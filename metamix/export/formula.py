"""Mixtures of linear experts as a formula: text to read, and JSON to compute with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from metamix.estimators import MixtureRegressor
from metamix.export.errors import ExportError
from metamix.export.terms import model_terms, score_terms
from metamix.export.wording import as_text
from metamix.fitting import FoldAverage
from metamix.gates import SoftmaxGate
from metamix.gates.constant import ConstantWeights
from metamix.training.blend import FittedBlend
from metamix.training.mixture import FittedMixture
from metamix.training.stacking import LinearStack

__all__ = ["Formula", "to_formula"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Formula:
    """What a mixture computes; ``str`` of it is text, and `to_json` what another program computes with.

    Parameters
    ----------
    parts : dict
        ``columns``: names of the columns of X. ``values``: a dict from names to what they are, in this order:
        ``intercept`` and ``terms`` of the columns (`metamix.export.terms`); ``mean_of``, a list of these;
        ``values``, ``weights`` and ``gate`` of a mixture within; or ``intercept``, ``coefficients`` of values
        before it, and ``margin``: how far it may lie outside of the smallest and the largest of these values.
        ``weights``: a dict from names to constant weights. ``gate``: None, or its ``share`` and ``scores``, a dict from
        names to ``intercept`` and ``terms``, whose softmax times the share is added to the weights; of the softmax
        only the ``top_k`` largest are kept and divided by their sum, unless that is None. ``at_least``: the smallest
        value that is possible, or None. The prediction is the sum of values times weights.
    """

    parts: dict[str, Any]

    def to_json(self, indent: int | None = 1) -> str:
        """As JSON, with all digits."""
        return json.dumps(self.parts, indent=indent, ensure_ascii=False)

    def __str__(self) -> str:
        return as_text(self.parts)


def to_formula(mixture: Any) -> Formula:
    """Write a mixture of linear experts as a formula.

    Experts must be linear in columns of numbers and categories, such as "linear", "ridge", "lasso" and scikit-learn's
    linear models; gates "constant", "online" and "softmax"; stacks linear. Of the columns only those are written that
    have weight. Frames are those that the mixture sees once their columns are cleaned (`metamix.TableCleaner`).

    Parameters
    ----------
    mixture : MixtureRegressor
        Fitted, of one target.

    Returns
    -------
    Formula

    Raises
    ------
    ExportError
        If something that has weight cannot be written as a formula; the message names it.
    sklearn.exceptions.NotFittedError
        If the mixture is not fitted.

    Examples
    --------
    >>> from metamix import MixtureRegressor
    >>> X, y = np.arange(8.0)[:, None], 2 * np.arange(8.0) + 1
    >>> mixture = MixtureRegressor([("line", "linear")], specialize=True, cv=None).fit(X, y)
    >>> print(to_formula(mixture))
    prediction = line
    line = 1 + 2 x0
    """
    if not isinstance(mixture, MixtureRegressor):
        raise ExportError(f"to_formula takes a MixtureRegressor, and this is a {type(mixture).__name__}")
    check_is_fitted(mixture)
    fitted = mixture._fitted
    if fitted.n_targets is not None:
        raise ExportError(
            f"the mixture has {fitted.n_targets} targets, and formulas are of one: fit a mixture for each target"
        )
    known = getattr(mixture, "feature_names_in_", None)
    names = [f"x{j}" for j in range(mixture.n_features_in_)] if known is None else [str(name) for name in known]
    smallest = 0.0 if hasattr(fitted.likelihoods[0], "admissible") else None
    return Formula({"columns": names, "at_least": smallest, **_combination(fitted, names)})


def _combination(fitted: Any, names: Sequence[str]) -> dict[str, Any]:
    """Values, weights and gate of a mixture or a blend; only those that have weight."""
    weights = fitted.targets[0].constant_weights if isinstance(fitted, FittedBlend) else np.zeros(len(fitted.names))
    gate, columns, share, _ = fitted._gate_part(1)
    weights, scores = weights.copy(), None
    if share > 0 and len(columns) == 1:
        weights[columns] += share
    elif share > 0 and isinstance(gate, ConstantWeights) and fitted.top_k is None:
        weights[columns] += share * gate.weights_
    elif share > 0:
        scores = dict(zip([fitted.names[k] for k in columns], _scores(gate, fitted, names), strict=True))
    needed = weights > 0
    if scores is not None:
        needed[columns] = True
    return {
        "values": _values(fitted, needed, names),
        "weights": {name: float(w) for name, w in zip(fitted.names, weights, strict=True) if w > 0},
        "gate": None if scores is None else {"share": float(share), "top_k": fitted.top_k, "scores": scores},
    }


def _scores(gate: Any, fitted: Any, names: Sequence[str]) -> list[dict[str, Any]]:
    if isinstance(gate, ConstantWeights):
        return [{"intercept": float(np.log(max(w, 1e-300))), "terms": []} for w in gate.weights_]
    if not isinstance(gate, SoftmaxGate):
        kind = type(getattr(gate, "classifier", gate)).__name__
        raise ExportError(
            f"the gate ({kind}) has no formula; gates that have one are 'constant', 'online' and 'softmax': "
            "gate='softmax'"
        )
    return score_terms(gate, fitted.features, names)


def _values(fitted: Any, needed: NDArray[np.bool_], names: Sequence[str]) -> dict[str, Any]:
    """What each column with weight is, and those that the stacks with weight see."""
    stacks = fitted.targets[0].stacks if isinstance(fitted, FittedBlend) else {}
    used = {name for k, name in enumerate(fitted.names) if needed[k]}
    for name, (_, width) in stacks.items():
        used |= set(fitted.names[:width]) if name in used else set()
    found = {}
    for name, column in zip(fitted.names, fitted.columns, strict=False):
        if name in used:
            found[name] = _column(f"the expert {name!r}", column, names)
    for name, (stack, width) in stacks.items():
        if name in used:
            found[name] = _stack(name, stack, fitted.names[:width])
    if isinstance(fitted, FittedBlend) and fitted.names[-1] in used:
        found[fitted.names[-1]] = {"intercept": float(fitted.targets[0].mean), "terms": []}
    return found


def _column(what: str, column: Any, names: Sequence[str]) -> dict[str, Any]:
    if isinstance(column, FoldAverage):
        return {"mean_of": [_model(what, one.model, names) for one in column.members]}
    return _model(what, column.model, names)


def _model(what: str, model: Any, names: Sequence[str]) -> dict[str, Any]:
    inner = getattr(model, "_fitted", model)
    if isinstance(inner, FittedMixture | FittedBlend):
        return _combination(inner, names)
    return model_terms(what, model, names)


def _stack(name: str, stack: Any, seen: Sequence[str]) -> dict[str, Any]:
    if not isinstance(stack, LinearStack) or stack.model_ is None:
        raise ExportError(
            f"the {name} ({type(stack).__name__}) has weight in the blend and has no formula: final='simplest', or "
            "specialize=True or False, may do without it"
        )
    coefficients = dict(zip(seen, map(float, stack.coef_), strict=True))
    return {"intercept": stack.intercept_, "coefficients": coefficients, "margin": stack.margin_}
