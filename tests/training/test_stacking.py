"""Final estimators against scikit-learn's stacking, ridge and logistic regression on the same folds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.ensemble import StackingClassifier, StackingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeCV
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from metamix.training.stacking import EstimatorStack, FeatureWeightedStack, LinearStack, LogOpinionPool


def _folds(n=120, k=4):
    return list(KFold(k, shuffle=True, random_state=0).split(np.empty((n, 1))))


def _numbers(n=120, K=3, seed=0):
    """Y (n,) and predictions (n, K) with different biases and noises, and features (n, 2)."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n, 2))
    y = 5 + 2 * np.sin(3 * x[:, 0]) + 0.2 * rng.standard_normal(n)
    noise = rng.standard_normal((n, K)) * np.linspace(0.3, 1.5, K)
    return y, 0.8 * y[:, None] + np.arange(K) + noise, x


def _standardised_ridge(predictions, y, weight=None):
    """RidgeCV on predictions and y in standard deviations of y, as a function of predictions."""
    centre = np.average(y, weights=weight)
    unit = np.sqrt(np.average((y - centre) ** 2, weights=weight))
    weight = None if weight is None else weight / weight.mean()
    model = RidgeCV().fit((predictions - centre) / unit, (y - centre) / unit, sample_weight=weight)
    return lambda new: centre + unit * model.predict((new - centre) / unit)


# --- linear ---------------------------------------------------------------------------------------------


def test_the_linear_stack_is_a_ridge_regression_of_standardised_predictions():
    """Out of fold and finally, with the bounds that its docstring describes computed anew."""
    y, predictions, _ = _numbers()
    stack = LinearStack().fit(predictions, y, _folds())
    raw = np.empty(120)
    for train, test in _folds():
        raw[test] = _standardised_ridge(predictions[train], y[train])(predictions[test])
    low, high = predictions.min(axis=1), predictions.max(axis=1)
    outside = np.maximum(np.maximum(low - raw, raw - high), 0)
    assert stack.margin_ == pytest.approx(np.quantile(outside, 0.99, method="inverted_cdf"))
    np.testing.assert_allclose(stack.oof_, np.clip(raw, low - stack.margin_, high + stack.margin_))
    final = _standardised_ridge(predictions, y)(predictions)
    np.testing.assert_allclose(predictions @ stack.coef_ + stack.intercept_, final)
    inside = (final > low) & (final < high)
    np.testing.assert_allclose(stack.predict(predictions)[inside], final[inside])


@pytest.mark.parametrize("stack", [LinearStack(), FeatureWeightedStack()])
def test_the_unit_and_origin_of_y_do_not_matter(stack):
    y, predictions, x = _numbers()
    new, new_x = _numbers(seed=1)[1:]
    expected = stack.fit(predictions, y, _folds(), features=x).predict(new, new_x)
    for unit, origin in ((1e-6, 0.0), (1e6, 3e6), (-1.0, 2.0)):
        moved = stack.fit(unit * predictions + origin, unit * y + origin, _folds(), features=1e3 * x + 5)
        found = moved.predict(unit * new + origin, 1e3 * new_x + 5)
        np.testing.assert_allclose((found - origin) / unit, expected, rtol=1e-6)


@pytest.mark.parametrize("stack", [LinearStack(), FeatureWeightedStack(), EstimatorStack(LinearRegression())])
def test_predictions_stay_near_those_of_the_experts(stack):
    y, predictions, x = _numbers()
    stack.fit(predictions, y, _folds(), features=x)
    far = np.random.default_rng(2).uniform(-1e3, 1e3, (200, 3))
    found = stack.predict(far, np.zeros((200, 2)))
    assert (found >= far.min(axis=1) - stack.margin_).all()
    assert (found <= far.max(axis=1) + stack.margin_).all()
    assert stack.margin_ < 2 * y.std()


@given(wild=st.floats(-1e6, 1e6), expert=st.integers(0, 2), seed=st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_an_expert_that_goes_wild_on_one_row_in_a_hundred_moves_no_other_row_far(wild, expert, seed):
    """Wild where the stack is fitted and where it predicts: every prediction lies within the experts', and a margin."""
    y, predictions, x = _numbers(200, seed=seed)
    broken = predictions.copy()
    broken[[7, 140], expert] = wild
    for stack in (LinearStack(), FeatureWeightedStack()):
        stack.fit(broken, y, _folds(200), features=x)
        found = stack.predict(broken, x)
        assert (found >= broken.min(axis=1) - stack.margin_).all()
        assert (found <= broken.max(axis=1) + stack.margin_).all()
        assert stack.margin_ <= 3 * y.std(), "two rows of two hundred do not set it"


def _without_bounds(stack, predictions):
    """Predictions of a fitted stack before they are bounded."""
    if isinstance(stack, LinearStack):
        return predictions @ stack.coef_ + stack.intercept_
    return stack.fitted_.model.predict(predictions) if isinstance(stack, EstimatorStack) else stack.predict(predictions)


@pytest.mark.parametrize("stack", [LinearStack(), EstimatorStack(LinearRegression()), LogOpinionPool()])
def test_a_nested_stack_learns_from_other_predictions_than_it_is_judged_by(stack):
    """What each pair fits is handed in: out of fold it is the same stack, fitted to that table alone."""
    y, predictions, _ = _numbers()
    is_pool = isinstance(stack, LogOpinionPool)
    if is_pool:
        y, predictions = (y > np.median(y)).astype(int), 1 / (1 + np.exp(-(predictions - 5)))
        predictions = np.stack([1 - predictions, predictions], axis=2)
    noise = np.random.default_rng(3).normal(scale=0.05, size=(4, *predictions.shape))
    inside = [np.abs(predictions + one) for one in noise]
    fitted = clone(stack).fit(predictions, y, _folds(), inside=inside)
    for f, (train, test) in enumerate(_folds()):
        raw = np.full(fitted.oof_.shape, np.nan)
        for other_train, other in _folds()[:f] + _folds()[f + 1 :]:
            both = np.intersect1d(train, other_train)
            within = clone(stack).fit(inside[f], y, [(both, both)], rows=both)
            raw[other] = _without_bounds(within, inside[f][other])
        alone = clone(stack).fit(inside[f], y, [(train, train)], rows=train)
        expected = _without_bounds(alone, predictions[test])
        if not is_pool:
            low, high = inside[f].min(axis=1), inside[f].max(axis=1)
            margin = np.quantile(np.maximum(np.maximum(low - raw, raw - high), 0)[train], 0.99, method="inverted_cdf")
            raw = np.clip(raw, low - margin, high + margin)
            expected = np.clip(expected, predictions[test].min(axis=1) - margin, predictions[test].max(axis=1) + margin)
        np.testing.assert_allclose(fitted.inside_[f][train], raw[train])
        np.testing.assert_allclose(fitted.oof_[test], expected)
    plain = clone(stack).fit(predictions, y, _folds())
    assert plain.inside_ is None
    np.testing.assert_allclose(_without_bounds(plain, predictions), _without_bounds(fitted, predictions))


def test_a_penalty_is_chosen_without_the_rows_that_it_is_judged_by():
    """The feature-weighted stack of two halves: for each the penalty that is best on the other."""
    y, predictions, x = _numbers(60)
    halves = [(np.arange(30), np.arange(30, 60)), (np.arange(30, 60), np.arange(30))]
    both = FeatureWeightedStack().fit(predictions, y, halves, features=x)
    for (train, test), other in zip(halves, halves[::-1], strict=True):
        one = FeatureWeightedStack().fit(predictions, y, [other], features=x)  # judged by the other half alone
        same = FeatureWeightedStack().fit(predictions, y, [other], rows=train, features=x)
        assert one.alpha_ == same.alpha_
        low, high = predictions[test].min(axis=1), predictions[test].max(axis=1)
        found = np.clip(same.predict(predictions[test], x[test]), low - both.margin_, high + both.margin_)
        inside = (found > low) & (found < high)
        assert inside.mean() > 0.5
        np.testing.assert_allclose(both.oof_[test][inside], found[inside])


def test_of_nested_stacks_choice_and_bounds_too_know_nothing_of_the_labels_of_their_fold():
    y, predictions, x = _numbers()
    inside = [predictions + noise for noise in np.random.default_rng(3).normal(scale=0.05, size=(4, 120, 3))]
    for f, (_, test) in enumerate(_folds()):
        for shift in (-50.0, 50.0):
            other = y.copy()
            other[test] += shift
            for stack in (LinearStack(), FeatureWeightedStack()):
                before = clone(stack).fit(predictions, y, _folds(), features=x, inside=inside)
                after = clone(stack).fit(predictions, other, _folds(), features=x, inside=inside)
                np.testing.assert_allclose(after.oof_[test], before.oof_[test])
                np.testing.assert_allclose(after.inside_[f], before.inside_[f])


@pytest.mark.parametrize("stack", [LinearStack(), EstimatorStack(KNeighborsRegressor(5))])
def test_out_of_fold_predictions_do_not_depend_on_the_target_of_their_fold(stack):
    y, predictions, _ = _numbers()
    predictions -= predictions.mean(axis=0) - y.mean()  # inside the experts' range, where no margin is needed
    before = stack.fit(predictions, y, _folds()).oof_.copy()
    test = _folds()[1][1]
    other = y.copy()
    other[test] += 0.5
    after = stack.fit(predictions, other, _folds()).oof_
    low, high = predictions[test].min(axis=1), predictions[test].max(axis=1)
    inside = (before[test] > low) & (before[test] < high)
    assert inside.mean() > 0.5
    np.testing.assert_array_equal(after[test][inside], before[test][inside])
    assert (after != before).any(), "other rows learn from these"


@pytest.mark.parametrize("stack", [LinearStack(), FeatureWeightedStack(), EstimatorStack(LinearRegression())])
def test_rows_without_weight_and_rows_not_asked_for_do_not_count(stack):
    y, predictions, x = _numbers()
    weight = np.where(np.arange(120) < 90, 1.0, 0.0)
    expected = stack.fit(predictions, y, _folds(), sample_weight=weight, features=x).predict(predictions, x)
    margin = stack.margin_
    junk, far = np.where(weight == 0, 1e3, y), np.where(weight[:, None] == 0, -1e3, predictions)
    found = stack.fit(far, junk, _folds(), sample_weight=weight, features=x).predict(predictions, x)
    np.testing.assert_allclose(found, expected)
    assert stack.margin_ == pytest.approx(margin)


def test_the_final_fit_takes_the_rows_given():
    y, predictions, _ = _numbers()
    rows = np.arange(40)
    stack = LinearStack().fit(predictions, y, _folds(), rows=rows)
    expected = _standardised_ridge(predictions[rows], y[rows])(predictions)
    np.testing.assert_allclose(predictions @ stack.coef_ + stack.intercept_, expected)


# --- feature-weighted -----------------------------------------------------------------------------------


def test_without_anything_to_modulate_it_is_ordinary_stacking():
    y, predictions, _ = _numbers(400)
    x = np.random.default_rng(9).uniform(-1, 1, (400, 2))
    stack = FeatureWeightedStack().fit(predictions, y, _folds(400), features=x)
    expected = LinearRegression().fit(predictions, y).predict(predictions)
    assert stack.alpha_ >= 1, "a large penalty on everything that changes with x"
    assert np.sqrt(np.mean((stack.predict(predictions, x) - expected) ** 2)) < 0.2 * np.std(expected - y)


def test_weights_that_change_with_x_are_found():
    """y = (1 + x) / 2 · f_0 + (1 - x) / 2 · f_1, which constant weights cannot be."""
    rng = np.random.default_rng(0)
    x, predictions = rng.uniform(-1, 1, (600, 1)), rng.normal(size=(600, 2))
    truth = (1 + x[:, 0]) / 2 * predictions[:, 0] + (1 - x[:, 0]) / 2 * predictions[:, 1]
    y = truth + 0.1 * rng.standard_normal(600)
    stack = FeatureWeightedStack().fit(predictions, y, _folds(600), features=x)
    plain = LinearStack().fit(predictions, y, _folds(600))
    assert np.mean((stack.oof_ - truth) ** 2) < 0.02 * np.mean((plain.oof_ - truth) ** 2)
    assert np.isfinite(stack.alpha_)


def test_features_of_noise_cost_little():
    y, predictions, _ = _numbers(300)
    noise = np.random.default_rng(5).standard_normal((300, 10))
    bent = FeatureWeightedStack().fit(predictions, y, _folds(300), features=noise)
    plain = LinearStack().fit(predictions, y, _folds(300))
    assert np.mean((bent.oof_ - y) ** 2) < 1.1 * np.mean((plain.oof_ - y) ** 2)


@pytest.mark.parametrize("stack", [LinearStack(), FeatureWeightedStack()])
def test_equal_experts_and_a_constant_target(stack):
    y, predictions, x = _numbers()
    same = predictions[:, [0, 0, 0]]
    expected = LinearRegression().fit(same[:, :1], y).predict(same[:, :1])
    found = stack.fit(same, y, _folds()).predict(same)
    assert np.sqrt(np.mean((found - expected) ** 2)) < 0.5 * np.std(y - expected)
    fitted = stack.fit(np.full((120, 2), 4.0), np.full(120, 4.0), _folds(), features=x)
    np.testing.assert_allclose(fitted.predict(np.full((3, 2), 4.0), x[:3]), 4.0)


# --- any estimator --------------------------------------------------------------------------------------


@pytest.mark.parametrize("final", [Ridge(0.1), KNeighborsRegressor(7), DecisionTreeRegressor(max_depth=3)])
def test_an_estimator_stack_is_a_stacking_regressor(final):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (120, 2))
    y = np.sin(3 * X[:, 0]) + X[:, 1] + 0.1 * rng.standard_normal(120)
    pool, folds = [("ridge", Ridge()), ("near", KNeighborsRegressor(5))], _folds()
    reference = StackingRegressor(pool, final, cv=folds).fit(X, y)
    out_of_fold = np.column_stack([cross_val_predict(one, X, y, cv=folds) for _, one in pool])
    stack = EstimatorStack(final).fit(out_of_fold, y, folds)
    new = rng.uniform(-1, 1, (50, 2))
    predictions = reference.transform(new)
    low, high = predictions.min(axis=1) - stack.margin_, predictions.max(axis=1) + stack.margin_
    np.testing.assert_allclose(stack.predict(predictions), np.clip(reference.predict(new), low, high))
    raw = cross_val_predict(final, out_of_fold, y, cv=folds)
    low, high = out_of_fold.min(axis=1) - stack.margin_, out_of_fold.max(axis=1) + stack.margin_
    np.testing.assert_allclose(stack.oof_, np.clip(raw, low, high))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_an_estimator_stack_is_a_stacking_classifier(n_classes):
    rng = np.random.default_rng(0)
    y = rng.integers(n_classes, size=150)
    X = rng.standard_normal((150, 2)) + y[:, None]
    pool, folds = [("logistic", LogisticRegression()), ("tree", DecisionTreeClassifier(max_depth=2))], _folds(150)
    reference = StackingClassifier(pool, LogisticRegression(C=0.5), cv=folds).fit(X, y)
    out_of_fold = np.stack([cross_val_predict(one, X, y, cv=folds, method="predict_proba") for _, one in pool], axis=1)
    stack = EstimatorStack(LogisticRegression(C=0.5)).fit(out_of_fold, y, folds)
    new = rng.standard_normal((50, 2)) + 1
    predictions = np.stack([one.predict_proba(new) for one in reference.estimators_], axis=1)
    np.testing.assert_allclose(stack.predict(predictions), reference.predict_proba(new))
    np.testing.assert_allclose(stack.oof_.sum(axis=1), 1)


def test_a_class_that_the_training_rows_lack_has_probability_zero():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 20)
    predictions = rng.dirichlet([1, 1, 1], (60, 2))
    pairs = [(np.arange(40), np.arange(40, 60)), (np.arange(20, 60), np.arange(20))]
    stack = EstimatorStack(LogisticRegression()).fit(predictions, y, pairs)
    assert (stack.oof_[40:, 2] == 0).all()
    np.testing.assert_allclose(stack.oof_[:20].sum(axis=1), 1)


def test_weights_reach_every_estimator_as_weights_or_as_rows():
    y, predictions, _ = _numbers()
    weight = np.random.default_rng(1).uniform(0.2, 2, 120)
    stack = EstimatorStack(Ridge()).fit(predictions, y, _folds(), sample_weight=weight)
    np.testing.assert_allclose(stack.fitted_.model.coef_, Ridge().fit(predictions, y, weight).coef_)
    near, zeros_and_ones = KNeighborsRegressor(6), (weight > 1).astype(float)
    stack = EstimatorStack(near).fit(predictions, y, _folds(), sample_weight=zeros_and_ones)
    near.fit(predictions[weight > 1], y[weight > 1])
    np.testing.assert_allclose(stack.fitted_.model.predict(predictions), near.predict(predictions))


# --- probabilities --------------------------------------------------------------------------------------


def _probabilities(n=400, power=(1.0, 2.0), seed=0):
    """Classes 0, 1, 2 and two experts whose log odds are noisy multiples of the true ones."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.standard_normal((n, 3))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y = np.array([rng.choice(3, p=row) for row in shares])
    raised = np.stack([shares**p for p in power], axis=1)
    return y, raised / raised.sum(axis=2, keepdims=True)


def test_a_pool_of_two_classes_is_a_logistic_regression_on_log_odds():
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=300)
    log_odds = rng.normal(size=(300, 3)) + (y[:, None] - 0.3) * [2.0, 1.0, 0.0]
    second = 1 / (1 + np.exp(-log_odds))
    pool = LogOpinionPool(penalty=1e-9, eps=1e-9).fit(np.stack([1 - second, second], axis=2), y, _folds(300))
    reference = LogisticRegression(C=1e6).fit(log_odds, y)
    np.testing.assert_allclose(pool.powers_, reference.coef_[0], atol=0.02)
    assert pool.bias_[1] - pool.bias_[0] == pytest.approx(reference.intercept_[0], abs=0.02)


def test_experts_that_are_too_sure_get_smaller_powers():
    y, predictions = _probabilities(3000, power=(2.0,))
    pool = LogOpinionPool().fit(predictions, y, _folds(3000))
    assert pool.powers_[0] == pytest.approx(0.5, abs=0.05)
    assert log_loss(y, pool.oof_) < log_loss(y, predictions[:, 0])


def test_out_of_fold_probabilities_do_not_depend_on_the_classes_of_their_fold():
    y, predictions = _probabilities()
    before = LogOpinionPool().fit(predictions, y, _folds(400)).oof_
    test = _folds(400)[2][1]
    other = y.copy()
    other[test] = (other[test] + 1) % 3
    after = LogOpinionPool().fit(predictions, other, _folds(400)).oof_
    np.testing.assert_allclose(after[test], before[test], atol=1e-4)  # the descent starts elsewhere
    assert np.abs(after - before).max() > 0.01
    np.testing.assert_allclose(before.sum(axis=1), 1)


def test_whole_weights_of_a_pool_are_repeated_rows():
    y, predictions = _probabilities(200)
    weight = np.random.default_rng(0).integers(0, 4, 200)
    everything = [(np.arange(200), np.arange(200))]
    weighted = LogOpinionPool().fit(predictions, y, everything, sample_weight=weight.astype(float))
    rows = np.repeat(np.arange(200), weight)
    many = [(np.arange(len(rows)), np.arange(len(rows)))]
    repeated = LogOpinionPool().fit(predictions[rows], y[rows], many)
    np.testing.assert_allclose(weighted.powers_, repeated.powers_, atol=1e-4)


def test_probabilities_of_zero_are_no_infinite_loss():
    y, predictions = _probabilities(200)
    predictions[:50, 0] = np.eye(3)[(y[:50] + 1) % 3]
    pool = LogOpinionPool().fit(predictions, y, _folds(200))
    assert np.isfinite(log_loss(y, pool.oof_))
    assert (pool.oof_ > 0).all()
