"""NeuralMixtureRegressor: regimes, densities, objectives, units of y."""

import numpy as np
import pytest
from scipy import integrate, stats

torch = pytest.importorskip("torch", reason="metamix.nn needs torch")
skorch = pytest.importorskip("skorch", reason="the estimators of metamix.nn need skorch")

from metamix.nn import NeuralMixtureRegressor  # noqa: E402

# Few, large steps: the tests need a fit, not the best one.
SMALL = {"hidden": 16, "max_epochs": 40, "patience": 10, "batch_size": 64, "learning_rate": 0.01, "random_state": 0}
BRIEF = {"hidden": 8, "max_epochs": 4, "batch_size": 64, "random_state": 0}


@pytest.fixture(scope="module")
def fitted(two_lines):
    return NeuralMixtureRegressor(2, **{**SMALL, "max_epochs": 60}).fit(*two_lines())


def test_two_regimes_are_separated(fitted, two_lines):
    x, y = two_lines(seed=1)
    assert np.sqrt(np.mean((fitted.predict(x) - y) ** 2)) < 0.4 < y.std() / 5
    left = x[:, 0] < 0
    share = fitted.responsibilities(x, y)[:, fitted.assign([[-0.5]])[0]]
    assert share[left].mean() > 0.95
    assert share[~left].mean() < 0.05
    assert fitted.n_experts_ == 2


@pytest.mark.slow
def test_error_on_the_two_regimes_of_the_acceptance_cases(shared):
    """The required error on one seed; the benchmarks print five."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("cases", shared / "acceptance" / "cases.py")
    cases = module_from_spec(spec)
    spec.loader.exec_module(cases)
    X, y, X_test, y_test = cases.two_regimes(seed=1)
    model = NeuralMixtureRegressor(random_state=1).fit(X, y)
    assert model.n_experts_ == 2
    assert np.sqrt(np.mean((model.predict(X_test) - y_test) ** 2)) <= 0.72


@pytest.mark.parametrize("likelihood", ["gaussian", "laplace", "student_t"])
def test_the_density_integrates_to_one_and_gives_the_standard_deviation(two_lines, likelihood):
    x, y = two_lines(80)
    model = NeuralMixtureRegressor(2, likelihood=likelihood, start="random", **BRIEF).fit(x, 1e3 * y)
    at = np.linspace(-3e5, 3e5, 600_001)
    one = np.array([[0.05]])
    density = np.exp(model.log_prob(np.repeat(one, len(at), 0), at))
    assert integrate.trapezoid(density, at) == pytest.approx(1, abs=1e-3)
    mean = integrate.trapezoid(at * density, at)
    deviation = np.sqrt(integrate.trapezoid((at - mean) ** 2 * density, at))
    found, std = model.predict(one, return_std=True)
    assert found[0] == pytest.approx(mean, rel=1e-3, abs=1)
    assert std[0] == pytest.approx(deviation, rel=1e-2)


def test_density_responsibilities_and_mean_are_the_formulas(fitted, two_lines):
    x, y = two_lines(30, seed=2)
    g, f = fitted.gate_weights(x), fitted.predict_experts(x)
    scale = np.exp(fitted.network_.likelihood.log_scale.detach().numpy()) * fitted._y_scale
    p = g * stats.norm.pdf(y[:, None], f, scale)
    np.testing.assert_allclose(fitted.log_prob(x, y), np.log(p.sum(1)), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(fitted.responsibilities(x, y), p / p.sum(1, keepdims=True), atol=1e-4)
    mean, std = fitted.predict(x, return_std=True)
    np.testing.assert_allclose(mean, (g * f).sum(1), rtol=1e-5)
    np.testing.assert_allclose(std**2, (g * (scale**2 + f**2)).sum(1) - mean**2, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("gate", "top_k", "objective"),
    [
        ("softmax", 1, "likelihood"),
        ("softmax", 2, "cooperative"),
        ("noisy_top_k", 2, "likelihood"),
        ("noisy_top_k", 2, "cooperative"),
        ("static", None, "likelihood"),
    ],
)
def test_gates_and_objectives(two_lines, gate, top_k, objective):
    x, y = two_lines(150)
    model = NeuralMixtureRegressor(3, gate=gate, top_k=top_k, objective=objective, **SMALL).fit(x, y)
    weights = model.gate_weights(x)
    np.testing.assert_allclose(weights.sum(1), 1)
    assert ((weights > 0).sum(1) <= (top_k or 3)).all()
    assert model.score(x, y) > 0.6
    # A larger log density than that of a normal distribution fitted to y.
    assert model.log_prob(x, y).mean() > stats.norm.logpdf(y, y.mean(), y.std()).mean()


def test_predictions_are_equivariant_to_the_units_of_x_and_y(three_columns):
    X, y = three_columns()
    learner = NeuralMixtureRegressor(2, **BRIEF)
    plain = learner.fit(X, y).predict(X)
    for factor in (1e-150, 1e150):
        scaled = learner.fit(factor * X, factor * y).predict(factor * X)
        np.testing.assert_allclose(scaled / factor, plain, rtol=1e-6)


def test_a_constant_y_is_predicted(three_columns):
    X, _ = three_columns()
    y = np.full(len(X), 0.1)  # the floating-point mean of these is not 0.1
    mean, std = NeuralMixtureRegressor(2, **BRIEF).fit(X, y).predict(X, return_std=True)
    np.testing.assert_allclose(mean, 0.1, rtol=1e-5)
    assert (std < 1e-6).all()
