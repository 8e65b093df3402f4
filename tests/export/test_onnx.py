"""Mixtures as ONNX: onnxruntime predicts what the mixture predicts, up to the rounding of 32-bit floats."""

import logging
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from sklearn.base import ClassifierMixin
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import TimeSeriesSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from metamix import MixtureClassifier, MixtureRegressor, make_regimes, registry, to_onnx
from metamix.export import ExportError
from metamix.gates import ForestGate, SoftmaxGate

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnx", reason="onnx is not installed: metamix[onnx]")

pytestmark = pytest.mark.slow

# What has no ONNX form: the error names it.
WITHOUT = {("classifiers", "svm"), ("classifiers", "gaussian_process")}
WITHOUT |= {(kind, "boosting") for kind in ("regressors", "classifiers")}
NEEDS = {
    "xgboost": "onnxmltools",
    "lightgbm": "onnxmltools",
    "mlp": "skl2onnx",
    "naive_bayes": "skl2onnx",
    "svm": "skl2onnx",
    "torch_mlp": "onnxscript",
}
EXPERTS = [
    (row.kind, row.name)
    for row in registry.describe()
    if row.kind in ("regressors", "classifiers") and row.distribution in ("metamix", "metamix-catboost")
]


def run(model, X):
    """Outputs of a model by name."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(None, {"X": np.asarray(X, dtype=np.float32)}), strict=True))


def agrees(mixture, X):
    found = run(to_onnx(mixture), X)
    if isinstance(mixture, MixtureRegressor):
        expected = mixture.predict(X)
        assert np.abs(found["prediction"] - expected).max() <= 1e-4 * max(1.0, np.abs(expected).max())
    else:
        expected = mixture.predict_proba(X)
        assert np.abs(found["probabilities"] - expected).max() <= 1e-4
        sure = np.sort(expected, axis=1)[:, -2:] @ [-1, 1] > 1e-3
        np.testing.assert_array_equal(found["label"][sure], mixture.predict(X)[sure])


@pytest.fixture(scope="module")
def table():
    """Numbers that 32-bit floats hold exactly, since others may lie on the other side of a split of a tree."""
    X, y = make_regimes(160, n_regimes=2, random_state=0)
    return X.astype(np.float32).astype(np.float64), y


@pytest.fixture(scope="module")
def gaps(table):
    """The same with missing values."""
    X = table[0].copy()
    X[np.random.default_rng(0).random(X.shape) < 0.1] = np.nan
    return X, table[1]


@pytest.mark.parametrize(("kind", "name"), EXPERTS, ids=["-".join(one) for one in EXPERTS])
def test_every_expert_agrees_or_is_named(gaps, kind, name):
    X, y = gaps
    for library in ("skorch" if name == "torch_mlp" else name, NEEDS.get(name)):
        if library in ("xgboost", "lightgbm", "catboost", "skorch", "skl2onnx", "onnxmltools", "onnxscript"):
            pytest.importorskip(library)
    make, y = (MixtureRegressor, y) if kind == "regressors" else (MixtureClassifier, np.digitize(y, [-1, 1]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of optimisers that stop early, and of the converters
        expert = getattr(registry, kind)[name](**({"max_epochs": 1} if name == "torch_mlp" else {}))
        mixture = make([(name, expert)], specialize=True, cv=None, random_state=0, on_error="raise").fit(X, y)
        if (kind, name) in WITHOUT:
            with pytest.raises(ExportError, match=f"the expert '{name}' .* cannot be written as ONNX"):
                to_onnx(mixture)
        else:
            agrees(mixture, X)


@pytest.mark.parametrize(
    "gate",
    [
        "constant",
        "online",
        "softmax",
        SoftmaxGate(degree=2, penalty=0.01),
        "gmm",
        "tree",
        ForestGate(n_estimators=20),
        "neural",
    ],
    ids=str,
)
@pytest.mark.parametrize("top_k", [None, 1])
def test_every_gate_agrees(gaps, gate, top_k):
    X, y = gaps
    if gate == "neural":
        pytest.importorskip("skorch")
        pytest.importorskip("onnxscript")
    cv = TimeSeriesSplit(2) if gate == "online" else 2
    mixture = MixtureRegressor(
        ["linear"] * 3, specialize=True, gate=gate, top_k=top_k, start=np.arange(len(y)) % 3, cv=cv, random_state=0
    )
    mixture.fit(X, y)
    weights = mixture.gate_weights(X)
    largest = np.sort(mixture._fitted.targets[0].gate.predict_proba(mixture._fitted.features.base(X)), axis=1)
    sure = slice(None) if top_k is None or np.ptp(largest) == 0 else largest[:, -1] - largest[:, -2] > 1e-4
    assert np.allclose(weights.sum(axis=1), 1)
    agrees(mixture, X[sure])


@pytest.mark.parametrize("features", ["predictions", "both", [0, 2], SimpleImputer()], ids=str)
def test_what_gates_look_at(table, features):
    X, y = table
    mixture = MixtureRegressor(
        ["linear", "linear"], specialize=True, gate=SoftmaxGate(penalty=0.01), gate_features=features, cv=2,
        start=np.arange(len(y)) % 2, random_state=0,
    )  # fmt: skip
    agrees(mixture.fit(X, y), X)


def weigh(mixture, name, gated=False):
    """A blend that is one of its columns, or the gate over them."""
    target, weights = mixture._fitted.targets[0], np.zeros(len(mixture._fitted.names))
    if not gated:
        weights[mixture._fitted.names.index(name)] = 1.0
    object.__setattr__(target, "constant_weights", weights)
    object.__setattr__(target, "gate_share", float(gated))
    return mixture


@pytest.fixture(scope="module")
def blends(gaps):
    """Of numbers and of classes, fitted to noise and a line, which leaves the mixture one regime."""
    X, _ = gaps
    y = np.nan_to_num(X[:, 0]) + np.random.default_rng(1).normal(size=len(X))
    common = {"cv": 2, "random_state": 0, "gate": "softmax"}
    return (
        MixtureRegressor(["ridge", "extra_trees"], **common).fit(X, y),
        MixtureClassifier(["logistic", "tree"], **common).fit(
            X, np.array(["low", "high", "top"])[np.digitize(y, [0, 1])]
        ),
    )


@pytest.mark.parametrize("which", [0, 1], ids=["numbers", "classes"])
def test_every_column_of_a_blend_agrees(blends, gaps, which):
    mixture = blends[which]
    agrees(mixture, gaps[0])
    names = list(mixture._fitted.names)
    assert {"mixture", "stack", "mean"} < set(names)
    for name in names:
        agrees(weigh(mixture, name), gaps[0])
    agrees(weigh(mixture, None, gated=True), gaps[0])


def test_a_final_estimator_fold_models_and_counts(table):
    X, y = table
    own = MixtureRegressor(
        ["ridge", "linear"], specialize=False, final_estimator=LinearRegression(), cv=2, random_state=0
    )
    agrees(weigh(own.fit(X, y), "stack"), X)
    folds = MixtureRegressor(["ridge", "linear"], specialize=False, refit=False, cv=2, random_state=0)
    agrees(folds.fit(X, y), X)
    counts = MixtureRegressor(["linear"], specialize=True, likelihood="poisson", cv=None)
    agrees(counts.fit(X, np.abs(y).round()), X)


def test_estimators_of_the_users_and_mixtures_as_experts(table):
    X, y = table
    inner = MixtureRegressor(["ridge", "linear"], specialize=False, cv=2, random_state=0)
    experts = [("inner", inner), make_pipeline(SimpleImputer(), RandomForestRegressor(5, random_state=0))]
    agrees(MixtureRegressor(experts, specialize=False, cv=2, random_state=0).fit(X, y), X)
    classes = MixtureClassifier([RandomForestClassifier(5, random_state=0)], specialize=True, cv=None, random_state=0)
    agrees(classes.fit(X, y > 0), X)


@pytest.fixture(scope="module")
def nn():
    pytest.importorskip("skorch")
    pytest.importorskip("onnxscript")
    return pytest.importorskip("metamix.nn")


def agrees_as_expert(model, X, y):
    make = MixtureClassifier if isinstance(model, ClassifierMixin) else MixtureRegressor
    agrees(make([("network", model)], specialize=True, cv=None, random_state=0).fit(X, y), X)


@pytest.mark.parametrize("settings", [{}, {"objective": "cooperative"}, {"numeric": "piecewise"}], ids=str)
def test_networks_of_several_experts(nn, gaps, settings):
    agrees_as_expert(nn.NeuralMixtureRegressor(3, hidden=8, max_epochs=2, missing="impute", **settings), *gaps)


@pytest.mark.parametrize("objective", ["likelihood", "cooperative"])
def test_networks_of_classes(nn, table, objective):
    labels = np.array(["low", "high", "top"])[np.digitize(table[1], [-1, 1])]
    agrees_as_expert(nn.NeuralMixtureClassifier(2, hidden=8, max_epochs=2, objective=objective), table[0], labels)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"numeric": "quantile"},
            r"the expert 'network' \(NeuralMixture.*: numeric='quantile' has no",
        ),
        ({"top_k": 1}, r"the expert 'network' .*: the gate \(SoftmaxGate\) selects top_k=1 experts"),
        ({"gate": "noisy_top_k"}, r"the expert 'network' .*: the gate \(NoisyTopKGate\) selects top_k=2 experts"),
    ],
    ids=["quantile", "top_k", "noisy_top_k"],
)
def test_networks_that_cannot_be_written_say_why(nn, table, settings, message):
    model = nn.NeuralMixtureRegressor(2, hidden=8, max_epochs=1, **settings)
    mixture = MixtureRegressor([("network", model)], specialize=True, cv=None, random_state=0).fit(*table)
    with pytest.raises(ExportError, match=message):
        to_onnx(mixture)


def test_columns_that_had_no_values_stay_zero(nn, table):
    X, y = table
    empty = X.copy()
    empty[:, 1] = np.nan
    network = nn.NeuralMixtureRegressor(2, hidden=4, max_epochs=1, start="random", missing="impute")
    for expert in ("kriging", network):
        mixture = MixtureRegressor([("one", expert)], specialize=True, cv=None, random_state=0)
        agrees(mixture.fit(empty, y), 5 * X)


@pytest.mark.parametrize("expert", ["ridge", "kriging", "neighbours", make_pipeline(LinearRegression())], ids=str)
def test_columns_far_from_zero(table, expert):
    X = (table[0] + 1e6).astype(np.float32).astype(np.float64)
    agrees(MixtureRegressor([expert], specialize=True, cv=None, random_state=0).fit(X, table[1]), X)


@pytest.mark.parametrize("gate", ["softmax", SoftmaxGate(degree=2, penalty=0.01), "gmm"], ids=str)
def test_gates_of_columns_far_from_zero(table, gate):
    X = (table[0] + 1e6).astype(np.float32).astype(np.float64)
    mixture = MixtureRegressor(
        ["linear", "ridge"], specialize=True, gate=gate, start=np.arange(len(X)) % 2, cv=2, random_state=0
    )
    agrees(mixture.fit(X, table[1]), X)


def test_networks_of_columns_far_from_zero(nn, table):
    X = (table[0] + 1e6).astype(np.float32).astype(np.float64)
    agrees_as_expert(nn.NeuralMixtureRegressor(2, hidden=4, max_epochs=1, start="random"), X, table[1])


def test_networks_are_written_whatever_torch_is_set_to(nn, table):
    torch = pytest.importorskip("torch")
    model = nn.NeuralMixtureRegressor(2, hidden=4, max_epochs=1, start="random")
    mixture = MixtureRegressor([("network", model)], specialize=True, cv=None, random_state=0).fit(*table)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"), torch.autocast("cpu"):
            written = to_onnx(mixture)
    finally:
        torch.set_default_dtype(torch.float32)
    expected = mixture.predict(table[0])
    assert np.abs(run(written, table[0])["prediction"] - expected).max() <= 1e-4 * np.abs(expected).max()


def test_networks_are_written_by_two_threads(nn, table):
    model = nn.NeuralMixtureRegressor(2, hidden=4, max_epochs=1, start="random", random_state=0).fit(*table)
    torch_log, filters = logging.getLogger("torch"), list(warnings.filters)
    level = torch_log.level
    with ThreadPoolExecutor(2) as pool:
        written = [one.result().graph for one in [pool.submit(model.__metamix_onnx__) for _ in range(2)]]
    assert len(written[0].node) == len(written[1].node)
    assert torch_log.level == level
    assert list(warnings.filters) == filters


def test_what_torch_cannot_trace_is_said_in_one_line(nn, table):
    torch = pytest.importorskip("torch")

    class Branch(torch.nn.Module):
        def forward(self, x):
            return torch.eye(2)[[0] * len(x) if x[0, 0] > 0 else [1] * len(x)]

    model = nn.NeuralMixtureRegressor(2, hidden=4, max_epochs=1, start="random", gate=Branch())
    mixture = MixtureRegressor([("network", model)], specialize=True, cv=None, random_state=0).fit(*table)
    with pytest.raises(ExportError, match=r"the expert 'network' .*: torch's exporter fails, [^\n\x1b]*$"):
        to_onnx(mixture)


def test_a_file_is_written_and_nothing_where_a_part_cannot_be(table, tmp_path):
    X, y = table
    onnx = pytest.importorskip("onnx")
    mixture = MixtureRegressor(["ridge"], specialize=True, cv=None).fit(X, y)
    to_onnx(mixture, tmp_path / "a.onnx")
    np.testing.assert_allclose(
        run(onnx.load(tmp_path / "a.onnx"), X)["prediction"], mixture.predict(X), rtol=1e-4, atol=1e-4
    )
    steps = make_pipeline(FunctionTransformer(np.sin), LinearRegression())
    for expert, message in [
        (("sine", steps), "the expert 'sine' has the step FunctionTransformer"),
        (
            ("stages", GradientBoostingRegressor(n_estimators=3)),
            r"the expert 'stages' \(GradientBoostingRegressor\) cannot",
        ),
    ]:
        with pytest.raises(ExportError, match=message):
            to_onnx(MixtureRegressor([expert], specialize=True, cv=None).fit(X, y), tmp_path / "b.onnx")
    assert [one.name for one in tmp_path.iterdir()] == ["a.onnx"]


def test_categories_several_targets_and_other_gates_are_named(table):
    X, y = table
    frame = pd.DataFrame({"a": X[:, 0], "city": np.where(X[:, 1] > 0, "Rome", "Oslo")})
    with pytest.raises(ExportError, match=r"the expert 'ridge' encodes columns of text.*'city=Oslo'"):
        to_onnx(MixtureRegressor(["ridge"], specialize=True, cv=None).fit(frame, y))
    with pytest.raises(ExportError, match="the mixture has 2 targets"):
        to_onnx(MixtureRegressor(["ridge"], specialize=True, cv=None).fit(X, np.column_stack([y, -y])))
    mixture = MixtureRegressor(
        ["linear"] * 2, specialize=True, gate="neighbours", cv=2, start=np.arange(len(y)) % 2, random_state=0
    )
    with pytest.raises(ExportError, match=r"the gate \(NeighboursGate\) cannot be written as ONNX"):
        to_onnx(mixture.fit(X, y))
