"""compare(): every number computed again with scikit-learn alone, on the same outer and inner folds."""

import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import StackingClassifier, StackingRegressor, VotingRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss, mean_absolute_error, mean_squared_error
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold, TimeSeriesSplit
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from metamix import Comparison, compare, make_regimes, use_engine
from metamix.training.verdict import PHRASES

NUMBERS = [
    ("ridge", Ridge()),
    ("near", KNeighborsRegressor(5)),
    ("tree", DecisionTreeRegressor(max_depth=3, random_state=0)),
]
CLASSES = [("logistic", LogisticRegression()), ("tree", DecisionTreeClassifier(max_depth=2, random_state=0))]
CANDIDATES = ["mean of y", "best single", "average", "convex", "stack", "feature-weighted stack", "gated", "mixture",
              "stack with mixture"]  # fmt: skip
COMBINATIONS = [*CANDIDATES, "blend", "stacking", "oracle"]
OUTER = KFold(3, shuffle=True, random_state=0)


def _inner(pairs, f):
    """The other outer folds, restricted to the training rows of fold f."""
    rows = pairs[f][0]
    place = {row: i for i, row in enumerate(rows)}
    return [
        ([place[r] for r in train if r in place], [place[r] for r in test if r in place])
        for g, (train, test) in enumerate(pairs)
        if g != f
    ]


class _Same:
    """The outer splitter, that gives known pairs for a known number of rows."""

    def __init__(self, pairs, n):
        self.pairs, self.n = pairs, n

    def split(self, X, y=None, groups=None):
        return iter(self.pairs) if len(y) == self.n else OUTER.split(X)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "weighted"])
def numbers(request):
    X, y = make_regimes(90, 3, random_state=0)
    weight = np.random.default_rng(0).uniform(0.2, 2, 90) if request.param else None
    # Drawing rows for an expert that takes no weights cannot be copied by scikit-learn: one fewer there.
    pool = [NUMBERS[0], NUMBERS[2]] if request.param else NUMBERS
    result = compare(X, y, pool, cv=OUTER, sample_weight=weight, random_state=0)
    return result, result.frame().set_index("name"), X, y, weight, pool, list(OUTER.split(X))


def _predictions(build, X, y, weight, pairs, method="predict"):
    answers = None
    for f, (train, test) in enumerate(pairs):
        one = build(_inner(pairs, f))
        one.fit(X[train], y[train], **({} if weight is None else {"sample_weight": weight[train]}))
        given = getattr(one, method)(X[test])
        answers = np.empty((len(y), *given.shape[1:])) if answers is None else answers
        answers[test] = given
    return answers


def test_every_row_is_there(numbers):
    result, table, _, _, _, pool, _ = numbers
    assert list(table.index) == [name for name, _ in pool] + COMBINATIONS
    assert table["kind"].tolist() == ["expert"] * len(pool) + ["combination"] * len(COMBINATIONS)
    assert list(table.columns) == ["kind", "loss", "difference", "standard_error", "fit_seconds", "predict_seconds"]
    assert result.measure == "squared error"
    assert not result.failures
    assert (table.loc["stacking", ["difference", "standard_error"]] == 0).all()
    experts = [name for name, _ in pool]
    assert (table["loss"][experts] > table["loss"]["oracle"]).all()
    assert (table["predict_seconds"].drop("oracle") >= 0).all()
    assert len(result.mixtures) == 3


def test_experts_and_average_are_scikit_learns(numbers):
    _, table, X, y, weight, pool, pairs = numbers
    for name, one in pool:
        expected = _predictions(lambda inner, one=one: clone(one), X, y, weight, pairs)
        assert table["loss"][name] == pytest.approx(mean_squared_error(y, expected, sample_weight=weight))
    constant = _predictions(lambda inner: DummyRegressor(), X, y, weight, pairs)
    assert table["loss"]["mean of y"] == pytest.approx(mean_squared_error(y, constant, sample_weight=weight))
    votes = _predictions(lambda inner: VotingRegressor(pool), X, y, weight, pairs)
    assert table["loss"]["average"] == pytest.approx(mean_squared_error(y, votes, sample_weight=weight))


def test_stacking_is_scikit_learns(numbers):
    _, table, X, y, weight, pool, pairs = numbers
    expected = _predictions(lambda inner: StackingRegressor(pool, cv=inner), X, y, weight, pairs)
    assert table["loss"]["stacking"] == pytest.approx(mean_squared_error(y, expected, sample_weight=weight), rel=1e-6)
    single = _predictions(lambda inner: clone(pool[0][1]), X, y, weight, pairs)
    row_weight = np.ones(len(y)) if weight is None else weight
    share = row_weight / row_weight.sum()
    gap = (single - y) ** 2 - (expected - y) ** 2
    assert table["difference"][pool[0][0]] == pytest.approx(share @ gap, rel=1e-5)
    if weight is None:
        assert table["standard_error"][pool[0][0]] == pytest.approx(gap.std(ddof=1) / np.sqrt(len(y)), rel=1e-5)


def test_best_single_and_convex_weights_are_chosen_inside(numbers):
    _, table, X, y, weight, pool, pairs = numbers
    best, blend = np.empty(len(y)), np.empty(len(y))
    for f, (train, test) in enumerate(pairs):
        w = np.ones(len(train)) if weight is None else weight[train]
        inner = np.empty((len(train), len(pool)))
        for a, b in _inner(pairs, f):
            for k, (_, one) in enumerate(pool):
                given = {} if weight is None else {"sample_weight": w[a]}
                inner[b, k] = clone(one).fit(X[train][a], y[train][a], **given).predict(X[train][b])
        given = {} if weight is None else {"sample_weight": w}
        outer = np.column_stack([clone(one).fit(X[train], y[train], **given).predict(X[test]) for _, one in pool])
        best[test] = outer[:, np.argmin(w @ (inner - y[train][:, None]) ** 2)]
        start, unit = np.full(len(pool), 1 / len(pool)), {"type": "eq", "fun": lambda v: v.sum() - 1}
        found = minimize(
            lambda v, inner=inner, w=w, t=y[train]: w @ (inner @ v - t) ** 2 / w.sum(),
            start,
            bounds=[(0, 1)] * len(pool),
            constraints=unit,
            tol=1e-12,
        )
        blend[test] = outer @ found.x
    assert table["loss"]["best single"] == pytest.approx(mean_squared_error(y, best, sample_weight=weight))
    assert table["loss"]["convex"] == pytest.approx(mean_squared_error(y, blend, sample_weight=weight), rel=1e-3)


def test_the_oracle_knows_the_best_expert_of_every_row(numbers):
    _, table, X, y, weight, pool, pairs = numbers
    errors = [(_predictions(lambda inner, one=one: clone(one), X, y, weight, pairs) - y) ** 2 for _, one in pool]
    assert table["loss"]["oracle"] == pytest.approx(np.average(np.min(errors, axis=0), weights=weight))


def test_the_blend_is_what_the_mixtures_of_the_outer_folds_predict(numbers):
    result, table, X, y, weight, pool, pairs = numbers
    found = np.empty(len(y))
    for f, (_, test) in enumerate(pairs):
        found[test] = result.mixtures[f].predict(X[test])
    assert table["loss"]["blend"] == pytest.approx(mean_squared_error(y, found, sample_weight=weight))
    train, test = pairs[0]
    # Two inner folds leave one inside of each: what then divides rows anew is the splitter, which a list lacks.
    again = clone(result.mixtures[0]).set_params(cv=_Same(_inner(pairs, 0), len(train)))
    again.fit(X[train], y[train], sample_weight=None if weight is None else weight[train])
    np.testing.assert_allclose(again.predict_experts(X[test])[:, : len(pool)],
                               result.mixtures[0].predict_experts(X[test])[:, : len(pool)])  # fmt: skip
    np.testing.assert_allclose(again.predict(X[test]), result.mixtures[0].predict(X[test]), rtol=1e-6)


def test_the_sentence_says_what_the_table_says(numbers):
    result, table, *_ = numbers
    assert str(result) == result.verdict
    found = re.match(
        r"The simplest candidate that does as well as the best is (.+?)(?: \(\w+\))?: squared error (\S+) "
        r"\(RMSE (\S+)\), which is (\S+) % \(± \S+ %\) (below|above) ", result.verdict,
    )  # fmt: skip
    names = {phrase: name for name, phrase in PHRASES.items()}
    winner = names[found[1]]
    assert winner == result.winner
    assert float(found[3]) == pytest.approx(table["loss"][winner] ** 0.5, rel=1e-3)
    best = table["loss"][CANDIDATES].min()
    assert float(found[2]) == pytest.approx(table["loss"][winner], rel=1e-3)
    other = "stacking" if winner == "best single" else "best single"
    share = 100 * (1 - table["loss"][winner] / table["loss"][other])
    assert (1 if found[5] == "below" else -1) * float(found[4]) == pytest.approx(share, rel=0.06)
    assert table["loss"][winner] >= best
    assert result.verdict.count("The squared error of the blend, which predict answers with, is") == 1


@pytest.mark.parametrize("n_classes", [2, 3])
def test_stacking_of_classes_is_scikit_learns(n_classes):
    rng = np.random.default_rng(0)
    y = rng.integers(n_classes, size=75)
    X = rng.standard_normal((75, 2)) + y[:, None]
    labels = np.array(["no", "yes", "why"])[y]
    outer = StratifiedKFold(3)
    result = compare(X, labels, CLASSES, cv=outer, random_state=0)
    table = result.frame().set_index("name")
    pairs = list(outer.split(X, labels))
    combinations = [name for name in COMBINATIONS if name != "feature-weighted stack"]
    assert list(table.index) == ["logistic", "tree", *combinations]
    assert result.measure == "log-loss"
    stacked = _predictions(lambda inner: StackingClassifier(CLASSES, cv=inner), X, labels, None, pairs, "predict_proba")
    assert table["loss"]["stacking"] == pytest.approx(log_loss(labels, stacked), rel=1e-5)
    each = []
    for name, one in CLASSES:
        alone = _predictions(lambda inner, one=one: clone(one), X, labels, None, pairs, "predict_proba")
        given = alone[np.arange(75), np.searchsorted(np.unique(labels), labels)]
        each.append(np.clip(given, 1e-15, 1))  # scikit-learn clips at 2e-16 instead
        assert table["loss"][name] == pytest.approx(-np.log(each[-1]).mean())
    assert table["loss"]["oracle"] == pytest.approx(-np.log(np.max(each, axis=0)).mean())


def test_a_class_that_a_training_fold_lacks():
    rng = np.random.default_rng(0)
    y = np.r_[np.tile([0, 1], 30), np.full(15, 2)]
    X = rng.standard_normal((75, 2)) + y[:, None]
    pairs = [(np.arange(0, 60), np.arange(60, 75)), (np.arange(20, 75), np.arange(0, 20)),
             (np.r_[0:20, 40:75], np.arange(20, 40))]  # fmt: skip
    result = compare(X, y, CLASSES, cv=pairs, random_state=0)
    table = result.frame().set_index("name")
    assert np.isfinite(table["loss"]).all()
    assert {"mixture", "blend"} <= set(table.index)
    assert table["loss"]["mean of y"] > np.log(3), "the class that it never saw costs a lot"


def _one_class_folds():
    """Of the second fold the training rows have one class."""
    y = np.repeat(["no", "yes"], [40, 20])
    parts = [np.r_[0:10], np.r_[10:20, 40:60], np.r_[20:40]]
    return y, [(np.setdiff1d(np.arange(60), part), part) for part in parts]


def test_a_training_fold_of_one_class():
    y, pairs = _one_class_folds()
    X = np.random.default_rng(0).standard_normal((60, 2)) + (y == "yes")[:, None]
    result = compare(X, y, CLASSES, cv=pairs, random_state=0)
    table = result.frame().set_index("name")
    assert {"logistic", "tree", "stacking", "oracle", "blend", "mixture", "average"} <= set(table.index)
    assert np.isfinite(table["loss"]).all()
    assert len(result.mixtures) == 2
    expected = np.zeros((60, 2))
    expected[pairs[1][1], 0] = 1.0  # what the training rows say
    for train, test in (pairs[0], pairs[2]):
        expected[test] = LogisticRegression().fit(X[train], y[train]).predict_proba(X[test])
    given = np.clip(expected[np.arange(60), (y == "yes").astype(int)], 1e-15, 1)
    assert table["loss"]["logistic"] == pytest.approx(-np.log(given).mean())


def test_training_folds_that_all_have_one_class():
    y = np.repeat([3, 7], 20)
    halves = np.arange(20), np.arange(20, 40)
    X = np.random.default_rng(0).standard_normal((40, 1))
    result = compare(X, y, CLASSES, cv=[halves, halves[::-1]], random_state=0)
    assert result.frame()["loss"].min() > 30, "all are certain, and wrong"
    assert not result.mixtures
    assert "best single expert" in result.verdict or "mean of y" in result.verdict


@pytest.mark.filterwarnings("ignore:A FrozenEstimator")
def test_a_fitted_classifier_is_asked_where_a_training_fold_has_one_class():
    y, pairs = _one_class_folds()
    X = np.random.default_rng(0).standard_normal((60, 2)) + (y == "yes")[:, None]
    model = LogisticRegression().fit(X[::2], y[::2])
    pool = [("frozen", FrozenEstimator(model)), ("broken", BrokenClassifier()), CLASSES[1]]
    result = compare(X, y, pool, cv=pairs, random_state=0)
    table = result.frame().set_index("name")
    given = model.predict_proba(X)[np.arange(60), (y == "yes").astype(int)]
    assert table["loss"]["frozen"] == pytest.approx(-np.log(given).mean())
    assert "broken" not in table.index


class BrokenClassifier(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        raise OSError("no file")

    def predict(self, X):
        return np.zeros(len(X))


@pytest.mark.parametrize("scoring", ["neg_mean_absolute_error", "r2"])
def test_scoring_by_name(scoring):
    X, y = make_regimes(90, 3, random_state=0)
    result = compare(X, y, NUMBERS[:2], cv=OUTER, scoring=scoring, random_state=0)
    table = result.frame().set_index("name")
    assert result.measure == f"minus {scoring}"
    if scoring == "neg_mean_absolute_error":
        expected = []
        for train, test in OUTER.split(X):
            expected.append(mean_absolute_error(y[test], Ridge().fit(X[train], y[train]).predict(X[test])))
        assert table["loss"]["ridge"] == pytest.approx(np.mean(expected))
    with pytest.raises(ValueError, match="no_such"):
        compare(X, y, NUMBERS[:2], scoring="no_such", cv=2)


def test_groups_are_never_split():
    X, y = make_regimes(90, 3, random_state=0)
    groups = np.arange(90) % 9
    met = []

    class Spy(KNeighborsRegressor):
        def fit(self, X, y):
            self.met_ = set(X[:, -1])
            return super().fit(X, y)

        def predict(self, X):
            met.append(self.met_.isdisjoint(X[:, -1]))
            return super().predict(X)

    table = compare(np.column_stack([X, groups]), y, [("spy", Spy(weights="distance")), NUMBERS[0]], cv=GroupKFold(3),
                    groups=groups, random_state=0).frame()  # fmt: skip
    assert len(table) == 2 + len(COMBINATIONS)
    assert len(met) > 9
    assert all(met)


def test_time_order_judges_what_can_be_judged():
    X, y = make_regimes(90, 3, random_state=0)
    outer = TimeSeriesSplit(3)
    table = compare(X, y, NUMBERS[:2], cv=outer, random_state=0).frame().set_index("name")
    losses = []
    for train, test in outer.split(X):
        losses.append((Ridge().fit(X[train], y[train]).predict(X[test]) - y[test]) ** 2)
    assert table["loss"]["ridge"] == pytest.approx(np.concatenate(losses).mean())


class Broken(RegressorMixin, BaseEstimator):
    def fit(self, X, y):
        raise OSError("no file")

    def predict(self, X):
        return np.zeros(len(X))


def test_a_failing_expert_is_left_out_and_recorded():
    X, y = make_regimes(90, 3, random_state=0)
    result = compare(X, y, [("bad", Broken()), *NUMBERS[:2]], cv=OUTER, random_state=0)
    assert result.frame()["name"].tolist() == ["ridge", "near", *COMBINATIONS]
    assert {failure.expert for failure in result.failures} == {"bad"}
    alone = compare(X, y, NUMBERS[:2], cv=OUTER, random_state=0)
    np.testing.assert_allclose(result.frame()["loss"], alone.frame()["loss"])
    with pytest.raises(ValueError, match="no file"):
        compare(X, y, [("bad", Broken())], cv=OUTER)


def test_what_a_comparison_costs_an_expert():
    """One fit for each outer fold, for each inner fold, and for each pair of inner folds where a verdict is close."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (120, 2))
    y = X @ [3.0, -2.0] + 0.1 * rng.standard_normal(120)  # no regimes: nothing is fitted by responsibility
    fits = Counter()

    class Counted(Ridge):
        def fit(self, X, y, sample_weight=None):
            fits[X.tobytes()] += sample_weight is None
            return super().fit(X, y, sample_weight)

    outer = KFold(4, shuffle=True, random_state=0)
    pairs = list(outer.split(X))
    compare(X, y, [("counted", Counted()), NUMBERS[0]], cv=outer, random_state=0)
    inside = Counter(X[train][inner].tobytes() for f, (train, _) in enumerate(pairs) for inner, _ in _inner(pairs, f))
    assert sum(inside.values()) == 12, "4 outer folds x 3 inner folds"
    needed = inside + Counter(X[train].tobytes() for train, _ in pairs)
    assert needed <= fits
    nested = fits - needed
    assert sum(nested.values()) in (3, 6, 9, 12), "of three inner folds there are three pairs"
    assert {len(rows) for rows in nested} <= {30 * X.itemsize * 2}, "fitted to the fourth that no fold holds out"


def _frame(engine="serial", n_jobs=None, random_state=4):
    X, y = make_regimes(60, 3, random_state=0)
    pool = [NUMBERS[0], ("tree", DecisionTreeRegressor(max_features=1))]
    with use_engine(engine, n_jobs=n_jobs):
        result = compare(X, y, pool, cv=2, random_state=random_state, n_jobs=n_jobs)
    return result.frame().drop(columns=["fit_seconds", "predict_seconds"])


def test_the_same_seed_is_the_same_table_however_it_is_computed():
    serial = _frame()
    pd.testing.assert_frame_equal(_frame("threads", 2), serial, check_exact=True)
    pd.testing.assert_frame_equal(_frame("local", 2), serial, check_exact=True)
    assert (_frame(random_state=5)["loss"] != serial["loss"]).any(), "an unseeded tree follows the seed"


def test_a_frame_with_words_and_experts_by_name():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.standard_normal(90), "word": rng.choice(["x", "y", None], 90)})
    y = frame["a"] + (frame["word"] == "x")
    table = compare(frame, y, ["ridge", "neighbours"], cv=2, random_state=0).frame()
    assert table.set_index("name")["loss"]["ridge"] < 0.2


def test_the_plot_has_a_point_for_every_row(numbers):
    plt = pytest.importorskip("matplotlib.pyplot")
    result, table, *_ = numbers
    axes = result.plot()
    assert [label.get_text() for label in axes.get_yticklabels()] == table.index[::-1].tolist()
    assert "squared error" in axes.get_xlabel()
    _, mine = plt.subplots()
    assert result.plot(mine) is mine
    plt.close("all")


def test_the_plot_ends_before_the_mean_of_y_where_that_is_far():
    plt = pytest.importorskip("matplotlib.pyplot")
    rows = [
        {"name": name, "kind": "combination", "difference": difference, "standard_error": 0.1}
        for name, difference in (("mean of y", 50.0), ("average", 1.0), ("oracle", -2.0))
    ]
    axes = Comparison(rows, "", [], "squared error").plot()
    low, high = axes.get_xlim()
    assert low < -2.2 < 1.2 < high < 2, "two standard errors of the others are inside"
    assert [text.get_text() for text in axes.texts] == ["50 →"]
    rows[0]["difference"] = 1.2
    assert not Comparison(rows, "", [], "squared error").plot().texts
    plt.close("all")


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"task": "clustering"}, "regression"),
        ({"cv": None}, "in sample"),
        ({"experts": ["rigde"]}, "ridge"),
        ({"groups": [1, 2]}, "inconsistent"),
        ({"sample_weight": [-1.0] * 30}, "sample_weight"),
    ],
)
def test_what_will_not_do(parameters, says):
    X, y = make_regimes(30, 3, random_state=0)
    with pytest.raises(ValueError, match=says):
        compare(X, y, **{"experts": NUMBERS[:2], "cv": 2, **parameters})


@pytest.mark.parametrize("final", ["simplest", "best"])
def test_gate_and_final_are_those_of_the_mixture(final):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((90, 2))
    y = X[:, 0] ** 2 + 0.3 * rng.standard_normal(90)
    pairs = list(KFold(3).split(X))
    result = compare(X, y, ["ridge", "neighbours"], gate="constant", final=final, cv=pairs, random_state=0)
    predictions = np.empty(90)
    for mixture, (_, test) in zip(result.mixtures, pairs, strict=True):
        assert (mixture.gate, mixture.final) == ("constant", final)
        assert list(mixture.verdict_.weights.values()) == [1.0]
        predictions[test] = mixture.predict(X[test])
    loss = result.frame().set_index("name")["loss"]
    assert loss["blend"] == pytest.approx(np.mean((y - predictions) ** 2))
    said = {"simplest": "the simplest good candidate", "best": "the candidate with the smallest out-of-fold loss"}
    assert f"The squared error of {said[final]}" in result.verdict
