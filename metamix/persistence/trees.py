"""Indices that compiled code follows without looking: nodes of trees, rows of neighbours, support vectors.

scikit-learn does not check them at prediction, where a wrong one ends the process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator

__all__ = ["COMPILED", "check_models", "check_state"]

TREE = "sklearn.tree._tree.Tree"
TREE_PREDICTOR = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"
SEARCH_TREES = ("sklearn.neighbors._kd_tree.newObj", "sklearn.neighbors._ball_tree.newObj")
DISTANCES = "sklearn.metrics._dist_metrics"
# Attributes with names of methods, which scikit-learn calls on whatever stands where it expects an estimator; with
# the name "tofile" an array there writes a file of its own.
METHOD_NAMES = ("stack_method", "stack_method_", "response_method", "_response_method", "chain_method", "chain_method_")
METHODS = frozenset({"auto", "predict", "predict_proba", "predict_log_proba", "decision_function", "transform"})


def check_state(name: str, arguments: list[Any], state: Any) -> None:
    """Check what an object of a compiled class is made of, before it is made.

    Parameters
    ----------
    name : str
        One of `COMPILED`.
    arguments : list
    state : dict or tuple

    Raises
    ------
    ValueError
        If an index points outside its arrays, or an array has not the size that it must have.

    Examples
    --------
    >>> from sklearn.tree import DecisionTreeRegressor
    >>> function, arguments, state = DecisionTreeRegressor().fit([[0.0], [1.0]], [0.0, 1.0]).tree_.__reduce__()
    >>> state["nodes"]["feature"][0] = 7
    >>> check_state("sklearn.tree._tree.Tree", [*arguments], state)
    Traceback (most recent call last):
    ...
    ValueError: a tree splits on a column that does not exist
    """
    COMPILED[name](name, arguments, state)


def _check_tree(name: str, arguments: list[Any], state: Any) -> None:
    n_features, n_classes, n_outputs = arguments
    nodes = state["nodes"]
    if n_outputs != len(n_classes) or (n_classes < 1).any() or n_classes.max() > state["values"].shape[-1]:
        raise ValueError("a tree has other classes than values")
    if nodes.ndim != 1 or not len(nodes) or state["node_count"] != len(nodes):
        raise ValueError("a tree has another number of nodes")
    if not 0 <= state["max_depth"] < len(nodes):
        raise ValueError("a tree is deeper than it has nodes")
    inner = nodes["left_child"] != -1
    _check_nodes(inner, nodes["left_child"], nodes["right_child"], nodes["feature"], n_features)


def _check_nodes(inner: Any, left: Any, right: Any, feature: Any, width: int) -> None:
    parents = np.flatnonzero(inner)
    for child in (left[parents].astype(np.int64), right[parents].astype(np.int64)):
        if (child <= parents).any() or (child >= len(inner)).any():  # children follow their parents: no cycles
            raise ValueError("a tree has a child outside its nodes")
    columns = feature[parents].astype(np.int64)
    if (columns < 0).any() or (columns >= width).any():
        raise ValueError("a tree splits on a column that does not exist")


def _check_search_tree(name: str, arguments: list[Any], state: Any) -> None:
    """Node i holds the rows order[idx_start:idx_end]; its children are 2 i + 1 and 2 i + 2."""
    data, order, nodes, bounds, _, _, n_nodes, *_, metric, sample_weight = state
    if f"{arguments[0].__module__}.newObj" != name or not hasattr(metric, "rdist_to_dist"):
        raise ValueError("a search tree is of another class")
    if data.ndim != 2 or order.ndim != 1 or nodes.ndim != 1 or bounds.ndim != 3:
        raise ValueError("a search tree has arrays of other shapes")
    starts, ends, inner = nodes["idx_start"], nodes["idx_end"], np.flatnonzero(nodes["is_leaf"] == 0)
    if len(order) != len(data) or (order < 0).any() or (order >= len(data)).any():
        raise ValueError("a search tree has an index outside its rows")
    if (starts < 0).any() or (ends > len(order)).any() or (starts > ends).any():
        raise ValueError("a search tree has an index outside its rows")
    if not len(nodes) or n_nodes != len(nodes) or (2 * inner + 2 >= len(nodes)).any():
        raise ValueError("a search tree has an index outside its nodes")
    sides = 2 if name == SEARCH_TREES[0] else 1  # of a box, or the centre of a ball
    if bounds.shape != (sides, len(nodes), data.shape[1]) or np.shape(sample_weight) not in ((), (len(data),)):
        raise ValueError("a search tree has an index outside its nodes")


def _check_distance(name: str, arguments: list[Any], state: Any) -> None:
    if arguments[0].__module__ != DISTANCES or len(state) != 3:
        raise ValueError("a search tree measures distance in an unknown way")


COMPILED: dict[str, Callable[[str, list[Any], Any], None]] = {
    TREE: _check_tree,
    **dict.fromkeys(SEARCH_TREES, _check_search_tree),
    f"{DISTANCES}.newObj": _check_distance,
}


CONTAINERS = (dict, list, tuple, set, frozenset, np.ndarray)


def check_models(model: Any) -> None:
    """Check the fitted models of scikit-learn inside a model, at any depth.

    Raises
    ------
    ValueError
        If an index points outside its arrays, or the parts of a model have not the same numbers of columns or rows.

    Examples
    --------
    >>> from sklearn.ensemble import RandomForestRegressor
    >>> forest = RandomForestRegressor(2).fit([[0.0], [1.0]], [0.0, 1.0])
    >>> forest.n_features_in_ = 2
    >>> check_models(forest)
    Traceback (most recent call last):
    ...
    ValueError: a tree and its ensemble have different numbers of columns
    """
    seen: dict[int, Any] = {}
    stack: list[tuple[Any, Any]] = [(model, None)]  # an object, and the innermost estimator that contains it
    while stack:
        current, owner = stack.pop()
        if id(current) in seen or isinstance(current, str | bytes | int | float | type(None) | type):
            continue
        seen[id(current)] = current
        if sparse.issparse(current):
            current.check_format(full_check=True)
        elif isinstance(current, np.ndarray) and current.dtype != object:
            continue
        elif hasattr(current, "__dict__") or hasattr(current, "__slots__") or isinstance(current, CONTAINERS):
            _check_method_names(getattr(current, "__dict__", {}))
            if isinstance(current, BaseEstimator) or _name(current) == TREE_PREDICTOR:
                _check_model(current, owner)
            inside = current if hasattr(current, "n_features_in_") else owner
            stack += [(value, inside) for value in _content(current)]


def _name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__name__}"


def _content(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value
        yield from value.values()
    elif isinstance(value, np.ndarray):
        yield from value.ravel()
    elif isinstance(value, CONTAINERS):
        yield from value
    yield from getattr(value, "__dict__", {}).values()
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        yield from (getattr(value, name, None) for name in ([slots] if isinstance(slots, str) else slots))


def _check_method_names(attributes: dict[str, Any]) -> None:
    for name in METHOD_NAMES:
        value = attributes.get(name)
        named = value if isinstance(value, list | tuple) else [] if value is None else [value]
        if not all(isinstance(one, str) and one in METHODS for one in named):
            raise ValueError(f"{name} has no name of a method that predicts")
    getter = attributes.get("importance_getter")
    if isinstance(getter, str) and any(part.startswith("_") for part in getter.split(".")):
        raise ValueError("importance_getter is private")


def _check_model(model: Any, owner: Any) -> None:
    """Check one object of scikit-learn by what it has."""
    width = getattr(model, "n_features_in_", None)
    if _name(getattr(model, "tree_", None)) == TREE:
        if model.tree_.n_features != width:
            raise ValueError("a tree and its estimator have different numbers of columns")
        # Forests and boosting check the number of columns of X once and pass X to their trees unchecked.
        in_ensemble = type(owner).__module__.startswith("sklearn.ensemble.") and not hasattr(
            owner, "estimators_features_"
        )
        if in_ensemble and width != getattr(owner, "n_features_in_", width):
            raise ValueError("a tree and its ensemble have different numbers of columns")
    elif _name(model) == TREE_PREDICTOR:
        _check_predictor(model, owner)
    elif hasattr(model, "estimators_features_"):
        _check_columns_of_each(model)
    elif type(model).__module__ == "sklearn.ensemble._gb" and hasattr(model, "estimators_"):
        _check_boosting(model)
    elif hasattr(model, "_fit_X") and hasattr(model, "n_samples_fit_"):
        _check_neighbours(model)
    elif hasattr(model, "support_vectors_"):
        _check_support_vectors(model)
    elif hasattr(model, "cluster_centers_") and np.shape(model.cluster_centers_)[-1:] != (width,):
        raise ValueError("centres of clusters have another number of columns")


def _check_predictor(model: Any, owner: Any) -> None:
    nodes, mapper, width = model.nodes, owner._bin_mapper, owner.n_features_in_
    if nodes.ndim != 1 or not len(nodes):
        raise ValueError("a tree has no nodes")
    inner = nodes["is_leaf"] == 0
    _check_nodes(inner, nodes["left"], nodes["right"], nodes["feature_idx"], width)
    categorical = inner & (nodes["is_categorical"] != 0)
    if (nodes["bitset_idx"][categorical] >= len(model.raw_left_cat_bitsets)).any():
        raise ValueError("a tree splits on categories that do not exist")
    known = np.asarray(mapper.is_categorical_)
    if len(known) != width or not known[nodes["feature_idx"][categorical].astype(np.int64)].all():
        raise ValueError("a tree splits on categories of a column that has none")


def _check_columns_of_each(model: Any) -> None:
    """Bagging and isolation forests: each estimator has columns of its own, all of them the same number."""
    for one, columns in zip(model.estimators_, model.estimators_features_, strict=True):
        if len(columns) != model._max_features or getattr(one, "n_features_in_", len(columns)) != len(columns):
            raise ValueError("a tree and its ensemble have different numbers of columns")


def _check_boosting(model: Any) -> None:
    trees = model.estimators_
    if trees.ndim != 2 or trees.shape[1] != model.n_trees_per_iteration_:
        raise ValueError("boosted trees have another number of classes")
    if any(one.tree_.n_outputs != 1 or one.tree_.max_n_classes != 1 for one in trees.ravel()):
        raise ValueError("boosted trees have several outputs")
    # Predictions are added to columns that the first model made: fewer of them, and memory beyond is written to.
    n_classes = len(getattr(model, "classes_", "ab"))
    width = n_classes if n_classes > 2 else 1
    given = isinstance(model.init_, str) or width == 1 or len(model.init_.classes_) == width
    if trees.shape[1] != width or not given:
        raise ValueError("boosted trees have another number of classes")


def _check_neighbours(model: Any) -> None:
    rows, width = model._fit_X.shape
    if rows != model.n_samples_fit_ or width != model.n_features_in_:
        raise ValueError("neighbours have another number of rows or columns")
    if model._tree is not None and model._tree.data.shape != (rows, width):
        raise ValueError("a search tree has another number of rows or columns than its estimator")
    if hasattr(model, "classes_") and hasattr(model, "_y"):
        several = isinstance(model.classes_, list)
        for y, classes in zip(model._y.T, model.classes_, strict=True) if several else [(model._y, model.classes_)]:
            if len(y) != rows or (y < 0).any() or (y >= len(classes)).any():
                raise ValueError("neighbours have a class that does not exist")


def _check_support_vectors(model: Any) -> None:
    n_classes, n_vectors = len(getattr(model, "classes_", "ab")), len(model.support_)
    pairs = n_classes * (n_classes - 1) // 2
    lengths = {"_n_support": n_classes, "_intercept_": pairs}
    if any(len(getattr(model, name)) != length for name, length in lengths.items()):
        raise ValueError("support vectors have another number of classes")
    if any(len(getattr(model, name)) not in (0, pairs) for name in ("_probA", "_probB")):
        raise ValueError("support vectors have another number of classes")
    if (model._n_support < 0).any() or model.n_support_.sum() != n_vectors:
        raise ValueError("there is another number of support vectors")
    if model._dual_coef_.shape != (n_classes - 1, n_vectors):
        raise ValueError("there is another number of support vectors")
    if (model.support_ < 0).any() or (model.support_ >= model.shape_fit_[0]).any():
        raise ValueError("a support vector is outside its rows")
    if not callable(model.kernel) and model.kernel != "precomputed":
        if model.support_vectors_.shape != (n_vectors, model.n_features_in_):
            raise ValueError("support vectors have another number of columns")
