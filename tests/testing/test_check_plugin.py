"""`check_plugin` on the parts of metamix itself."""

import pytest

from metamix.testing import check_plugin

CHECKS = dict(check_plugin("metamix"))
PARTS = sorted({name.rpartition("/")[0] for name in CHECKS})
# Slow to fit; tests/nn checks torch_mlp as an expert, and below what is required of registered experts in addition.
SLOW = ("torch_mlp", "forest", "extra_trees", "mlp", "boosting")


@pytest.mark.parametrize("part", [part for part in PARTS if part.split("/")[1] not in SLOW])
def test_parts_of_metamix_pass_the_checks(part):
    names = [name for name in CHECKS if name.startswith(f"{part}/")]
    assert len(names) >= {"gates": 11, "likelihoods": 13}.get(part.split("/")[0], 12)
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
