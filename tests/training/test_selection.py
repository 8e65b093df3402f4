"""Paired standard errors against textbook formulas and simulations; the one rule as a property."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import sem, ttest_rel
from sklearn.metrics import log_loss, make_scorer, mean_absolute_error, mean_squared_error, roc_auc_score

from metamix.training.selection import STANDARD_ERRORS, HeldOutLoss, paired, simplest


def _cluster_robust(difference, groups):
    """Standard error of a mean with clusters (Liang & Zeger 1986), as statsmodels' cov_type="cluster" has it.

    OLS on a constant: (X'X)^-1 = 1/n, the meat is the sum over groups of squared sums of residuals, and the correction
    is G / (G - 1) times (n - 1) / (n - 1).
    """
    n, labels = len(difference), np.unique(groups)
    residual = difference - difference.mean()
    meat = sum(residual[groups == g].sum() ** 2 for g in labels)
    return np.sqrt(len(labels) / (len(labels) - 1) * meat) / n


# --- paired ---------------------------------------------------------------------------------------------


def test_equal_weights_have_the_textbook_error():
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((2, 50))
    found = paired(one - other, np.ones(50))
    assert found.mean == pytest.approx((one - other).mean())
    assert found.standard_error == pytest.approx(sem(one - other))
    assert found.mean / found.standard_error == pytest.approx(ttest_rel(one, other).statistic)


def test_weights_have_no_unit_and_rows_without_weight_do_not_count():
    rng = np.random.default_rng(0)
    difference, weight = rng.standard_normal(50), rng.uniform(0.2, 3, 50)
    found = paired(difference, weight)
    assert found.mean == pytest.approx(np.average(difference, weights=weight))
    scaled = paired(difference, 7.0 * weight)
    assert (scaled.mean, scaled.standard_error) == pytest.approx((found.mean, found.standard_error))
    some = np.where(np.arange(50) < 30, weight, 0.0)
    alone = paired(difference[:30], weight[:30])
    found = paired(difference, some)
    assert (found.mean, found.standard_error) == pytest.approx((alone.mean, alone.standard_error))


@pytest.mark.parametrize("scheme", ["rows", "groups"])
def test_standard_errors_are_those_of_repeated_samples(scheme):
    """Weighted rows with a common effect within groups: the spread of the mean over 4000 samples."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 5)
    weight = rng.uniform(0.5, 2, 150)
    common = 1.0 if scheme == "groups" else 0.0
    means, errors = [], []
    for _ in range(4000):
        difference = common * rng.standard_normal(30)[groups] + rng.standard_normal(150)
        found = paired(difference, weight, groups if scheme == "groups" else None)
        means.append(found.mean)
        errors.append(found.standard_error)
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(means), rel=0.04)
    if scheme == "groups":
        assert paired(difference, weight).standard_error < 0.7 * np.std(means), "rows are not independent"


@given(arrays(float, 24, elements=st.floats(-10, 10)))
def test_groups_have_the_cluster_robust_error(difference):
    groups = np.repeat(np.array(list("hgfedcba")), 3)
    found = paired(difference, np.ones(24), groups)
    assert found.standard_error == pytest.approx(_cluster_robust(difference, groups), abs=1e-9)
    alone = paired(difference, np.ones(24), np.arange(24))
    assert alone.standard_error == pytest.approx(paired(difference, np.ones(24)).standard_error, abs=1e-12)


def test_groups_of_different_size_have_the_cluster_robust_error_up_to_its_correction():
    rng = np.random.default_rng(0)
    groups = rng.integers(12, size=200)
    difference = rng.standard_normal(12)[groups] + rng.standard_normal(200)
    found = paired(difference, np.ones(200), groups).standard_error
    assert found == pytest.approx(_cluster_robust(difference, groups), rel=0.02)


@pytest.mark.parametrize("groups", [None, np.array(["a", "b"])])
def test_nothing_is_known_of_the_error_of_one_unit(groups):
    assert paired(np.array([3.0, 9.0]), np.array([1.0, 0.0]), groups).standard_error == np.inf
    assert simplest(np.array([[1.0, 0.0], [1.0, 0.0]]), np.ones(2), np.zeros(2)) == 0


# --- simplest -------------------------------------------------------------------------------------------


@given(
    losses=arrays(float, (9, 4), elements=st.floats(0, 5)),
    weight=arrays(float, 9, elements=st.floats(0, 2)),
    grouped=st.booleans(),
)
def test_the_first_within_one_standard_error_of_the_best(losses, weight, grouped):
    groups = np.arange(9) // 3 if grouped else None
    chosen = simplest(losses, weight, groups)
    if not (weight > 0).any():
        assert chosen == 0
        return
    best = int(np.argmin(np.average(losses, axis=0, weights=weight)))
    assert chosen <= best, "nothing richer than the best"
    within = []
    for candidate in range(best + 1):
        excess = paired(losses[:, candidate] - losses[:, best], weight, groups)
        within.append(excess.mean <= STANDARD_ERRORS * excess.standard_error + 1e-9)
    assert within[chosen], "never further from the best"
    for candidate in range(chosen):
        excess = paired(losses[:, candidate] - losses[:, best], weight, groups)
        assert excess.mean > STANDARD_ERRORS * excess.standard_error - 1e-9, "the first such"


def test_the_standard_errors_by_hand():
    noise = np.random.default_rng(0).standard_normal(100)
    noise = (noise - noise.mean()) / noise.std(ddof=1)  # mean 0, standard error 0.1
    first = np.ones(100)
    assert simplest(np.column_stack([first, first - 0.174 + noise]), np.ones(100)) == 0
    assert simplest(np.column_stack([first, first - 0.176 + noise]), np.ones(100)) == 1
    assert simplest(np.column_stack([first, first]), np.ones(100)) == 0


def test_a_richer_candidate_that_is_no_better_wins_as_often_as_the_rule_says():
    """P(Z > 1.75) = 0.040 for one richer candidate of the same expected loss."""
    rng = np.random.default_rng(0)
    wins = [simplest(rng.standard_normal((60, 2)), np.ones(60)) for _ in range(3000)]
    assert np.mean(wins) == pytest.approx(0.0401, abs=0.012)


def test_losses_of_rows_without_weight_are_ignored():
    losses = np.array([[1.0, 2.0], [1.1, 2.0], [np.nan, 0.0], [np.inf, -1e9]])
    assert simplest(losses, np.array([1.0, 1.0, 0.0, 0.0])) == 0
    assert simplest(losses, np.zeros(4)) == 0


def test_differences_of_rounding_are_none():
    losses = np.column_stack([np.full(50, 1e6), np.full(50, 1e6 - 1e-9)])
    assert simplest(losses, np.ones(50)) == 0
    assert simplest(losses - [0, 1.0], np.ones(50)) == 1


# --- held-out losses ------------------------------------------------------------------------------------


def _numbers():
    rng = np.random.default_rng(0)
    return rng.standard_normal(40), rng.standard_normal(40), rng.uniform(1, 2, 40), np.arange(40) % 4


def test_squared_error_and_log_loss_are_scikit_learns():
    y, predictions, weight, fold = _numbers()
    by_row = HeldOutLoss(y, weight, fold)
    assert by_row.measure == "squared error"
    expected = mean_squared_error(y, predictions, sample_weight=weight)
    assert by_row.mean(by_row.units(predictions)) == pytest.approx(expected)
    rng = np.random.default_rng(1)
    codes, shares = rng.integers(3, size=40), rng.dirichlet([1, 1, 1], 40)
    classes = HeldOutLoss(codes, weight, fold, np.array(["a", "b", "c"]))
    assert classes.measure == "log-loss"
    expected = log_loss(codes, shares, sample_weight=weight)
    assert classes.mean(classes.units(shares)) == pytest.approx(expected)
    assert classes.mean(classes.units(7 * shares)) == pytest.approx(expected), "shares are normalised"


def test_rows_that_no_fold_held_out_are_not_judged():
    y, predictions, weight, fold = _numbers()
    unseen = HeldOutLoss(y, weight, np.where(fold == 0, -1, fold))
    judged = fold > 0
    predictions[fold == 0] = np.nan
    expected = mean_squared_error(y[judged], predictions[judged], sample_weight=weight[judged])
    assert unseen.mean(unseen.units(predictions)) == pytest.approx(expected)


def test_a_scorer_judges_fold_by_fold():
    y, predictions, weight, fold = _numbers()
    loss = HeldOutLoss(y, np.ones(40), fold, scoring="neg_mean_absolute_error")
    assert loss.measure == "minus neg_mean_absolute_error"
    expected = [mean_absolute_error(y[fold == f], predictions[fold == f]) for f in range(4)]
    np.testing.assert_allclose(loss.units(predictions), expected)
    difference = loss.difference(loss.units(predictions), np.zeros(4))
    assert difference.standard_error == pytest.approx(sem(expected))
    assert HeldOutLoss(y, weight, fold, scoring="r2", groups=np.arange(40)).unit_groups is None


def _own_measure(estimator, X, y, sample_weight=None):
    return -np.average(np.abs(estimator.predict(X) - y), weights=sample_weight)


def _own_measure_without_weights(estimator, X, y):
    return -np.abs(estimator.predict(X) - y).mean()


MEASURES = ["neg_mean_absolute_error", make_scorer(mean_absolute_error, greater_is_better=False), _own_measure]


@pytest.mark.parametrize("scoring", MEASURES, ids=["name", "scorer", "callable"])
def test_weights_enter_a_scorer_however_it_is_given(scoring):
    y, predictions, weight, fold = _numbers()
    loss = HeldOutLoss(y, weight, fold, scoring=scoring)
    expected = [mean_absolute_error(y[fold == f], predictions[fold == f], sample_weight=weight[fold == f])
                for f in range(4)]  # fmt: skip
    np.testing.assert_allclose(loss.units(predictions), expected)
    assert loss.mean(loss.units(predictions)) == pytest.approx(
        mean_absolute_error(y, predictions, sample_weight=weight)
    )
    assert not loss.weights_refused(predictions)


@pytest.mark.parametrize("scoring", ["neg_max_error", _own_measure_without_weights], ids=["name", "callable"])
def test_a_scorer_that_takes_no_weights_is_told(scoring):
    y, predictions, weight, fold = _numbers()
    loss = HeldOutLoss(y, weight, fold, scoring=scoring)
    assert loss.weights_refused(predictions)
    assert not HeldOutLoss(y, np.ones(40), fold, scoring=scoring).weights_refused(predictions)
    measure = max if scoring == "neg_max_error" else np.mean
    expected = [measure(np.abs(y - predictions)[fold == f]) for f in range(4)]
    np.testing.assert_allclose(loss.units(predictions), expected)


def test_weights_that_a_scorer_takes_for_two_classes_only():
    """One-vs-one ROC AUC takes weights for two classes and refuses them for three."""
    rng = np.random.default_rng(0)
    codes, fold = np.arange(60) % 3, np.arange(60) // 30
    shares = rng.dirichlet([1, 1, 1], 60)
    loss = HeldOutLoss(codes, rng.uniform(1, 2, 60), fold, np.arange(3), "roc_auc_ovo")
    assert loss.weights_refused(shares)
    expected = [-roc_auc_score(codes[fold == f], shares[fold == f], multi_class="ovo") for f in (0, 1)]
    np.testing.assert_allclose(loss.units(shares), expected)


def test_a_scorer_of_classes_sees_labels():
    rng = np.random.default_rng(0)
    codes, second, fold = rng.integers(2, size=40), rng.random(40), np.arange(40) % 2
    loss = HeldOutLoss(codes, np.ones(40), fold, np.array(["no", "yes"]), "roc_auc")
    expected = [-roc_auc_score(codes[fold == f], second[fold == f]) for f in (0, 1)]
    np.testing.assert_allclose(loss.units(np.column_stack([1 - second, second])), expected)


@pytest.mark.filterwarnings("ignore:Only one class")
def test_a_scorer_that_is_not_defined_on_a_fold_says_so():
    codes = np.repeat([0, 1], 20)  # one class in each fold
    loss = HeldOutLoss(codes, np.ones(40), codes, np.array(["no", "yes"]), "roc_auc")
    with pytest.raises(ValueError, match=r"roc_auc.*fewer"):
        loss.units(np.full((40, 2), 0.5))


def test_groups_enter_the_difference():
    y, predictions, _, fold = _numbers()
    groups = np.repeat(np.arange(8), 5)
    loss = HeldOutLoss(y, np.ones(40), fold, groups=groups)
    units = loss.units(predictions)
    assert loss.difference(units, np.zeros(40)).standard_error == pytest.approx(_cluster_robust(units, groups))
    assert loss.simplest([units, units - 1e-3]) == 1, "the same difference in every row has no error"
