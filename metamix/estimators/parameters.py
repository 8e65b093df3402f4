"""Parameters of mixtures that no fit could make sense of, refused before anything is resolved."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from sklearn.base import is_classifier

from metamix.data.scalars import check_jobs, check_seed, is_whole
from metamix.deadline import check_time_limit
from metamix.devices import check_device
from metamix.estimators.scoring import check_scoring
from metamix.fitting.checkpoint import check_folder
from metamix.training.regime_search.initial import NAMES

__all__ = ["check_count", "check_final", "check_parameters", "check_top_k", "most_gate_columns"]


def check_parameters(mixture: Any) -> None:
    """Refuse parameters that no fit could make sense of, saying what would do.

    Raises
    ------
    ValueError

    Examples
    --------
    >>> from metamix import MixtureRegressor
    >>> check_parameters(MixtureRegressor(max_rounds=0))
    Traceback (most recent call last):
    ...
    ValueError: max_rounds=0 is no number of rounds; give 1, 2, ... or 'auto'.
    """
    allowed: dict[str, tuple[Any, ...]] = {
        "specialize": (True, False, "auto"),
        "objective": ("prediction", "likelihood"),
        "final": ("blend", "best", "simplest"),
        "on_error": ("drop", "raise"),
        "refit": (True, False),
    }
    for name, values in allowed.items():
        value = getattr(mixture, name)
        if not any(type(value) is type(one) and value == one for one in values):
            raise ValueError(f"{name}={value!r} is unknown; give one of {', '.join(map(repr, values))}.")
    check_device(mixture.device)
    check_scoring(mixture.scoring)
    check_jobs(mixture.n_jobs)
    check_seed(mixture.random_state)
    check_time_limit(mixture.time_limit)
    check_time_limit(mixture.expert_time_limit, "expert_time_limit")
    if mixture.checkpoint is not None:
        check_folder(mixture.checkpoint)
    check_count("max_rounds", mixture.max_rounds, "number of rounds", ("auto",))
    check_count("max_regimes", mixture.max_regimes, "number of regimes", ())
    check_count("n_experts", mixture.n_experts, "number of regimes", ("auto", None))
    check_count("top_k", mixture.top_k, "number of experts to keep", (None,))
    check_final(mixture.final_estimator, classifier=is_classifier(mixture))
    if isinstance(mixture.start, str) and mixture.start not in (*NAMES, "proxy", "auto"):
        known = ", ".join((*NAMES, "proxy", "auto"))
        raise ValueError(f"start={mixture.start!r} is unknown; give one of {known}, labels or an (n, K) array.")
    if mixture.cv is None and isinstance(mixture.gate, list | tuple):
        raise ValueError("gate is a list of candidates, which are compared out of fold; with cv=None give one gate.")
    if mixture.cv is None and mixture.n_experts is not None:
        raise ValueError("n_experts chooses experts out of fold, which cv=None has none of; set cv=5.")


def check_count(name: str, value: Any, what: str, other: tuple[Any, ...]) -> None:
    """ValueError where a parameter is neither a whole number above zero nor one of some other values.

    Examples
    --------
    >>> check_count("top_k", "a", "number of experts to keep", (None,))
    Traceback (most recent call last):
    ...
    ValueError: top_k='a' is no number of experts to keep; give 1, 2, ... or None.
    """
    if (value is None and None in other) or (isinstance(value, str) and value in other):
        return
    if not is_whole(value):
        listed = "".join(f" or {one!r}" for one in other)
        raise ValueError(f"{name}={value!r} is no {what}; give 1, 2, ...{listed}.")


def check_final(final: Any, *, classifier: bool) -> None:
    """ValueError where a final estimator is none, or not for this task.

    Examples
    --------
    >>> check_final("ridge", classifier=False)
    Traceback (most recent call last):
    ...
    ValueError: final_estimator='ridge' is no estimator; give one of scikit-learn's, or None.
    """
    if final is None:
        return
    if isinstance(final, type):
        raise ValueError(f"final_estimator is the class {final.__name__}; give an object of it, {final.__name__}().")
    if not all(hasattr(final, method) for method in ("fit", "predict", "__sklearn_tags__")):
        raise ValueError(f"final_estimator={final!r} is no estimator; give one of scikit-learn's, or None.")
    if is_classifier(final) != classifier:
        kind = "classifier" if classifier else "regressor"
        raise ValueError(f"final_estimator={final!r} is no {kind}; give one, or None.")


def check_top_k(top_k: int | None, most: int) -> None:
    """ValueError where `top_k` is above the number of columns that a gate can weigh.

    Examples
    --------
    >>> check_top_k(9, 4)
    Traceback (most recent call last):
    ...
    ValueError: top_k=9 is above the number of columns that the gate weighs, 4; give 1 to 4, or None to keep all.
    """
    if top_k is not None and top_k > most:
        raise ValueError(
            f"top_k={top_k} is above the number of columns that the gate weighs, {most}; give 1 to {most}, or None to "
            "keep all."
        )


def most_gate_columns(mixture: Any, n_experts: int, n_stacks: int) -> int:
    """How many columns a gate of a mixture can weigh: components, or experts and the stacks that see them."""
    components = mixture.n_experts if isinstance(mixture.n_experts, Integral) else n_experts
    if isinstance(mixture.n_experts, str):
        components = mixture.max_regimes
    return int(components if mixture.specialize is True else max(components, n_experts + n_stacks))
