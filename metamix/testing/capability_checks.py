"""What parts can do, found out by trying, and compared with what their entry points declare."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamix.derivatives import NoGradientError, gradient
from metamix.fitting.expert import takes_weights
from metamix.fitting.fitted import offers_scale
from metamix.registry import CAPABILITIES, PartRow
from metamix.testing.assertions import Factory, require
from metamix.testing.common_checks import Trial, seeded

__all__ = ["capabilities_are_declared", "find_capabilities"]

Array = NDArray[Any]


def capabilities_are_declared(trial: Trial, row: PartRow) -> None:
    """The entry point declares what the part can do, and no more."""
    unknown = sorted(set(row.capabilities) - set(CAPABILITIES))
    require(not unknown, f"{unknown} are no capabilities; these are: {', '.join(CAPABILITIES)}")
    found = find_capabilities(trial, row.kind)
    line = f'{row.name} = "{row.value} [{",".join(found)}]"' if found else f'{row.name} = "{row.value}"'
    lost = [word for word in row.capabilities if word not in found]
    require(not lost, f"declared, but not found: {', '.join(lost)}; the part does what this says: {line}")
    more = [word for word in found if word not in row.capabilities]
    require(not more, f"not declared: {', '.join(more)}; the part does what this says: {line}")


def find_capabilities(trial: Trial, kind: str) -> list[str]:
    """Capabilities of a part, in the order of `CAPABILITIES`.

    Examples
    --------
    >>> from metamix.gates import SoftmaxGate
    >>> from metamix.testing.gate_checks import gate_trial
    >>> find_capabilities(gate_trial(SoftmaxGate), "gates")
    ['gradient']
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        part = trial.fitted()
        found = {"device": any(name.rpartition("__")[2] == "device" for name in part.get_params())}
        if kind == "gates":
            found["gradient"] = hasattr(part, "weights_gradient")
        elif kind == "likelihoods":
            found["standard_deviation"] = hasattr(part, "standard_deviation")
        else:
            found |= _of_expert(trial.make, part, kind == "classifiers")
    return [word for word in CAPABILITIES if found.get(word)]


def _of_expert(make: Factory, fitted: Any, classes: bool) -> dict[str, bool]:
    import pandas as pd

    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = (X[:, 0] > 0).astype(int) if classes else X[:, 0]
    gaps = X.copy()
    gaps[::7, 0] = np.nan
    frame = pd.DataFrame({"number": X[:, 0], "text": np.where(X[:, 1] > 0, "up", "down")})
    return {
        "weights": takes_weights(fitted) is not None,
        "probabilities": classes and hasattr(fitted, "predict_proba"),
        "standard_deviation": not classes and offers_scale(fitted),
        "gradient": not classes and _has_gradient(fitted),
        "several_targets": not classes and _predicts(make, X, np.column_stack([y, -y])),
        "missing_values": _predicts(make, gaps, y),
        "text_columns": _predicts(make, frame, y),
    }


def _has_gradient(fitted: Any) -> bool:
    try:
        gradient(fitted, np.zeros((2, 3)))
    except NoGradientError:
        return False
    return True


def _predicts(make: Factory, X: Any, y: Array) -> bool:
    """Whether an expert can be fitted to these rows, and predicts numbers of the shape of y."""
    try:
        prediction = np.asarray(seeded(make()).fit(X, y).predict(X))
    except Exception:  # it cannot, however it says so
        return False
    return prediction.shape == y.shape and bool(np.isfinite(prediction).all())
