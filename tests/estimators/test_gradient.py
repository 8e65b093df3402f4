"""A mixture's gradient is that of its mean: experts, gate, stack and nesting, against central differences."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

import metamix
from metamix.derivatives import NoGradientError
from metamix.gates import SoftmaxGate

POOL = [
    ("line", make_pipeline(StandardScaler(), Ridge())),
    ("curve", make_pipeline(PolynomialFeatures(2), Ridge())),
    ("cube", make_pipeline(PolynomialFeatures(3), Ridge())),
]
FAST = {"cv": 2, "max_rounds": 1, "gate": SoftmaxGate(penalty=0.01), "start": "uniform"}
X, y = metamix.make_regimes(120, n_features=4, random_state=0)


def share_that_agrees(mixture):
    """Rows whose gradient is that of central differences; those within a step of a kink need not."""
    steps = 1e-5 * np.eye(4)
    expected = np.stack([(mixture.predict(X + h) - mixture.predict(X - h)) / 2e-5 for h in steps], axis=1)
    gap = np.abs(mixture.predict_gradient(X) - expected).max(axis=1)
    return (gap <= 1e-4 * np.abs(expected).max()).mean()


@pytest.mark.parametrize(
    ("specialize", "settings"),
    [
        (True, {"gate": "gmm"}),
        (True, {"gate_features": [0, 2], "top_k": 2}),
        (True, {"refit": False}),
        (False, {"gate_features": "both"}),
        (False, {"gate_features": "predictions", "gate": "gmm"}),
        (False, {"gate_features": make_pipeline(StandardScaler(), PCA(2))}),
        ("auto", {"n_experts": 2, "start": "kmeans"}),
        ("auto", {"gate": "constant", "refit": False, "n_experts": 2, "start": "kmeans"}),
    ],
    ids=str,
)
def test_a_mixtures_gradient_is_that_of_its_mean(specialize, settings):
    mixture = metamix.MixtureRegressor(POOL, specialize=specialize, random_state=0, **{**FAST, **settings}).fit(X, y)
    assert share_that_agrees(mixture) > 0.98


def test_a_mixture_of_mixtures_has_a_gradient_too():
    inner = metamix.MixtureRegressor(POOL[:2], specialize=True, random_state=0, **FAST)
    outer = metamix.MixtureRegressor([("inner", inner), POOL[0]], specialize=True, random_state=0, **FAST)
    assert share_that_agrees(outer.fit(X, y)) > 0.98


def test_what_has_no_gradient_is_named():
    settings = {"specialize": False, "random_state": 0, **FAST}
    trees = metamix.MixtureRegressor([("forest", RandomForestRegressor(5, random_state=0))], **settings)
    with pytest.raises(NoGradientError, match="RandomForestRegressor"):
        trees.fit(X, y).predict_gradient(X)
    two = metamix.MixtureRegressor(POOL[:2], **settings).fit(X, np.column_stack([y, -y]))
    with pytest.raises(NoGradientError, match="targets"):
        two.predict_gradient(X)
