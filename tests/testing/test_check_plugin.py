"""`check_plugin` on the parts of metamix itself, and defects of experts that have a name."""

import re

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from metamix import registry
from metamix.gates import ConstantGate
from metamix.testing import check_gate, check_plugin, parametrize_with_checks
from metamix.testing.assertions import bind_checks
from metamix.testing.capability_checks import capabilities_are_declared
from metamix.testing.expert_checks import NAMED_CHECKS
from metamix.testing.gate_checks import gate_trial

CHECKS = dict(check_plugin("metamix"))
PARTS = sorted({name.rpartition("/")[0] for name in CHECKS})
# Slow to fit; tests/nn checks torch_mlp as an expert, and below what is required of registered experts in addition.
SLOW = ("torch_mlp", "forest", "extra_trees", "mlp", "boosting")


@pytest.mark.parametrize("part", [part for part in PARTS if part.split("/")[1] not in SLOW])
def test_parts_of_metamix_pass_the_checks(part):
    names = [name for name in CHECKS if name.startswith(f"{part}/")]
    assert len(names) >= {"gates": 24, "likelihoods": 21}.get(part.split("/")[0], 20)
    for name in names:
        CHECKS[name]()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["regressors", "classifiers"])
@pytest.mark.parametrize(
    "check", ["one_thread_by_default", "mixed_columns_and_missing_values", "labels_or_units_of_any_kind"]
)
def test_networks_pass_the_checks_of_registered_experts(kind, check):
    CHECKS[f"{kind}/torch_mlp/{check}"]()


def test_a_distribution_without_parts_is_an_error():
    with pytest.raises(ValueError, match=r"'no-such-plugin' registers no part; distributions with parts: .*metamix"):
        next(check_plugin("no-such-plugin"))


def threads():
    return registry.regressors["extra_trees"](n_jobs=4)


def lost_units():
    return registry.regressors["ridge"]().set_params(model=Clipped())


class Clipped(Ridge):
    """Predicts no number above 100."""

    def predict(self, X):
        return np.minimum(super().predict(X), 100)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (threads, {"one_thread_by_default"}),
        (Ridge, {"mixed_columns_and_missing_values"}),
        (lost_units, {"labels_or_units_of_any_kind"}),
    ],
)
def test_each_defect_of_a_named_expert_is_found(make, expected, failing):
    assert set(failing(bind_checks(NAMED_CHECKS, make, False))) == expected


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (("gradient",), None),
        (("gradient", "speed"), "'speed'] are no capabilities"),
        (("gradient", "device"), "declared, but not found: device"),
        ((), r'not declared: gradient; the part does what this says: mine = "here:Gate \[gradient\]"'),
    ],
)
def test_wrong_declarations_are_found(declared, message, failing):
    row = registry.PartRow("gates", "mine", "here", "1.0", "here:Gate", declared)
    found = failing(bind_checks((capabilities_are_declared,), gate_trial(ConstantGate), row))
    assert bool(found) == (message is not None)
    for error in found.values():
        assert re.search(message, str(error))


def test_what_is_no_part_is_found(failing):
    registry.gates.register("nothing", dict)
    try:
        found = failing(check_plugin("session"))
    finally:
        registry.gates.unregister("nothing")
    assert "without fit or predict_proba" in str(found["gates/nothing/is_a_part"])


@parametrize_with_checks(check_gate(ConstantGate()))
def test_checks_are_parameters_of_a_test(check):
    check()
