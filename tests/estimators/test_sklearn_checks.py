"""scikit-learn's estimator checks."""

import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from metamix import MixtureClassifier, MixtureRegressor
from metamix.gates import SoftmaxGate

NUMBERS = [("ridge", Ridge()), ("steep", Ridge(10.0))]
CLASSES = [("logistic", LogisticRegression()), ("tree", DecisionTreeClassifier(max_depth=3, random_state=0))]


def estimators():
    for specialize in (True, False, "auto"):
        yield MixtureRegressor(NUMBERS, cv=2, specialize=specialize, random_state=0)
        yield MixtureClassifier(CLASSES, cv=2, specialize=specialize, random_state=0)


@pytest.mark.filterwarnings("ignore")  # the checks feed integers as floats, one row, one feature, on purpose
@parametrize_with_checks(list(estimators()))
def test_estimator_checks(estimator, check):
    check(estimator)
