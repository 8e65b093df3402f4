"""Fitted mixtures predict from many threads at once as they do from one."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pandas as pd
import pytest

from metamix import MixtureClassifier, MixtureRegressor, load, make_regimes, registry, save

N_THREADS = 16
POOLS = {
    "boosted": ["ridge", "lightgbm", "xgboost"],
    "trees": ["linear", "extra_trees", "kriging"],
    "network": ["ridge", "torch_mlp"],
    "boosted classes": ["logistic", "lightgbm", "xgboost"],
    "other classes": ["naive_bayes", "extra_trees", "gaussian_process"],
    "network for classes": ["logistic", "torch_mlp"],
}
NEEDED = {"lightgbm": "lightgbm", "xgboost": "xgboost", "torch_mlp": "torch"}
#: Instead of hundreds of rounds and epochs.
SMALL = {"n_estimators": 15, "max_epochs": 15}
TRUSTED = {
    "lightgbm": ["{0}.sklearn.LGBM{1}", "{0}.basic.Booster"],
    "xgboost": ["{0}.sklearn.XGB{1}", "{0}.core.Booster"],
}

# While forests predict, scikit-learn changes the warning filters, which belong to the whole process: among threads
# scikit-learn 1.9 warns of itself.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning")]


def small(name, classes):
    """A part by name, with few rounds or epochs."""
    part = (registry.classifiers if classes else registry.regressors)[name]()
    found = {key: SMALL[last] for key in part.get_params() if (last := key.rpartition("__")[2]) in SMALL}
    return name, part.set_params(**found)


def methods(mixture):
    """Names of the methods, and how each is called."""
    named = {"gate_weights": mixture.gate_weights, "predict": mixture.predict}
    if isinstance(mixture, MixtureClassifier):
        return named | {"predict_proba": mixture.predict_proba}
    return named | {
        "predict_interval": mixture.predict_interval,
        "predict with deviation": lambda X: np.column_stack(mixture.predict(X, return_std=True)),
    }


def all_at_once(mixture, parts):
    """Predictions by each method, a thread for each part; threads start together, neighbours with another method."""
    called = list(methods(mixture).items())
    start = Barrier(N_THREADS)

    def work(number):
        start.wait()
        turned = called[number % len(called) :] + called[: number % len(called)]
        return {name: method(parts[number]) for name, method in turned}

    with ThreadPoolExecutor(N_THREADS) as pool:
        return list(pool.map(work, range(N_THREADS)))


def one_by_one(mixture, parts):
    return [{name: method(part) for name, method in methods(mixture).items()} for part in parts]


def assert_same_bits(found, expected):
    for of_thread, wanted in zip(found, expected, strict=True):
        assert of_thread.keys() == wanted.keys()
        for name, answer in wanted.items():
            np.testing.assert_array_equal(of_thread[name], answer, err_msg=name)


@pytest.fixture
def saved_and_loaded(tmp_path):
    def reopened(mixture, trusted=()):
        save(mixture, tmp_path / "model.mix")
        return load(tmp_path / "model.mix", trusted=list(trusted))

    return reopened


def parts_of(X):
    """A few rows for each thread."""
    return [X[3 * number : 3 * number + 1 + number % 3] for number in range(N_THREADS)]


@pytest.mark.parametrize("name", POOLS)
def test_threads_predict_the_same_bits(name, saved_and_loaded):
    for expert in POOLS[name]:
        pytest.importorskip(NEEDED.get(expert, "sklearn"))
    classes = name.endswith("classes")
    X, y = make_regimes(200, 4, 2, task="classification" if classes else "regression", random_state=0)
    parts = parts_of(X)
    face = MixtureClassifier if classes else MixtureRegressor
    # Specialised, so that the gate has weight in every prediction.
    mixture = face(
        [small(expert, classes) for expert in POOLS[name]],
        specialize=True, gate="softmax", start="kmeans", n_experts=2, max_rounds=1, cv=2, random_state=0,
    ).fit(X, y)  # fmt: skip
    expected = one_by_one(mixture, parts)
    assert_same_bits(all_at_once(mixture, parts), expected)
    # Threads make the first calls of a mixture that was just read.
    kind = "Classifier" if classes else "Regressor"
    trusted = [one.format(expert, kind) for expert in POOLS[name] for one in TRUSTED.get(expert, [])]
    assert_same_bits(all_at_once(saved_and_loaded(mixture, trusted), parts), expected)


def test_threads_predict_frames_with_a_blend_the_same_bits(saved_and_loaded):
    X, y = make_regimes(200, 4, 2, random_state=0)
    table = pd.DataFrame(X, columns=["size", "age", "height", "width"])
    table["city"] = np.where(X[:, 1] > 0, "Lyon", "Turin")
    table.loc[::7, "age"] = np.nan
    parts = parts_of(table)
    experts = [small(name, False) for name in ("ridge", "extra_trees", "neighbours")]
    mixture = MixtureRegressor(experts, specialize=False, cv=3, random_state=0).fit(table, y)
    expected = one_by_one(mixture, parts)
    assert_same_bits(all_at_once(mixture, parts), expected)
    assert_same_bits(all_at_once(saved_and_loaded(mixture), parts), expected)
