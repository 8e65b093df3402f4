"""Which types of a file are inert, and whether what they hold stays inside its own arrays."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

__all__ = ["check_arrays", "is_known", "is_there"]

# Rooms of metamix whose classes a mixture is made of; making one of them does nothing but store values.
ROOMS = (
    "data", "estimators", "experts", "fitting", "gates", "likelihoods", "training",
    # Learners of the torch room build a network of known parts and fill it with the file's arrays.
    "nn.classification", "nn.multitask", "nn.parts", "nn.regression", "nn.tabular", "nn.tasks",
)  # fmt: skip
TREE, TREE_PREDICTOR = "sklearn.tree._tree.Tree", "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"
SEARCH_TREES = ("sklearn.neighbors._ball_tree.BallTree", "sklearn.neighbors._kd_tree.KDTree")
# What scikit-learn's own estimators hold beside the types that skops trusts: plain state, no behaviour of
# the file's choosing. skops leaves trees to its caller, since numbers in a forged one can point outside
# its arrays; `check_arrays` looks at those.
KNOWN = frozenset(
    {
        TREE,
        TREE_PREDICTOR,
        *SEARCH_TREES,
        "collections.OrderedDict",
        "numpy.dtype",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.metrics._dist_metrics.ManhattanDistance64",
        "sklearn.utils._bunch.Bunch",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    }
    | {
        f"sklearn.model_selection._split.{name}"
        for name in (
            "GroupKFold", "GroupShuffleSplit", "KFold", "LeaveOneGroupOut", "LeaveOneOut", "PredefinedSplit",
            "RepeatedKFold", "RepeatedStratifiedKFold", "ShuffleSplit", "StratifiedGroupKFold", "StratifiedKFold",
            "StratifiedShuffleSplit", "TimeSeriesSplit",
        )
    }
    | {
        f"sklearn.gaussian_process.kernels.{name}"
        for name in (
            "ConstantKernel", "DotProduct", "Exponentiation", "ExpSineSquared", "Hyperparameter", "Matern",
            "Product", "RBF", "RationalQuadratic", "Sum", "WhiteKernel",
        )
    }
)  # fmt: skip


def is_known(name: str) -> bool:
    """Whether a type is inert: one of those listed, or a class that one of our rooms defines.

    A prefix would not do: skops may *call* what it trusts, and through a module of ours a file could reach
    any function that the module imports.

    Examples
    --------
    >>> is_known("metamix.data.columns.ColumnEncoder"), is_known("metamix.data.tables.read_table")
    (True, False)
    """
    module, _, attribute = name.rpartition(".")
    if name in KNOWN or not any(f"{module}.".startswith(f"metamix.{room}.") for room in ROOMS):
        return name in KNOWN
    try:
        kind = getattr(import_module(module), attribute)
    except (ImportError, AttributeError):
        return False
    return isinstance(kind, type) and kind.__module__ == module


def is_there(name: str) -> bool:
    """Whether a type or function can be found by its name, so that `load` will find it.

    Examples
    --------
    >>> is_there("os.path.join"), is_there("sklearn.linear_model.Rigde")
    (True, False)
    """
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            found: Any = import_module(".".join(parts[:end]))
        except ImportError:
            continue
        for part in parts[end:]:
            found = getattr(found, part, None)
        return found is not None
    return False


def check_arrays(mixture: Any) -> None:
    """Look at every tree: decision trees, and those that neighbours are searched in.

    Raises
    ------
    ValueError
        One points outside its own arrays, or outside the columns it is shown.

    Examples
    --------
    >>> from sklearn.tree import DecisionTreeRegressor
    >>> tree = DecisionTreeRegressor().fit([[0.0], [1.0]], [0.0, 1.0])
    >>> tree.tree_.feature[0] = 7
    >>> check_arrays(tree)
    Traceback (most recent call last):
    ...
    ValueError: a tree asks for a column it does not have
    """
    seen: dict[int, Any] = {}
    waiting: list[tuple[Any, Any]] = [(mixture, None)]
    while waiting:
        one, owner = waiting.pop()
        if id(one) in seen or isinstance(one, str | bytes | int | float | type(None)):
            continue
        seen[id(one)] = one
        name = f"{type(one).__module__}.{type(one).__qualname__}"
        if name == TREE:
            inner = one.children_left != -1
            _check_nodes(inner, one.children_left, one.children_right, one.feature, owner.n_features_in_)
        elif name == TREE_PREDICTOR:
            nodes = one.nodes
            inner = nodes["is_leaf"] == 0
            _check_nodes(inner, nodes["left"], nodes["right"], nodes["feature_idx"], owner.n_features_in_)
            if (nodes["bitset_idx"][inner & (nodes["is_categorical"] != 0)] >= len(one.raw_left_cat_bitsets)).any():
                raise ValueError("a tree asks for categories it does not have")
        elif name in SEARCH_TREES:
            _check_search_tree(*(np.asarray(array) for array in one.get_arrays()))
        elif isinstance(one, dict):
            waiting += [(value, owner) for value in one.values()]
        elif isinstance(one, list | tuple | set) or (isinstance(one, np.ndarray) and one.dtype == object):
            waiting += [(value, owner) for value in (one.ravel() if isinstance(one, np.ndarray) else one)]
        elif hasattr(one, "__dict__") and not isinstance(one, type):
            # Forests and boosting check the width of X themselves and hand it to their trees unchecked.
            gives = (
                getattr(owner, "n_features_in_", None)
                if type(owner).__module__.startswith("sklearn.ensemble.")
                else None
            )
            if hasattr(one, "tree_") and gives not in (None, one.n_features_in_):
                raise ValueError("a tree and its ensemble disagree about the number of columns")
            inside = one if hasattr(one, "n_features_in_") else owner
            waiting += [(value, inside) for value in vars(one).values()]


def _check_nodes(inner: Any, left: Any, right: Any, feature: Any, width: int) -> None:
    at = np.flatnonzero(inner)
    for child in (left[inner].astype(np.int64), right[inner].astype(np.int64)):
        if (child <= at).any() or (child >= len(inner)).any():  # children come after their parents, so no circles
            raise ValueError("a tree points outside its nodes")
    if (feature[inner].astype(np.int64) < 0).any() or (feature[inner].astype(np.int64) >= width).any():
        raise ValueError("a tree asks for a column it does not have")


def _check_search_tree(data: Any, order: Any, nodes: Any, bounds: Any) -> None:
    """Nodes (m,) hold the rows order[idx_start:idx_end]; the children of node i are 2 i + 1 and 2 i + 2."""
    starts, ends, inner = nodes["idx_start"], nodes["idx_end"], np.flatnonzero(nodes["is_leaf"] == 0)
    if len(order) != len(data) or (order < 0).any() or (order >= len(data)).any():
        raise ValueError("a search tree points outside its rows")
    if (starts < 0).any() or (ends > len(order)).any() or (starts > ends).any():
        raise ValueError("a search tree points outside its rows")
    if (2 * inner + 2 >= len(nodes)).any() or bounds.shape[1:] != (len(nodes), data.shape[1]):
        raise ValueError("a search tree points outside its nodes")
