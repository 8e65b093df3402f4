"""Weights and groups that scikit-learn routes to a mixture, alone, in a pipeline, a union and a search."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.linear_model import Ridge
from sklearn.metrics import make_scorer, r2_score
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.tree import DecisionTreeRegressor

from metamix import MixtureRegressor, make_regimes

N = 120
X, Y = make_regimes(N, 3, random_state=0)
WEIGHTS = np.random.default_rng(0).uniform(0.1, 3.0, N)
GROUPS = np.arange(N) // 8
METADATA = {"sample_weight": WEIGHTS, "groups": GROUPS}
FOLDS = list(GroupKFold(3).split(X, Y, GROUPS))
PLAIN = MixtureRegressor(
    [("ridge", Ridge()), ("tree", DecisionTreeRegressor(max_depth=3, random_state=0))],
    specialize=False, gate="constant", cv=3, random_state=0,
)  # fmt: skip


@pytest.fixture(autouse=True)
def routing():
    with config_context(enable_metadata_routing=True):
        yield


def asking():
    """A mixture that asks for weights and groups in fit, and for weights in score."""
    mixture = clone(PLAIN).set_fit_request(sample_weight=True, groups=True)
    return mixture.set_score_request(sample_weight=True)


def by_hand(train):
    """Fitted to some rows with their weights and groups, without any routing."""
    return clone(PLAIN).fit(X[train], Y[train], sample_weight=WEIGHTS[train], groups=GROUPS[train])


def test_cross_validate_routes_weights_and_groups():
    found = cross_validate(
        asking(), X, Y, cv=GroupKFold(3), params=METADATA, return_estimator=True, error_score="raise"
    )
    for (train, test), score, mixture in zip(FOLDS, found["test_score"], found["estimator"], strict=True):
        assert score == by_hand(train).score(X[test], Y[test], sample_weight=WEIGHTS[test])
        folds_of_group = [set(mixture.fold_of_row_[GROUPS[train] == group]) for group in set(GROUPS[train])]
        assert {len(folds) for folds in folds_of_group} == {1}, "a group lies in one inner fold"


def test_a_pipeline_hands_them_on():
    pipeline = make_pipeline(MinMaxScaler(), asking())
    scorer = make_scorer(r2_score).set_score_request(sample_weight=True)  # pipelines ask in newer versions only
    found = cross_validate(pipeline, X, Y, cv=GroupKFold(3), params=METADATA, scoring=scorer, error_score="raise")[
        "test_score"
    ]
    for (train, test), score in zip(FOLDS, found, strict=True):
        scaler = MinMaxScaler().fit(X[train])
        fitted = clone(PLAIN).fit(
            scaler.transform(X[train]), Y[train], sample_weight=WEIGHTS[train], groups=GROUPS[train]
        )
        assert score == fitted.score(scaler.transform(X[test]), Y[test], sample_weight=WEIGHTS[test])


def test_a_union_hands_them_on():
    union = FeatureUnion([("mixture", asking())]).fit(X, Y, **METADATA)
    np.testing.assert_array_equal(union.transform(X), by_hand(slice(None)).transform(X))


def test_a_search_hands_them_on():
    search = GridSearchCV(asking(), {"ridge__alpha": [1e-3, 1e3]}, cv=GroupKFold(3), error_score="raise")
    search.fit(X, Y, **METADATA)
    expected = clone(PLAIN).set_params(**search.best_params_).fit(X, Y, **METADATA)
    np.testing.assert_array_equal(search.predict(X), expected.predict(X))


def test_what_is_not_asked_for_does_not_arrive():
    with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
        cross_validate(PLAIN, X, Y, params={"sample_weight": WEIGHTS}, error_score="raise")
    deaf = clone(PLAIN).set_fit_request(groups=False)  # the splitter alone takes them
    found = cross_validate(deaf, X, Y, cv=GroupKFold(3), params={"groups": GROUPS}, error_score="raise")
    expected = [clone(PLAIN).fit(X[train], Y[train]).score(X[test], Y[test]) for train, test in FOLDS]
    np.testing.assert_array_equal(found["test_score"], expected)
