"""The Gaussian gate against scipy's densities and the M-step of scikit-learn's Gaussian mixture."""

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture

from metamix.gates import GaussianGate


def hard(labels):
    return np.eye(labels.shape[1])[labels.argmax(axis=1)]


def test_hard_labels_give_quadratic_discriminant_analysis(soft_labels):
    X, labels = soft_labels(n=500, seed=7)
    classes = labels.argmax(axis=1)
    gate = GaussianGate(shrinkage=0.0, ridge=0.0).fit(X, hard(labels))
    density = np.empty((500, 3))
    for k in range(3):
        rows = X[classes == k]
        mean, covariance = rows.mean(axis=0), np.cov(rows.T, ddof=0)
        assert np.allclose(gate.means_[k], mean)
        assert np.allclose(gate.covariances_[k], covariance)
        density[:, k] = len(rows) / 500 * multivariate_normal(mean, covariance).pdf(X)
    assert np.allclose(gate.predict_proba(X), density / density.sum(axis=1, keepdims=True), atol=1e-8)


def test_soft_labels_give_the_m_step_of_a_gaussian_mixture():
    rng = np.random.default_rng(8)
    X = np.r_[rng.standard_normal((200, 2)), 3 + 0.5 * rng.standard_normal((100, 2))]
    mixture = GaussianMixture(2, tol=1e-10, max_iter=1000, reg_covar=1e-12, random_state=0).fit(X)
    gate = GaussianGate(shrinkage=0.0, ridge=0.0).fit(X, mixture.predict_proba(X))
    assert np.allclose(gate.proportions_, mixture.weights_, atol=1e-4)
    assert np.allclose(gate.means_, mixture.means_, atol=1e-3)
    assert np.allclose(gate.covariances_, mixture.covariances_, atol=1e-3)
    assert np.allclose(gate.predict_proba(X), mixture.predict_proba(X), atol=1e-3)


def test_linearly_dependent_columns_change_nothing(soft_labels):
    X, labels = soft_labels(seed=7)
    odd = np.c_[X, X[:, 0], X @ [1.0, 1.0, 1.0], np.full(len(X), 3.0)]
    once, twice = (GaussianGate(shrinkage=0.0).fit(Z, labels).predict_proba(Z) for Z in (X, odd))
    assert np.allclose(once, twice, atol=1e-3)
    assert np.isfinite(GaussianGate(shrinkage=0.0, ridge=0.0).fit(odd, labels).predict_proba(odd)).all()


def test_covariances_from_few_rows_are_shrunk_to_the_pooled_covariance(soft_labels):
    X, labels = soft_labels(n=300, q=5, seed=9)
    labels = hard(labels)
    labels[:, 2] = 0.0
    labels[0] = [0.0, 0.0, 1.0]
    gate = GaussianGate().fit(X, labels)
    assert np.isfinite(gate.predict_proba(X)).all()
    assert np.linalg.eigvalsh(gate.covariances_[2]).min() > 0.1 * np.linalg.eigvalsh(gate.covariances_[0]).min()
    pooled = GaussianGate(shrinkage=1.0).fit(X, labels).covariances_
    assert np.allclose(pooled[0], pooled[2])


def test_sharpness_is_an_exponent_of_the_odds(soft_labels):
    X, labels = soft_labels(n=100)
    once, squared = (GaussianGate(sharpness=power).fit(X, labels).predict_proba(X) for power in (1.0, 2.0))
    assert np.allclose(squared, once**2 / (once**2).sum(axis=1, keepdims=True))


def test_a_large_sparse_matrix_is_rejected():
    X = sparse.csr_matrix((50_000, 1000))
    with pytest.raises(ValueError, match="SoftmaxGate"):
        GaussianGate().fit(X, np.full((50_000, 2), 0.5))


@pytest.mark.parametrize("parameters", [{"shrinkage": "some"}, {"shrinkage": 1.1}, {"sharpness": 0.0}], ids=str)
def test_invalid_parameters_are_named(parameters, soft_labels):
    X, labels = soft_labels(n=20)
    with pytest.raises(ValueError, match=next(iter(parameters))):
        GaussianGate(**parameters).fit(X, labels)


def test_statistics_of_batches_are_those_of_all_rows(soft_labels):
    """With steps of 1/t the statistics after the last row are plain means over all rows (closed form)."""
    X, labels = soft_labels(n=150)
    X = X * [1.0, 10.0, 0.1] + [0.0, 1e6, 0.0]
    whole = GaussianGate().fit(X, labels)
    halves = GaussianGate().fit(X[:75], labels[:75]).partial_fit(X[75:], labels[75:], step=0.5)
    rows = GaussianGate().fit(X[:1], labels[:1])
    for i in range(1, 150):
        rows.partial_fit(X[i : i + 1], labels[i : i + 1], step=1 / (i + 1))
    np.testing.assert_allclose(rows.predict_proba(X), whole.predict_proba(X), atol=1e-8)
    np.testing.assert_allclose(rows.rows_, whole.rows_)
    # covariances of the first half were drawn towards each other before
    np.testing.assert_allclose(halves.means_, whole.means_, rtol=1e-9)
    np.testing.assert_allclose(halves.predict_proba(X), whole.predict_proba(X), atol=0.02)


def test_a_step_of_one_forgets_all_earlier_rows_and_weights_are_repeated_rows(soft_labels):
    X, labels = soft_labels(n=120)
    other = GaussianGate().fit(X[:40] + 5, labels[:40]).partial_fit(X, labels, step=1.0)
    np.testing.assert_allclose(other.means_, GaussianGate().fit(X, labels).means_, atol=1e-12)
    times = np.arange(120) % 3
    weighted, repeated = (GaussianGate().fit(X[:40], labels[:40]) for _ in range(2))
    weighted.partial_fit(X, labels, sample_weight=times, step=0.3)
    repeated.partial_fit(np.repeat(X, times, axis=0), np.repeat(labels, times, axis=0), step=0.3)
    np.testing.assert_allclose(weighted.means_, repeated.means_, atol=1e-12)
    np.testing.assert_allclose(weighted.proportions_, repeated.proportions_)
