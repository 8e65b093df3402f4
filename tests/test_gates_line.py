"""The gate along a line: what is known of a border between two rows, and what a designed line knows besides."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import qmc

from metamix import MixtureRegressor
from metamix.data.folds import make_folds
from metamix.gates import GaussianGate, LineGate, SoftmaxGate
from metamix.training.gating import LearnedGate
from metamix.training.sharpening import Rival, rival_gate


def _hypercube(n, seed):
    return qmc.LatinHypercube(1, seed=seed).random(n)


def _labels(X, borders):
    return np.eye(len(borders) + 1)[np.digitize(X[:, 0], borders)]


def _border(gate):
    """Where the first of two experts hands over to the second."""
    x = np.linspace(0, 1, 20_001)
    return x[np.argmax(gate.predict_proba(x[:, None])[:, 1] >= 0.5)]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(4, 60))
def test_between_rows_the_weights_are_the_mean_over_all_borders(seed, n):
    """Against borders drawn evenly in the gap of a random line."""
    rng = np.random.default_rng(seed)
    X = np.sort(rng.exponential(size=n))[:, None]
    cut = rng.integers(1, n)
    gate = LineGate().fit(X, np.eye(2)[(np.arange(n) >= cut).astype(int)])
    x = rng.uniform(X[cut - 1, 0], X[cut, 0], 5)
    borders = X[cut - 1, 0] + (np.arange(2000) + 0.5) / 2000 * (X[cut, 0] - X[cut - 1, 0])
    np.testing.assert_allclose(gate.predict_proba(x[:, None])[:, 1], (x[:, None] > borders).mean(axis=1), atol=1e-3)


def test_no_other_border_has_a_smaller_expected_error():
    """True borders anywhere, rows anywhere: mean squared error against nearest row and midpoint."""
    errors = np.zeros(2)
    x = np.linspace(0, 1, 2001)[:, None]
    for seed in range(200):
        rng = np.random.default_rng(seed)
        X, border = rng.random((30, 1)), rng.uniform(0.2, 0.8)
        labels = _labels(X, [border])
        between = LineGate().fit(X, labels).predict_proba(x)[:, 1]
        nearest = labels[np.abs(x - X.T).argmin(axis=1), 1]
        errors += [np.square(w - (x[:, 0] >= border)).mean() for w in (between, nearest)]
    assert errors[0] < 0.75 * errors[1], "2/3 in expectation"


def test_of_a_latin_hypercube_all_rows_tell_where_a_round_border_is():
    off = []
    for seed in range(40):
        X = _hypercube(50, seed)
        gate = LineGate().fit(X, _labels(X, [0.4]))
        assert isinstance(gate.gaussians_, GaussianGate)
        below, above = X[X < 0.4].max(), X[X >= 0.4].min()
        off.append([abs(_border(gate) - 0.4), abs((below + above) / 2 - 0.4)])
        assert below <= _border(gate) <= above + 1e-4, "no row is given away"
    mine, midpoint = np.mean(off, axis=0)
    assert mine < 0.7 * midpoint


@pytest.mark.parametrize(
    "X", [np.linspace(0, 1, 50)[:, None], np.random.default_rng(0).random((50, 1)), _hypercube(10, 0)]
)
def test_grids_random_and_few_rows_are_interpolated(X):
    assert LineGate().fit(X, _labels(X, [0.4])).gaussians_ is None


def test_gradient_is_that_of_central_differences():
    X = _hypercube(40, 1)
    for rows in (X, X**3):
        gate = LineGate(sharpness=2.0).fit(rows, 0.8 * _labels(X, [0.3, 0.7]) + 0.2 / 3)
        x = np.random.default_rng(0).uniform(0.02, 0.98, (50, 1))
        x = x[np.abs(x - rows.T).min(axis=1) > 1e-5]
        step = 1e-6
        by_differences = (gate.predict_proba(x + step) - gate.predict_proba(x - step)) / (2 * step)
        np.testing.assert_allclose(gate.weights_gradient(x)[:, :, 0], by_differences, rtol=1e-4, atol=1e-5)
        assert not gate.weights_gradient([[-5.0], [7.0]])[:, :, 0].any() or gate.gaussians_ is not None


@pytest.mark.parametrize(("factor", "shift"), [(1e6, 0.0), (1e-6, 0.0), (1.0, 1e3)])
def test_units_do_not_matter(factor, shift):
    X, x = _hypercube(50, 2), np.linspace(-1, 2, 301)[:, None]
    labels = _labels(X, [0.4, 0.8])
    plain = LineGate().fit(X, labels).predict_proba(x)
    moved = LineGate().fit(factor * X + shift, labels).predict_proba(factor * x + shift)
    np.testing.assert_allclose(moved, plain, atol=1e-6)


def test_weights_are_weights_everywhere():
    X = _hypercube(50, 3)
    for rows in (X, X**2):
        weights = LineGate().fit(rows, _labels(X, [0.4, 0.8])).predict_proba(np.linspace(-1e6, 1e6, 4001)[:, None])
        assert np.isfinite(weights).all()
        np.testing.assert_allclose(weights.sum(axis=1), 1)
        np.testing.assert_allclose(weights[[0, -1]], np.eye(3)[[0, 2]], atol=1e-12)


def test_rows_at_one_place_share_their_labels_and_weights_count():
    X = np.array([[0.0], [1.0], [1.0], [2.0]])
    labels = np.eye(2)[[0, 0, 1, 1]]
    gate = LineGate().fit(X, labels, sample_weight=[1, 3, 1, 1])
    np.testing.assert_allclose(gate.predict_proba([[1.0], [0.5]]), [[0.75, 0.25], [0.875, 0.125]])
    without = LineGate().fit(X, labels, sample_weight=[1, 0, 1, 1])
    np.testing.assert_allclose(without.predict_proba([[1.0]]), [[0.0, 1.0]])


def test_what_does_not_fit_is_told():
    labels = np.eye(2)[[0, 1, 1]]
    with pytest.raises(ValueError, match="along one column and X has 2"):
        LineGate().fit(np.zeros((3, 2)), labels)
    with pytest.raises(ValueError, match="sharpness=0 is not above zero"):
        LineGate(sharpness=0).fit(np.zeros((3, 1)), labels)
    with pytest.raises(ValueError, match="sharpness=-1 is not above zero"):
        GaussianGate(sharpness=-1).fit(np.zeros((3, 1)), labels)


@pytest.mark.parametrize("sharpness", [0.5, 8.0])
def test_sharpness_is_a_power_of_the_odds(sharpness):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 2))
    labels = _labels(X, [0.0])
    plain, sharp = (GaussianGate(sharpness=s).fit(X, labels).predict_proba(X) for s in (1.0, sharpness))
    odds = plain**sharpness
    np.testing.assert_allclose(sharp, odds / odds.sum(axis=1, keepdims=True), atol=1e-12)


# --- in competition with others -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "certainty", "wins"), [(1, 1.0, LineGate), (1, 0.9, SoftmaxGate), (2, 1.0, SoftmaxGate)]
)
def test_it_competes_where_one_column_tells_certain_regimes(columns, certainty, wins):
    X = np.random.default_rng(0).uniform(size=(80, columns))
    labels = certainty * _labels(X, [0.5]) + (1 - certainty) / 2
    folds = make_folds(5, X, X[:, 0], random_state=0)
    soft = SoftmaxGate(penalty=1e-3).fit(X, labels)
    learned = LearnedGate(soft, soft.predict_proba(X), np.ones(80, dtype=bool), 1e-3)

    def judge(weights):
        return np.square(weights - labels).sum(axis=1)

    chosen = rival_gate(learned, [Rival(LineGate(), 2.0, line=True)], X, folds, labels, np.ones(80), judge)
    assert isinstance(chosen.gate, wins)


@pytest.mark.parametrize("n_experts", [3, "auto"])
def test_three_pieces_of_a_line_are_found_and_their_borders_too(n_experts):
    """The laws known, borders in the middle of each gap leave 0.15 or more (mean over seeds); laws are learned here."""
    errors = []
    x = np.linspace(0, 1, 1001)

    def truth(x):
        return np.select([x < 0.3, x < 0.7], [1 + x, 6 * x - 4], 2 - x)

    for seed in range(3):
        X = _hypercube(50, seed)
        mixture = MixtureRegressor(["linear"], n_experts=n_experts, specialize=True, random_state=seed)
        mixture.fit(X, truth(X[:, 0]))
        assert isinstance(mixture.gate_, LineGate)
        errors.append(np.linalg.norm(mixture.predict(x[:, None]) - truth(x)) / np.linalg.norm(truth(x)))
    assert np.mean(errors) < 0.1
