"""Folds keep the properties of their splitter: partition, groups, time order, seeds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    PredefinedSplit,
    RepeatedKFold,
    ShuffleSplit,
    StratifiedKFold,
    TimeSeriesSplit,
)

from metamix.data.folds import make_folds
from metamix.fitting.nested import nested_fits


def _rows(n):
    return np.arange(n, dtype=float)[:, None], np.arange(n, dtype=float)


def _equal(one, other):
    return len(one) == len(other) and all(
        np.array_equal(a, b) for left, right in zip(one.pairs, other.pairs, strict=True)
        for a, b in zip(left, right, strict=True)
    )  # fmt: skip


@settings(max_examples=20)
@given(n=st.integers(4, 60), k=st.integers(2, 4), seed=st.integers(0, 99))
def test_a_number_of_folds_holds_every_row_out_once(n, k, seed):
    folds = make_folds(k, *_rows(n), random_state=seed)
    held = np.concatenate([test for _, test in folds.pairs])
    assert sorted(held) == list(range(n))
    for f, (train, test) in enumerate(folds.pairs):
        assert set(train).isdisjoint(test)
        assert (folds.fold_of_row[test] == f).all()
    assert folds.held_out.all()


def test_folds_are_shuffled_with_the_seed():
    X, y = _rows(40)
    first = make_folds(4, X, y, random_state=1)
    assert _equal(first, make_folds(4, X, y, random_state=1))
    assert not _equal(first, make_folds(4, X, y, random_state=2))
    assert not np.array_equal(first.pairs[0][1], np.arange(10)), "tables are often sorted"


def test_stratified_folds_keep_the_class_proportions():
    codes = np.repeat([0, 1], [80, 20])
    for _, test in make_folds(4, *_rows(100)[:1], codes, stratify=True, random_state=0).pairs:
        assert np.bincount(codes[test]).tolist() == [20, 5]


def test_stratified_folds_keep_the_proportions_of_sets_of_labels_whatever_their_order():
    labels = np.repeat([[0, 0, 1], [1, 0, 0], [1, 1, 0]], [40, 40, 20], axis=0)
    found = make_folds(4, *_rows(100)[:1], labels, stratify=True, random_state=0)
    for _, test in found.pairs:
        assert labels[test].sum(axis=0).tolist() == [15, 5, 10]
    assert _equal(found, make_folds(4, *_rows(100)[:1], labels[:, [2, 0, 1]], stratify=True, random_state=0))


def test_classes_with_fewer_rows_than_folds():
    codes = np.repeat([0, 1, 2], [20, 20, 2])
    folds = make_folds(5, np.zeros((42, 1)), codes, stratify=True, random_state=0)
    assert folds.held_out.all()
    everywhere_rare = np.repeat(np.arange(5), 2)
    assert make_folds(5, np.zeros((10, 1)), everywhere_rare, stratify=True, random_state=0).held_out.all()


@pytest.mark.parametrize("stratify", [False, True])
def test_groups_are_not_split(stratify):
    rng = np.random.default_rng(0)
    groups = rng.choice(list("abcdefgh"), 80)
    codes = rng.integers(2, size=80)
    for train, test in make_folds(3, np.zeros((80, 1)), codes, groups, stratify=stratify, random_state=0).pairs:
        assert set(groups[train]).isdisjoint(groups[test])


def test_groups_reach_the_users_splitter():
    X, y = _rows(30)
    groups = np.repeat(np.arange(6), 5)
    folds = make_folds(LeaveOneGroupOut(), X, y, groups)
    assert len(folds) == 6
    assert all(len(set(groups[test])) == 1 for _, test in folds.pairs)


def test_the_users_splitter_is_never_changed():
    X, y = _rows(30)
    legacy, splitter = np.random.RandomState(7), KFold(3, shuffle=True)
    before = legacy.get_state()[1].copy()
    make_folds(KFold(3, shuffle=True, random_state=legacy), X, y, random_state=0)
    np.testing.assert_array_equal(legacy.get_state()[1], before)
    make_folds(splitter, X, y, random_state=5)
    assert splitter.random_state is None


def test_a_splitter_without_a_seed_gets_one_and_one_with_a_seed_keeps_it():
    X, y = _rows(30)
    unseeded = [make_folds(KFold(3, shuffle=True), X, y, random_state=seed) for seed in (0, 0, 1)]
    assert _equal(unseeded[0], unseeded[1])
    assert not _equal(unseeded[0], unseeded[2])
    own = [make_folds(KFold(3, shuffle=True, random_state=9), X, y, random_state=seed) for seed in (0, 1)]
    assert _equal(*own)
    expected = list(KFold(3, shuffle=True, random_state=9).split(X))
    np.testing.assert_array_equal(own[0].pairs[0][1], expected[0][1])
    assert len(make_folds(KFold(3), X, y, random_state=0)) == 3  # KFold(shuffle=False) refuses a seed


def test_the_first_rows_of_a_time_series_are_never_held_out():
    X, y = _rows(20)
    folds = make_folds(TimeSeriesSplit(4), X, y)
    assert folds.fold_of_row[:4].tolist() == [-1] * 4
    assert folds.held_out[4:].all()
    assert not folds.held_out[:4].any()
    for f in range(4):
        train, test_rows = folds.train_rows(f), folds.test_rows(f)
        assert len(train) == (0, 4, 8, 12)[f]
        assert (train[:, None] < test_rows).all(), "a gate is fitted to earlier rows only"
        assert folds.held_out[train].all(), "a gate is fitted to out-of-fold predictions only"


def test_repeated_folds_have_one_column_per_repeat():
    X, y = _rows(12)
    folds = make_folds(RepeatedKFold(n_splits=3, n_repeats=2, random_state=0), X, y)
    table = folds.fold_of_row
    assert table.shape == (12, 2)
    for f, (_, test) in enumerate(folds.pairs):
        assert sorted(np.flatnonzero((table == f).any(axis=1))) == sorted(test)
    test_rows = np.concatenate([folds.test_rows(f) for f in range(len(folds))])
    assert sorted(test_rows) == list(range(12)), "every row belongs to one test set only"


def test_uneven_repeats_are_padded():
    folds = make_folds([([0, 1], [2, 3]), ([0, 3], [2]), ([2, 3], [0])], *_rows(4))
    assert folds.fold_of_row.tolist() == [[2, -1], [-1, -1], [0, 1], [0, -1]]
    assert folds.held_out.tolist() == [True, False, True, True]


def test_a_list_of_folds_takes_positions_masks_and_negative_positions():
    mask = np.array([True, True, False, False])
    folds = make_folds([(mask, ~mask), ([-2, -1], [0, 1])], *_rows(4))
    assert [part.tolist() for part in folds.pairs[0]] == [[0, 1], [2, 3]]
    assert [part.tolist() for part in folds.pairs[1]] == [[2, 3], [0, 1]]
    generator = make_folds(((train, test) for train, test in folds.pairs), *_rows(4))
    assert _equal(generator, folds)


def test_none_is_in_sample():
    folds = make_folds(None, *_rows(5))
    assert folds.in_sample
    assert folds.train_rows(0).tolist() == folds.test_rows(0).tolist() == [0, 1, 2, 3, 4]


@settings(max_examples=20)
@given(k=st.integers(3, 5), f=st.integers(0, 2), seed=st.integers(0, 20))
def test_inner_folds_are_the_other_folds_restricted(k, f, seed):
    X, y = _rows(30)
    folds = make_folds(k, X, y, random_state=seed)
    rows = folds.pairs[f][0]
    inner = folds.inside(f, X[rows], y[rows])
    assert inner.n == len(rows)
    outside = {frozenset(test) for g, (_, test) in enumerate(folds.pairs) if g != f}
    assert {frozenset(rows[test]) for _, test in inner.pairs} == outside
    for train, test in inner.pairs:
        assert set(train).isdisjoint(test)
        assert len(train) + len(test) == len(rows)


@pytest.mark.parametrize("splitter", [GroupKFold(2), GroupKFold(4), 2, 4, LeaveOneGroupOut()])
def test_inner_folds_keep_groups_whole(splitter):
    X, y = _rows(48)
    groups = np.repeat(np.arange(8), 6)
    folds = make_folds(splitter, X, y, groups, random_state=0)
    for f, (rows, _) in enumerate(folds.pairs):
        inner = folds.inside(f, X[rows], y[rows], groups[rows])
        assert len(inner) >= 2
        for train, test in inner.pairs:
            assert set(groups[rows][train]).isdisjoint(groups[rows][test])


def test_inner_folds_of_a_time_series_run_forward():
    X, y = _rows(60)
    folds = make_folds(TimeSeriesSplit(4), X, y)
    for f, (rows, _) in enumerate(folds.pairs):
        for train, test in folds.inside(f, X[rows], y[rows]).pairs:
            assert rows[train].max() < rows[test].min()


def test_inner_folds_of_two_folds_split_again():
    X, _ = _rows(20)
    for cv in (2, KFold(2, shuffle=True, random_state=0), list(KFold(2).split(X)), StratifiedKFold(2)):
        folds = make_folds(cv, X, np.arange(20) % 2)
        rows = folds.pairs[0][0]
        inner = folds.inside(0, X[rows], rows % 2, seed=3)
        assert len(inner) >= 2
        assert inner.held_out.all()


def test_inner_folds_of_overlapping_folds_are_disjoint():
    X, y = _rows(40)
    folds = make_folds(ShuffleSplit(5, test_size=0.4, random_state=0), X, y)
    for f, (rows, _) in enumerate(folds.pairs):
        for train, test in folds.inside(f, X[rows], y[rows]).pairs:
            assert set(train).isdisjoint(test)


@pytest.mark.parametrize(
    ("cv", "says"),
    [
        (1, "cv=1.*2 or more"),
        (50, "50 rows.*lower"),
        ("five", "number of folds"),
        (True, "number of folds"),
        (3.5, "number of folds"),
        ([], "empty"),
        ([([0, 1], [])], "no rows"),
        ([([0, 1], [99])], "do not exist"),
        ([([0, 1], [2], [3])], "pair"),
        ([5], "pair"),
    ],
)
def test_invalid_cv_is_named(cv, says):
    with pytest.raises(ValueError, match=says):
        make_folds(cv, *_rows(10))


def test_more_folds_than_groups_are_rejected():
    with pytest.raises(ValueError, match="3 groups"):
        make_folds(5, *_rows(10), groups=np.arange(10) % 3)


# --- nested ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cv", [5, 3, KFold(4), RepeatedKFold(n_splits=3, n_repeats=2, random_state=0)])
def test_nested_folds_know_neither_fold(cv):
    y = np.arange(60.0)
    folds = make_folds(cv, np.zeros((60, 1)), y, random_state=0)
    nested = folds.nested(np.zeros((60, 1)), y)
    assert len(nested) == len(folds)
    for f, ((train, test), inner) in enumerate(zip(folds.pairs, nested, strict=True)):
        if not len(folds.test_rows(f)):
            assert inner is None, "other folds held these rows out first"
            continue
        held = np.concatenate([rows for _, rows in inner.pairs])
        assert sorted(held) == sorted(train), "every training row is predicted once"
        for inner_train, inner_test in inner.pairs:
            assert not np.isin(inner_train, test).any()
            assert not np.isin(inner_train, inner_test).any()


def test_a_nested_fit_serves_both_folds():
    folds = make_folds(5, np.zeros((50, 1)), np.zeros(50), random_state=0)
    fits = nested_fits(folds.nested(np.zeros((50, 1)), np.zeros(50)))
    assert len(fits) == 10, "pairs of five folds"
    for fit in fits:
        (f, of_f), (g, of_g) = fit.serves
        assert sorted(fit.train) == sorted(np.flatnonzero(~np.isin(folds.fold_of_row, [f, g])))
        assert sorted(of_f) == sorted(folds.pairs[g][1]), "fold f takes the rows of g"
        assert sorted(of_g) == sorted(folds.pairs[f][1])


def test_groups_stay_together_in_nested_folds():
    groups = np.repeat(np.arange(12), 4)
    folds = make_folds(4, np.zeros((48, 1)), np.zeros(48), groups, random_state=0)
    for inner in folds.nested(np.zeros((48, 1)), np.zeros(48), groups):
        for train, test in inner.pairs:
            assert not set(groups[train]) & set(groups[test])


@pytest.mark.parametrize(
    "cv", [TimeSeriesSplit(4), [(np.arange(40), np.arange(40, 60))], PredefinedSplit([-1] * 40 + [0] * 20)]
)
def test_nothing_is_nested_where_no_model_has_seen_the_rows_it_is_judged_by(cv):
    folds = make_folds(cv, np.zeros((60, 1)), np.zeros(60))
    assert set(folds.nested(np.zeros((60, 1)), np.zeros(60))) == {None}


def test_two_folds_are_nested_by_splitting_again():
    y = np.arange(40.0)
    folds = make_folds(2, np.zeros((40, 1)), y, random_state=0)
    for (train, test), inner in zip(folds.pairs, folds.nested(np.zeros((40, 1)), y), strict=True):
        assert sorted(np.concatenate([rows for _, rows in inner.pairs])) == sorted(train)
        assert not any(np.isin(rows, test).any() for rows, _ in inner.pairs)
