"""Names that a file may contain without being given as trusted."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import import_module
from inspect import getsourcefile
from typing import Any

import numpy as np

from metamix.persistence.trees import COMPILED

__all__ = ["is_known", "may_be_called", "may_be_made"]

# Subpackages of metamix that define the classes of a mixture; their objects only store values.
SUBPACKAGES = (
    "data", "estimators", "experts", "fitting", "gates", "likelihoods", "training",
    # Learners of metamix.nn build a network of known modules and load the arrays of the file into it.
    "nn.classification", "nn.multitask", "nn.parts", "nn.regression", "nn.tabular", "nn.tasks",
)  # fmt: skip
# Not imported to look for a class. Callbacks connect to an address of their state when they are made.
NO_ESTIMATORS = {
    "tests", "conftest", "externals", "datasets", "_build_utils", "callback", "_testing", "_test_common",
    "estimator_checks", "_plot",
}  # fmt: skip
# Modules and classes of sparse matrices.
SPARSE = frozenset(f"scipy.sparse._{kind}.{kind}_{form}" for kind in ("csr", "csc") for form in ("matrix", "array"))
# What `decode` may call. All of it makes an object of its arguments and does nothing else.
CALLABLES = frozenset(
    {
        *COMPILED,
        "collections.OrderedDict", "collections.defaultdict",
        "builtins.complex", "builtins.range", "builtins.slice",
        "datetime.date", "datetime.datetime", "datetime.time", "datetime.timedelta", "datetime.timezone",
        "decimal.Decimal",
        *(f"sklearn.linear_model._sgd_fast.{name}" for name in (
            "EpsilonInsensitive", "Hinge", "Huber", "Log", "ModifiedHuber", "SquaredEpsilonInsensitive",
            "SquaredHinge", "SquaredLoss",
        )),
    }
)  # fmt: skip
LOSSES = re.compile(r"sklearn\._loss\._loss\.(__pyx_unpickle_)?Cy\w+")
# Types that stand for themselves, such as the dtype of an encoder or the class of a search tree.
VALUES = frozenset(
    {
        *(f"builtins.{name}" for name in ("bool", "bytes", "dict", "float", "int", "list", "object", "str")),
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neighbors._ball_tree.BallTree",
        *(f"sklearn.metrics._dist_metrics.{name}Distance64" for name in ("Chebyshev", "Euclidean", "Manhattan")),
    }
)


def may_be_called(name: str) -> bool:
    """Whether a name may be called with arguments of the file, without being given as trusted.

    Examples
    --------
    >>> may_be_called("collections.OrderedDict"), may_be_called("sklearn.linear_model._ridge.Ridge")
    (True, False)
    """
    return name in CALLABLES or LOSSES.fullmatch(name) is not None


@lru_cache(maxsize=4096)
def is_known(name: str) -> bool:
    """Whether a name is trusted: a class that is written in Python in scikit-learn or in metamix's `SUBPACKAGES`.

    Besides these, numpy's types and functions of arrays, and what `may_be_called`. Trusting every name with the
    prefix "metamix" would be unsafe: a file could name any function that a module of metamix imports.

    Examples
    --------
    >>> is_known("metamix.data.columns.ColumnEncoder"), is_known("metamix.data.files.read_file")
    (True, False)
    >>> is_known("sklearn.linear_model._ridge.Ridge"), is_known("sklearn.linear_model._ridge.Ridge.fit")
    (True, False)
    """
    module, _, attribute = name.rpartition(".")
    if may_be_called(name) or may_be_made(name) or name in VALUES:
        return True
    if module not in ("numpy", "scipy.special"):
        return False
    found = getattr(import_module(module), attribute, None)
    # Subclasses of arrays are not among them: calling `numpy.memmap` opens a file.
    return isinstance(found, np.ufunc) or (
        isinstance(found, type) and (issubclass(found, np.generic) or found is np.ndarray)
    )


@lru_cache(maxsize=4096)
def may_be_made(name: str) -> bool:
    """Whether objects of a class may be made from the state in a file, without the class being given as trusted.

    Examples
    --------
    >>> may_be_made("sklearn.linear_model._ridge.Ridge"), may_be_made("numpy.ndarray")
    (True, False)
    """
    module, _, attribute = name.rpartition(".")
    if name in SPARSE:
        return True
    ours = any(f"{module}.".startswith(f"metamix.{room}.") for room in SUBPACKAGES)
    theirs = module.startswith("sklearn.") and not NO_ESTIMATORS & {*module.split(".")}
    return (ours or theirs) and _class(module, attribute)


def _class(module: str, name: str) -> bool:
    """Whether a module written in Python defines a class of this name."""
    try:
        found: Any = import_module(module)
        kind = getattr(found, name)
    except (ImportError, AttributeError):
        return False
    if not isinstance(kind, type) or kind.__module__ != module:
        return False
    return str(getsourcefile(found)).endswith(".py")
