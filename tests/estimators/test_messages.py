"""What is malformed is refused before anything is fitted, by a message that says what was given and what would do."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import mean_squared_error
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import StandardScaler

from metamix import MixtureClassifier, MixtureRegressor, compare, fit_predictions
from metamix.likelihoods import Categorical, Outliers, StudentT

rng = np.random.default_rng(0)
X = rng.normal(size=(40, 2))
Y = X[:, 0] + rng.normal(size=40)
LABELS = np.where(Y > 0, "a", "b")
GIVEN = np.column_stack([Y + 0.3, 0.8 * Y])
MASKED = np.ma.masked_array(Y, mask=np.arange(40) == 3)


class NeverFitted(BaseEstimator):
    """An expert whose fit would show that a check came too late."""

    def fit(self, X, y, sample_weight=None):
        raise AssertionError("fitted")

    def predict(self, X):
        raise AssertionError("asked")


class Number(RegressorMixin, NeverFitted):
    pass


class Label(ClassifierMixin, NeverFitted):
    def predict_proba(self, X):
        raise AssertionError("asked")


def fit(face, X=X, y=None, sample_weight=None, groups=None, **parameters):
    expert, target = (Number(), Y) if face is MixtureRegressor else (Label(), LABELS)
    mixture = face(**{"experts": [("one", expert)], "cv": 2, "on_error": "raise", **parameters})
    return mixture.fit(X, target if y is None else y, sample_weight=sample_weight, groups=groups)


BOTH = [
    ({"experts": (name for name in ["ridge"])}, "experts is a generator.*give a list"),
    ({"experts": {"a": Ridge()}}, r"experts is a dict.*list\(experts.items\(\)\)"),
    ({"experts": {"ridge"}}, r"experts is a set, which has no order.*sorted\(experts\)"),
    ({"experts": [Ridge]}, r"the class Ridge; give an object of it, Ridge\(\)"),
    ({"experts": [("a", Ridge)]}, r"the class Ridge; give an object of it, Ridge\(\)"),
    ({"experts": [("", Number())]}, "empty name"),
    ({"experts": [StandardScaler()]}, "no estimator; it needs fit, predict"),
    ({"gate": LogisticRegression}, r"the class LogisticRegression; give an object"),
    ({"gate": GaussianMixture(2)}, "its fit takes no sample_weight"),
    ({"final_estimator": Ridge}, r"the class Ridge; give an object"),
    ({"final_estimator": "ridge"}, "no estimator"),
    ({"n_jobs": "2"}, "n_jobs='2' is no number of jobs; give 1, 2"),
    ({"n_jobs": 0}, "n_jobs=0 is no number of jobs"),
    ({"random_state": -1}, "random_state=-1 is no seed; give a whole number from 0"),
    ({"random_state": "x"}, "random_state='x' is no seed"),
    ({"top_k": 9}, "top_k=9 is above the number of columns.*give 1 to"),
    ({"gate_features": []}, r"gate_features=\[\]: these are no columns; name at least one"),
    ({"gate_features": [True]}, r"gate_features=\[True\]: the mask has 1 values, X has 2 columns"),
    ({"gate_features": [7]}, r"gate_features=\[7\]: X has no column 7; give a name or a position below 2"),
    ({"start": 3}, "start=3 is neither labels"),
    ({"cv": np.zeros((2, 2))}, "a fold must be a pair"),
    ({"cv": [([0.5], [1])]}, "a fold must be a pair"),
    ({"sample_weight": ["x"] * 40}, r"sample_weight is not numbers.*one number per row, \(40,\)"),
    ({"sample_weight": np.ones((40, 1))}, r"sample_weight has shape \(40, 1\)"),
    ({"sample_weight": MASKED}, "sample_weight is a masked array with 1 masked value; fill it"),
    ({"groups": [None] + ["a"] * 39}, "groups is missing in 1 of 40 rows; give those rows a group"),
    ({"groups": np.where(Y > 1, np.nan, 1.0)}, "groups is missing in"),
    ({"groups": np.ones((40, 2))}, r"groups has shape \(40, 2\).*one group per row"),
    ({"groups": np.array([1, "a"] * 20, dtype=object)}, "groups cannot be told apart.*labels of one type"),
    ({"start": [None] * 40}, "start has labels that cannot be told apart"),
    ({"X": np.ma.masked_array(X, mask=X > 1)}, "X is a masked array with .* masked values"),
    ({"scoring": mean_squared_error}, "cannot judge this y"),
    ({"scoring": lambda *_: None}, "cannot judge this y"),
    ({"scoring": lambda *_: float("nan")}, "NaN or infinity"),
    ({"scoring": ["r2"]}, r"scoring=\['r2'\] is unknown"),
]
NUMBERS = [
    ({"experts": [LogisticRegression()]}, "is a classifier.*MixtureRegressor combines regressors"),
    ({"scoring": "accuracy"}, r"scoring='accuracy' cannot judge this y.*such as 'neg_mean_absolute_error' or 'r2'"),
    ({"scoring": "roc_auc"}, "cannot judge this y.*score for numbers"),
    ({"scoring": "neg_mean_squared_log_error"}, r"cannot judge this y: Mean Squared Logarithmic.*takes these values"),
    ({"likelihood": "categorical"}, "is for classes, and y is numbers; give one of gaussian"),
    ({"likelihood": Categorical()}, "is not for numbers.*give one of gaussian"),
    ({"likelihood": Outliers(Categorical())}, "is not for numbers"),
    ({"likelihood": "poisson"}, "non-negative integers"),
    ({"likelihood": StudentT}, r"the class StudentT; give an object, StudentT\(\)"),
    ({"likelihood": StudentT(df=-1)}, "df=-1 must be"),
    ({"y": np.empty((40, 0))}, r"y has shape \(40, 0\), no columns; give one column"),
    ({"y": LABELS}, "y is not numbers.*use a classifier"),
    ({"y": MASKED}, r"y is a masked array.*y.filled\(numpy.nan\)"),
    ({"y": np.full(40, 1e200)}, "squares overflow"),
    ({"y": np.full(40, "2020-01-01", dtype="M8[D]")}, "give real numbers"),
]
CLASSES = [
    ({"experts": [Ridge()]}, "is a regressor.*MixtureClassifier combines classifiers"),
    ({"scoring": "r2"}, r"cannot judge this y.*such as 'accuracy' or 'neg_brier_score'"),
    ({"y": [1, "b"] * 20}, "labels of different types, such as 'b' and 1"),
    ({"y": np.array([1, "b"] * 20, dtype=object)}, "labels of different types"),
]


@pytest.mark.parametrize("specialize", [False, "auto"])
@pytest.mark.parametrize(("face", "given", "message"), [
    *((face, *case) for face in (MixtureRegressor, MixtureClassifier) for case in BOTH),
    *((MixtureRegressor, *case) for case in NUMBERS), *((MixtureClassifier, *case) for case in CLASSES),
])  # fmt: skip
def test_mixtures(face, given, message, specialize):
    if given.get("experts") is BOTH[0][0]["experts"]:
        given = {"experts": (name for name in ["ridge"])}
    with pytest.raises(ValueError, match=message):
        fit(face, specialize=specialize, **given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"y": None}, "y is None; give the column to predict"),
        ({"y": "price"}, "y is a str; give one column"),
        ({"n_jobs": "2"}, "n_jobs='2'"),
        ({"random_state": -1}, "random_state=-1 is no seed"),
        ({"scoring": "accuracy", "task": "regression"}, "cannot judge this y"),
        ({"experts": {"a": Ridge()}}, "experts is a dict"),
        ({"experts": [LogisticRegression()]}, "is a classifier"),
        ({"y": [1, "b"] * 20, "experts": [("one", Label())]}, "labels of different types"),
        ({"sample_weight": ["x"] * 40}, "sample_weight is not numbers"),
        ({"groups": [None] * 40}, "groups is missing in 40 of 40"),
        ({"task": ["regression"]}, "task="),
    ],
)
def test_comparisons(given, message):
    with pytest.raises(ValueError, match=message):
        compare(**{"X": X, "y": Y, "experts": [("one", Number())], "cv": 2, **given})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"names": ["", "b"]}, "a model cannot be called ''"),
        ({"names": [1, 2]}, "a model cannot be called 1"),
        ({"names": "ab"}, "names='ab' is not a list"),
        ({"names": 3}, "names=3 is not a list"),
        ({"top_k": 9}, "top_k=9 is above"),
        ({"top_k": "x"}, "top_k='x' is no number"),
        ({"scoring": "accuracy"}, "cannot judge this y"),
        ({"likelihood": "categorical"}, "is for classes"),
        ({"likelihood": "poisson", "y": LABELS, "predictions": np.full((40, 2), 0.5)}, "is for numbers"),
        ({"final_estimator": LogisticRegression()}, "is no regressor"),
        ({"final_estimator": Ridge}, "the class Ridge"),
        ({"random_state": -1}, "random_state=-1 is no seed"),
        ({"predictions": np.ma.masked_array(GIVEN, mask=GIVEN > 1)}, "predictions is a masked array"),
        ({"predictions": GIVEN[:, :0]}, "no columns"),
        ({"predictions": GIVEN * 1e200}, "squares overflow"),
        ({"gate": Ridge()}, "is no gate"),
        ({"task": ["x"]}, "is unknown"),
    ],
)
def test_predictions_made_elsewhere(given, message):
    with pytest.raises(ValueError, match=message):
        fit_predictions(**{"predictions": GIVEN, "X": X, "y": Y, "cv": 2, **given})


class Huge(RegressorMixin, BaseEstimator):
    """Finite answers whose squares are not."""

    def fit(self, X, y):
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X):
        return np.full(len(X), 1e154)


@pytest.mark.parametrize("specialize", [False, "auto", True])
def test_answers_too_large_to_be_squared_are_a_failure_of_their_expert(specialize):
    pool = [("huge", Huge()), ("ridge", Ridge()), ("other", Ridge(10.0))]
    mixture = MixtureRegressor(pool, specialize=specialize, cv=2, max_rounds=1, start="kmeans", random_state=0)
    with pytest.warns(match="left out because a fit failed: huge.*squares overflow"):
        mixture.fit(X, Y)
    assert "huge" not in mixture.named_experts_
    assert set(mixture.failures_["expert"]) == {"huge"}
    assert np.isfinite(mixture.predict(X)).all()


class TextOnly(RegressorMixin, BaseEstimator):
    def fit(self, X, y):
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X):
        if (X > 5).any():
            raise RuntimeError("the library does not say more")
        return np.zeros(len(X))


def test_an_expert_that_fails_at_prediction_is_named():
    mixture = MixtureRegressor([("mine", TextOnly())], final="simplest", specialize=False, cv=2).fit(X, Y)
    with pytest.raises(ValueError, match="expert 'mine' cannot predict: RuntimeError: the library"):
        mixture.predict_experts(X + 100)


def test_valid_settings_near_the_limits_are_taken():
    settings = {"specialize": False, "cv": 2, "gate": "constant"}
    pool = [("a", Ridge()), ("b", Ridge(2.0))]
    for more in ({"top_k": 4}, {"scoring": "neg_mean_poisson_deviance"}, {"random_state": np.random.RandomState(0)},
                 {"random_state": np.int64(3)}, {"n_jobs": np.int64(1)}):  # fmt: skip
        y = np.abs(Y) + 10 if "scoring" in more else Y  # every prediction positive, as deviances need it
        assert MixtureRegressor(pool, **settings, **more).fit(np.abs(X), y).predict(X).shape == (40,)
    groups = np.repeat(np.arange(20), 2)[:, None]
    one = MixtureRegressor(pool, **settings, random_state=0).fit(X, Y, groups=groups)
    other = MixtureRegressor(pool, **settings, random_state=0).fit(X, Y, groups=groups[:, 0])
    np.testing.assert_array_equal(one.fold_of_row_, other.fold_of_row_)
