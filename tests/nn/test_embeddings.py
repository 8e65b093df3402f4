"""Piecewise linear encoding against hand calculation, and its effect on a skewed column."""

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch", reason="metamix.nn needs torch")
skorch = pytest.importorskip("skorch", reason="the estimators of metamix.nn need skorch")

from metamix.nn import NeuralMixtureRegressor  # noqa: E402
from metamix.nn.embeddings import LARGEST_PIECE_VALUE, PiecewiseLinear  # noqa: E402

# Few, large steps: the tests need a fit, not the best one.
SMALL = {"hidden": 16, "max_epochs": 40, "patience": 10, "batch_size": 64, "learning_rate": 0.01, "random_state": 0}


def test_piecewise_encoding_is_the_formula():
    edges = [np.array([0.0, 1.0, 3.0, 4.0]), np.array([-1.0, 1.0])]
    x = np.array([[-1.0, 0.0], [0.5, 2.0], [2.0, -2.0], [9.0, 0.0]])
    wanted = np.array(  # by hand; the first piece is not clipped below, the last not above, missing pieces are 0
        [
            [[-1, 0, 0], [0.5, 0, 0]],
            [[0.5, 0, 0], [1.5, 0, 0]],
            [[1, 0.5, 0], [-0.5, 0, 0]],
            [[1, 1, 6], [0.5, 0, 0]],
        ]
    )
    np.testing.assert_allclose(PiecewiseLinear(edges).pieces(torch.tensor(x, dtype=torch.float32)), wanted)


def test_values_far_outside_are_clipped():
    edges = np.array([-1.0, 0.0, 1e-9])  # the last piece is short: any larger value is far outside
    layer = PiecewiseLinear([edges])
    far = layer.pieces(torch.tensor([[3.0], [1e30], [-1e30]]))[:, 0]
    np.testing.assert_allclose(far[:, 1], [1 + LARGEST_PIECE_VALUE, 1 + LARGEST_PIECE_VALUE, 0])
    assert far[2, 0] == -LARGEST_PIECE_VALUE


def test_predictions_just_outside_a_skewed_column_are_close_to_those_inside(three_columns):
    X = -np.exp(5 * three_columns()[0])
    model = NeuralMixtureRegressor(2, numeric="piecewise", **SMALL).fit(X, X[:, 0] > -1)
    inside, outside = model.predict(np.full((1, 3), X.max())), model.predict(np.full((1, 3), 1.0))
    assert abs(outside - inside) < 3  # 15 without the bound on the last piece


def test_encodings_help_with_a_skewed_column():
    rng = np.random.default_rng(0)
    x = np.exp(3 * rng.normal(size=(300, 1)))
    y = np.sin(np.log(x[:, 0]) / 2)
    scores = {
        numeric: NeuralMixtureRegressor(1, numeric=numeric, **SMALL).fit(x, y).score(x, y)
        for numeric in ("standardise", "piecewise", "quantile")
    }
    assert scores["piecewise"] > scores["standardise"] + 0.2
    assert scores["quantile"] > scores["standardise"] + 0.2


def test_a_column_with_many_categories_has_an_embedding_for_each():
    rng = np.random.default_rng(0)
    level = rng.normal(size=60)
    code = np.repeat(np.arange(60), 10)
    frame = pd.DataFrame({"shop": [f"shop {c}" for c in code]})
    model = NeuralMixtureRegressor(1, **{**SMALL, "hidden": 32}).fit(frame, level[code])
    assert model.encoder_.levels == (61,), "and one for unknown categories"
    assert model.score(frame, level[code]) > 0.9, "with twenty embeddings less than half could be distinguished"
