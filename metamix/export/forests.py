"""Decision trees as ONNX tree ensembles, missing values included."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamix.export.graph import ML, Graph

__all__ = ["forest", "is_forest"]

Array = NDArray[Any]


@dataclass(frozen=True)
class _Tree:
    """Nodes of a tree: children (-1 in leaves), columns, thresholds (left if not above), values (m, outputs)."""

    left: Array
    right: Array
    feature: Array
    threshold: Array
    missing_left: Array
    values: Array


def is_forest(model: Any) -> bool:
    """Whether it is a tree or a forest of scikit-learn, whose prediction is the mean of its trees'."""
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier
    from sklearn.ensemble import RandomForestRegressor as Forest
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    forests = (ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, Forest)
    return isinstance(model, (*forests, DecisionTreeClassifier, DecisionTreeRegressor))


def forest(graph: Graph, model: Any, x: str) -> str:
    """Mean of the trees of a forest: predictions (n, outputs), or probabilities (n, C)."""
    trees = [one.tree_ for one in getattr(model, "estimators_", [model])]

    def of(tree: Any) -> _Tree:
        values = tree.value[:, 0, :] if hasattr(model, "classes_") else tree.value[:, :, 0]
        if hasattr(model, "classes_"):
            values = values / values.sum(axis=1, keepdims=True)
        left, right = tree.children_left, tree.children_right
        return _Tree(left, right, tree.feature, tree.threshold, tree.missing_go_to_left, values / len(trees))

    return _ensemble(graph, [of(tree) for tree in trees], x)


def _below(threshold: Array) -> Array:
    """The largest 32-bit number that is not above each threshold: rows in 32 bits go the same way."""
    rounded = threshold.astype(np.float32)
    return np.where(rounded > threshold, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def _ensemble(graph: Graph, trees: Sequence[_Tree], x: str) -> str:
    """Sum of the values of all trees, (n, outputs)."""
    nodes: dict[str, Any] = {}

    def put(**columns: Any) -> None:
        for name, values in columns.items():
            nodes.setdefault(name, []).extend(np.asarray(values).tolist())

    for number, tree in enumerate(trees):
        ids, leaf = np.arange(len(tree.left)), tree.left < 0
        put(
            nodes_treeids=np.full(len(ids), number),
            nodes_nodeids=ids,
            nodes_modes=np.where(leaf, "LEAF", "BRANCH_LEQ"),
            nodes_featureids=np.where(leaf, 0, tree.feature).astype(np.int64),
            nodes_values=np.where(leaf, np.float32(0), _below(np.where(leaf, 0.0, tree.threshold))),
            nodes_truenodeids=np.where(leaf, 0, tree.left),
            nodes_falsenodeids=np.where(leaf, 0, tree.right),
            nodes_missing_value_tracks_true=np.where(leaf, 0, tree.missing_left).astype(np.int64),
        )
        for node, output, weight in _leaves(tree):
            put(target_treeids=[number], target_nodeids=[node], target_ids=[output], target_weights=[weight])
    outputs = trees[0].values.shape[1]
    return str(graph.add("TreeEnsembleRegressor", x, domain=ML, n_targets=outputs, post_transform="NONE", **nodes))


def _leaves(tree: _Tree) -> Iterator[tuple[int, int, float]]:
    """Leaf, output and value, for all outputs of all leaves."""
    for node in np.flatnonzero(tree.left < 0):
        for output, value in enumerate(tree.values[node]):
            yield int(node), output, float(value)
