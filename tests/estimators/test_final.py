"""Candidates, verdict, and what `final` makes of them, on data for which the simplest good candidate is known."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeCV
from sklearn.metrics import mean_absolute_error
from sklearn.model_selection import KFold
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from metamix import MixtureClassifier, MixtureRegressor, make_regimes
from metamix.gates import SoftmaxGate
from metamix.training.selection import STANDARD_ERRORS


def planted(winner, n=240, seed=0):
    """X (n, 3), y (n,): columns 0 and 1 are the experts' predictions, column 2 is for the gate."""
    rng = np.random.default_rng(seed)
    a, b, c, noise = rng.standard_normal((4, n))
    X = np.column_stack([a, b, c])
    if winner == "gated":
        y, scatter = rng.standard_normal(n), 0.1 * rng.standard_normal((n, 2))
        exact = np.column_stack([c > 0, c <= 0])
        X[:, :2] = np.where(exact, y[:, None], X[:, :2]) + scatter
        return X, y
    law = {
        "mean of y": 0 * a,
        "best single": a,
        "average": (a + b) / 2,
        "convex": 0.8 * a + 0.2 * b,
        "stack": a + b,
        "feature-weighted stack": (1 + c) * a + b,
    }[winner]
    return X, law + 0.4 * noise


WINNERS = ["mean of y", "best single", "average", "convex", "stack", "feature-weighted stack", "gated"]


def blended(column, winner, **parameters):
    X, y = planted(winner)
    mixture = MixtureRegressor(
        [("zero", column(0)), ("one", column(1))], specialize=False, gate=SoftmaxGate(penalty=0.01), cv=3,
        random_state=1, **parameters,
    )  # fmt: skip
    return mixture.fit(X, y), X, y


def convex_weights(values, y):
    """Weights on the simplex with the smallest squared error, by another solver."""
    K = values.shape[1]
    total = {"type": "eq", "fun": lambda w: w.sum() - 1}
    start, bounds = np.full(K, 1 / K), [(0, 1)] * K
    return minimize(
        lambda w: ((values @ w - y) ** 2).mean(), start, bounds=bounds, constraints=total, tol=1e-12, method="SLSQP"
    ).x


def predicted_by(mixture, candidate, X, y):
    """What a candidate predicts, from public attributes, and the tolerance of the comparison."""
    values, names = mixture.predict_experts(X), list(mixture.named_experts_)
    if candidate == "mean of y":
        return np.full(len(X), y.mean()), 1e-12
    if candidate == "best single":
        return mixture.named_experts_[mixture.verdict_.best_single].predict(X), 1e-12
    if candidate == "average":
        return values[:, :2].mean(axis=1), 1e-12
    if candidate == "convex":
        return values[:, :2] @ convex_weights(mixture.oof_predictions_[:, :2], y), 1e-4
    if candidate == "gated":
        inside = values[:, :4]  # experts, stack, feature-weighted stack
        return (mixture.gate_.predict_proba(X) * inside).sum(axis=1), 1e-10
    return values[:, names.index(candidate)], 1e-12


# --- what predict answers -------------------------------------------------------------------------------


@pytest.mark.parametrize("winner", WINNERS)
def test_simplest_predicts_as_the_candidate_that_the_verdict_names(column, winner):
    mixture, X, y = blended(column, winner, final="simplest")
    assert mixture.verdict_.winner == winner
    expected, tolerance = predicted_by(mixture, winner, X, y)
    np.testing.assert_allclose(mixture.predict(X), expected, rtol=0, atol=tolerance)
    weight = mixture.candidates_.set_index("candidate")["weight"]
    assert weight.to_dict() == {**dict.fromkeys(weight.index, 0.0), winner: 1.0, "blend": 1.0}
    assert str(mixture.verdict_).count("predict answers with it alone") == 1


@pytest.mark.parametrize("winner", WINNERS)
def test_best_predicts_as_the_candidate_with_the_smallest_loss(column, winner):
    mixture, X, y = blended(column, winner, final="best")
    loss = mixture.candidates_.set_index("candidate")["loss"]
    best = loss.drop("blend").idxmin()
    assert mixture.verdict_.best == best
    expected, tolerance = predicted_by(mixture, best, X, y)
    np.testing.assert_allclose(mixture.predict(X), expected, rtol=0, atol=tolerance)
    assert loss["blend"] >= loss[best], "chosen once more without each fold"


@pytest.mark.parametrize("winner", WINNERS)
def test_the_blend_is_the_weighted_sum_of_the_candidates(column, winner):
    mixture, X, y = blended(column, winner)
    weight = mixture.candidates_.set_index("candidate")["weight"].drop("blend")
    assert weight.sum() == pytest.approx(1)
    assert (weight >= 0).all()
    assert mixture.verdict_.weights == weight[weight > 0].to_dict()
    total = sum(share * predicted_by(mixture, name, X, y)[0] for name, share in weight.items())
    np.testing.assert_allclose(mixture.predict(X), total, rtol=0, atol=1e-4)
    gain = mixture.verdict_.gain  # of the blend over the candidate named, which predicts where this is clearly worse
    assert gain.mean >= -STANDARD_ERRORS * gain.standard_error


def test_planted_regimes_are_predicted_by_the_mixture():
    X, y = make_regimes(300, 3, noise=0.1, random_state=0)
    pool = [("ridge", Ridge()), ("tree", DecisionTreeRegressor(max_depth=5, random_state=0))]
    mixture = MixtureRegressor(
        pool, n_experts=2, gate=SoftmaxGate(penalty=0.01), final="simplest", max_rounds=4, cv=2, random_state=0
    ).fit(X[:200], y[:200])
    error = ((mixture.predict_experts(X[200:]) - y[200:, None]) ** 2).mean(axis=0)
    names = list(mixture.named_experts_)
    assert error[names.index("mixture")] < 0.7 * min(error[names.index("ridge")], error[names.index("tree")])
    assert mixture.verdict_.winner == "mixture"
    np.testing.assert_array_equal(mixture.predict(X), mixture.mixture_.predict(X))


@pytest.mark.parametrize("final", ["simplest", "best"])
def test_classes_are_predicted_by_the_chosen_candidate(final):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((150, 2))
    y = rng.permutation(np.arange(150) % 2)
    pool = [("logistic", LogisticRegression()), ("tree", DecisionTreeClassifier(max_depth=3, random_state=0))]
    mixture = MixtureClassifier(pool, specialize=False, gate="constant", final=final, cv=3, random_state=1).fit(X, y)
    assert (mixture.verdict_.winner, mixture.verdict_.best) == ("mean of y",) * 2, "labels are noise"
    np.testing.assert_allclose(mixture.predict_proba(X), 0.5, atol=1e-12)


def nested_table(pool, X, y, folds, f):
    """Predictions (n, K) of the rows that fold f trains on, by models without that fold and their own."""
    table, (_, test) = np.full((len(y), len(pool)), np.nan), folds[f]
    for g, (train, held_out) in enumerate(folds):
        rows = np.setdiff1d(train, test)
        for k, (_, model) in enumerate(pool):
            if g != f:
                table[held_out, k] = clone(model).fit(X[rows], y[rows]).predict(X[held_out])
    return table


# --- the table of candidates ----------------------------------------------------------------------------


def standardised_ridge(predictions, y):
    """RidgeCV in standard deviations of y, as a function of predictions."""
    centre, unit = y.mean(), y.std()
    model = RidgeCV().fit((predictions - centre) / unit, (y - centre) / unit)
    return lambda new: centre + unit * model.predict((new - centre) / unit)


def nested_bounds(fit, inside, y, folds, f, predictions):
    """Lowest and highest predictions of a stack in fold f: the range of the experts, and a margin of nested ones."""
    rows, raw = folds[f][0], np.full(len(y), np.nan)
    for g, (others, test) in enumerate(folds):
        if g != f:
            both, judged = np.intersect1d(rows, others), np.intersect1d(rows, test)
            raw[judged] = fit(inside[both], y[both])(inside[judged])
    low, high = inside.min(axis=1), inside.max(axis=1)
    margin = np.quantile(np.maximum(np.maximum(low - raw, raw - high), 0)[rows], 0.99, method="inverted_cdf")
    return predictions.min(axis=1) - margin, predictions.max(axis=1) + margin


def test_losses_are_those_of_out_of_fold_predictions():
    """Each candidate's loss made again from the experts' nested out-of-fold predictions, with other code."""
    X, y = make_regimes(150, 4, random_state=1)
    folds = list(KFold(3, shuffle=True, random_state=0).split(X))
    pool = [("ridge", Ridge()), ("tree", DecisionTreeRegressor(max_depth=4, random_state=0))]
    mixture = MixtureRegressor(pool, specialize=False, gate="constant", cv=folds, random_state=0).fit(X, y)
    table = mixture.oof_predictions_[:, :2]
    convex, stack, mean = np.empty(150), np.empty(150), np.empty(150)
    for f, (rows, test) in enumerate(folds):
        nested = nested_table(pool, X, y, folds, f)
        inside = nested[rows]
        convex[test] = table[test] @ convex_weights(inside, y[rows])
        bounds = nested_bounds(standardised_ridge, nested, y, folds, f, table[test])
        stack[test] = np.clip(standardised_ridge(inside, y[rows])(table[test]), *bounds)
        mean[test] = y[rows].mean()
    singles = ((table - y[:, None]) ** 2).mean(axis=0)
    loss = mixture.candidates_.set_index("candidate")["loss"]
    error = lambda predictions: ((predictions - y) ** 2).mean()  # noqa: E731
    assert loss["mean of y"] == pytest.approx(error(mean))
    assert loss["best single"] == pytest.approx(singles.min())
    assert loss["average"] == pytest.approx(error(table.mean(axis=1)))
    assert loss["convex"] == pytest.approx(error(convex), rel=1e-3)
    assert loss["stack"] == pytest.approx(error(stack))
    assert mixture.verdict_.best_single == ["ridge", "tree"][singles.argmin()]
    rows = mixture.candidates_.set_index("candidate")
    best = loss.drop("blend").min()
    np.testing.assert_allclose(rows["difference"], loss - best, atol=1e-12)
    best_column = {"stack": stack, "convex": convex, "average": table.mean(axis=1)}[mixture.verdict_.best]
    paired = (mean - y) ** 2 - (best_column - y) ** 2
    expected = paired.std(ddof=1) / np.sqrt(150)
    assert rows.loc["mean of y", "standard_error"] == pytest.approx(expected, rel=1e-3)


def test_only_columns_with_information_make_a_gate(halves, half_experts):
    """The same experts: with the column that says who is right, and with columns of noise."""
    won = {"informative": 0, "noise": 0}
    for seed in range(10):
        X, y = halves(seed, 90)
        for what, columns in (("informative", [0]), ("noise", [2, 3])):
            if what == "informative" and seed >= 3:
                continue
            mixture = MixtureRegressor(
                half_experts, specialize=False, gate=SoftmaxGate(penalty=0.01), gate_features=columns, cv=3,
                random_state=seed,
            )  # fmt: skip
            won[what] += mixture.fit(X, y).verdict_.winner in ("gated", "feature-weighted stack")
    assert won["informative"] == 3
    assert won["noise"] <= 2, "1.75 standard errors let one in 25 through"


def test_scoring_compares_the_candidates():
    X, y = make_regimes(150, 4, random_state=1)
    pool = [("ridge", Ridge()), ("tree", DecisionTreeRegressor(max_depth=4, random_state=0))]
    mixture = MixtureRegressor(
        pool, specialize=False, gate="constant", scoring="neg_mean_absolute_error", cv=3, random_state=0
    ).fit(X, y)
    folds = [mixture.fold_of_row_ == f for f in range(3)]
    expected = [
        np.mean([mean_absolute_error(y[rows], mixture.oof_predictions_[rows, k]) for rows in folds]) for k in range(2)
    ]
    loss = mixture.candidates_.set_index("candidate")["loss"]
    assert loss["best single"] == pytest.approx(expected[["ridge", "tree"].index(mixture.verdict_.best_single)])
    assert "best is" in str(mixture.verdict_)
    assert ": mean_absolute_error" in str(mixture.verdict_)


def test_the_verdict_names_what_predict_combines():
    X, y = make_regimes(150, 4, random_state=1)
    pool = [("ridge", Ridge()), ("tree", DecisionTreeRegressor(max_depth=4, random_state=0))]
    mixture = MixtureRegressor(pool, specialize=False, gate=SoftmaxGate(penalty=0.1), cv=3, random_state=0).fit(X, y)
    assert len(mixture.verdict_.weights) > 1, "of this table"
    said = str(mixture.verdict_)
    phrases = {"stack": "the stack", "gated": "a gate over experts and stacks", "average": "the plain average",
               "convex": "a convex combination of the experts", "best single": "the best single expert",
               "feature-weighted stack": "the feature-weighted stack", "mean of y": "the mean of y"}  # fmt: skip
    for name, share in mixture.verdict_.weights.items():
        assert f"{phrases[name]} ({100 * share:.0f} %)" in said
    assert f"squared error {mixture.verdict_.loss:.3g}"[:17] in said


# --- final_estimator ------------------------------------------------------------------------------------


def test_a_final_estimator_is_fitted_to_out_of_fold_predictions():
    X, y = make_regimes(120, 4, random_state=1)
    pool = [("ridge", Ridge()), ("tree", DecisionTreeRegressor(max_depth=4, random_state=0))]
    settings = {"specialize": False, "gate": "constant", "final": "simplest", "cv": 3, "random_state": 0}
    mixture = MixtureRegressor(pool, final_estimator=LinearRegression(), **settings).fit(X, y)
    table, stack = mixture.oof_predictions_, mixture.named_experts_["stack"]
    expected = LinearRegression().fit(table[:, :2], y)
    np.testing.assert_allclose(stack.fitted_.model.coef_, expected.coef_)
    folds = [(np.flatnonzero(mixture.fold_of_row_ != f), np.flatnonzero(mixture.fold_of_row_ == f)) for f in range(3)]
    for f, (rows, test) in enumerate(folds):
        nested = nested_table(pool, X, y, folds, f)
        fit = lambda predictions, target: LinearRegression().fit(predictions, target).predict  # noqa: E731
        bounds = nested_bounds(fit, nested, y, folds, f, table[test, :2])
        np.testing.assert_allclose(table[test, 2], np.clip(fit(nested[rows], y[rows])(table[test, :2]), *bounds))


def test_a_final_estimator_of_classes_sees_probabilities():
    X, y = make_regimes(120, 4, task="classification", random_state=1)
    pool = [("logistic", LogisticRegression()), ("tree", DecisionTreeClassifier(max_depth=3, random_state=0))]
    settings = {"specialize": False, "gate": "constant", "cv": 3, "random_state": 0}
    mixture = MixtureClassifier(pool, final_estimator=LogisticRegression(), **settings).fit(X, y)
    expected = LogisticRegression().fit(mixture.oof_predictions_[:, :2, 1], y)
    values = mixture.predict_experts(X)
    np.testing.assert_allclose(values[:, 2], expected.predict_proba(values[:, :2, 1]), rtol=1e-6)


# --- stacks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wild", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_stacks_stay_within_the_margin_of_the_experts(column, seed, wild):
    """At rows far out, and with an expert that is far off in one row of a hundred, in fit and in predict."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((200, 3))
    y = X @ [1.0, -2.0, 0.5] + 0.3 * rng.standard_normal(200)
    far = 10.0 ** rng.uniform(1, 6, (100, 1))
    new = rng.standard_normal((200, 3)) * np.vstack([np.ones((100, 1)), far])
    if wild:
        X[rng.choice(200, 2, replace=False), 0] = [1e3, -1e4]
        new[:2, 0] = [1e5, -1e3]
    pool = [(f"column {k}", column(k)) for k in range(3)]
    mixture = MixtureRegressor(pool, specialize=False, gate="constant", cv=4, random_state=0).fit(X, y)
    names, values = list(mixture.named_experts_), mixture.predict_experts(new)
    low, high = values[:, :3].min(axis=1), values[:, :3].max(axis=1)
    oof_low, oof_high = mixture.oof_predictions_[:, :3].min(axis=1), mixture.oof_predictions_[:, :3].max(axis=1)
    for name in ("stack", "feature-weighted stack"):
        margin, stacked = mixture.named_experts_[name].margin_, values[:, names.index(name)]
        assert 0 <= margin < 5 * y.std(), "a row of a hundred does not set the margin"
        rounding = 1e-12 * np.abs(values).max(axis=1)
        assert (stacked >= low - margin - rounding).all()
        assert (stacked <= high + margin + rounding).all()
        out_of_fold = mixture.oof_predictions_[:, names.index(name)]  # each fold has a margin of its own
        assert (out_of_fold >= oof_low - 5 * y.std()).all()
        assert (out_of_fold <= oof_high + 5 * y.std()).all()
        assert ((stacked < low) | (stacked > high)).any(), "free signs leave the range of the experts"


# --- what the figures know of the rows that they judge ---------------------------------------------------


def test_what_judges_a_fold_has_not_seen_its_labels():
    """Labels of fold 0 move: its predictions by the stack do not, since nothing behind them has seen these labels."""
    X, y = make_regimes(120, 3, random_state=0)
    folds = list(KFold(4, shuffle=True, random_state=0).split(X))
    pool = [("ridge", Ridge()), ("tree", DecisionTreeRegressor(max_depth=4, random_state=0))]
    settings = {"specialize": False, "gate": "constant", "cv": folds, "random_state": 0}
    test = folds[0][1]
    moved = y.copy()
    moved[test] += np.random.default_rng(0).standard_normal(len(test))
    one, other = (MixtureRegressor(pool, **settings).fit(X, target) for target in (y, moved))
    for mixture in (one, other):
        assert "Nested cross-validation" not in str(mixture.verdict_)
    column = list(one.named_experts_).index("stack")
    before, after = (mixture.oof_predictions_[test, column] for mixture in (one, other))
    inside = one.oof_predictions_[test, :2]
    free = (before > inside.min(axis=1)) & (before < inside.max(axis=1))  # not at a bound, whose margin is of all rows
    assert free.sum() > 5
    np.testing.assert_allclose(after[free], before[free])


def test_one_regime_never_makes_the_mixture_the_winner():
    """Its column repeats the best single expert, whose name the verdict uses."""
    X, y = make_regimes(120, 3, random_state=0)
    mixture = MixtureRegressor([("ridge", Ridge()), ("flat", Ridge(1e9))], cv=3, n_experts=1, random_state=0)
    verdict = mixture.fit(X, X @ [1.0, 2.0, 0.0] + 0.1 * y).verdict_
    assert verdict.n_regimes == 1
    assert verdict.winner not in ("mixture", "stack with mixture")
    assert verdict.best not in ("mixture", "stack with mixture")


@pytest.mark.parametrize(("scoring", "groups"), [("neg_mean_absolute_error", None), (None, np.arange(60) % 2)])
def test_one_unit_is_not_enough_to_choose_without_a_fold(scoring, groups):
    X, y = make_regimes(60, 3, random_state=0)
    y = X @ [3.0, -2.0, 1.0] + 0.1 * y
    mixture = MixtureRegressor([("ridge", Ridge(0.01)), ("tree", DecisionTreeRegressor(max_depth=2, random_state=0))],
                               specialize=False, cv=2, scoring=scoring, final="best", random_state=0)  # fmt: skip
    table = mixture.fit(X, y, groups=groups).candidates_.set_index("candidate")
    assert table["loss"]["blend"] == pytest.approx(table["loss"][mixture.verdict_.best])
