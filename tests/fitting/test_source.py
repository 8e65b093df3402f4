"""Rows of a function: some of them, and whether they are those that are expected."""

import numpy as np
import pytest
from scipy import sparse

from metamix.engines import DifferentDataError
from metamix.fitting import Problem, TableSource
from metamix.fitting.checkpoint import table_fingerprint

X = np.random.default_rng(0).normal(size=(30, 3))


def doubled(table):
    return 2 * table


@pytest.mark.parametrize("make", [X.copy, lambda: sparse.csr_array(X)], ids=["array", "sparse"])
def test_rows_of_rows_are_those_of_the_problem_with_the_source(make):
    problem = Problem(doubled(make()), X[:, 0], source=TableSource(make, doubled))
    part = problem.take(np.arange(5, 25)).take(np.array([3, 3, 1]))
    found = part.source.load(table_fingerprint(part.X))
    rows = found if isinstance(found, np.ndarray) else found.toarray()
    np.testing.assert_array_equal(rows, 2 * X[[8, 8, 6]])


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (lambda: X.astype(np.float32), "of the same shape"),
        (lambda: X[::-1], "of the same shape"),
        (lambda: X[:10], "10 × 3 in place of 20 × 3"),
    ],
)
def test_other_rows_or_types_are_refused(other, told):
    source = TableSource(other, doubled, np.arange(20))
    with pytest.raises(DifferentDataError, match=told):
        source.load(table_fingerprint(2 * X[:20]))
