"""scikit-learn's estimator checks; none is expected to fail."""

import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from metamix import MixtureClassifier, MixtureRegressor
from metamix.gates import SoftmaxGate

# On sparse rows Ridge is iterative, to four digits only by default; the check of weights compares seven.
NUMBERS = [("ridge", Ridge(tol=1e-14)), ("steep", Ridge(10.0, tol=1e-12))]
CLASSES = [("logistic", LogisticRegression()), ("tree", DecisionTreeClassifier(max_depth=3, random_state=0))]


def estimators():
    for specialize in (True, False, "auto"):
        # One gate at one penalty and a start that costs nothing, since each estimator is fitted hundreds of times.
        # A start by k-means, whose random centres differ between rows of weight two and repeated rows, would fail.
        fast = {"gate": SoftmaxGate(penalty=0.1), "cv": 2, "random_state": 0, "specialize": specialize}
        fast |= {} if specialize is False else {"start": "uniform", "max_rounds": 1}
        fast |= {"n_experts": 2} if specialize == "auto" else {}
        yield MixtureRegressor(NUMBERS, **fast)
        yield MixtureClassifier(CLASSES, **fast)


@pytest.mark.filterwarnings("ignore")  # the checks feed integers as floats, one row, one feature, on purpose
@parametrize_with_checks(list(estimators()))
def test_estimator_checks(estimator, check):
    check(estimator)
