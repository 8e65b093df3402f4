"""What is learned where predictions are nested knows nothing of the labels it is judged by."""

from typing import ClassVar

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from metamix import MixtureClassifier, MixtureRegressor
from metamix.gates import SoftmaxGate
from metamix.training.candidates import CandidateFit

N, FOLD = 80, 1
CV = KFold(4, shuffle=True, random_state=0)
HELD_OUT = list(CV.split(np.empty(N)))[FOLD][1]
NUMBERS = [("ridge", Ridge()), ("near", KNeighborsRegressor(8))]
CLASSES = [("logistic", LogisticRegression()), ("near", KNeighborsClassifier(8))]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 3))
NOISE = RNG.normal(size=(N, 2))
CASES = {
    "numbers": (MixtureRegressor(NUMBERS, specialize=False), NOISE[:, 0], None),
    "several targets": (MixtureRegressor(NUMBERS, specialize=False), NOISE, None),
    "classes": (MixtureClassifier(CLASSES, specialize=False), (NOISE[:, 0] > 0).astype(int), None),
    "weights": (MixtureRegressor(NUMBERS, specialize=False), NOISE[:, 0], RNG.integers(0, 3, N)),
    "fold models": (MixtureRegressor(NUMBERS, specialize=False, refit=False), NOISE[:, 0], None),
}


@pytest.mark.parametrize(("mixture", "y", "sample_weight"), CASES.values(), ids=CASES)
def test_the_second_level_knows_nothing_of_the_labels_it_is_judged_by(mixture, y, sample_weight):
    mixture.set_params(gate=SoftmaxGate(penalty=0.1), cv=CV, random_state=0)
    other = y.copy()
    other[HELD_OUT] = other[HELD_OUT][::-1]
    learned = []
    for labels in (y, other):
        mixture.fit(X, labels, sample_weight=sample_weight)
        assert "Nested cross-validation" not in str(mixture.verdict_), (
            "labels without information: candidates are close"
        )
        learned.append(mixture.oof_predictions_)
    one, two = learned
    np.testing.assert_allclose(one[HELD_OUT], two[HELD_OUT], rtol=1e-9, atol=1e-12)
    elsewhere = np.setdiff1d(np.arange(N), HELD_OUT)
    assert not np.allclose(one[elsewhere], two[elsewhere]), "other folds were trained on these labels"


class Counted(SoftmaxGate):
    """Counts its fits."""

    fits: ClassVar[list[int]] = []

    def fit_objective(self, X, *arguments, **more):
        self.fits.append(len(X))
        return super().fit_objective(X, *arguments, **more)


@pytest.mark.parametrize("kind", ["numbers", "several targets", "classes"])
def test_gates_are_fitted_to_the_nested_table_alone_where_other_candidates_are_close(kind, monkeypatch):
    mixture, y, _ = CASES[kind]
    mixture.set_params(gate=Counted(penalty=0.1), cv=CV, random_state=0)
    found = {}
    for at_once in (True, False):
        if not at_once:  # the flat table first, as where only a gate is close to another candidate
            monkeypatch.setattr(CandidateFit, "close", lambda self: False)
        Counted.fits.clear()
        proba = mixture.fit(X, y).gate_weights(X)
        found[at_once] = len(Counted.fits), proba, str(mixture.verdict_)
    assert found[False][0] == 2 * found[True][0] > 0
    np.testing.assert_array_equal(found[True][1], found[False][1])
    assert found[True][2] == found[False][2]
