"""The mixture as a column: what is chosen on all rows, and what is left to the folds."""

import numpy as np
from sklearn.linear_model import LinearRegression

from metamix.fitting import Problem
from metamix.training.expert_columns import cross_fit_experts
from metamix.training.mixture_column import Regimes, cross_fit_mixture
from metamix.training.regime_search import initial


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


def test_folds_look_for_so_many_regimes_with_the_proxies_that_found_them(
    two_lines, open_session, mixture_settings, monkeypatch
):
    X, y, _ = two_lines(200)
    asked, search = [], initial.proxy_responsibilities

    def noted(*arguments, **more):
        asked.append((arguments[4], tuple(more["capacities"])))
        return search(*arguments, **more)

    monkeypatch.setattr(initial, "proxy_responsibilities", noted)
    problem = Problem(X, y)
    settings = mixture_settings(problem, 1, n_experts="auto", start="auto")
    with open_session(problem, LinearRegression(), cv=3) as session:
        column = cross_fit_mixture(session, cross_fit_experts(session, refit=True), settings, refit=True)
    assert column.n_regimes == 2
    (counted, several), *folds = asked
    assert counted is None
    assert len(folds) == 3
    assert set(folds) == {(2, (folds[0][1][0],))}
    assert folds[0][1][0] in several
