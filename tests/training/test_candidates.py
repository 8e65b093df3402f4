"""Every candidate computed again from the same out-of-fold predictions with numpy, scipy and scikit-learn."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import sem
from sklearn.linear_model import RidgeCV
from sklearn.metrics import log_loss, mean_absolute_error, mean_squared_error
from sklearn.model_selection import TimeSeriesSplit

from metamix.data.folds import make_folds
from metamix.data.gate_features import GateFeatures
from metamix.fitting import Problem
from metamix.fitting.out_of_fold import Failure, OutOfFold
from metamix.gates import ConstantGate, SoftmaxGate
from metamix.likelihoods import Categorical, Gaussian
from metamix.training.candidates import CANDIDATES, CandidateSettings
from metamix.training.fit import fit_combination
from metamix.training.mixture_column import MixtureColumn
from metamix.training.stacking import FeatureWeightedStack, LinearStack, LogOpinionPool

NUMBERS = ["mean of y", "best single", "average", "convex", "stack", "feature-weighted stack", "gated"]


def _table(names, values):
    return OutOfFold(list(names), values, np.zeros(len(names)), np.zeros(len(names)))


def _numbers(n=160, weight=None, groups=None, cv=4, seed=0, informative=True):
    """Three experts' predictions, the first two accurate on either side of x_0 = 0."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, 2))
    y = 3 * rng.standard_normal(n)
    side = X[:, 0] > 0 if informative else rng.random(n) > 0.5
    size = np.column_stack([np.where(side, 0.5, 2), np.where(side, 2, 0.5), np.full(n, 2.5)])
    problem = Problem(X, y, weight, groups)
    return problem, make_folds(cv, X, y, groups, random_state=0), y[:, None] + size * rng.standard_normal((n, 3))


def _settings(problem, **more):
    numbers = problem.n_classes is None
    settings = CandidateSettings(
        (SoftmaxGate(),), ConstantGate(), True, LinearStack() if numbers else LogOpinionPool(),
        FeatureWeightedStack() if numbers else None, Gaussian() if numbers else Categorical(),
        GateFeatures("x").fit(problem.X), classes=None if numbers else np.arange(problem.n_classes),
    )  # fmt: skip
    return replace(settings, **more)


def _fitted(problem, folds, values, names="abcdefg", mixture=None, failures=(), **more):
    table = replace(_table(names[: values.shape[1]], values), failures=list(failures))
    fitted = fit_combination(problem, folds, table, (), _settings(problem, **more), mixture)
    return fitted, {row["candidate"]: row for row in fitted.targets[0].candidates}


def _simplex_optimum(loss, K):
    found = minimize(
        loss, np.full(K, 1 / K), bounds=[(0, 1)] * K, tol=1e-12,
        constraints={"type": "eq", "fun": lambda v: v.sum() - 1},
    )  # fmt: skip
    return found.x


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "weighted"])
def numbers(request):
    weight = np.random.default_rng(5).uniform(0.2, 2, 160) if request.param else None
    problem, folds, values = _numbers(weight=weight)
    return (*_fitted(problem, folds, values), problem, folds, values)


def _loss(problem, predictions):
    return mean_squared_error(problem.y, predictions, sample_weight=problem.sample_weight)


# --- each candidate -------------------------------------------------------------------------------------


def test_candidates_come_from_simple_to_rich(numbers):
    _, table, *_ = numbers
    assert list(table) == [*NUMBERS, "blend"]
    assert [name for name in CANDIDATES if name in table] == NUMBERS


def test_mean_of_y_is_that_of_the_other_folds(numbers):
    fitted, table, problem, folds, _ = numbers
    expected = np.empty(160)
    for train, test in folds.pairs:
        expected[test] = np.average(problem.y[train], weights=problem.weight[train])
    assert table["mean of y"]["loss"] == pytest.approx(_loss(problem, expected))
    np.testing.assert_allclose(fitted.targets[0].predictions[:, fitted.names.index("mean")], expected)
    assert fitted.targets[0].mean == pytest.approx(np.average(problem.y, weights=problem.weight))


def test_best_single_and_average(numbers):
    fitted, table, problem, _, values = numbers
    losses = [_loss(problem, values[:, k]) for k in range(3)]
    assert table["best single"]["loss"] == pytest.approx(min(losses))
    assert fitted.targets[0].verdict.best_single == "abc"[int(np.argmin(losses))]
    assert table["average"]["loss"] == pytest.approx(_loss(problem, values.mean(axis=1)))


def test_convex_weights_are_scipys_optimum_of_the_other_folds(numbers):
    fitted, table, problem, folds, values = numbers
    expected = np.empty(160)
    for train, test in [*folds.pairs, (np.arange(160), None)]:
        w, y, f = problem.weight[train], problem.y[train], values[train]
        found = _simplex_optimum(lambda v, w=w, y=y, f=f: w @ (f @ v - y) ** 2 / w.sum(), 3)
        if test is not None:
            expected[test] = values[test] @ found
    assert table["convex"]["loss"] == pytest.approx(_loss(problem, expected), rel=1e-4)
    np.testing.assert_allclose(fitted.targets[0].candidate_weights["convex"][:3], found, atol=1e-3)


def test_the_stack_is_a_cross_fitted_ridge_regression(numbers):
    fitted, table, problem, folds, values = numbers
    expected = np.empty(160)
    for train, test in folds.pairs:
        w = problem.weight[train]
        y = problem.y[train]
        centre, unit = np.average(y, weights=w), np.sqrt(np.cov(y, aweights=w, ddof=0))
        model = RidgeCV().fit((values[train] - centre) / unit, (y - centre) / unit, w / w.mean())
        expected[test] = centre + unit * model.predict((values[test] - centre) / unit)
    margin = fitted.targets[0].stacks["stack"][0].margin_
    expected = np.clip(expected, values.min(axis=1) - margin, values.max(axis=1) + margin)
    # With weights RidgeCV leaves out whole rows, and the stack a unit of weight: a row of weight two is a row twice.
    exact = problem.sample_weight is None
    assert table["stack"]["loss"] == pytest.approx(_loss(problem, expected), rel=1e-6 if exact else 0.02)


def test_a_gate_is_better_than_constant_weights_where_x_says_who_is_accurate(numbers):
    _, table, *_ = numbers
    assert table["gated"]["loss"] < 0.8 * table["convex"]["loss"]
    problem, folds, values = _numbers(informative=False)
    _, table = _fitted(problem, folds, values)
    assert table["gated"]["loss"] == pytest.approx(table["convex"]["loss"], rel=0.15), "constant weights compete"


def test_the_gate_weighs_experts_and_stacks(numbers):
    fitted, _, problem, _, values = numbers
    inside = [fitted.names[k] for k in fitted.targets[0].gate_columns]
    assert inside == ["a", "b", "c", "stack", "feature-weighted stack"]
    mixture = MixtureColumn(column="fitted elsewhere", n_regimes=2)
    names = ["a", "b", "c", "mixture"]
    joined = np.column_stack([values, values[:, 0]])
    fitted, _ = _fitted(problem, make_folds(4, problem.X, problem.y, random_state=0), joined, names, mixture)
    assert [fitted.names[k] for k in fitted.targets[0].gate_columns] == inside, "the mixture is no column of it"


def test_a_gate_hardly_ever_wins_where_x_says_nothing():
    """The bar of the acceptance cases is 5 % of 200 draws."""
    winners = [_fitted(*_numbers(seed=seed, informative=False))[0].targets[0].verdict.winner for seed in range(30)]
    assert winners.count("gated") <= 2


def test_differences_are_to_the_best_and_paired(numbers):
    fitted, table, *_ = numbers
    best = fitted.targets[0].verdict.best
    assert table[best]["difference"] == table[best]["standard_error"] == 0
    assert all(table[name]["difference"] >= 0 for name in NUMBERS)
    for name, row in table.items():
        assert row["difference"] == pytest.approx(row["loss"] - table[best]["loss"]), name


def test_standard_errors_are_those_of_paired_losses():
    problem, folds, values = _numbers(seed=1, informative=False)
    fitted, table = _fitted(problem, folds, values)
    best = fitted.targets[0].verdict.best
    assert best in ("stack", "feature-weighted stack"), "whose predictions are a column"
    columns = fitted.targets[0].predictions
    other = (columns[:, fitted.names.index(best)] - problem.y) ** 2
    for name, predictions in (("average", values.mean(axis=1)), ("mean of y", columns[:, -1])):
        assert table[name]["standard_error"] == pytest.approx(sem((predictions - problem.y) ** 2 - other))


# --- the blend ------------------------------------------------------------------------------------------


def test_weights_of_the_blend_sum_to_one_and_small_ones_are_dropped(numbers):
    fitted, table, *_ = numbers
    weights = np.array([table[name]["weight"] for name in NUMBERS])
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    assert fitted.targets[0].verdict.weights == {
        name: table[name]["weight"] for name in NUMBERS if table[name]["weight"]
    }
    assert table["blend"]["weight"] == 1


@pytest.mark.parametrize("informative", [False, True])
def test_the_blend_is_hardly_worse_than_the_simplest_good_candidate(informative):
    """The path begins there; where it begins and how far it goes is chosen without the rows that it is judged by."""
    ratios = []
    for seed in range(3):
        fitted, table = _fitted(*_numbers(100, seed=seed, informative=informative))
        ratios.append(table["blend"]["loss"] / table[fitted.targets[0].verdict.winner]["loss"])
    assert np.exp(np.mean(np.log(ratios))) <= 1.1


def test_the_blend_claims_nothing_on_noise():
    """Chosen by the rows that it is judged by, the point on the path would never lose to the mean of y."""
    gains = []
    for seed in range(25):
        problem, folds, _ = _numbers(80, seed=seed)
        noise = np.random.default_rng(100 + seed).standard_normal((80, 2))
        _, table = _fitted(problem, folds, noise)
        gains.append(table["mean of y"]["loss"] - table["blend"]["loss"])
    assert np.mean(gains) < sem(gains)
    assert min(gains) < 0


def test_weights_of_columns_make_the_blend(numbers):
    """Σ weights × predictions of the columns is Σ weights × predictions of the candidates."""
    fitted, table, problem, _, values = numbers
    target = fitted.targets[0]
    (found,) = fitted.combine(problem.X, values)
    np.testing.assert_allclose(found.weights.sum(axis=1), 1)
    inside = found.values[:, target.gate_columns]
    gated = (target.gate.predict_proba(problem.X) * inside).sum(axis=1)
    expected = np.zeros(160)
    for name, weights in target.candidate_weights.items():
        expected += table[name]["weight"] * (gated if weights is None else found.values @ weights)
    np.testing.assert_allclose(found.combined(), expected)
    for name, weights in target.candidate_weights.items():
        assert weights is None or weights.sum() == pytest.approx(1), name


@pytest.mark.parametrize("final", ["best", "simplest"])
def test_a_single_candidate_may_answer_instead(final):
    problem, folds, values = _numbers()
    fitted, table = _fitted(problem, folds, values, final=final)
    verdict = fitted.targets[0].verdict
    chosen = verdict.best if final == "best" else verdict.winner
    assert verdict.weights == {chosen: 1.0}
    assert table["blend"]["loss"] == pytest.approx(table[chosen]["loss"]), "chosen in every fold"
    assert table[verdict.best]["loss"] == min(table[name]["loss"] for name in NUMBERS)


def test_of_equal_candidates_the_simplest_wins():
    problem, folds, values = _numbers()
    fitted, table = _fitted(problem, folds, values[:, [2, 2]], final="simplest")
    assert table["average"]["loss"] == pytest.approx(table["best single"]["loss"])
    assert table["convex"]["loss"] == pytest.approx(table["best single"]["loss"])
    assert fitted.targets[0].verdict.winner not in ("average", "convex")
    assert table["blend"]["loss"] == pytest.approx(table[fitted.targets[0].verdict.winner]["loss"])


def test_noise_is_answered_by_the_mean_of_y():
    problem, folds, _ = _numbers(n=300)
    noise = np.random.default_rng(8).standard_normal((300, 3))
    fitted, table = _fitted(problem, folds, noise, final="simplest")
    assert fitted.targets[0].verdict.winner == "mean of y"
    (found,) = fitted.combine(problem.X, noise)
    np.testing.assert_allclose(found.combined(), problem.y.mean())
    assert table["best single"]["loss"] > table["mean of y"]["loss"]


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_the_unit_and_origin_of_y_do_not_matter(unit):
    problem, folds, values = _numbers()
    _, table = _fitted(problem, folds, values)
    moved = replace(problem, y=unit * problem.y + 3 * unit)
    _, other = _fitted(moved, folds, unit * values + 3 * unit)
    for name, row in table.items():
        assert other[name]["loss"] == pytest.approx(unit**2 * row["loss"], rel=1e-3), name
        assert other[name]["weight"] == pytest.approx(row["weight"], abs=0.02), name


# --- the mixture's candidates ---------------------------------------------------------------------------


def test_a_mixture_of_one_regime_repeats_earlier_candidates():
    problem, folds, values = _numbers()
    best = int(np.argmin(((values - problem.y[:, None]) ** 2).mean(axis=0)))
    joined = np.column_stack([values, values[:, best]])
    mixture = MixtureColumn(column="fitted elsewhere", n_regimes=1)
    fitted, table = _fitted(problem, folds, joined, ["a", "b", "c", "mixture"], mixture)
    _, without = _fitted(problem, folds, values)
    assert table["mixture"]["loss"] == table["best single"]["loss"]
    assert table["stack with mixture"]["loss"] == table["stack"]["loss"]
    assert table["mixture"]["weight"] == table["stack with mixture"]["weight"] == 0
    for name in [*NUMBERS, "blend"]:
        assert table[name]["loss"] == pytest.approx(without[name]["loss"]), name
    assert fitted.targets[0].verdict.n_regimes == 1


def test_a_good_mixture_is_used_and_the_experts_alone_make_the_stack():
    problem, folds, values = _numbers()
    good = problem.y + 0.1 * np.random.default_rng(1).standard_normal(160)
    mixture = MixtureColumn(column="fitted elsewhere", n_regimes=3)
    fitted, table = _fitted(problem, folds, np.column_stack([values, good]), ["a", "b", "c", "mixture"], mixture)
    _, without = _fitted(problem, folds, values)
    for name in NUMBERS:
        assert table[name]["loss"] == pytest.approx(without[name]["loss"]), name
    assert table["mixture"]["loss"] == pytest.approx(np.mean((good - problem.y) ** 2))
    assert fitted.targets[0].verdict.winner == "mixture"
    assert table["mixture"]["weight"] + table["stack with mixture"]["weight"] > 0.95
    assert fitted.names == ["a", "b", "c", "mixture", "stack", "feature-weighted stack", "stack with mixture", "mean"]


# --- rows, weights, folds, scorers ----------------------------------------------------------------------


def test_rows_without_weight_do_not_count():
    problem, folds, values = _numbers()
    weight = np.where(np.arange(160) < 120, 1.0, 0.0)
    _, table = _fitted(replace(problem, sample_weight=weight), folds, values)
    y, moved = problem.y.copy(), values.copy()
    y[120:], moved[120:] = 1e3, -1e3
    _, other = _fitted(replace(problem, y=y, sample_weight=weight), folds, moved)
    for name, row in table.items():
        assert other[name]["loss"] == pytest.approx(row["loss"], rel=1e-4), name


def test_rows_that_no_fold_judges_are_told():
    problem, folds, values = _numbers(cv=TimeSeriesSplit(4))
    values = np.where(folds.held_out[:, None], values, np.nan)
    fitted, table = _fitted(problem, folds, values, failures=[Failure("x", 0, "broken")])
    rows, experts = fitted.targets[0].verdict.not_measured
    assert rows.startswith(f"{160 - 3 * 32} of 160 rows"), "the first fold has no training rows that were held out"
    assert "(x)" in experts
    judged = np.concatenate([folds.test_rows(f) for f in (1, 2, 3)])
    expected = ((values[judged] - problem.y[judged, None]) ** 2).mean(axis=0).min()
    assert table["best single"]["loss"] == pytest.approx(expected)


def test_responsibilities_of_rows_that_were_never_held_out_are_the_weights():
    problem, folds, values = _numbers(cv=TimeSeriesSplit(4), informative=False)
    values = np.where(folds.held_out[:, None], values, np.nan)
    fitted, _ = _fitted(problem, folds, values, final="simplest")
    target = fitted.targets[0]
    assert target.gate_share == 0
    never = target.responsibilities[~folds.held_out]
    np.testing.assert_array_equal(never, np.tile(target.constant_weights, (len(never), 1)))
    np.testing.assert_allclose(target.responsibilities.sum(axis=1), 1)


def test_groups_enter_the_standard_errors():
    groups = np.repeat(np.arange(20), 8)
    problem, folds, values = _numbers(groups=groups, cv=4)
    rng = np.random.default_rng(3)
    values = values + 3 * rng.standard_normal((20, 3))[groups]  # errors common to a group
    _, grouped = _fitted(problem, folds, values)
    _, alone = _fitted(replace(problem, groups=None), folds, values)
    errors = [(grouped[n]["standard_error"], alone[n]["standard_error"]) for n in ("best single", "average")]
    assert all(one > 1.2 * other for one, other in errors)


def test_a_scorer_judges_fold_by_fold():
    problem, folds, values = _numbers()
    _, table = _fitted(problem, folds, values, scoring="neg_mean_absolute_error")
    by_fold = [mean_absolute_error(problem.y[test], values[test].mean(axis=1)) for _, test in folds.pairs]
    assert table["average"]["loss"] == pytest.approx(np.mean(by_fold))


def test_the_gate_keeps_the_largest_weights():
    problem, folds, values = _numbers()
    fitted, _ = _fitted(problem, folds, values, top_k=1, final="best")
    assert fitted.targets[0].verdict.best == "gated"
    (found,) = fitted.combine(problem.X, values)
    assert set(np.unique(found.weights)) == {0.0, 1.0}


def test_the_likelihood_can_be_the_objective():
    problem, folds, values = _numbers()
    by_error = _fitted(problem, folds, values)[1]["gated"]["loss"]
    by_score = _fitted(problem, folds, values, objective="likelihood")[1]["gated"]["loss"]
    assert by_error <= 1.05 * by_score


def test_several_targets_are_blended_one_by_one():
    problem, folds, values = _numbers()
    both = replace(problem, y=np.column_stack([problem.y, 5 * problem.y]))
    table = _table("abc", np.stack([values, 5 * values], axis=2))
    fitted = fit_combination(both, folds, table, (), _settings(problem))
    _, single = _fitted(problem, folds, values)
    for t, unit in enumerate((1, 25)):
        for row in fitted.targets[t].candidates:
            assert row["loss"] == pytest.approx(unit * single[row["candidate"]]["loss"], rel=1e-3)


# --- classes --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def classes():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (240, 2))
    codes = rng.integers(3, size=240)
    sharp = np.where(np.column_stack([X[:, 0] > 0, X[:, 0] <= 0]), 3.0, 0.3)
    logits = rng.standard_normal((240, 2, 3)) + sharp[:, :, None] * np.eye(3)[codes][:, None]
    values = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    problem = Problem(X, codes, n_classes=3)
    folds = make_folds(4, X, codes, stratify=True, random_state=0)
    return (*_fitted(problem, folds, values), problem, folds, values)


def test_classes_have_no_feature_weighted_stack(classes):
    fitted, table, *_ = classes
    assert list(table) == [name for name in NUMBERS if name != "feature-weighted stack"] + ["blend"]
    assert fitted.targets[0].verdict.measure == "log-loss"


def test_mean_of_y_has_the_shares_of_the_classes(classes):
    fitted, table, problem, folds, _ = classes
    expected = np.empty((240, 3))
    for train, test in folds.pairs:
        expected[test] = np.bincount(problem.y[train], minlength=3) / len(train)
    assert table["mean of y"]["loss"] == pytest.approx(log_loss(problem.y, expected), rel=1e-4)
    np.testing.assert_allclose(fitted.targets[0].mean, np.bincount(problem.y) / 240, atol=1 / 240)


def test_convex_weights_of_classes_are_scipys_optimum(classes):
    _, table, problem, folds, values = classes
    expected = np.empty((240, 3))
    for train, test in folds.pairs:
        given = values[train, :, problem.y[train]]
        share = _simplex_optimum(lambda v, given=given: -np.log(given @ v).mean(), 2)
        expected[test] = np.einsum("k,nkc->nc", share, values[test])
    assert table["convex"]["loss"] == pytest.approx(log_loss(problem.y, expected), rel=1e-4)
    assert table["average"]["loss"] == pytest.approx(log_loss(problem.y, values.mean(axis=1)))


def test_a_gate_over_classes_and_the_blend(classes):
    fitted, table, problem, _, values = classes
    assert table["gated"]["loss"] < 0.8 * table["convex"]["loss"]
    assert table["blend"]["loss"] <= table[fitted.targets[0].verdict.winner]["loss"] * (1 + 1e-12)
    (found,) = fitted.combine(problem.X, values)
    np.testing.assert_allclose(found.combined().sum(axis=1), 1)
    np.testing.assert_allclose(found.weights.sum(axis=1), 1)
