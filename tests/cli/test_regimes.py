"""Regimes in words: those that were planted, and nothing where there are none."""

import numpy as np
import pandas as pd
import pytest

from metamix import MixtureRegressor, compare
from metamix.cli.regimes import about_regimes, n_regimes, regimes_in_words, regimes_of_folds


@pytest.fixture(scope="module")
def planted():
    """Two lines with a border at x = 0.3."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.uniform(size=(240, 2)), columns=["x", "z"])
    y = np.where(X["x"] > 0.3, 3 * X["z"], 1 - 2 * X["z"]) + 0.1 * rng.standard_normal(240)
    return X, y


def test_planted_regimes_are_found_by_fit_and_compare(planted):
    X, y = planted
    mixture = MixtureRegressor(["ridge"], gate="softmax", cv=2, random_state=0).fit(X, y)
    assert n_regimes(mixture) == 2
    said = regimes_in_words(mixture, X)
    assert sorted(line.split(" leads where ")[1][:7] for line in said[:-1]) == ["x > 0.3", "x ≤ 0.3"]
    assert said[-1].startswith("The rules name the leader of ")
    assert about_regimes(mixture) == "Regimes in words:"
    comparison = compare(X, y, ["ridge"], gate="softmax", cv=2, random_state=0)
    said, about = regimes_of_folds(comparison.mixtures, X)
    assert any("x > 0.3" in line for line in said)
    assert about == "Regimes of the mixture that was fitted without fold 1 (their number in all folds: 2, 2):"


def test_nothing_is_said_where_there_are_no_regimes_or_few_rows(planted):
    X, y = planted
    plain = MixtureRegressor(["ridge"], specialize=False, cv=2, random_state=0).fit(X, y)
    assert n_regimes(plain) == 1
    assert regimes_in_words(plain, X) == []
    assert regimes_of_folds([plain, plain], X) == ([], "")
