"""Invalid parameters of the estimators."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="metamix.nn needs torch")
skorch = pytest.importorskip("skorch", reason="the estimators of metamix.nn need skorch")

from metamix.nn import NeuralMixtureRegressor  # noqa: E402

BRIEF = {"hidden": 8, "max_epochs": 2, "random_state": 0}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"objective": "best"}, "objective='best' is unknown"),
        ({"likelihood": "beta"}, "likelihood='beta' is unknown"),
        ({"numeric": "ranks"}, "numeric='ranks' is unknown"),
        ({"start": "lucky"}, "start='lucky' is unknown"),
        ({"schedule": "fast"}, "schedule='fast' is unknown"),
        ({"n_experts": 0}, "n_experts=0 is invalid; give an integer of at least 1"),
        ({"n_experts": 2, "top_k": 5}, "top_k"),
        ({"validation_fraction": 1.5}, "validation_fraction"),
        ({"device": "gpu"}, "device='gpu' is unknown"),
    ],
)
def test_invalid_parameters_are_rejected(two_lines, parameters, message):
    x, y = two_lines(40)
    with pytest.raises(ValueError, match=message):
        NeuralMixtureRegressor(**{"n_experts": 2, **BRIEF, **parameters}).fit(x, y)


def test_more_start_labels_than_experts_are_rejected(three_columns):
    X, y = three_columns()
    with pytest.raises(ValueError, match="start has 3 different labels for n_experts=2"):
        NeuralMixtureRegressor(2, start=np.arange(90) % 3, **BRIEF).fit(X, y)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_without_a_gpu_is_rejected(two_lines):
    x, y = two_lines(40)
    with pytest.raises(ValueError, match="Available: cpu"):
        NeuralMixtureRegressor(device="cuda").fit(x, y)
