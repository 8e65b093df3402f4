"""Gates: probabilistic classifiers over experts, fitted to soft labels (responsibilities)."""

from metamix.gates.classifier import ClassifierGate
from metamix.gates.constant import ConstantGate
from metamix.gates.forest import ForestGate
from metamix.gates.gaussian import GaussianGate
from metamix.gates.neighbours import NeighboursGate
from metamix.gates.online import OnlineGate
from metamix.gates.softmax import SoftmaxGate
from metamix.gates.trees import boosting, tree

__all__ = [
    "ClassifierGate",
    "ConstantGate",
    "ForestGate",
    "GaussianGate",
    "NeighboursGate",
    "OnlineGate",
    "SoftmaxGate",
    "boosting",
    "tree",
]
