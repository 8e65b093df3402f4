"""Types that a file may contain without being named as trusted, and validation of the trees it contains."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

__all__ = ["check_trees", "is_importable", "is_known"]

# Subpackages of metamix that define the classes of a mixture; constructing one of them only stores values.
SUBPACKAGES = (
    "data", "estimators", "experts", "fitting", "gates", "likelihoods", "training",
    # Learners of metamix.nn build a network of known modules and load the arrays of the file into it.
    "nn.classification", "nn.multitask", "nn.parts", "nn.regression", "nn.tabular", "nn.tasks",
)  # fmt: skip
TREE, TREE_PREDICTOR = "sklearn.tree._tree.Tree", "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"
SEARCH_TREES = ("sklearn.neighbors._ball_tree.BallTree", "sklearn.neighbors._kd_tree.KDTree")
# Types in the state of scikit-learn's estimators that skops does not trust by default. They hold plain data and run
# no code given by the file. skops does not trust trees because indices in a forged tree can point outside its
# arrays; `check_trees` validates them.
KNOWN = frozenset(
    {
        TREE,
        TREE_PREDICTOR,
        *SEARCH_TREES,
        "collections.OrderedDict",
        "numpy.dtype",
        "sklearn.compose._column_transformer.make_column_selector",
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
    """Whether a type is trusted: one of `KNOWN`, or a class defined in one of metamix's `SUBPACKAGES`.

    Trusting every name with the prefix "metamix" would be unsafe: skops may *call* trusted names, and a file could
    name any function that a module of metamix imports.

    Examples
    --------
    >>> is_known("metamix.data.columns.ColumnEncoder"), is_known("metamix.data.files.read_file")
    (True, False)
    """
    module, _, attribute = name.rpartition(".")
    if name in KNOWN or not any(f"{module}.".startswith(f"metamix.{room}.") for room in SUBPACKAGES):
        return name in KNOWN
    try:
        kind = getattr(import_module(module), attribute)
    except (ImportError, AttributeError):
        return False
    return isinstance(kind, type) and kind.__module__ == module


def is_importable(name: str) -> bool:
    """Whether a type or function can be imported by its name, as `load` does.

    Examples
    --------
    >>> is_importable("os.path.join"), is_importable("sklearn.linear_model.Rigde")
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


def check_trees(mixture: Any) -> None:
    """Validate every decision tree, and every tree of a nearest-neighbour search.

    Raises
    ------
    ValueError
        If an index of a tree is outside its own arrays, or outside the columns of X.

    Examples
    --------
    >>> from sklearn.tree import DecisionTreeRegressor
    >>> tree = DecisionTreeRegressor().fit([[0.0], [1.0]], [0.0, 1.0])
    >>> tree.tree_.feature[0] = 7
    >>> check_trees(tree)
    Traceback (most recent call last):
    ...
    ValueError: a tree splits on a column that does not exist
    """
    seen: dict[int, Any] = {}
    stack: list[tuple[Any, Any]] = [(mixture, None)]  # an object, and the innermost estimator that contains it
    while stack:
        current, owner = stack.pop()
        if id(current) in seen or isinstance(current, str | bytes | int | float | type(None)):
            continue
        seen[id(current)] = current
        name = f"{type(current).__module__}.{type(current).__qualname__}"
        if name == TREE:
            inner = current.children_left != -1
            _check_nodes(inner, current.children_left, current.children_right, current.feature, owner.n_features_in_)
        elif name == TREE_PREDICTOR:
            nodes = current.nodes
            inner = nodes["is_leaf"] == 0
            _check_nodes(inner, nodes["left"], nodes["right"], nodes["feature_idx"], owner.n_features_in_)
            categorical = inner & (nodes["is_categorical"] != 0)
            if (nodes["bitset_idx"][categorical] >= len(current.raw_left_cat_bitsets)).any():
                raise ValueError("a tree splits on categories that do not exist")
        elif name in SEARCH_TREES:
            _check_search_tree(*(np.asarray(array) for array in current.get_arrays()))
        elif isinstance(current, dict):
            stack += [(value, owner) for value in current.values()]
        elif isinstance(current, list | tuple | set) or (isinstance(current, np.ndarray) and current.dtype == object):
            stack += [(value, owner) for value in (current.ravel() if isinstance(current, np.ndarray) else current)]
        elif hasattr(current, "__dict__") and not isinstance(current, type):
            # Forests and boosting check the number of columns of X once and pass X to their trees unchecked.
            in_ensemble = type(owner).__module__.startswith("sklearn.ensemble.")
            expected = getattr(owner, "n_features_in_", None) if in_ensemble else None
            if hasattr(current, "tree_") and expected not in (None, current.n_features_in_):
                raise ValueError("a tree and its ensemble have different numbers of columns")
            inner_owner = current if hasattr(current, "n_features_in_") else owner
            stack += [(value, inner_owner) for value in vars(current).values()]


def _check_nodes(inner: Any, left: Any, right: Any, feature: Any, width: int) -> None:
    parents = np.flatnonzero(inner)
    for child in (left[inner].astype(np.int64), right[inner].astype(np.int64)):
        if (child <= parents).any() or (child >= len(inner)).any():  # children follow their parents: no cycles
            raise ValueError("a tree has a child outside its nodes")
    if (feature[inner].astype(np.int64) < 0).any() or (feature[inner].astype(np.int64) >= width).any():
        raise ValueError("a tree splits on a column that does not exist")


def _check_search_tree(data: Any, order: Any, nodes: Any, bounds: Any) -> None:
    """Validate nodes (m,): node i holds the rows order[idx_start:idx_end], its children are 2 i + 1 and 2 i + 2."""
    starts, ends, inner = nodes["idx_start"], nodes["idx_end"], np.flatnonzero(nodes["is_leaf"] == 0)
    if len(order) != len(data) or (order < 0).any() or (order >= len(data)).any():
        raise ValueError("a search tree has an index outside its rows")
    if (starts < 0).any() or (ends > len(order)).any() or (starts > ends).any():
        raise ValueError("a search tree has an index outside its rows")
    if (2 * inner + 2 >= len(nodes)).any() or bounds.shape[1:] != (len(nodes), data.shape[1]):
        raise ValueError("a search tree has an index outside its nodes")
