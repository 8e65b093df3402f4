"""MultiTaskNeuralMixture: kinds of tasks, missing labels, task weights, errors."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

torch = pytest.importorskip("torch", reason="metamix.nn needs torch")
skorch = pytest.importorskip("skorch", reason="the estimators of metamix.nn need skorch")

from metamix.nn import MultiTaskNeuralMixture, owned_and_shared  # noqa: E402

SMALL = {
    "hidden": 16,
    "expert_width": 8,
    "tower": 8,
    "max_epochs": 60,
    "batch_size": 64,
    "learning_rate": 0.01,
    "random_state": 0,
}
BRIEF = {"hidden": 8, "expert_width": 4, "tower": 4, "max_epochs": 4, "batch_size": 64, "random_state": 0}
TASKS = {"price": "regression", "sold": "binary", "kind": "multiclass"}


def three_tasks(n=400, seed=0):
    """Columns and labels of a regression, a binary and a multiclass task."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    y = pd.DataFrame(
        {
            "price": 100 + 20 * X[:, 0] - 10 * X[:, 1],
            "sold": np.where(X[:, 0] + X[:, 2] > 0, "yes", "no"),
            "kind": np.array(["a", "b", "c"])[np.argmax(X[:, 1:], axis=1)],
        }
    )
    return X, y.astype({"sold": object, "kind": object})


@pytest.fixture(scope="module")
def fitted():
    X, y = three_tasks()
    mask = np.random.default_rng(1).random(y.shape) < 0.3
    return MultiTaskNeuralMixture(TASKS, 3, **SMALL).fit(X, y.mask(mask))


def test_tasks_of_three_kinds_with_missing_labels(fitted):
    X, y = three_tasks(seed=5)
    predicted = fitted.predict(X)
    assert predicted.shape == (len(X), 3)
    assert predicted.dtype == object
    assert np.corrcoef(predicted[:, 0].astype(float), y["price"])[0, 1] > 0.95
    assert np.mean(predicted[:, 1] == y["sold"]) > 0.9
    assert np.mean(predicted[:, 2] == y["kind"]) > 0.8
    assert fitted.score(X, y) > 0.85
    for name, C in (("sold", 2), ("kind", 3)):
        p = fitted.predict_proba(X, name)
        assert p.shape == (len(X), C)
        np.testing.assert_allclose(p.sum(1), 1)
    assert roc_auc_score(y["sold"] == "yes", fitted.predict_proba(X, 1)[:, 1]) > 0.97
    assert [p.shape[1] for p in fitted.predict_proba(X)] == [2, 3]


def test_gate_weights_differ_by_task(fitted):
    weights = fitted.gate_weights(three_tasks()[0])
    assert weights.shape == (400, 3, 3)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    assert np.abs(weights[..., 0] - weights[..., 1]).max() > 1e-3


def test_a_label_with_weight_zero_is_a_missing_label():
    X, y = three_tasks(100)
    numbers = y["price"].to_numpy()[:, None] * [1.0, -1.0]
    numbers[::3, 1] = np.nan
    weight = np.ones_like(numbers)
    weight[::3, 1] = 0
    missing = MultiTaskNeuralMixture(n_experts=2, **BRIEF).fit(X, numbers).predict(X)
    zero_weight = MultiTaskNeuralMixture(n_experts=2, **BRIEF).fit(X, np.nan_to_num(numbers, nan=1e6), weight)
    np.testing.assert_allclose(zero_weight.predict(X), missing, rtol=1e-6)


def test_sample_weights_select_the_rows():
    X, y = three_tasks(150)
    price = y["price"].to_numpy()
    doubled, target = np.vstack([X, X]), np.concatenate([price, -price])
    weight = np.repeat([1.0, 1e-6], 150)
    model = MultiTaskNeuralMixture(n_experts=2, **SMALL).fit(doubled, target[:, None], weight)
    assert np.corrcoef(model.predict(X)[:, 0], price)[0, 1] > 0.9


def test_a_one_dimensional_target():
    X, y = three_tasks(100)
    model = MultiTaskNeuralMixture("binary", 2, **BRIEF).fit(X, y["sold"].to_numpy())
    assert model.predict(X).shape == (100,)
    assert set(model.predict(X)) <= {"yes", "no"}


def test_a_task_with_weight_zero_is_not_learned():
    X, y = three_tasks(200)
    numbers = np.column_stack([y["price"], X[:, 3] ** 2])
    errors = []
    for weights in ([1.0, 0.0], [0.0, 1.0]):
        model = MultiTaskNeuralMixture(n_experts=2, task_weights=weights, **SMALL).fit(X, numbers)
        np.testing.assert_array_equal(model.task_weights_, weights)
        errors.append(np.mean((model.predict(X) - numbers) ** 2, axis=0) / numbers.var(axis=0))
    assert errors[0][0] < 0.1 < 0.5 < errors[1][0]
    assert errors[1][1] < errors[0][1]


def test_uncertainty_gives_less_weight_to_a_task_of_noise():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3))
    y = np.column_stack([X[:, 0], rng.normal(size=300)])
    model = MultiTaskNeuralMixture(n_experts=2, task_weights="uncertainty", early_stopping=False, **SMALL).fit(X, y)
    assert model.task_weights_[0] > 2 * model.task_weights_[1]


def test_experts_of_other_tasks_have_weight_zero():
    X, y = three_tasks(100)
    visible, _ = owned_and_shared(2, owned=1, shared=1)
    numbers = np.column_stack([y["price"], X[:, 3]])
    model = MultiTaskNeuralMixture(n_experts=3, visible=visible, **BRIEF).fit(X, numbers)
    weights = model.gate_weights(X)
    assert (weights[:, 1, 0] == 0).all()
    assert (weights[:, 0, 1] == 0).all()


def test_a_pickle_gives_the_same_predictions(fitted):
    X, _ = three_tasks(30)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict(X), fitted.predict(X))


@pytest.mark.parametrize("factor", [1e-150, 1e150])
def test_predictions_are_equivariant_to_the_units_of_x_and_y(three_columns, factor):
    X, y = three_columns()
    learner = MultiTaskNeuralMixture(n_experts=2, **BRIEF)
    plain = learner.fit(X, y).predict(X)
    scaled = learner.fit(factor * X, factor * y).predict(factor * X)
    np.testing.assert_allclose(scaled / factor, plain, rtol=1e-6)


def test_a_constant_target_is_predicted(three_columns):
    X, _ = three_columns()
    Y = np.column_stack([np.full(len(X), 0.1), X[:, 0]])
    model = MultiTaskNeuralMixture(n_experts=2, **BRIEF).fit(X, Y)
    np.testing.assert_allclose(model.predict(X)[:, 0], 0.1, rtol=1e-5)
    assert -1 < model.score(X, Y) <= 1


def test_lists_of_labels_of_several_kinds(three_columns):
    X, y = three_columns()
    rows = [[a, None if a > 2 else "up" if a > 0 else "down", int(a > 1)] for a in y.tolist()]
    rows[3][1] = float("nan")
    tasks = ["regression", "binary", "binary"]
    model = MultiTaskNeuralMixture(tasks, 2, **BRIEF).fit(X, rows)
    classes = [None if task.classes is None else task.classes.tolist() for task in model.tasks_]
    assert classes == [None, ["down", "up"], [0, 1]]


def test_columns_of_a_frame_named_by_numbers(three_columns):
    X, y = three_columns()
    Y = np.column_stack([y, y > 0])
    by_number = MultiTaskNeuralMixture({0: "regression", 1: "binary"}, 2, **BRIEF).fit(X, pd.DataFrame(Y))
    np.testing.assert_array_equal(
        by_number.predict(X), MultiTaskNeuralMixture(["regression", "binary"], 2, **BRIEF).fit(X, Y).predict(X)
    )
    assert by_number.predict_proba(X, np.int64(1)).shape == (len(X), 2)


def test_a_task_with_one_label_predicts_it(three_columns):
    X, y = three_columns()
    Y = np.column_stack([y, np.where(np.arange(len(y)) == 5, 7.0, np.nan)])
    for seed in range(3):  # for some of them the label is among the rows to hold out
        model = MultiTaskNeuralMixture(n_experts=2, **{**BRIEF, "random_state": seed}).fit(X, Y)
        np.testing.assert_allclose(model.predict(X)[:, 1], 7.0, rtol=1e-4)


def test_score_skips_tasks_without_labels(three_columns):
    X, y = three_columns()
    Y = np.column_stack([y, y > 0])
    model = MultiTaskNeuralMixture(["regression", "binary"], 2, **BRIEF).fit(X, Y)
    right = np.mean(model.predict(X)[:, 1] == Y[:, 1])
    assert model.score(X, np.column_stack([np.full(len(y), np.nan), y > 0])) == pytest.approx(right)
    with pytest.raises(ValueError, match="y has no labels to score"):
        model.score(X, np.full(Y.shape, np.nan))
    with pytest.raises(ValueError, match="X has 5 rows, y has 90"):
        model.score(X[:5], Y)


# --- invalid input -------------------------------------------------------------------


def test_a_task_without_labels_is_named():
    X, y = three_tasks(50)
    y["sold"] = None
    with pytest.raises(ValueError, match="Task 'sold' has no labels with positive weight"):
        MultiTaskNeuralMixture(TASKS, **SMALL).fit(X, y)
    numbers = np.column_stack([X[:, 0], X[:, 1]])
    weight = np.column_stack([np.ones(50), np.zeros(50)])
    with pytest.raises(ValueError, match="Task 'task1' has no labels with positive weight"):
        MultiTaskNeuralMixture(**SMALL).fit(X, numbers, weight)


def test_labels_that_do_not_match_their_task_are_rejected(fitted):
    X, y = three_tasks(50)
    with pytest.raises(ValueError, match=r"Task 'kind' is binary and has the labels \['a', 'b', 'c'\]; expected two"):
        MultiTaskNeuralMixture({**TASKS, "kind": "binary"}, **SMALL).fit(X, y)
    with pytest.raises(ValueError, match="Task 'sold' is a regression, and its labels are not numbers"):
        MultiTaskNeuralMixture({**TASKS, "sold": "regression"}, **SMALL).fit(X, y)
    with pytest.raises(ValueError, match="Task 'price' has the unknown kind 'number'"):
        MultiTaskNeuralMixture({**TASKS, "price": "number"}, **SMALL).fit(X, y)
    with pytest.raises(ValueError, match="tasks has the name 'cost', which is not a column of y"):
        MultiTaskNeuralMixture({"cost": "regression"}, **SMALL).fit(X, y)
    with pytest.raises(ValueError, match="tasks has 2 kinds, y has 3 columns"):
        MultiTaskNeuralMixture(["regression", "binary"], **SMALL).fit(X, y)
    with pytest.raises(ValueError, match="Task 'price' has infinite labels"):
        MultiTaskNeuralMixture(TASKS, **SMALL).fit(X, y.assign(price=np.inf))
    with pytest.raises(ValueError, match=r"Task 'sold' has the label 'perhaps', which was not seen in fit"):
        fitted.score(X, y.assign(sold="perhaps"))
    with pytest.raises(ValueError, match="task='price' is not a classification task; available: sold, kind"):
        fitted.predict_proba(X, "price")
    with pytest.raises(ValueError, match="task_weights='loud' is unknown"):
        MultiTaskNeuralMixture(TASKS, task_weights="loud", **SMALL).fit(X, y)


@pytest.mark.parametrize(
    ("parameters", "y", "message"),
    [
        (
            {"tasks": "multiclass"},
            np.array(["a", 1] * 45, dtype=object),
            "labels of different types, such as 'a' and 1",
        ),
        ({"tasks": "multiclass"}, np.linspace(0, 1, 90), r"labels such as 0\.0 are not classes"),
        ({"tasks": None}, np.zeros(90), "tasks=None is invalid; give one kind"),
        ({}, pd.DataFrame(np.zeros((90, 2)), columns=["a", "a"]), "column names must be unique"),
        ({"n_experts": "auto"}, np.zeros(90), "n_experts='auto' is invalid; give an integer"),
        ({"task_weights": {"a": 1}}, np.zeros(90), "task_weights=.* is invalid; give 1 finite"),
        ({"task_weights": [0]}, np.zeros(90), "not all zero"),
        ({"tower": 0}, np.zeros(90), "tower=0 is invalid"),
        ({"hidden": "wide"}, np.zeros(90), "hidden='wide' is invalid"),
        ({"learning_rate": "fast"}, np.zeros(90), "learning_rate='fast' is invalid; give a finite number"),
        ({"weight_decay": -1.0}, np.zeros(90), r"weight_decay=-1\.0 is invalid; give a finite number"),
    ],
)
def test_invalid_parameters_are_rejected(three_columns, parameters, y, message):
    with pytest.raises(ValueError, match=message):
        MultiTaskNeuralMixture(**{"n_experts": 2, **BRIEF, **parameters}).fit(three_columns()[0], y)
