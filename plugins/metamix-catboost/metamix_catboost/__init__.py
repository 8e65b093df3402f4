"""CatBoost experts, registered as entry points of metamix; metamix itself is not imported."""

from __future__ import annotations

from typing import Any

from metamix_catboost.experts import CatBoostClassifierExpert, CatBoostRegressorExpert

__all__ = ["CatBoostClassifierExpert", "CatBoostRegressorExpert", "classifier", "regressor"]

_OWN = ("iterations", "depth", "learning_rate", "l2_leaf_reg", "random_state", "n_jobs", "device")


def regressor(**parameters: Any) -> CatBoostRegressorExpert:
    """Return an unfitted regressor; accepts parameters of CatBoostRegressorExpert and of CatBoost.

    Examples
    --------
    >>> regressor(iterations=50, border_count=32)
    CatBoostRegressorExpert(iterations=50, options={'border_count': 32})
    """
    return CatBoostRegressorExpert(**_sort(parameters))


def classifier(**parameters: Any) -> CatBoostClassifierExpert:
    """Return an unfitted classifier; accepts parameters of CatBoostClassifierExpert and of CatBoost.

    Examples
    --------
    >>> classifier(depth=4)
    CatBoostClassifierExpert(depth=4)
    """
    return CatBoostClassifierExpert(**_sort(parameters))


def _sort(parameters: dict[str, Any]) -> dict[str, Any]:
    own = {name: value for name, value in parameters.items() if name in _OWN}
    rest = {name: value for name, value in parameters.items() if name not in _OWN}
    return own | ({"options": rest} if rest else {})
