"""Rules hold exactly for the rows that the tree means, whatever the kind of the column."""

import numpy as np
import pandas as pd
import pytest

from metamix.explanation import find_rules


def rules(X, leading, **settings):
    return find_rules(X, leading.astype(int), ["no", "yes"], **settings)


def words(found):
    return {rule.leader: rule.conditions for rule in found.rules}


def test_the_words_hold_for_the_rows_of_the_tree():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"size": rng.integers(0, 200, 400), "b": rng.uniform(size=400)})
    found = rules(X, (X["size"] > 80).to_numpy())
    assert words(found) == {"no": ["size ≤ 80"], "yes": ["size > 80"]}
    named = np.array([rule.leader for rule in found.rule_of(X)])
    assert ((named == "yes") == (X["size"] > 80)).all()


def test_categories_booleans_dates_and_gaps_have_words():
    rng = np.random.default_rng(0)
    n = 400
    X = pd.DataFrame(
        {
            "city": rng.choice(["Rome", "Oslo", "Bern"], n),
            "smoker": rng.uniform(size=n) > 0.5,
            "sold": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 1000, n), unit="D"),
            "gaps": np.where(rng.uniform(size=n) > 0.7, np.nan, rng.uniform(size=n)),
        }
    )
    assert words(rules(X, (X["city"] == "Rome").to_numpy())) == {"no": ["city is not Rome"], "yes": ["city is Rome"]}
    assert words(rules(X, X["smoker"].to_numpy())) == {"no": ["smoker is false"], "yes": ["smoker is true"]}
    late = (X["sold"] >= "2021-03-05").to_numpy()
    first = str(X["sold"][late].min().date())
    assert words(rules(X, late)) == {"no": [f"sold before {first}"], "yes": [f"sold from {first} on"]}
    missing = X["gaps"].isna().to_numpy()
    assert words(rules(X, missing)) == {"no": ["gaps is not missing"], "yes": ["gaps is missing"]}
    both = X["smoker"].to_numpy() & (X["city"] == "Rome").to_numpy()
    assert set(next(rule for rule in rules(X, both).rules if rule.leader == "yes").conditions) == {
        "smoker is true",
        "city is Rome",
    }


def test_noise_gets_no_rules():
    rng = np.random.default_rng(0)
    found = rules(rng.uniform(size=(300, 3)), rng.uniform(size=300) > 0.4, n_permutations=49)
    assert len(found.rules) == 1
    assert found.rules[0].conditions == []
    assert found.accuracy == pytest.approx(found.chance)
    assert found.p_value > 0.02
    assert (found.frame()["p_value"] == 1).all()


def test_the_permutation_test_of_many_rows():
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(3000, 3))
    planted = rules(X, (X[:, 1] > 0.5) ^ (rng.uniform(size=3000) < 0.1), n_permutations=19)
    noise = rules(X, rng.uniform(size=3000) > 0.4, n_permutations=19)
    assert planted.p_value == 0.05
    assert noise.p_value > 0.05


def test_a_column_that_matters_has_a_small_p_value_and_others_have_none():
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(300, 4))
    found = rules(X, (X[:, 1] > 0.5) ^ (rng.uniform(size=300) < 0.1), n_permutations=99)
    table = found.frame()
    assert table["p_value"].idxmin() == 1
    assert table["p_value"][1] == 0.01
    assert 0.3 < table["importance"][1] < 0.5
    assert found.p_value == 0.01


def test_the_same_seed_gives_the_same_numbers():
    rng = np.random.default_rng(0)
    X, lead = rng.uniform(size=(100, 2)), rng.uniform(size=100)
    one, other = (rules(X, (X[:, 0] + 0.2 * lead) > 0.6, n_permutations=19, random_state=3) for _ in range(2))
    assert one.frame().equals(other.frame())
    assert [str(rule) for rule in one.rules] == [str(rule) for rule in other.rules]
