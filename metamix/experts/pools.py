"""Pools of experts by name: what is tried where the user names none."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from metamix.registry import PartError

__all__ = ["BOOSTED", "POOLS", "expert_pool", "loadable"]

#: Boosted trees that come with libraries of their own; scikit-learn's take their place where neither is installed.
BOOSTED = ("lightgbm", "xgboost")
#: Pools for numbers and for classes, without boosted trees.
POOLS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "fast": (("ridge", "splines"), ("logistic", "extra_trees")),
    "auto": (("ridge", "splines", "kriging", "extra_trees"), ("logistic", "neighbours", "extra_trees")),
    "best": (
        ("ridge", "splines", "rbf", "kriging", "svm", "extra_trees", "mlp"),
        ("logistic", "neighbours", "svm", "extra_trees", "forest", "mlp"),
    ),
}


def expert_pool(name: str, *, classes: bool) -> list[str]:
    """Names of the experts of a pool; boosted trees of the libraries that are installed among them.

    Parameters
    ----------
    name : {"fast", "auto", "best"}
        "fast" takes one kind of boosted trees, the others all.
    classes : bool
        Whether y holds classes.

    Raises
    ------
    ValueError
        If there is no such pool.

    Examples
    --------
    >>> expert_pool("auto", classes=False)[:4]
    ['ridge', 'splines', 'kriging', 'extra_trees']
    """
    if name not in POOLS:
        raise ValueError(
            f"experts={name!r} is not a list, and no pool; give [{name!r}], or one of {', '.join(map(repr, POOLS))}."
        )
    boosted = [library for library in BOOSTED if find_spec(library) is not None] or ["boosting"]
    return [*POOLS[name][classes], *(boosted[:1] if name == "fast" else boosted)]


def loadable(names: Sequence[str], registry: Mapping[str, Any]) -> list[str]:
    """The experts of a pool whose libraries can be loaded; scikit-learn's boosted trees where none of those can.

    Others are left out with a warning.

    Examples
    --------
    >>> from metamix import registry
    >>> loadable(["ridge"], registry.regressors)
    ['ridge']
    """
    found = []
    for name in names:
        try:
            registry[name]()
        except (PartError, ImportError, OSError) as error:  # OSError: a shared library that it needs is missing
            warnings.warn(f"The expert {name!r} of the pool is left out: {error}", UserWarning, stacklevel=2)
        else:
            found.append(name)
    lost = len(found) < len(names) and not set(found) & {*BOOSTED, "boosting"}
    return [*found, "boosting"] if lost else found
