"""Columns that may not be known beforehand: planted ones are named, ordinary ones are not."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from metamix import MixtureRegressor, compare, load_example
from metamix.data.leaks import suspicious_columns

RNG = np.random.default_rng(0)
X = pd.DataFrame(RNG.normal(size=(200, 3)), columns=["a", "b", "c"])
Y = X["a"].to_numpy() + RNG.normal(size=200)


@pytest.mark.parametrize("make", [pd.DataFrame, pl.from_pandas])
@pytest.mark.parametrize(
    ("column", "said"),
    [
        (Y**3, "alone explains"),
        (np.argsort(np.argsort(Y)), "alone explains"),
        (np.append(0, Y[:-1]), "equals the target of 1 row before"),
        (np.append(Y[2:], [0, 0]), "equals the target of 2 rows after"),
        (pd.Timestamp("2020-01-01") + pd.to_timedelta(np.argsort(np.argsort(Y)), unit="D"), "alone explains"),
    ],
)
def test_planted_leaks_are_named(make, column, said):
    found = suspicious_columns(make(X.assign(late=column)), Y, classes=False)
    assert len(found) == 1
    assert said in found[0]
    assert "'late'" in found[0]


def test_leaks_of_classes_are_named():
    classes = np.where(Y > 0, "yes", "no")
    state = np.where(Y > 0, "paid", "open")
    assert "'state' alone explains 100 %" in suspicious_columns(X.assign(state=state), classes, classes=True)[0]
    assert suspicious_columns(X, classes, classes=True) == []


@pytest.mark.parametrize("name", ["mixed", "regimes", "diabetes", "breast_cancer"])
def test_ordinary_columns_are_not(name):
    frame, y = load_example(name)
    assert suspicious_columns(frame, y.to_numpy(), classes=name == "breast_cancer") == []


def test_nothing_is_said_of_few_rows_or_of_a_single_column():
    assert suspicious_columns(X.assign(late=Y)[:40], Y[:40], classes=False) == []
    assert suspicious_columns(pd.DataFrame({"late": Y}), Y, classes=False) == []


def test_the_verdict_says_so():
    frame = X.assign(late=Y**3)
    mixture = MixtureRegressor(["ridge", "extra_trees"], specialize=False, cv=2, random_state=0).fit(frame, Y)
    (said,) = mixture.verdict_.leaks
    assert "'late' alone explains" in said
    assert said in str(mixture.verdict_)
    both = MixtureRegressor(["ridge"], specialize=False, cv=2).fit(frame, np.column_stack([Y, np.roll(frame["a"], 7)]))
    assert [len(verdict.leaks) for verdict in both.verdict_] == [1, 0]
    assert said in str(compare(frame, Y, ["ridge"], cv=2, random_state=0))
    unnamed = MixtureRegressor(["ridge"], specialize=False, cv=2).fit(frame.to_numpy(), Y)
    assert unnamed.verdict_.leaks == ()


def test_words_of_a_sorted_table_are_no_leak_and_many_that_decide_the_target_are():
    rng = np.random.default_rng(0)
    y = np.sort(rng.normal(size=500))
    names = [f"item {i}" for i in rng.permutation(500)]
    frame = pd.DataFrame({"a": rng.normal(size=500), "b": rng.normal(size=500), "name": names})
    assert suspicious_columns(frame, y, classes=False) == []
    assert suspicious_columns(frame, np.repeat(["low", "high"], 250), classes=True) == []
    code, value = rng.integers(60, size=500), rng.normal(size=60)
    late = frame.assign(name=[f"kind {i}" for i in code])
    assert "'name' alone explains" in suspicious_columns(late, value[code], classes=False)[0]
    three = np.array(["low", "middle", "high"])[code % 3]
    assert "'name' alone explains" in suspicious_columns(late, three, classes=True)[0]
