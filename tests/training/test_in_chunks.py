"""After a sample: which experts learn from chunks, and that rows nobody has seen decide whether that was better."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.neural_network import MLPRegressor

from metamix.data.folds import make_folds
from metamix.data.gate_features import GateFeatures
from metamix.engines import SerialEngine
from metamix.experts.regressors import lightgbm
from metamix.fitting import NamedExpert, Problem, prepare
from metamix.gates import ConstantGate
from metamix.likelihoods import Gaussian
from metamix.training.candidates import CandidateSettings
from metamix.training.fit import fit_blend
from metamix.training.in_chunks import blend_held_out, fit_columns, mixture_held_out
from metamix.training.mixture import fit_mixture
from metamix.training.stacking import LinearStack


def draw(n, seed, shift=0.0):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, 2))
    return Problem(X, np.sin(5 * X[:, 0]) * X[:, 1] + shift + 0.1 * rng.normal(size=n))


def settings(problem):
    features = GateFeatures("x").fit(problem.X)
    return CandidateSettings((ConstantGate(),), ConstantGate(), False, LinearStack(), None, Gaussian(), features)


@pytest.fixture(scope="module")
def sample():
    return draw(300, 0)


@pytest.fixture(scope="module")
def fitted(sample):
    trees = prepare(lightgbm(n_estimators=80, learning_rate=0.1), 0)
    experts = [NamedExpert("line", LinearRegression()), NamedExpert("trees", trees)]
    folds = make_folds(2, sample.X, sample.y, random_state=0)
    return fit_blend(experts, sample, folds, SerialEngine(), settings(sample), None)


def judged(fitted, columns):
    held_out = draw(600, 9)
    folds = make_folds(3, held_out.X, held_out.y, random_state=0)
    return blend_held_out(fitted, columns, held_out, folds, settings(held_out))


def test_experts_that_learn_from_chunks_are_kept_where_they_are_better(fitted, sample, tmp_path):
    columns = fit_columns(fitted, sample, [draw(1_000, seed) for seed in (1, 2, 3)], 3_300, tmp_path)
    assert [one is None for one in columns.experts] == [True, False]
    blend, newer, before = judged(fitted, columns)
    assert (newer, before) == (["trees"], [])
    assert blend.columns[0] is fitted.columns[0]
    new = draw(4_000, 10)
    errors = [np.mean((one.predict(new.X) - new.y) ** 2) for one in (fitted, blend)]
    assert errors[1] < 0.8 * errors[0]
    loss = blend.targets[0].candidates[-1]["loss"]
    assert loss == pytest.approx(errors[1], rel=0.3)


def test_what_made_an_expert_worse_is_not_kept(fitted, sample, tmp_path):
    columns = fit_columns(fitted, sample, [draw(1_000, 1, shift=5.0)], 1_300, tmp_path)
    blend, newer, before = judged(fitted, columns)
    assert (newer, before) == ([], ["trees"])
    assert blend.columns[1] is fitted.columns[1]


def test_an_expert_that_fails_stays_and_is_recorded(fitted, sample, tmp_path):
    columns = fit_columns(fitted, sample, [Problem(np.full((5, 2), np.nan), np.array([np.inf] * 5))], 305, tmp_path)
    assert columns.experts == [None, None]
    assert [one.expert for one in columns.failures] == ["trees"]
    assert judged(fitted, columns)[0].failures[-1].expert == "trees"


def test_the_error_of_a_chunk_is_raised_where_that_is_asked_for(fitted, sample, tmp_path):
    bad = Problem(np.full((5, 2), np.nan), np.array([np.inf] * 5))
    with pytest.raises(Exception, match=r".") as found:
        fit_columns(fitted, sample, [bad], 305, tmp_path, "raise")
    assert "raised by expert trees, in a chunk of 5 rows" in found.value.__notes__[0]


def test_rows_that_taught_nothing_are_not_counted(fitted, sample, tmp_path):
    X, y, half = draw(1_000, 1).X, draw(1_000, 1).y, (np.arange(1_000) % 2).astype(float)
    columns = fit_columns(fitted, sample, [Problem(X, y, half)], 1_300, tmp_path)
    assert columns.n_learned["trees"] == 800


def test_chunks_are_not_read_for_experts_that_cannot_learn_from_them(sample, tmp_path):
    folds = make_folds(2, sample.X, sample.y, random_state=0)
    line = [NamedExpert("line", LinearRegression())]
    fitted = fit_blend(line, sample, folds, SerialEngine(), settings(sample), None)

    def chunks():
        raise AssertionError("read in vain")
        yield

    assert fit_columns(fitted, sample, chunks(), 1_000, tmp_path).experts == [None]


def test_the_experts_of_regimes_learn_their_own_rows(two_lines, open_session, mixture_settings, tmp_path):
    X, y, regime = two_lines(300)
    problem = Problem(X, y)
    network = MLPRegressor(hidden_layer_sizes=(20,), random_state=0, tol=0.01, learning_rate_init=0.01)
    with open_session(problem, network) as session:
        mixture = fit_mixture(session, mixture_settings(problem, 1, rounds=2), np.eye(2)[regime] * 0.98 + 0.01, [0, 0])
    X, y, _ = two_lines(3_000, seed=1)
    columns = fit_columns(
        mixture, problem, [Problem(X[i : i + 500], y[i : i + 500]) for i in range(0, 3_000, 500)], 3_300, tmp_path
    )
    X, y, _ = two_lines(1_000, seed=2)
    folds = make_folds(2, X, y, random_state=0)
    found, newer = mixture_held_out(mixture, columns.regimes, Problem(X, y), folds)
    assert newer
    assert len(found.targets[0].responsibilities) == 1_000
    X, y, _ = two_lines(4_000, seed=3, noise=0.0)
    errors = [np.mean((one.predict(X) - y) ** 2) for one in (mixture, found)]
    assert errors[1] < errors[0]
