"""NeuralGate, torch_mlp experts and FrozenExpert."""

import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="metamix.nn needs torch")
pytest.importorskip("skorch", reason="the estimators of metamix.nn need skorch")

from sklearn.base import clone  # noqa: E402
from sklearn.ensemble import ExtraTreesRegressor  # noqa: E402
from sklearn.linear_model import LinearRegression, LogisticRegression  # noqa: E402
from torch import nn  # noqa: E402

from metamix import registry  # noqa: E402
from metamix.gates import ConstantGate, SoftmaxGate  # noqa: E402
from metamix.nn import FrozenExpert, MoE, NeuralGate  # noqa: E402
from metamix.nn.parts import torch_mlp_classifier, torch_mlp_regressor  # noqa: E402
from metamix.testing import check_expert, check_gate  # noqa: E402
from metamix.training.losses import LogScore, SquaredError  # noqa: E402

BRIEF = {"hidden": 16, "max_epochs": 15, "patience": 8, "batch_size": 64, "learning_rate": 0.02}
CASES = [
    *(("gate", name, check) for name, check in check_gate(NeuralGate(hidden=4))),
    *(("regressor", name, check) for name, check in check_expert(torch_mlp_regressor(**BRIEF))),
    *(("classifier", name, check) for name, check in check_expert(torch_mlp_classifier(**BRIEF))),
]


@pytest.mark.parametrize("check", [case[2] for case in CASES], ids=["-".join(case[:2]) for case in CASES])
def test_contract(check):
    check()


def test_parts_are_registered_by_name():
    assert isinstance(registry.gates["neural"](), NeuralGate)
    assert registry.regressors["torch_mlp"](hidden=7).hidden == 7
    assert registry.classifiers["torch_mlp"](hidden=7).n_experts == 1


def test_metamix_and_its_registry_do_not_load_torch():
    code = "import sys, metamix; metamix.MixtureRegressor, list(metamix.registry.gates); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# --- the neural gate -----------------------------------------------------------------


def inside_and_outside(n=300):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 2))
    inside = np.abs(X[:, :1]) < 0.7
    return X, np.hstack([inside, ~inside]).astype(float)


def cross_entropy(gate, X, labels):
    return -(labels * np.log(gate.predict_proba(X))).sum(1).mean()


def test_without_hidden_units_it_equals_the_softmax_gate():
    X, _ = inside_and_outside()
    logits = np.column_stack([X @ [1.0, -0.5], X @ [0.0, 0.8], np.zeros(len(X))])
    labels = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    weight = np.linspace(0.1, 2.0, len(X))
    for penalty in (0.1, 0.003):
        ours = NeuralGate(hidden=0, penalty=penalty).fit(X, labels, weight)
        linear = SoftmaxGate(penalty=penalty).fit(X, labels, weight)
        np.testing.assert_allclose(ours.predict_proba(X), linear.predict_proba(X), atol=1e-4)


def test_nonlinear_regimes_are_learned():
    X, labels = inside_and_outside()
    held_X, held = (values[300:] for values in inside_and_outside(900))
    neural = cross_entropy(NeuralGate(penalty=1e-3).fit(X, labels), held_X, held)
    assert neural < 0.5 * cross_entropy(SoftmaxGate(penalty=1e-3).fit(X, labels), held_X, held)


def test_an_infinite_penalty_gives_constant_weights():
    X, labels = inside_and_outside()
    gate = NeuralGate(penalty=np.inf).fit(X, labels)
    constant = ConstantGate().fit(X, labels).predict_proba(X)
    np.testing.assert_allclose(gate.predict_proba(X), constant, atol=1e-9)
    strong = NeuralGate(penalty=1e6).fit(X, labels).predict_proba(X)
    np.testing.assert_allclose(strong, constant, atol=1e-3)


def test_a_path_reaches_the_loss_of_single_fits():
    X, labels = inside_and_outside()
    gates = NeuralGate().fit_path(X, labels, [np.inf, 0.1, 0.003])
    losses = [cross_entropy(gate, X, labels) for gate in gates]
    assert losses[0] > losses[1] > losses[2]
    assert [gate.penalty for gate in gates] == [np.inf, 0.1, 0.003]
    alone = NeuralGate(penalty=0.003).fit(X, labels)
    assert cross_entropy(alone, X, labels) == pytest.approx(losses[2], rel=0.1)


@pytest.mark.parametrize("unit", [1.0, 1e6])
def test_fit_objective_with_squared_error(unit):
    X, labels = inside_and_outside()
    answers = np.column_stack([X[:, 1], -X[:, 1]]) * unit
    y = np.where(labels[:, 0] > 0, answers[:, 0], answers[:, 1])
    gate = NeuralGate(penalty=1e-4).fit_objective(X, SquaredError(y, answers), start=[0.5, 0.5])
    error = np.mean((y - (gate.predict_proba(X) * answers).sum(1)) ** 2)
    assert error < 0.1 * np.mean((y - answers.mean(1)) ** 2)


def test_fit_objective_with_log_score_equals_fit():
    """With experts of probability 0 or 1 the log score is the cross-entropy of the labels."""
    X, labels = inside_and_outside()
    objective = LogScore(np.log(np.clip(labels, 1e-12, 1)))
    by_objective = NeuralGate(hidden=0, penalty=0.0, max_iter=500).fit_objective(X, objective, start=[0.5, 0.5])
    by_labels = NeuralGate(hidden=0, penalty=0.0, max_iter=500).fit(X, labels)
    np.testing.assert_allclose(by_objective.predict_proba(X), by_labels.predict_proba(X), atol=2e-3)


def test_rows_of_weight_zero_may_have_a_nan_loss():
    X, _ = inside_and_outside()
    answers = np.column_stack([X[:, 1], -X[:, 1]])
    y = answers[:, 0].copy()
    y[:10] = np.nan
    weight = np.where(np.arange(len(y)) < 10, 0.0, 1.0)
    gate = NeuralGate().fit_objective(X, SquaredError(y, answers), [0.5, 0.5], weight)
    assert gate.predict_proba(X)[10:, 0].mean() > 0.7


def test_invalid_arguments_are_rejected():
    X, labels = inside_and_outside()
    with pytest.raises(ValueError, match="fit_objective needs start"):
        NeuralGate().fit_objective(X, SquaredError(X[:, 0], X))
    with pytest.raises(ValueError, match="penalty='much' is invalid"):
        NeuralGate(penalty="much").fit(X, labels)
    with pytest.raises(ValueError, match=r"responsibilities of shape \(300, 2\) for 299 rows"):
        NeuralGate().fit(X[1:], labels)
    with pytest.raises(ValueError, match="NaN"):
        NeuralGate().fit(np.where(X > 2, np.nan, X), labels)
    assert clone(NeuralGate(hidden=3)).hidden == 3


def test_parts_in_a_mixture_regressor():
    from metamix import MixtureRegressor

    X = np.random.default_rng(0).normal(size=(150, 2))
    y = np.where(np.abs(X[:, 0]) < 0.7, 3 * X[:, 1], -3 * X[:, 1])
    experts = [("line", LinearRegression()), ("net", torch_mlp_regressor(**BRIEF))]
    mixture = MixtureRegressor(
        experts, gate=NeuralGate(hidden=8, penalty=0.003), cv=2, specialize=False, random_state=0
    )
    again = clone(mixture).fit(X, y)
    np.testing.assert_array_equal(mixture.fit(X, y).predict(X), again.predict(X))


def test_a_saved_mixture_with_torch_parts_needs_no_untrusted_types(tmp_path):
    from metamix import MixtureRegressor, load, save
    from metamix.persistence import untrusted_types

    X, labels = inside_and_outside(120)
    y = np.where(labels[:, 0] > 0, X[:, 1], -X[:, 1])
    mixture = MixtureRegressor(
        ["ridge", ("net", torch_mlp_regressor(**BRIEF))], gate=NeuralGate(hidden=4), cv=2, specialize=False
    ).fit(X, y)
    save(mixture, tmp_path / "torch.mix")
    assert not untrusted_types(tmp_path / "torch.mix")
    np.testing.assert_array_equal(load(tmp_path / "torch.mix").predict(X), mixture.predict(X))


# --- a fitted expert in a torch mixture ----------------------------------------------


def test_a_frozen_expert_is_not_trained():
    X = np.random.default_rng(0).normal(size=(50, 2))
    line = LinearRegression().fit(X, X @ [1.0, 2.0] + 3)
    layer = MoE(2, [FrozenExpert(line), nn.Linear(2, 1)])
    x = torch.tensor(X, dtype=torch.float32)
    np.testing.assert_allclose(layer.experts[0](x)[:, 0], line.predict(X), rtol=1e-5)
    before = line.coef_.copy()
    optimizer = torch.optim.Adam(layer.parameters(), 0.05)
    wanted = torch.tensor(line.predict(X), dtype=torch.float32)
    losses = []
    for _ in range(60):
        loss = (layer(x)[:, 0] - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0], "the gate learns to select it"
    np.testing.assert_array_equal(line.coef_, before)
    assert not list(layer.experts[0].parameters())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # torch's own, at a graph break
def test_torch_compile_with_a_frozen_expert():
    torch.compiler.reset()
    X = np.random.default_rng(0).normal(size=(50, 2))
    trees = ExtraTreesRegressor(5, random_state=0).fit(X, X[:, 0])
    layer = MoE(2, [FrozenExpert(trees), nn.Linear(2, 1)])
    x = torch.tensor(X, dtype=torch.float32)
    compiled = torch.compile(layer, backend="aot_eager")
    torch.testing.assert_close(compiled(x), layer(x))
    gradients = [torch.autograd.grad(f(x).sum(), layer.parameters()) for f in (compiled, layer)]
    torch.testing.assert_close(*gradients)


def test_a_frozen_classifier_returns_log_probabilities():
    X = np.random.default_rng(0).normal(size=(60, 2))
    fitted = LogisticRegression().fit(X, X[:, 0] > 0)
    answers = FrozenExpert(fitted)(torch.tensor(X, dtype=torch.float64))
    assert answers.dtype == torch.float64
    np.testing.assert_allclose(torch.softmax(answers, 1), fitted.predict_proba(X), atol=1e-5)


def test_a_frozen_expert_must_be_fitted():
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        FrozenExpert(LinearRegression())
