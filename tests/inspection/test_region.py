"""Regions: planted borders are found in words, shares and losses are those counted by hand."""

import numpy as np
import pandas as pd
import pytest

from metamix import MixtureRegressor
from metamix.inspection import RegionDisplay


def test_the_rules_find_a_planted_step(two_regimes):
    mixture, X, y = two_regimes
    found = RegionDisplay.from_estimator(mixture, X, y)
    assert [rule.conditions for rule in found.regions.rules] in (
        [["x0 ≤ 0.3"], ["x0 > 0.3"]],
        [["x0 > 0.3"], ["x0 ≤ 0.3"]],
    )
    assert found.accuracy > 0.97
    assert found.p_value == pytest.approx(0.01)
    assert found.importances.set_index("column")["p_value"].to_dict() == {"x0": 0.01, "x1": 1.0, "x2": 1.0}
    assert found.importances["importance"].idxmax() == 0
    assert all("x0" in rule for rule in found.rules())
    assert "p = 0.01" in str(found)


def test_shares_and_losses_are_those_counted_by_hand(two_regimes):
    mixture, X, y = two_regimes
    table = RegionDisplay.from_estimator(mixture, X, y, n_permutations=0).frame()
    lead = mixture.assign(X)
    assert table["share"].sum() == pytest.approx(1)
    assert table["mean_weight"].sum() == pytest.approx(1)
    loss = (mixture.oof_predictions_ - y[:, None]) ** 2
    for k in range(2):
        inside = lead == k
        assert table["share"][k] == pytest.approx(inside.mean())
        assert table["loss_inside"][k] == pytest.approx(loss[inside, k].mean())
        assert table["other_inside"][k] == pytest.approx(loss[inside, 1 - k].mean())
        assert table["loss_outside"][k] == pytest.approx(loss[~inside, k].mean())
        assert table["leaders_outside"][k] == pytest.approx(loss[~inside, 1 - k].mean())


def test_only_the_rows_of_fit_in_their_order_are_out_of_fold(two_regimes, step):
    mixture, X, y = two_regimes
    assert RegionDisplay.from_estimator(mixture, X, y, n_permutations=0).out_of_fold
    assert RegionDisplay.from_estimator(mixture, pd.DataFrame(X).to_numpy(), y.tolist(), n_permutations=0).out_of_fold
    assert not RegionDisplay.from_estimator(mixture, X[::-1], y[::-1], n_permutations=0).out_of_fold
    X_new, y_new = step(seed=1)
    found = RegionDisplay.from_estimator(mixture, X_new, y_new, n_permutations=0)
    assert not found.out_of_fold
    inside = mixture.assign(X_new) == 0
    loss = (mixture.predict_experts(X_new)[:, 0] - y_new) ** 2
    assert found.frame()["loss_inside"][0] == pytest.approx(loss[inside].mean())


def test_the_regimes_are_those_of_the_mixture_within(default):
    mixture, X, y = default
    found = RegionDisplay.from_estimator(mixture, X, y, n_permutations=0)
    assert found.frame()["regime"].tolist() == list(mixture.mixture_.named_experts_)
    assert "<script>alert(1)</script>" in found.rules()[0]


def test_without_y_there_are_no_losses(two_regimes):
    mixture, X, _ = two_regimes
    assert list(RegionDisplay.from_estimator(mixture, X, n_permutations=0).frame()) == [
        "regime",
        "share",
        "mean_weight",
    ]


def test_where_one_column_leads_everywhere_no_conditions_are_invented(step):
    X, _ = step()
    mixture = MixtureRegressor(["ridge", "splines"], specialize=False, gate="constant", final="best", random_state=0)
    mixture.fit(X[:, 1:], X[:, 1] + X[:, 2])
    found = RegionDisplay.from_estimator(mixture, X[:, 1:], X[:, 1] + X[:, 2])
    assert len(found.rules()) == 1
    assert "everywhere" in found.rules()[0]
    assert np.isnan(found.p_value)


def test_too_few_rows_are_refused(two_regimes):
    mixture, X, y = two_regimes
    with pytest.raises(ValueError, match="20 rows"):
        RegionDisplay.from_estimator(mixture, X[:19], y[:19])
