"""Mixtures of experts as torch modules and as estimators trained end to end; needs torch.

No other subpackage of metamix imports this one.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"metamix.nn needs torch and skorch: pip install metamix[torch] ({error})") from error

from metamix.nn.balance import update_balance
from metamix.nn.collection import CollectedLosses, collect_losses
from metamix.nn.experts import MLPExperts
from metamix.nn.gates import (
    DSelectKGate,
    GumbelGate,
    NoisyTopKGate,
    SoftmaxGate,
    StaticGate,
    expected_load,
    smooth_step,
)
from metamix.nn.layers import MMoE, MoE
from metamix.nn.routing import Routing, RoutingInfo
from metamix.nn.visibility import owned_and_shared

if TYPE_CHECKING:
    from metamix.nn.classification import NeuralMixtureClassifier
    from metamix.nn.multitask import MultiTaskNeuralMixture
    from metamix.nn.parts import FrozenExpert, NeuralGate
    from metamix.nn.regression import NeuralMixtureRegressor

# The estimators import scikit-learn and skorch; they are loaded on first access so that the layers alone import faster.
_LAZY = {
    "FrozenExpert": "parts",
    "MultiTaskNeuralMixture": "multitask",
    "NeuralGate": "parts",
    "NeuralMixtureClassifier": "classification",
    "NeuralMixtureRegressor": "regression",
}

__all__ = [
    "CollectedLosses",
    "DSelectKGate",
    "FrozenExpert",
    "GumbelGate",
    "MLPExperts",
    "MMoE",
    "MoE",
    "MultiTaskNeuralMixture",
    "NeuralGate",
    "NeuralMixtureClassifier",
    "NeuralMixtureRegressor",
    "NoisyTopKGate",
    "Routing",
    "RoutingInfo",
    "SoftmaxGate",
    "StaticGate",
    "collect_losses",
    "expected_load",
    "owned_and_shared",
    "smooth_step",
    "update_balance",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; available: {', '.join(__all__)}.")
    try:
        value = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name != "skorch":
            raise
        raise ModuleNotFoundError(f"{name} needs torch and skorch: pip install metamix[torch] ({error})") from error
    globals()[name] = value  # later accesses do not reach __getattr__
    return value
