"""Fitted estimators as pickles of arrays."""

import copy
import pickle

import numpy as np
import pytest
from sklearn.base import clone

torch = pytest.importorskip("torch", reason="metamix.nn needs torch")
skorch = pytest.importorskip("skorch", reason="the estimators of metamix.nn need skorch")

from metamix.nn import NeuralMixtureClassifier, NeuralMixtureRegressor  # noqa: E402

BRIEF = {"hidden": 8, "max_epochs": 2, "batch_size": 64, "start": "random", "random_state": 0}


@pytest.mark.parametrize("gate", ["softmax", "noisy_top_k", "dselect_k", "gumbel", "static"])
@pytest.mark.parametrize("learner", [NeuralMixtureRegressor, NeuralMixtureClassifier])
def test_copies_give_the_same_predictions_after_set_params(three_columns, learner, gate):
    X, y = three_columns()
    model = learner(3, gate=gate, **BRIEF).fit(X, y if learner is NeuralMixtureRegressor else y > 0)
    expected = model.predict(X)
    model.set_params(hidden=3, gate="softmax", top_k=2)  # for the next fit
    torch.manual_seed(3)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(other.predict(X), expected)
    assert torch.equal(torch.rand(1), drawn), "the global random state is unchanged"
    assert b"torch" not in pickle.dumps(model), "arrays and plain values only"


def test_a_clone_is_not_fitted_and_the_network_is_on_the_cpu(three_columns):
    model = NeuralMixtureRegressor(2, **BRIEF).fit(*three_columns())
    assert not hasattr(clone(model), "network_")
    assert {p.device.type for p in model.network_.parameters()} == {"cpu"}
