"""Several labels for each row: one gate per label over shared experts."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier, StackingClassifier
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, FitFailedWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from metamix import MixtureClassifier, compare, fit_predictions, load, save
from metamix.gates import SoftmaxGate

LINE = ("line", LogisticRegression())
TREE = ("tree", DecisionTreeClassifier(max_depth=4, min_samples_leaf=5, random_state=0))
POOL = [LINE, TREE, ("margin", LinearSVC())]
FAST = {"cv": 2, "random_state": 0, "gate": SoftmaxGate(penalty=0.1), "start": "kmeans", "n_experts": 2}


def _table(n=240, seed=0):
    """The slope of the first label's log odds flips with the sign of x0, the second label's is the same everywhere."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, 3))
    odds = np.column_stack([np.where(X[:, 0] > 0, 8 * X[:, 1], -8 * X[:, 1]), 4 * X[:, 2]])
    return X, (odds + rng.logistic(size=(n, 2)) > 0).astype(int)


def _loss(y, proba):
    return log_loss(y, np.column_stack([1 - proba, proba]), labels=[0, 1])


@pytest.mark.parametrize("specialize", [False, True, "auto"])
def test_every_prediction_has_its_label_on_the_last_axis(specialize):
    X, Y = _table()
    mixture = MixtureClassifier(POOL, specialize=specialize, **FAST).fit(X, Y)
    K = {False: 5, True: 2, "auto": 7}[specialize]
    weights, answers, proba = mixture.gate_weights(X), mixture.predict_experts(X), mixture.predict_proba(X)
    assert weights.shape == answers.shape == mixture.oof_predictions_.shape == (240, K, 2)
    assert mixture.responsibilities(X, Y).shape == mixture.responsibilities_.shape == (240, K, 2)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_allclose(np.einsum("nkl,nkl->nl", weights, answers), proba)
    np.testing.assert_allclose(mixture.log_prob(X, Y), np.log(np.where(Y == 1, proba, 1 - proba)), rtol=1e-6)
    np.testing.assert_array_equal(mixture.predict(X), proba > 0.5)
    assert mixture.predict(X).dtype.kind == "i"
    assert [one.tolist() for one in mixture.classes_] == [[0, 1], [0, 1]]
    assert mixture.transform(X).shape[1] == len(mixture.get_feature_names_out()) == 2 * K
    assert mixture.score(X, Y) == accuracy_score(Y, mixture.predict(X))
    assert mixture.assign(X).shape == (240, 2)
    assert len(mixture.failures_) == 0


@pytest.mark.parametrize("specialize", [False, True, "auto"])
def test_a_label_given_twice_is_fitted_as_it_is_alone(specialize):
    X, Y = _table()
    y = Y[:, 0]
    one = MixtureClassifier(POOL, specialize=specialize, **FAST).fit(X, y)
    two = MixtureClassifier(POOL, specialize=specialize, **FAST).fit(X, np.column_stack([y, y]))
    for label in range(2):
        np.testing.assert_allclose(two.predict_proba(X)[:, label], one.predict_proba(X)[:, 1], atol=1e-8)
        np.testing.assert_allclose(two.gate_weights(X)[:, :, label], one.gate_weights(X), atol=1e-8)
        if specialize is not True:
            mine = two.candidates_[two.candidates_["target"] == label].drop(columns="target").reset_index(drop=True)
            pd.testing.assert_frame_equal(mine, one.candidates_, atol=1e-8)


def test_one_column_is_a_single_target_as_in_scikit_learn():
    X, Y = _table()
    mixture = MixtureClassifier([LINE, TREE], specialize=False, **FAST)
    alone = mixture.fit(X, Y[:, 0]).predict_proba(X)
    mixture.fit(X, Y)
    with pytest.warns(DataConversionWarning):
        mixture.fit(X, Y[:, :1])
    np.testing.assert_array_equal(mixture.predict_proba(X), alone)
    assert not hasattr(mixture, "label_names_")


@pytest.mark.parametrize("how", [{"specialize": False}, {"n_experts": 2}, {"n_experts": 2, "specialize": True}])
def test_the_order_of_labels_does_not_matter(how):
    X, Y = _table()
    Y = np.column_stack([Y, Y.any(axis=1)])
    order = [2, 0, 1]
    settings = {"cv": 2, "random_state": 0, "gate": "softmax", **how}
    one, other = (MixtureClassifier([LINE, TREE], **settings).fit(X, y) for y in (Y, Y[:, order]))
    np.testing.assert_allclose(other.predict_proba(X), one.predict_proba(X)[:, order], atol=1e-8)
    np.testing.assert_allclose(other.gate_weights(X), one.gate_weights(X)[:, :, order], atol=1e-8)


def test_a_label_with_regimes_gains_and_one_without_does_not_lose():
    X, Y = _table(600)
    X_new, Y_new = _table(2000, seed=1)
    regimes = MixtureClassifier([LINE], n_experts="auto", random_state=0).fit(X, Y)
    plain = MixtureClassifier([LINE], specialize=False, random_state=0).fit(X, Y)
    assert regimes.verdict_[0].n_regimes == 2
    found, without = regimes.predict_proba(X_new), plain.predict_proba(X_new)
    assert _loss(Y_new[:, 0], found[:, 0]) < 0.7 * _loss(Y_new[:, 0], without[:, 0])
    assert _loss(Y_new[:, 1], found[:, 1]) < 1.02 * _loss(Y_new[:, 1], without[:, 1])
    needed = [verdict.winner in ("mixture", "stack with mixture") for verdict in regimes.verdict_]
    assert needed == [True, False]


def test_it_is_as_good_as_a_stack_for_each_label():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (2400, 3))
    odds = np.column_stack([4 * X[:, 2], 3 * X[:, 0] + 2 * np.sin(3 * X[:, 1]), 5 * np.square(X[:, 2]) - 1])
    Y = (odds + rng.logistic(size=odds.shape) > 0).astype(int)
    X, X_new, Y, Y_new = X[:400], X[400:], Y[:400], Y[400:]
    pool = [LINE, TREE, ("near", KNeighborsClassifier(15))]
    found = MixtureClassifier(pool, specialize=False, random_state=0).fit(X, Y).predict_proba(X_new)
    stack = StackingClassifier(pool, final_estimator=LogisticRegression())
    stacks = MultiOutputClassifier(stack).fit(X, Y).predict_proba(X_new)
    mine = np.mean([_loss(y, proba) for y, proba in zip(Y_new.T, found.T, strict=True)])
    assert mine < 1.02 * np.mean([_loss(y, proba[:, 1]) for y, proba in zip(Y_new.T, stacks, strict=True)])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("refit", [True, False])
def test_a_label_that_is_constant_in_a_training_fold_has_that_probability(refit):
    X, Y = _table(120)
    rare = np.zeros(120, dtype=int)
    folds = [(np.setdiff1d(np.arange(120), rows), rows) for rows in np.array_split(np.arange(120), 3)]
    rare[folds[0][1][:12]] = 1  # all of them are held out by the first fold
    pool = [
        *POOL,
        ("forest", RandomForestClassifier(10, random_state=0)),
        ("near", KNeighborsClassifier(5)),
        ("network", MLPClassifier((4,), max_iter=50, random_state=0)),
        ("normal", GaussianNB()),
        ("pipeline", "neighbours"),
    ]
    settings = {"cv": folds, "gate": "softmax", "n_experts": 2, "start": "kmeans", "random_state": 0}
    mixture = MixtureClassifier(pool, refit=refit, **settings)
    mixture.fit(X, np.column_stack([Y, rare]))
    assert set(mixture.failures_["expert"]) <= {"margin"}  # a regime has too few rows to calibrate it
    names = list(mixture.named_experts_)
    for name in [name for name, _ in pool if name != "network"]:
        np.testing.assert_array_equal(mixture.oof_predictions_[folds[0][1], names.index(name), 2], 0)
    assert np.isfinite(mixture.predict_proba(X)).all()
    assert np.isfinite(mixture.candidates_["loss"]).all()
    train, test = folds[0]
    alone = RandomForestClassifier(10, random_state=0).fit(X[train], np.column_stack([Y, rare])[train])
    expected = [table[:, 1] for table in alone.predict_proba(X[test])[:2]]
    np.testing.assert_allclose(mixture.oof_predictions_[test, names.index("forest"), :2].T, expected)


def test_a_label_that_never_occurs_is_predicted_never():
    X, Y = _table()
    mixture = MixtureClassifier([LINE, TREE], specialize=False, cv=3, random_state=0)
    mixture.fit(X, np.column_stack([Y, np.zeros(240)]))
    assert mixture.predict_proba(X)[:, 2].max() < 0.01
    assert not mixture.predict(X)[:, 2].any()


class Seen(ClassifierMixin, BaseEstimator):
    """A tree that writes down what it is fitted to; `native` where it takes several labels."""

    calls: list = []  # noqa: RUF012 - shared by clones on purpose

    def __init__(self, native=True):
        self.native = native

    def fit(self, X, y, sample_weight=None):
        self.calls.append((self.native, y.shape, None if sample_weight is None else sample_weight.tolist()))
        self.tree_ = DecisionTreeClassifier(max_depth=2, random_state=0).fit(X, y, sample_weight)
        self.classes_ = self.tree_.classes_
        return self

    def predict_proba(self, X):
        return self.tree_.predict_proba(X)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = self.native
        return tags


def test_each_expert_is_fitted_once_in_a_fold_to_all_labels():
    X, Y = _table()
    folds = [(np.arange(120), np.arange(120, 240)), (np.arange(120, 240), np.arange(120))]
    weight = np.random.default_rng(0).uniform(1, 2, 240)
    Seen.calls.clear()
    mixture = MixtureClassifier([("all", Seen()), ("each", Seen(False))], specialize=False, cv=folds, final="simplest")
    mixture.fit(X, Y, sample_weight=weight)
    whole = [(shape, seen) for native, shape, seen in Seen.calls if native]
    for shape, seen in [((120, 2), weight[:120].tolist()), ((240, 2), weight.tolist())]:
        assert whole.count((shape, seen)) == 1
    alone = [(shape, seen) for native, shape, seen in Seen.calls if not native]
    assert alone.count(((240,), weight.tolist())) == 2, "one fit for each label"


def test_experts_of_all_kinds_take_part():
    X, Y = _table(120)
    line = LogisticRegression()
    pool = [
        ("each", MultiOutputClassifier(line)),
        ("chain", ClassifierChain(line)),
        ("rest", OneVsRestClassifier(line)),
        ("frozen", FrozenEstimator(RandomForestClassifier(5, random_state=0).fit(X, Y))),
        ("one", FrozenEstimator(LogisticRegression().fit(X, Y[:, 0]))),
        ("inner", MixtureClassifier([LINE, TREE], specialize=False, cv=2, random_state=0)),
        ("named", "boosting"),
    ]
    mixture = MixtureClassifier(pool, specialize=False, cv=2, gate="constant", random_state=0)
    with (
        pytest.warns(UserWarning, match="FrozenEstimator is never refitted"),
        pytest.warns(FitFailedWarning, match=r"one \(ValueError: one is fitted to one label, and y has 2\)"),
    ):
        mixture.fit(X, Y)
    assert set(mixture.failures_["expert"]) == {"one"}
    names = list(mixture.named_experts_)
    answers = mixture.predict_experts(X)
    expected = [table[:, 1] for table in MultiOutputClassifier(line).fit(X, Y).predict_proba(X)]
    for name in ("each", "rest"):
        np.testing.assert_allclose(answers[:, names.index(name)].T, expected, atol=1e-6)
    np.testing.assert_allclose(answers[:, names.index("chain"), 0], expected[0], atol=1e-6)


def test_names_of_the_columns_are_those_of_the_labels():
    X, Y = _table()
    frame = pd.DataFrame(Y, columns=["red", "round"]).astype({"red": bool, "round": float})
    mixture = MixtureClassifier([LINE, TREE], **FAST).fit(X, frame)
    assert mixture.label_names_ == mixture.mixture_.label_names_ == ["red", "round"]
    assert mixture.candidates_["target"].unique().tolist() == ["red", "round"]
    assert [line.partition(":")[0] for line in str(mixture.verdict_).splitlines()] == ["Label red", "Label round"]
    assert mixture.get_feature_names_out()[:2].tolist() == ["line_red", "line_round"]
    lines = mixture.coefficients()
    assert lines["target"].unique().tolist() == ["red", "round"]
    own = LogisticRegression().fit(X, Y[:, 1])
    mine = lines[(lines["expert"] == "line") & (lines["target"] == "round")]["coefficient"]
    np.testing.assert_allclose(mine, [*own.coef_[0], own.intercept_[0]], rtol=1e-3, atol=1e-3)
    assert mixture.score(X, frame) == mixture.score(X, Y)
    with pytest.raises(ValueError, match=r"columns round, red.*fitted on red, round; give these in order"):
        mixture.score(X, frame[["round", "red"]])
    with pytest.raises(ValueError, match=r"shape \(240, 3\).*fitted on 2 labels"):
        mixture.log_prob(X, Y[:, [0, 1, 1]])


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_array, np.ndarray.tolist, lambda Y: Y.astype(bool)])
def test_zeros_and_ones_come_in_many_forms(kind):
    X, Y = _table()
    mixture = MixtureClassifier([LINE, TREE], specialize=False, **FAST)
    expected = mixture.fit(X, Y).predict_proba(X)
    np.testing.assert_array_equal(mixture.fit(X, kind(Y)).predict_proba(X), expected)
    assert mixture.score(X, kind(Y)) == accuracy_score(Y, mixture.predict(X))


@pytest.mark.parametrize("refit", [True, False])
def test_a_saved_mixture_predicts_the_same(tmp_path, refit):
    X, Y = _table()
    mixture = MixtureClassifier([LINE, ("near", "neighbours")], refit=refit, **FAST).fit(X, Y)
    save(mixture, tmp_path / "labels.mix")
    for again in (load(tmp_path / "labels.mix"), pickle.loads(pickle.dumps(mixture))):
        np.testing.assert_array_equal(again.predict_proba(X), mixture.predict_proba(X))
        assert str(again.verdict_) == str(mixture.verdict_)
        assert again.label_names_ == [0, 1]


def test_in_sample_groups_and_scores():
    X, Y = _table()
    lines = [("a", LogisticRegression()), ("b", LogisticRegression())]
    with pytest.warns(ConvergenceWarning, match="separate the regimes"):
        inside = MixtureClassifier(lines, specialize=True, cv=None, random_state=0).fit(X, Y)
    losses = [_loss(Y[:, label], inside.predict_proba(X)[:, label]) for label in range(2)]
    plain = LogisticRegression().fit(X, Y[:, 0]).predict_proba(X)[:, 1]
    assert losses[0] < 0.7 * _loss(Y[:, 0], plain)
    groups = np.arange(240) // 4
    judged = MixtureClassifier([LINE, TREE], specialize=False, cv=3, gate="constant", scoring="roc_auc", random_state=0)
    judged.fit(X, Y, groups=groups, sample_weight=np.linspace(1, 2, 240))
    assert all(len(np.unique(judged.fold_of_row_[groups == g])) == 1 for g in range(60))
    assert judged.verdict_[1].measure == "minus roc_auc"
    mixture = MixtureClassifier([LINE, TREE], specialize=False, cv=3, gate="constant", random_state=0)
    assert cross_val_score(mixture, X, Y, cv=2).shape == (2,)


def test_what_is_refused_says_what_would_do():
    X, Y = _table(60)
    rare = np.column_stack([Y[:, 0], np.arange(60) < 2])
    with pytest.raises(ValueError, match=r"label 1: LinearSVC has no predict_proba, and 30 rows are too few"):
        MixtureClassifier([LINE, ("margin", LinearSVC())], on_error="raise", **FAST).fit(X, rare)
    mixture = MixtureClassifier([LINE, TREE], specialize=False, **FAST)
    for y, reason in [
        (Y + 1, r"shape \(60, 2\), 2 labels for each row, and values other than 0 and 1.*MultiOutputClassifier"),
        (np.where(Y, "yes", "no"), "such as '(yes|no)'"),
        (np.where(np.arange(60)[:, None] < 3, np.nan, Y), "missing in 6 of 120 places"),
        (np.zeros((60, 2)), "same value in all rows"),
        (np.zeros((0, 2)), "0 sample"),
    ]:
        with pytest.raises(ValueError, match=reason):
            mixture.fit(X, y)
    with pytest.raises(ValueError, match=r"StratifiedKFold.*several labels.*give a number of folds"):
        MixtureClassifier([LINE, TREE], cv=StratifiedKFold(3)).fit(X, Y)
    with pytest.raises(ValueError, match="2 targets; give one column"):
        compare(X, Y, [LINE, TREE])
    with pytest.raises(ValueError, match=r"2 labels for each row.*one column.*MixtureClassifier"):
        fit_predictions(Y / 2, X, Y, task="classification")
    mixture.fit(X, Y)
    with pytest.raises(ValueError, match="was fitted on 2 labels"):
        mixture.score(X, Y[:, 0])
