"""Means of y for large categories and vectors of texts, against planted laws and scikit-learn's own encoder."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.preprocessing import TargetEncoder
from sklearn.utils.estimator_checks import parametrize_with_checks

from metamix import MixtureClassifier, MixtureRegressor, load, registry, save
from metamix.data.category_means import CategoryMeans
from metamix.data.columns import ColumnEncoder
from metamix.data.feature_encoder import FeatureEncoder
from metamix.data.text_vectors import TextVectors, holds_prose

WORDS = {"good": ("excellent", "wonderful", "charming"), "bad": ("awful", "boring", "dreadful")}
NEUTRAL = tuple(
    [
        "the",
        "film",
        "was",
        "a",
        "story",
        "about",
        "some",
        "people",
        "who",
        "went",
        "to",
        "town",
        "and",
        "came",
        "back",
        "with",
        "old",
        "friends",
    ]
)


def cities(n=4000, levels=800, seed=0):
    """A category whose effect has deviation one, and noise of deviation .3."""
    rng = np.random.default_rng(seed)
    effect, code = rng.normal(size=levels), rng.integers(levels, size=n)
    X = pd.DataFrame({"city": [f"city {i}" for i in code], "size": rng.normal(size=n)})
    return X, effect[code] + 0.3 * rng.normal(size=n)


def reviews(n=900, seed=0):
    """Texts of ten words, two of which tell how much the film was liked."""
    rng = np.random.default_rng(seed)
    liked = rng.random(n)
    judged = [rng.choice(WORDS["good" if rng.random() < share else "bad"], 2) for share in liked]
    texts = [" ".join([*rng.choice(NEUTRAL, 8), *words]) for words in judged]
    return pd.DataFrame({"review": texts, "size": rng.normal(size=n)}), liked


def explained(model, X, y):
    half = len(y) // 2
    predicted = model.fit(X[:half], y[:half]).predict(X[half:])
    return 1 - ((predicted - y[half:]) ** 2).mean() / y[half:].var()


@parametrize_with_checks([FeatureEncoder(), FeatureEncoder(classes=True, categories="ordinal", missing="keep")])
def test_estimator_checks_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize("expert", ["ridge", "extra_trees", "boosting"])
def test_a_category_of_many_values_is_learned(expert):
    """Its effect is nearly all of y; merged rare values tell next to nothing."""
    X, y = cities()
    model = registry.regressors[expert]()
    assert explained(model, X, y) > 0.6
    plain = model.set_params(columns=ColumnEncoder(categories="ordinal" if expert != "ridge" else "onehot"))
    assert explained(plain, X, y) < 0.2


def test_training_rows_do_not_see_their_own_labels():
    """Labels without information: the means of `transform` follow them, those of training rows do not."""
    rng = np.random.default_rng(0)
    codes, y = rng.integers(300, size=900), rng.normal(size=900)
    means = CategoryMeans(classes=False)
    held_out = means.fit_transform(codes, y)[:, 0]
    assert np.corrcoef(means.transform(codes)[:, 0], y)[0, 1] > 0.3
    assert np.corrcoef(held_out, y)[0, 1] < 0.1


def test_means_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    codes, classes = rng.integers(30, size=600), rng.integers(3, size=600)
    means = CategoryMeans(classes=True)
    means.fit_transform(codes, classes)
    for c, one in enumerate(means.transform(codes).T):
        expected = (
            TargetEncoder(target_type="continuous").fit(codes[:, None], 1.0 * (classes == c)).transform(codes[:, None])
        )
        np.testing.assert_allclose(one, expected[:, 0])
    several = CategoryMeans(classes=False)
    assert several.fit_transform(codes, np.column_stack([codes, -codes])).shape == (600, 2)
    np.testing.assert_allclose(several.transform(np.array([-1])), [[codes.mean(), -codes.mean()]])


@pytest.mark.parametrize("classes", [False, True])
def test_names_missing_and_new_values(classes):
    X, y = cities(300, 60)
    X.loc[::7, "city"] = None
    y = np.digitize(y, [-0.5, 0.5]) if classes else y
    encoder = FeatureEncoder(classes=classes)
    encoded = encoder.fit_transform(X, y)
    names = list(encoder.get_feature_names_out())
    assert encoded.shape[1] == len(names) == len(encoder.factor_) == len(encoder.centre_)
    assert [name for name in names if "mean" in name] == (
        [f"city (mean of y {i})" for i in range(3)] if classes else ["city (mean of y)"]
    )
    new = encoder.transform(pd.DataFrame({"city": ["nowhere", None], "size": [0.0, 0.0]}))
    assert np.isfinite(new).all()
    both = encoder.transform(X[:20])
    np.testing.assert_allclose(np.vstack([encoder.transform(X[i : i + 1]) for i in range(20)]), both)


def test_small_categories_and_numbers_are_encoded_as_before():
    X = pd.DataFrame({"colour": ["red", "blue"] * 30, "size": np.arange(60.0)})
    np.testing.assert_array_equal(FeatureEncoder().fit_transform(X, np.arange(60.0)), ColumnEncoder().fit_transform(X))


def test_texts_are_learned_and_every_one_by_itself():
    X, y = reviews()
    assert explained(registry.regressors["ridge"](), X, y) > 0.25
    encoder = FeatureEncoder().fit(X)
    assert sum("(text " in name for name in encoder.get_feature_names_out()) == 30
    np.testing.assert_allclose(encoder.transform(X)[:3], encoder.transform(X[:3]), atol=1e-12)
    assert np.isfinite(encoder.transform(pd.DataFrame({"review": [None, "", "?"], "size": [0.0, 1.0, 2.0]}))).all()


def test_what_is_text_and_what_a_category():
    once = np.ones(3, dtype=int)
    assert holds_prose(["one of many words", "another of many words", "and a third one"], once)
    assert not holds_prose(["New York City Area"], np.array([9]))
    assert not holds_prose(["Rome", "Oslo", "Bonn"], once)
    assert not holds_prose([], np.array([], dtype=int))
    assert TextVectors().fit(["", " "]).transform(["a"]).shape == (1, 0)


@pytest.mark.parametrize("kind", [MixtureRegressor, MixtureClassifier])
def test_mixtures_of_tables_with_texts_and_large_categories_are_saved_and_loaded(kind, tmp_path):
    X, y = reviews(200)
    X["city"] = cities(200, 60)[0]["city"]
    target = y if kind is MixtureRegressor else np.where(y > 0.5, "good", "bad")
    linear = "ridge" if kind is MixtureRegressor else "logistic"
    mixture = kind([linear, "extra_trees"], specialize=False, cv=2, random_state=0).fit(X, target)
    save(mixture, tmp_path / "m.mix")
    np.testing.assert_array_equal(load(tmp_path / "m.mix").predict(X), mixture.predict(X))


def test_coefficients_of_tables_with_missing_values_and_large_categories_add_up_to_the_prediction():
    X, y = cities(400, 60)
    X.loc[::9, "size"] = np.nan
    mixture = MixtureRegressor(["ridge"], specialize=False, cv=2, random_state=0).fit(X, y + X["size"].fillna(3.0))
    table = mixture.coefficients().set_index("column")["coefficient"]
    encoder = mixture.named_experts_["ridge"].named_steps["columns"]
    raw = encoder.transform(X) / encoder.factor_ + encoder.centre_
    total = raw @ table[list(encoder.get_feature_names_out())].to_numpy() + table["intercept"]
    np.testing.assert_allclose(total, mixture.named_experts_["ridge"].predict(X), rtol=1e-8)


@pytest.mark.parametrize("output", ["pandas", "polars"])
def test_arrays_whatever_scikit_learn_is_configured_to_return(output):
    X, y = reviews(200)
    X["city"] = cities(200, 60)[0]["city"]
    plain = FeatureEncoder().fit_transform(X, y)
    with sklearn.config_context(transform_output=output):
        mixture = MixtureRegressor(["ridge"], specialize=False, cv=2, random_state=0).fit(X, y)
        encoder = mixture.named_experts_["ridge"].named_steps["columns"]
        assert isinstance(encoder.transform(X), np.ndarray)
        assert np.isfinite(mixture.predict(X)).all()
    assert encoder.transform(X).shape == plain.shape


def test_shares_of_each_label_where_there_are_several():
    X, y = cities(400, 60)
    labels = np.column_stack([y > 0, X["size"] > 0]).astype(int)
    encoder = FeatureEncoder(classes=True, scale=False)
    encoded = encoder.fit_transform(X, labels)
    assert list(encoder.get_feature_names_out())[-2:] == ["city (mean of y 0)", "city (mean of y 1)"]
    assert np.corrcoef(encoded[:, -2], labels[:, 0])[0, 1] > 0.5
    both = MixtureClassifier(["logistic", "extra_trees"], specialize=False, cv=2, random_state=0).fit(X, labels)
    assert not len(both.failures_)
