"""Whom to trust where: gates turn rows into weights over experts, trained on soft labels."""

from metamix.gates.classifier import ClassifierGate
from metamix.gates.constant import ConstantGate
from metamix.gates.forest import ForestGate
from metamix.gates.gaussian import GaussianGate
from metamix.gates.neighbours import NeighboursGate
from metamix.gates.softmax import SoftmaxGate
from metamix.gates.trees import boosting, tree

__all__ = [
    "ClassifierGate",
    "ConstantGate",
    "ForestGate",
    "GaussianGate",
    "NeighboursGate",
    "SoftmaxGate",
    "boosting",
    "tree",
]
