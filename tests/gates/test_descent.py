"""Losses as functions of the coefficients: gradients against finite differences."""

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import approx_fprime

from metamix.gates.descent import cross_entropy, objective_loss
from metamix.gates.standardised import StandardisedColumns


@pytest.mark.parametrize("as_sparse", [False, True])
def test_gradients_equal_finite_differences(as_sparse, soft_labels, experts, squared_error, log_loss):
    X, labels = soft_labels(n=40, q=3, K=3, seed=6)
    _, y, predictions = experts(n=40, K=3)
    rng = np.random.default_rng(6)
    row_weights = rng.dirichlet(np.ones(40))
    columns = StandardisedColumns(sparse.csr_matrix(X) if as_sparse else X, row_weights)
    start = np.full(3, 1 / 3)
    for loss in (
        cross_entropy(columns, labels, row_weights),
        objective_loss(columns, squared_error(y, predictions), row_weights, start),
        objective_loss(columns, log_loss(np.exp(predictions)), row_weights, start),
    ):
        point = rng.standard_normal(12)

        def value(point, loss=loss):
            return loss(point[:9].reshape(3, 3), point[9:])[0]

        _, by_slope, by_intercept = loss(point[:9].reshape(3, 3), point[9:])
        assert np.allclose(np.r_[by_slope.ravel(), by_intercept], approx_fprime(point, value, 1e-7), atol=1e-5)
