"""The plugin passes metamix's checks; experts do what river does, row by row, in mixtures as well."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from metamix_river import RiverClassifier, RiverRegressor
from river import linear_model, naive_bayes, preprocessing

import metamix
from metamix.testing import check_plugin, parametrize_with_checks


@parametrize_with_checks(check_plugin("metamix-river"))
def test_checks_of_metamix(check: Callable[[], None]) -> None:
    check()


def test_importing_it_does_not_import_metamix() -> None:
    code = "import sys, metamix_river; sys.exit('metamix' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def line() -> RiverRegressor:
    return RiverRegressor(preprocessing.StandardScaler() | linear_model.LinearRegression())


def test_rows_are_learned_as_river_learns_them() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2))
    y = X @ [1.0, -2.0]
    model = preprocessing.StandardScaler() | linear_model.LinearRegression()
    for row, target in zip(X.tolist(), y.tolist(), strict=True):
        model.learn_one(dict(enumerate(row)), target)
    mine = line().partial_fit(X[:50], y[:50]).partial_fit(X[50:], y[50:])
    expected = [model.predict_one(dict(enumerate(row))) for row in X.tolist()]
    np.testing.assert_array_equal(mine.predict(X), expected)
    np.testing.assert_array_equal(line().fit(X, y).predict(X), expected)


def test_mixtures_are_as_good_as_the_better_expert() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1500, 2))
    y = np.where(np.arange(1500) < 750, X @ [5.0, -9.0], np.abs(X[:, 0]) * 3) + 0.1 * rng.normal(size=1500)
    mixture = metamix.MixtureRegressor(
        [("line", line()), ("forest", RiverRegressor())], specialize=False, random_state=0
    )
    for begin in range(0, 1500, 50):
        mixture.partial_fit(X[begin : begin + 50], y[begin : begin + 50])
    losses = mixture.prequential_.mean()
    assert losses["prediction"] < 1.02 * losses[["line", "forest"]].min()
    again = pickle.loads(pickle.dumps(mixture))
    np.testing.assert_array_equal(again.predict(X), mixture.predict(X))


def test_classes_by_their_names_and_one_that_comes_later() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 2))
    y = np.where(X[:, 0] > 0.5, "high", np.where(X[:, 0] > -0.5, "middle", "low"))
    y[:50] = "low"
    experts = [("bayes", RiverClassifier(naive_bayes.GaussianNB())), ("forest", RiverClassifier())]
    mixture = metamix.MixtureClassifier(experts, specialize=False, random_state=0)
    for begin in range(0, 600, 50):
        batch = slice(begin, begin + 50)
        mixture.partial_fit(X[batch], y[batch], classes=["low", "middle", "high"])
    np.testing.assert_allclose(mixture.predict_proba(X).sum(axis=1), 1)
    assert mixture.score(X[100:], y[100:]) > 0.8


def test_a_class_that_was_not_named_is_refused() -> None:
    X, y = np.zeros((4, 1)), np.array(["a", "c", "a", "c"])
    expert = RiverClassifier(naive_bayes.GaussianNB()).partial_fit(X, y)
    for label in ("b", "z"):
        with pytest.raises(ValueError, match="not among"):
            expert.partial_fit(X[:1], [label])


def test_an_empty_model_is_not_replaced() -> None:
    """A pipeline or an ensemble of river may have a length of zero."""
    mine = RiverRegressor(Sized()).partial_fit([[0.0]], [1.0])
    assert isinstance(mine.model_, Sized)


class Sized(linear_model.LinearRegression):
    def __len__(self) -> int:
        return 0
