"""Neural mixtures behind fit and predict: regimes found, densities right, columns of any kind, bad input refused."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

torch = pytest.importorskip("torch", reason="the torch room needs torch")
skorch = pytest.importorskip("skorch", reason="learners are trained by skorch")

from sklearn.base import clone  # noqa: E402
from sklearn.metrics import log_loss  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

from metamix.nn import MultiTaskNeuralMixture, NeuralMixtureClassifier, NeuralMixtureRegressor  # noqa: E402
from metamix.progress import listen  # noqa: E402

SMALL = {"hidden": 16, "max_epochs": 40, "patience": 10, "random_state": 0}
# From chance: looking for regimes takes longer than these fits, and is tested below.
CHECKED = {"hidden": 8, "max_epochs": 20, "patience": 10, "random_state": 0}
# The density of y given x needs y; these two checks call every method they know with X alone. What they
# ask of the other methods is asked below, by test_rows_do_not_see_each_other.
NEEDS_Y = dict.fromkeys(
    ("check_methods_sample_order_invariance", "check_methods_subset_invariance"),
    "score_samples(X, y) is the log density of y given x; the check calls it without y",
)
BATCHES = {
    "check_sample_weight_equivalence_on_dense_data": "rows are held out and drawn in batches: a weight of two is "
    "a loss counted twice, in other batches than a row given twice"
}


def _expected(estimator):
    return BATCHES if isinstance(estimator, MultiTaskNeuralMixture) else {**NEEDS_Y, **BATCHES}


@pytest.mark.filterwarnings("ignore")  # the checks feed integers as floats, one row, one feature, on purpose
@parametrize_with_checks(
    [
        NeuralMixtureRegressor(2, start="random", **CHECKED),
        NeuralMixtureClassifier(2, start="random", **CHECKED),
        MultiTaskNeuralMixture(n_experts=2, expert_width=8, tower=4, **CHECKED),
    ],
    expected_failed_checks=_expected,
)
def test_estimator_checks(estimator, check):
    check(estimator)


def two_lines(n=240, seed=0):
    """One column, a law on each side of zero, noise 0.1."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n, 1))
    return x, np.where(x[:, 0] < 0, 3 * x[:, 0], 5 - 2 * x[:, 0]) + 0.1 * rng.standard_normal(n)


@pytest.fixture(scope="module")
def fitted():
    x, y = two_lines()
    return NeuralMixtureRegressor(2, **{**SMALL, "max_epochs": 80}).fit(x, y)


@pytest.fixture(scope="module")
def classes():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(300, 2))
    y = np.where(X[:, 0] * X[:, 1] > 0, "same", np.where(X[:, 0] > 1, "far", "other"))
    return NeuralMixtureClassifier(2, **{**SMALL, "max_epochs": 80}).fit(X, y), X, y


# --- regimes -------------------------------------------------------------------------


def test_regimes_are_found_and_told_apart(fitted):
    x, y = two_lines(seed=1)
    assert np.sqrt(np.mean((fitted.predict(x) - y) ** 2)) < 0.4 < y.std() / 5
    left = x[:, 0] < 0
    share = fitted.responsibilities(x, y)[:, fitted.assign([[-0.5]])[0]]
    assert share[left].mean() > 0.95
    assert share[~left].mean() < 0.05
    assert fitted.n_experts_ == 2


@pytest.mark.slow
def test_two_regimes_of_the_acceptance_cases(shared):
    """The number to reach, on one seed; benchmarks print the five."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("cases", shared / "acceptance" / "cases.py")
    cases = module_from_spec(spec)
    spec.loader.exec_module(cases)
    X, y, X_test, y_test = cases.two_regimes(seed=1)
    model = NeuralMixtureRegressor(random_state=1).fit(X, y)
    assert model.n_experts_ == 2
    assert np.sqrt(np.mean((model.predict(X_test) - y_test) ** 2)) <= 0.72


def test_a_start_from_labels_is_the_users_own():
    x, y = two_lines()
    labels = (x[:, 0] > 0).astype(int)
    model = NeuralMixtureRegressor(start=labels, **SMALL).fit(x, y)
    leads = model.assign(x)
    assert np.mean(leads == labels) > 0.97, "the first label is the first expert"
    with pytest.raises(ValueError, match=r"start has shape \(239,\)"):
        NeuralMixtureRegressor(start=labels[1:], **SMALL).fit(x, y)


# --- densities -----------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", ["gaussian", "laplace", "student_t"])
def test_the_density_integrates_to_one_and_gives_the_standard_deviation(likelihood):
    x, y = two_lines(80)
    model = NeuralMixtureRegressor(2, likelihood=likelihood, **{**SMALL, "max_epochs": 10}).fit(x, 1e3 * y)
    at = np.linspace(-3e5, 3e5, 600_001)
    one = np.array([[0.05]])
    density = np.exp(model.score_samples(np.repeat(one, len(at), 0), at))
    assert integrate.trapezoid(density, at) == pytest.approx(1, abs=1e-3)
    mean = integrate.trapezoid(at * density, at)
    deviation = np.sqrt(integrate.trapezoid((at - mean) ** 2 * density, at))
    found, spread = model.predict(one, return_std=True)
    assert found[0] == pytest.approx(mean, rel=1e-3, abs=1)
    assert spread[0] == pytest.approx(deviation, rel=1e-2)


def test_the_density_is_the_formula(fitted):
    x, y = two_lines(30, seed=2)
    g, f = fitted.gate_weights(x), fitted.predict_experts(x)
    scale = np.exp(fitted.network_.likelihood.log_scale.detach().numpy()) * np.std(f)  # not in the units of y yet
    unit = fitted.predict(x, return_std=True)[1]
    assert (unit > 0).all()
    scale = scale / np.std(f) * fitted._unit
    p = g * stats.norm.pdf(y[:, None], f, scale)
    np.testing.assert_allclose(fitted.score_samples(x, y), np.log(p.sum(1)), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(fitted.responsibilities(x, y), p / p.sum(1, keepdims=True), atol=1e-4)
    np.testing.assert_allclose(fitted.predict(x), (g * f).sum(1), rtol=1e-5)


def test_class_probabilities_are_those_of_the_mixture(classes):
    model, X, y = classes
    mixed = np.einsum("nk,nkc->nc", model.gate_weights(X), model.predict_experts(X))
    np.testing.assert_allclose(model.predict_proba(X), mixed, atol=1e-6)
    codes = np.searchsorted(model.classes_, y)
    np.testing.assert_allclose(model.score_samples(X, y), np.log(mixed[np.arange(len(y)), codes]), atol=1e-5)
    shares = model.gate_weights(X) * model.predict_experts(X)[np.arange(len(y)), :, codes]
    np.testing.assert_allclose(model.responsibilities(X, y), shares / shares.sum(1, keepdims=True), atol=1e-5)
    prior = np.unique(y, return_counts=True)[1] / len(y)
    assert log_loss(y, model.predict_proba(X)) < 0.6 * stats.entropy(prior)


# --- objectives and gates ------------------------------------------------------------


@pytest.mark.parametrize(("gate", "top_k"), [("softmax", 1), ("softmax", 2), ("noisy_top_k", 2), ("static", None)])
@pytest.mark.parametrize("objective", ["likelihood", "cooperative"])
def test_gates_and_objectives(gate, top_k, objective):
    x, y = two_lines(150)
    model = NeuralMixtureRegressor(3, gate=gate, top_k=top_k, objective=objective, **{**SMALL, "max_epochs": 60})
    model.fit(x, y)
    weights = model.gate_weights(x)
    np.testing.assert_allclose(weights.sum(1), 1)
    assert ((weights > 0).sum(1) <= (top_k or 3)).all()
    assert model.score(x, y) > 0.6
    assert np.isfinite(model.score_samples(x, y)).all()


def test_cooperative_classes_mix_logits():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 2))
    model = NeuralMixtureClassifier(2, objective="cooperative", **SMALL).fit(X, X[:, 0] > 0)
    log_p = np.log(model.predict_experts(X))
    mixed = np.exp(np.einsum("nk,nkc->nc", model.gate_weights(X), log_p))
    np.testing.assert_allclose(model.predict_proba(X), mixed / mixed.sum(1, keepdims=True), atol=1e-5)


# --- columns -------------------------------------------------------------------------


def mixed_frame(n=300):
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=n),
            "city": rng.choice(["Rome", "Oslo", "Bonn"], n),
            "open": rng.random(n) > 0.5,
            "sold": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 700, n), "D"),
        }
    )
    level = frame["city"].map({"Rome": 3.0, "Oslo": 0.0, "Bonn": -3.0})
    y = level + np.where(frame["open"], 1, -1) * frame["size"]
    frame.loc[::17, "size"] = np.nan
    frame.loc[5::31, "city"] = None
    return frame, y.to_numpy()


@pytest.mark.parametrize("numeric", ["standardise", "quantile", "piecewise"])
def test_frames_with_missing_values(numeric):
    frame, y = mixed_frame()
    model = NeuralMixtureRegressor(2, numeric=numeric, missing="impute", **SMALL).fit(frame, y)
    assert model.score(frame, y) > 0.75
    stranger = frame.head(3).assign(city="Paris")
    assert np.isfinite(model.predict(stranger)).all()


def test_piecewise_encoding_is_the_formula():
    from metamix.nn.embeddings import PiecewiseLinear

    edges = [np.array([0.0, 1.0, 3.0, 4.0]), np.array([-1.0, 1.0])]
    x = np.array([[-1.0, 0.0], [0.5, 2.0], [2.0, -2.0], [9.0, 0.0]])
    wanted = np.array(  # by hand: open below in the first piece, above in the last, 0 where a column has no such piece
        [
            [[-1, 0, 0], [0.5, 0, 0]],
            [[0.5, 0, 0], [1.5, 0, 0]],
            [[1, 0.5, 0], [-0.5, 0, 0]],
            [[1, 1, 6], [0.5, 0, 0]],
        ]
    )
    np.testing.assert_allclose(PiecewiseLinear(edges).pieces(torch.tensor(x, dtype=torch.float32)), wanted)


def test_a_step_is_easier_with_pieces():
    rng = np.random.default_rng(0)
    x = np.exp(3 * rng.normal(size=(300, 1)))
    y = np.sin(np.log(x[:, 0]) / 2)
    scores = {
        numeric: NeuralMixtureRegressor(1, numeric=numeric, **SMALL).fit(x, y).score(x, y)
        for numeric in ("standardise", "piecewise", "quantile")
    }
    assert scores["piecewise"] > scores["standardise"] + 0.2
    assert scores["quantile"] > scores["standardise"] + 0.2


# --- training ------------------------------------------------------------------------


def test_same_seed_same_answer_and_the_callers_numbers_are_left_alone():
    x, y = two_lines(80)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = NeuralMixtureRegressor(2, **SMALL).fit(x, y).predict(x)
    assert torch.equal(torch.rand(3), expected)
    np.testing.assert_array_equal(first, NeuralMixtureRegressor(2, **SMALL).fit(x, y).predict(x))
    other = NeuralMixtureRegressor(2, **{**SMALL, "random_state": 1}).fit(x, y).predict(x)
    assert not np.array_equal(first, other)


def test_rows_do_not_see_each_other(fitted, classes):
    x, _ = two_lines(20, seed=5)
    for method in (fitted.predict, fitted.gate_weights, fitted.predict_experts):
        alone = np.concatenate([method(row[None]) for row in x])
        np.testing.assert_allclose(method(x), alone, rtol=1e-4, atol=1e-5)
    model, X, _ = classes
    np.testing.assert_allclose(model.predict_proba(X)[::-7], model.predict_proba(X[::-7]), atol=1e-6)


def test_a_fitted_mixture_is_pickled_and_cloned(fitted):
    x, _ = two_lines(20)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(x), fitted.predict(x))
    assert not hasattr(clone(fitted), "network_")
    assert all(p.device.type == "cpu" for p in fitted.network_.parameters())


def test_training_stops_early_and_keeps_the_best_epoch():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 5)), rng.normal(size=60)
    model = NeuralMixtureRegressor(2, hidden=64, max_epochs=300, patience=5, random_state=0).fit(x, y)
    losses = model.history_["valid_loss"]
    assert len(losses) < 300
    assert model.best_epoch_ == losses.idxmin() + 1
    assert len(losses) == model.best_epoch_ + 5
    whole = NeuralMixtureRegressor(2, early_stopping=False, **SMALL).fit(x, y)
    assert len(whole.history_) == whole.best_epoch_ == SMALL["max_epochs"]
    assert "valid_loss" not in whole.history_


@pytest.mark.parametrize(("schedule", "falls"), [("cosine", True), (None, False)])
def test_the_learning_rate_falls_as_asked(schedule, falls):
    x, y = two_lines(60)
    seen = []

    class Watch(skorch.callbacks.Callback):
        def on_epoch_end(self, net, **more):
            seen.append(net.optimizer_.param_groups[-1]["lr"])

    NeuralMixtureRegressor(2, schedule=schedule, callbacks=[Watch()], **SMALL).fit(x, y)
    assert len(seen) > 5, "callbacks are skorch's"
    assert (seen[-1] < seen[0]) == falls


def test_epochs_are_told(capsys):
    x, y = two_lines(60)
    events = []
    with listen(events.append):
        NeuralMixtureRegressor(2, **{**SMALL, "max_epochs": 5}).fit(x, y)
    assert [event.done for event in events if event.kind == "round"] == [1, 2, 3, 4, 5]
    assert {"train_loss", "valid_loss"} <= set(events[-1].detail)
    assert capsys.readouterr() == ("", "")
    NeuralMixtureRegressor(2, verbose=1, **{**SMALL, "max_epochs": 2}).fit(x, y)
    assert capsys.readouterr().err.count("epoch") == 2


def test_weights_choose_the_law():
    x, y = two_lines(100)
    X2, y2 = np.vstack([x, x]), np.concatenate([y, -y])
    for first in (True, False):
        weight = np.where((np.arange(200) < 100) == first, 1.0, 0.0)
        model = NeuralMixtureRegressor(2, **SMALL).fit(X2, y2, sample_weight=weight)
        assert model.score(x, y if first else -y) > 0.9


# --- bad input -----------------------------------------------------------------------


@pytest.mark.parametrize("learner", [NeuralMixtureRegressor, NeuralMixtureClassifier])
def test_targets_and_columns_that_are_not_finite(learner):
    x, y = two_lines(40)
    target = y if learner is NeuralMixtureRegressor else (y > 0).astype(float)
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match=r"contains (NaN|infinity)"):
            learner(2, **SMALL).fit(x, np.where(np.arange(40) == 3, bad, target))
    with pytest.raises(ValueError, match="infinity"):
        learner(2, **SMALL).fit(np.where(x > 0.9, np.inf, x), target)
    model = learner(2, **{**SMALL, "max_epochs": 2}).fit(x, target)
    with pytest.raises(ValueError, match="infinity"):
        model.predict([[np.inf]])
    with pytest.raises(ValueError, match="contains NaN or None in x0"):
        model.predict([[np.nan]])
    model = learner(2, missing="impute", **{**SMALL, "max_epochs": 2}).fit(x, target)
    assert model.predict([[np.nan]]).shape == (1,), "the median of what was learned from"


def test_missing_values_are_imputed_only_where_that_was_asked_for():
    frame, y = mixed_frame()
    with pytest.raises(ValueError, match=r"NaN or None in size, city, and a gate .* set missing='impute'"):
        NeuralMixtureRegressor(2, **SMALL).fit(frame, y)
    complete = frame.assign(size=frame["size"].fillna(0), city=frame["city"].fillna("none"))
    model = NeuralMixtureRegressor(2, **{**SMALL, "max_epochs": 2}).fit(complete, y)
    for column, value in {"size": np.nan, "city": None, "sold": pd.NaT}.items():
        with pytest.raises(ValueError, match=f"NaN or None in {column}, and"):
            model.predict(complete.head(3).assign(**{column: [value] * 3}))
    with pytest.raises(ValueError, match="NaN or None in nothing"):
        NeuralMixtureRegressor(2, **SMALL).fit(complete.assign(nothing=None), y)


def test_labels_of_a_class_that_training_had_not(classes):
    model, X, _ = classes
    with pytest.raises(ValueError, match="the label 'new', which training had not; known"):
        model.score_samples(X[:2], ["same", "new"])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"objective": "best"}, "objective='best' is unknown"),
        ({"likelihood": "beta"}, "likelihood='beta' is unknown"),
        ({"numeric": "ranks"}, "numeric='ranks' is unknown"),
        ({"start": "lucky"}, "start='lucky' is unknown"),
        ({"schedule": "fast"}, "schedule='fast' is unknown"),
        ({"n_experts": 0}, "n_experts=0 is no whole number"),
        ({"n_experts": 2, "top_k": 5}, "top_k"),
        ({"validation_fraction": 1.5}, "validation_fraction"),
        ({"device": "gpu"}, "device='gpu' is unknown"),
    ],
)
def test_parameters_that_are_none_of_the_choices(parameters, message):
    x, y = two_lines(40)
    with pytest.raises(ValueError, match=message):
        NeuralMixtureRegressor(**{"n_experts": 2, **SMALL, **parameters}).fit(x, y)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_that_is_absent():
    x, y = two_lines(40)
    with pytest.raises(ValueError, match="Available: cpu"):
        NeuralMixtureRegressor(device="cuda").fit(x, y)


def test_a_loss_that_leaves_the_numbers_says_what_to_do():
    x, y = two_lines(60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=r"The loss became .* lower learning_rate"):
            NeuralMixtureRegressor(2, learning_rate=1e30, **SMALL).fit(x, y)
