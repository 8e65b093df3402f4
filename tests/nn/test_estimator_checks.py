"""scikit-learn estimator checks of the three estimators."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

torch = pytest.importorskip("torch", reason="metamix.nn needs torch")
skorch = pytest.importorskip("skorch", reason="the estimators of metamix.nn need skorch")

from metamix.nn import MultiTaskNeuralMixture, NeuralMixtureClassifier, NeuralMixtureRegressor  # noqa: E402

SMALL = {"hidden": 8, "max_epochs": 8, "batch_size": 64, "learning_rate": 0.03, "random_state": 0}
# score_samples(X, y) is the log density of y given X, and these checks call it without y. What they check of
# the other methods is checked by test_rows_are_predicted_independently.
NEEDS_Y = dict.fromkeys(
    ("check_methods_sample_order_invariance", "check_methods_subset_invariance"),
    "score_samples(X, y) is called without y",
)
BATCHES = {
    "check_sample_weight_equivalence_on_dense_data": "validation rows and batches are drawn at random, so a row of "
    "weight two is not equivalent to a repeated row"
}


def expected_failures(estimator):
    return BATCHES if isinstance(estimator, MultiTaskNeuralMixture) else {**NEEDS_Y, **BATCHES}


@pytest.mark.filterwarnings("ignore")  # the checks give integers as floats, one row and one feature on purpose
@parametrize_with_checks(
    [
        NeuralMixtureRegressor(2, start="random", **SMALL),
        NeuralMixtureClassifier(2, start="random", **SMALL),
        MultiTaskNeuralMixture(n_experts=2, expert_width=8, tower=4, **SMALL),
    ],
    expected_failed_checks=expected_failures,
)
def test_estimator_checks(estimator, check):
    check(estimator)
