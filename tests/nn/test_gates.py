"""Gates by name: errors and losses that are not defined for a gate."""

import pytest

torch = pytest.importorskip("torch", reason="metamix.nn needs torch")

from torch import nn  # noqa: E402

from metamix.nn import MoE, NoisyTopKGate, Routing, SoftmaxGate  # noqa: E402
from metamix.nn.gates import make_gate, route  # noqa: E402
from metamix.nn.losses import AuxiliaryLosses, z  # noqa: E402


def test_errors_name_the_valid_choices():
    with pytest.raises(ValueError, match=r"'sofmax'.*Did you mean 'softmax'"):
        make_gate("sofmax", 3, 4)
    with pytest.raises(ValueError, match=r"top_k=5 with 4 experts.*from 1 to 4"):
        make_gate("softmax", 3, 4, top_k=5)
    with pytest.raises(ValueError, match="top_k=0"):
        NoisyTopKGate(3, 4, top_k=0)
    with pytest.raises(ValueError, match=r"not accept gate_options=.*; it accepts temperature, raw: .*'hidden'"):
        make_gate("static", 3, 4, options={"hidden": 3})
    with pytest.raises(ValueError, match="set them on the module itself"):
        make_gate(nn.Linear(3, 4), 3, 4, options={"hidden": 3})
    with pytest.raises(ValueError, match="set top_k"):
        SoftmaxGate(3, 4, bias_rate=0.1)
    with pytest.raises(ValueError, match=r"'balanced'.*Did you mean 'balance'"):
        AuxiliaryLosses({"balanced": 1.0})
    with pytest.raises(ValueError, match="weights of shape \\(5, 4\\)"):
        route(nn.Linear(3, 2), torch.zeros(5, 3), 4)
    with pytest.raises(ValueError, match="returns weights only"):
        z(Routing(torch.ones(1, 1), torch.ones(1, 1)))


@pytest.mark.parametrize(
    ("gate", "losses", "words"),
    [
        ("softmax", {"balance": 1.0}, "mutual_information"),
        ("softmax", {"load": 1.0}, "noisy_top_k"),
        ("dselect_k", {"z": 1.0}, "'entropy'"),
    ],
)
def test_losses_not_defined_for_a_gate_are_rejected(gate, losses, words):
    with pytest.raises(ValueError, match=words):
        MoE(3, [nn.Linear(3, 1), nn.Linear(3, 1)], gate=gate, losses=losses)
