"""Trees and boosting as gates take mixed and sparse columns."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from metamix.gates import boosting, tree

MAKERS = pytest.mark.parametrize("make", [tree, boosting])


@MAKERS
def test_frames_with_text_and_missing_values(make):
    rng = np.random.default_rng(0)
    city = np.array(["Rome", "Oslo", None], dtype=object)[rng.integers(0, 3, 300)]
    size = np.where(rng.random(300) < 0.2, np.nan, rng.standard_normal(300))
    frame = pd.DataFrame({"city": city, "size": size})
    labels = np.eye(2)[((city == "Rome") | (np.nan_to_num(size) > 1)).astype(int)]
    weights = make().fit(frame, labels).predict_proba(frame)
    assert (weights.argmax(axis=1) == labels.argmax(axis=1)).mean() > 0.97


@MAKERS
def test_sparse_columns_equal_dense_ones(make, soft_labels):
    X, labels = soft_labels()
    X[np.abs(X) < 0.7] = 0.0
    dense, csr = (make(random_state=0).fit(Z, labels) for Z in (X, sparse.csr_matrix(X)))
    assert np.allclose(dense.predict_proba(X), csr.predict_proba(sparse.csr_matrix(X)))
