"""A time limit: what is left out, that it is said, and that a limit which is never reached changes nothing."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge

from metamix import MixtureClassifier, MixtureRegressor, TimeLimitWarning, compare, load, make_regimes, save
from metamix.deadline import Deadline

AGES, MOMENT = 1e6, 1e-3


@pytest.mark.parametrize(
    "mixture",
    [
        pytest.param(
            MixtureRegressor(["ridge", "neighbours"], cv=3, max_regimes=2, random_state=0), marks=pytest.mark.slow
        ),
        MixtureRegressor([LinearRegression(), "neighbours"], specialize=False, refit=False, cv=3, random_state=0),
        MixtureRegressor(["ridge", "neighbours"], n_experts=2, specialize=True, gate="softmax", cv=3, random_state=0),
        MixtureClassifier([LogisticRegression(), "neighbours"], specialize=False, cv=3, random_state=0),
    ],
    ids=["blend", "stack", "mixture", "classes"],
)  # fmt: skip
def test_a_limit_that_is_never_reached_changes_nothing(mixture):
    X, y = make_regimes(120, n_regimes=2, random_state=0)
    y = y > np.median(y) if isinstance(mixture, MixtureClassifier) else y
    plain, limited = clone(mixture).fit(X, y), clone(mixture).set_params(time_limit=AGES).fit(X, y)
    np.testing.assert_array_equal(limited.predict_experts(X), plain.predict_experts(X))
    np.testing.assert_array_equal(limited.gate_weights(X), plain.gate_weights(X))
    np.testing.assert_array_equal(limited.oof_predictions_, plain.oof_predictions_)
    assert limited.left_out_ == []
    assert str(limited.verdict_) == str(plain.verdict_)


def test_a_limit_too_short_for_anything_gives_the_first_expert_and_says_so(tmp_path):
    X, y = make_regimes(120, n_regimes=2, random_state=0)
    mixture = MixtureRegressor(["ridge", "extra_trees", "neighbours"], cv=3, random_state=0, time_limit=MOMENT)
    with pytest.warns(TimeLimitWarning, match="Left out for the time limit of 0.001 s: .*the expert extra_trees"):
        mixture.fit(X, y)
    assert list(mixture.named_experts_)[:2] == ["ridge", "stack"]
    parts = {"the expert extra_trees", "the expert neighbours", "the specialised mixture"}
    assert parts <= set(mixture.left_out_)
    assert "the specialised mixture" in str(mixture.verdict_)
    assert "was exceeded by" in str(mixture.verdict_)
    assert mixture.failures_.empty
    assert np.isfinite(mixture.predict(X)).all()
    save(mixture, tmp_path / "m.mix")
    assert load(tmp_path / "m.mix").left_out_ == mixture.left_out_


def test_an_expert_that_would_not_be_done_in_time_is_left_out_before_it_is_fitted(Slow):
    class Guarded(Slow):
        def fit(self, X, y):
            assert len(y) <= 200, "more rows than needed to tell how long it takes"
            return super().fit(X, y)

    X, y = make_regimes(1600, random_state=0)
    experts = [("slow", Guarded(2e-5)), ("line", LinearRegression())]  # a fit to all rows would take a minute
    mixture = MixtureRegressor(experts, specialize=False, gate="constant", cv=2, random_state=0, time_limit=20)
    with pytest.warns(TimeLimitWarning, match=r"the expert slow \(about \d+ s\)"):
        mixture.fit(X, y)
    assert list(mixture.named_experts_)[:2] == ["line", "stack"]


def test_the_order_of_experts_stays_theirs_and_a_failure_is_one(Slow):
    class Fails(Slow):
        def fit(self, X, y):
            raise RuntimeError("out of order")

    X, y = make_regimes(120, random_state=0)
    experts = [("slow", Slow(1e-5)), ("line", LinearRegression()), ("fails", Fails()), ("ridge", Ridge())]
    mixture = MixtureRegressor(experts, specialize=False, gate="constant", cv=2, random_state=0, time_limit=AGES)
    with pytest.warns(FitFailedWarning, match="out of order"):
        mixture.fit(X, y)
    assert list(mixture.named_experts_)[:3] == ["slow", "line", "ridge"]
    assert set(mixture.failures_["expert"]) == {"fails"}
    with pytest.raises(ValueError, match=r"every expert failed.*out of order"):
        clone(mixture).set_params(experts=[("fails", Fails())]).fit(X, y)


def test_counting_of_regimes_ends_with_the_limit():
    X, y = make_regimes(400, n_regimes=4, noise=0.01, random_state=1)
    few = MixtureRegressor(["linear"], n_experts="auto", specialize=True, cv=2, random_state=0, time_limit=MOMENT)
    with pytest.warns(TimeLimitWarning, match="larger numbers of regimes"):
        few.fit(X, y)
    assert few.n_experts_ <= 2


def test_candidates_are_not_nested_without_time():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(90, 3)), rng.normal(size=90)
    mixture = MixtureRegressor(
        [LinearRegression(), "neighbours"], specialize=False, gate="constant", cv=3, random_state=0
    )
    assert not mixture.fit(X, y).verdict_.not_nested
    with pytest.warns(TimeLimitWarning, match="nested cross-validation"):
        mixture.set_params(time_limit=MOMENT).fit(X, y)
    assert "the time limit" in mixture.verdict_.not_nested


def test_compare_divides_the_limit_among_its_folds():
    X, y = make_regimes(90, random_state=0)
    experts = ["ridge", "neighbours"]
    names = compare(X, y, experts, cv=2, random_state=0, time_limit=AGES).frame()["name"]
    assert list(names[:2]) == experts
    with pytest.warns(TimeLimitWarning):
        short = compare(X, y, experts, cv=2, random_state=0, time_limit=MOMENT)
    assert list(short.frame()["name"][:2]) == ["ridge", "mean of y"]
    assert "the expert neighbours" in short.verdict
    assert "the expert neighbours" in str(short.mixtures[0].verdict_)
    assert "the expert neighbours" in " ".join(short.mixtures[0].left_out_)
    whole = Deadline(100)
    parts = [whole.share(4).limit, whole.share(1).limit]
    assert 20 < parts[0] <= 25
    assert parts[1] <= 100
    assert Deadline().share(3).limit is None


@pytest.mark.parametrize("limit", [0, -1, "5", True, np.nan, np.inf])
def test_limits_that_are_none(limit):
    X, y = make_regimes(60, random_state=0)
    with pytest.raises(ValueError, match="is no number of seconds; give one above zero"):
        MixtureRegressor(["ridge"], time_limit=limit).fit(X, y)
    with pytest.raises(ValueError, match="is no number of seconds"):
        compare(X, y, ["ridge"], time_limit=limit)
