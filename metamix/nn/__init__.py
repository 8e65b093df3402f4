"""The torch room's door: mixtures as layers of a network. It needs torch; nothing else in metamix imports it."""

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
from metamix.nn.losses import auxiliary_loss
from metamix.nn.routing import Routing, RoutingInfo
from metamix.nn.visibility import owned_and_shared

__all__ = [
    "DSelectKGate",
    "GumbelGate",
    "MLPExperts",
    "MMoE",
    "MoE",
    "NoisyTopKGate",
    "Routing",
    "RoutingInfo",
    "SoftmaxGate",
    "StaticGate",
    "auxiliary_loss",
    "expected_load",
    "owned_and_shared",
    "smooth_step",
]
