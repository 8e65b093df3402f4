"""Several tasks behind fit and predict: mixed kinds, missing labels, weights, and what is refused."""

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

torch = pytest.importorskip("torch", reason="the torch room needs torch")
pytest.importorskip("skorch", reason="learners are trained by skorch")

from metamix.nn import MultiTaskNeuralMixture, owned_and_shared  # noqa: E402
from metamix.nn.tasks import Task, TaskLoss  # noqa: E402

SMALL = {"hidden": 16, "expert_width": 8, "tower": 8, "max_epochs": 60, "random_state": 0}
TASKS = {"price": "regression", "sold": "binary", "kind": "multiclass"}


def table(n=400, seed=0):
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


def holes(y, seed=1):
    mask = np.random.default_rng(seed).random(y.shape) < 0.3
    return y.mask(mask), mask


@pytest.fixture(scope="module")
def fitted():
    X, y = table()
    return MultiTaskNeuralMixture(TASKS, 3, **SMALL).fit(X, holes(y)[0])


def test_tasks_of_three_kinds_with_missing_labels(fitted):
    X, y = table(seed=5)
    answers = fitted.predict(X)
    assert answers.shape == (len(X), 3)
    assert answers.dtype == object
    assert np.corrcoef(answers[:, 0].astype(float), y["price"])[0, 1] > 0.95
    assert np.mean(answers[:, 1] == y["sold"]) > 0.9
    assert np.mean(answers[:, 2] == y["kind"]) > 0.8
    assert fitted.score(X, y) > 0.85
    for name, C in (("sold", 2), ("kind", 3)):
        p = fitted.predict_proba(X, name)
        assert p.shape == (len(X), C)
        np.testing.assert_allclose(p.sum(1), 1)
    assert roc_auc_score(y["sold"] == "yes", fitted.predict_proba(X, 1)[:, 1]) > 0.97
    assert [p.shape[1] for p in fitted.predict_proba(X)] == [2, 3]


def test_gate_weights_are_of_each_task(fitted):
    weights = fitted.gate_weights(table()[0])
    assert weights.shape == (400, 3, 3)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    assert np.abs(weights[..., 0] - weights[..., 1]).max() > 1e-3


def test_what_stands_where_a_label_is_missing_does_not_matter():
    X, y = table(150)
    numbers = y["price"].to_numpy()[:, None] * [1.0, -1.0]
    numbers[::3, 1] = np.nan
    weight = np.ones_like(numbers)
    weight[::3, 1] = 0
    brief = {**SMALL, "max_epochs": 5}
    missing = MultiTaskNeuralMixture(n_experts=2, **brief).fit(X, numbers).predict(X)
    # A weight of zero for a row and a task is a missing label, whatever the label says.
    unweighted = MultiTaskNeuralMixture(n_experts=2, **brief).fit(X, np.nan_to_num(numbers, nan=1e6), weight)
    np.testing.assert_allclose(unweighted.predict(X), missing, rtol=1e-6)


def test_row_weights_choose_the_law():
    X, y = table(150)
    price = y["price"].to_numpy()
    doubled, target = np.vstack([X, X]), np.concatenate([price, -price])
    weight = np.repeat([1.0, 1e-6], 150)
    model = MultiTaskNeuralMixture(n_experts=2, **SMALL).fit(doubled, target[:, None], weight)
    assert np.corrcoef(model.predict(X)[:, 0], price)[0, 1] > 0.9


def test_one_target_without_a_second_axis():
    X, y = table(100)
    model = MultiTaskNeuralMixture("binary", 2, **{**SMALL, "max_epochs": 10}).fit(X, y["sold"].to_numpy())
    assert model.predict(X).shape == (100,)
    assert set(model.predict(X)) <= {"yes", "no"}


def test_fixed_weights_of_tasks():
    X, y = table(200)
    numbers = np.column_stack([y["price"], X[:, 3] ** 2])
    errors = []
    for weights in ([1.0, 0.0], [0.0, 1.0]):
        model = MultiTaskNeuralMixture(n_experts=2, task_weights=weights, **SMALL).fit(X, numbers)
        np.testing.assert_array_equal(model.task_weights_, weights)
        errors.append(np.mean((model.predict(X) - numbers) ** 2, axis=0) / numbers.var(axis=0))
    assert errors[0][0] < 0.1 < 0.5 < errors[1][0], "a task of weight zero is not learned"
    assert errors[1][1] < errors[0][1]


def test_weights_by_uncertainty_trust_the_task_without_noise():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3))
    y = np.column_stack([X[:, 0], rng.normal(size=300)])
    model = MultiTaskNeuralMixture(n_experts=2, task_weights="uncertainty", early_stopping=False, **SMALL).fit(X, y)
    assert model.task_weights_[0] > 2 * model.task_weights_[1]


def test_uncertainty_is_the_formula():
    tasks = [Task("a", "regression"), Task("b", "binary", np.array([0, 1]))]
    loss = TaskLoss(tasks, "uncertainty")
    with torch.no_grad():
        loss.log_variance.copy_(torch.tensor([0.3, -0.7]))
    y, weight = torch.tensor([[2.0, 1.0], [0.0, 0.0]]), torch.tensor([[0.5, 1.0], [1.5, 0.0]])
    a, b = torch.tensor([[1.0], [1.0]]), torch.tensor([[0.4], [9.0]])
    total = loss({"answers": [a, b], "auxiliary": torch.zeros(())}, {"y": y, "weight": weight})
    squared, entropy = (0.5 * 1 + 1.5 * 1) / 2, np.log1p(np.exp(-0.4))
    assert total.item() == pytest.approx(np.exp(-0.3) * squared / 2 + 0.15 + np.exp(0.7) * entropy - 0.35, rel=1e-5)


@pytest.mark.parametrize("weights", [[1.0, 2.0], "uncertainty"])
def test_a_batch_that_lacks_a_task_contributes_a_zero_with_a_graph(weights):
    loss = TaskLoss([Task("a", "regression"), Task("b", "regression")], weights)
    answers = [torch.ones(3, 1, requires_grad=True), torch.ones(3, 1, requires_grad=True)]
    given = {"y": torch.zeros(3, 2), "weight": torch.tensor([[1.0, 0.0]] * 3)}
    total = loss({"answers": answers, "auxiliary": torch.zeros(())}, given)
    total.backward()
    assert torch.equal(answers[1].grad, torch.zeros(3, 1)), "a zero, not None and not NaN"
    assert answers[0].grad.abs().sum() > 0
    if loss.log_variance is not None:
        assert loss.log_variance.grad[1] == 0, "nothing is learned about a task that is not there"
    empty = loss({"answers": answers, "auxiliary": torch.zeros(())}, given | {"weight": torch.zeros(3, 2)})
    assert empty.item() == 0
    assert empty.requires_grad


def test_owned_experts_are_seen_by_their_task_alone():
    X, y = table(100)
    visible, _ = owned_and_shared(2, owned=1, shared=1)
    numbers = np.column_stack([y["price"], X[:, 3]])
    model = MultiTaskNeuralMixture(n_experts=3, visible=visible, **{**SMALL, "max_epochs": 3}).fit(X, numbers)
    weights = model.gate_weights(X)
    assert (weights[:, 1, 0] == 0).all()
    assert (weights[:, 0, 1] == 0).all()


def test_a_fitted_learner_is_pickled(fitted):
    X, _ = table(30)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict(X), fitted.predict(X))


# --- bad input -----------------------------------------------------------------------


def test_a_task_without_labels_is_named():
    X, y = table(50)
    y["sold"] = None
    with pytest.raises(ValueError, match="Task 'sold' has no labels at all"):
        MultiTaskNeuralMixture(TASKS, **SMALL).fit(X, y)
    numbers = np.column_stack([X[:, 0], X[:, 1]])
    weight = np.column_stack([np.ones(50), np.zeros(50)])
    with pytest.raises(ValueError, match="Task 'task1' has no labels at all"):
        MultiTaskNeuralMixture(**SMALL).fit(X, numbers, weight)


def test_labels_that_do_not_fit_their_task(fitted):
    X, y = table(50)
    with pytest.raises(ValueError, match=r"Task 'kind' is binary and has the labels \['a', 'b', 'c'\]; two"):
        MultiTaskNeuralMixture({**TASKS, "kind": "binary"}, **SMALL).fit(X, y)
    with pytest.raises(ValueError, match="Task 'sold' is a regression, and its labels are no numbers"):
        MultiTaskNeuralMixture({**TASKS, "sold": "regression"}, **SMALL).fit(X, y)
    with pytest.raises(ValueError, match="Task 'price' is of kind 'number'"):
        MultiTaskNeuralMixture({**TASKS, "price": "number"}, **SMALL).fit(X, y)
    with pytest.raises(ValueError, match="tasks names 'cost', which is no column of y"):
        MultiTaskNeuralMixture({"cost": "regression"}, **SMALL).fit(X, y)
    with pytest.raises(ValueError, match="tasks has 2 kinds, y has 3 columns"):
        MultiTaskNeuralMixture(["regression", "binary"], **SMALL).fit(X, y)
    with pytest.raises(ValueError, match="Task 'price' has infinite labels"):
        MultiTaskNeuralMixture(TASKS, **SMALL).fit(X, y.assign(price=np.inf))
    with pytest.raises(ValueError, match=r"Task 'sold' has the label 'perhaps', which training had not"):
        fitted.score(X, y.assign(sold="perhaps"))
    with pytest.raises(ValueError, match="There is no task 'price' with classes; there is: sold, kind"):
        fitted.predict_proba(X, "price")
    with pytest.raises(ValueError, match="task_weights='loud' is unknown"):
        MultiTaskNeuralMixture(TASKS, task_weights="loud", **SMALL).fit(X, y)


# --- the synthetic table of Ma et al. ------------------------------------------------


def benchmark():
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("multitask", Path(__file__).resolve().parents[1] / "benchmarks" / "multitask.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_synthetic_tasks_are_the_published_ones():
    module = benchmark()
    for p in module.COSINES:
        u, v = module.directions(p, np.random.default_rng(0)).numpy().T
        assert u @ u == pytest.approx(1, abs=1e-5)
        assert u @ v == pytest.approx(p, abs=1e-5)
    x = torch.zeros(1, module.D)
    x[0, 0] = 1.0
    w = torch.zeros(module.D, 2)
    w[0] = torch.tensor([0.3, -2.0])
    for found, along in zip(module.targets(x, w, noise=0.0)[0].tolist(), (0.3, -2.0), strict=True):
        assert found == pytest.approx(along + sum(np.sin(i * along + (i - 1) ** 2) for i in range(1, 11)), abs=1e-4)
    sizes = [sum(p.numel() for p in module.build(model).parameters()) for model in module.MODELS]
    assert max(sizes) < 1.15 * min(sizes)


def test_networks_side_by_side_are_the_networks_one_by_one():
    module = benchmark()
    torch.manual_seed(0)
    models = [module.build("MMoE") for _ in range(2)]
    ensemble = module.Ensemble(models)
    x, y = torch.randn(2, 16, module.D), torch.randn(2, 16, 2)
    optimizers = [torch.optim.Adam(model.parameters(), module.RATE) for model in models]
    for _ in range(3):
        for s, model in enumerate(models):
            loss = (torch.cat(model(x[s]), 1) - y[s]).square().mean()
            optimizers[s].zero_grad()
            loss.backward()
            optimizers[s].step()
        ensemble.learn(x, y)
    alone = torch.stack([torch.cat(model(x[s]), 1) for s, model in enumerate(models)])
    torch.testing.assert_close(ensemble(x), alone, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_gates_of_their_own_help_tasks_that_differ():
    """The short form: a tenth of the columns, so fewer steps to learn; against the shared bottom it decides nothing."""
    module = benchmark()
    module.D = 10
    _, one, own = module.condition(0.5, seeds=4, steps=1200).mean(1)
    assert own < 0.9 * one
