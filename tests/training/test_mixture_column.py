"""Which expert serves a regime that was found in a fold."""

import numpy as np

from metamix.training.mixture_column import Regimes


def test_a_regime_of_a_fold_takes_the_expert_of_the_regime_that_it_shares_most_weight_with():
    labels = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    regimes = Regimes(np.eye(3)[labels], components=[4, 7, 5])
    rows = np.array([7, 6, 5, 3, 2, 1])
    found = np.eye(3)[[2, 2, 2, 1, 0, 0]]
    assert regimes.components_of(found, rows, np.ones(6)) == [4, 7, 5]
    merged = np.eye(2)[[1, 1, 1, 1, 0, 0]]
    assert regimes.components_of(merged, rows, np.ones(6)) == [4, 5]
    assert regimes.components_of(merged, rows, np.array([1.0, 1, 1, 4, 1, 1])) == [4, 7]
    assert regimes.components_of(merged, rows, np.array([0.0, 0, 0, 1, 1, 1])) == [4, 7], (
        "rows without weight have no say"
    )
