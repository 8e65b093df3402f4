"""The mixture as a column: what is chosen on all rows, and what is left to the folds."""

from dataclasses import replace

import numpy as np
from sklearn.linear_model import LinearRegression

from metamix.fitting import Problem
from metamix.gates import GaussianGate, SoftmaxGate
from metamix.training.expert_columns import cross_fit_experts
from metamix.training.mixture_column import Regimes, cross_fit_mixture


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


class CountedGate(GaussianGate):
    """Notes on how many rows it is fitted."""

    fitted = []  # noqa: RUF012

    def fit(self, X, responsibilities, sample_weight=None):
        self.fitted.append(len(X))
        return super().fit(X, responsibilities, sample_weight)


def test_the_gate_is_chosen_on_all_rows_and_only_fitted_in_the_folds(two_lines, open_session, mixture_settings):
    X, y, _ = two_lines(400)
    problem = Problem(X, y)
    settings = mixture_settings(problem, 1, n_experts=2, start="auto")
    settings = replace(settings, gates=(SoftmaxGate(), CountedGate()))
    for refit in (True, False):
        CountedGate.fitted.clear()
        with open_session(problem, LinearRegression(), cv=5) as session:
            column = cross_fit_mixture(session, cross_fit_experts(session, refit=refit), settings, refit=refit)
        assert column.n_regimes == 2
        assert np.square(column.predictions.values[:, 0] - y).mean() < 0.1 * y.var()
        # In the end a gate is fitted to all 400 rows, or to the 320 of a fold.
        assert (400 in CountedGate.fitted) is refit
        assert (320 in CountedGate.fitted) is not refit
