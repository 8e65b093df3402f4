"""What is taken apart is put together again the same; what cannot be is refused."""

import collections
import datetime
import functools
import json
import math
import threading

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import sparse
from sklearn.utils import Bunch

from metamix.persistence.decoding import decode
from metamix.persistence.encoding import encode


def again(value):
    """Through JSON, and arrays without a copy."""
    document, found = encode(value)
    return decode(json.loads(json.dumps(document)), found)


ATOMS = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text() | st.binary()
KEYS = st.text() | st.integers() | st.booleans() | st.tuples(st.integers(), st.text())
DTYPES = arrays.scalar_dtypes() | st.just(np.dtype([("a", "<f4"), ("b", "<i8", (2,))], align=True))
TABLES = arrays.arrays(
    DTYPES.filter(lambda dtype: dtype.itemsize and dtype.isnative), arrays.array_shapes(min_dims=0, min_side=0)
)
VALUES = st.recursive(
    ATOMS | TABLES,
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner) | st.tuples(inner, inner),
    max_leaves=12,
)


def same(a, b):
    """Equal with types, byte by byte for arrays."""
    if isinstance(a, np.ndarray | np.generic):
        return type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return type(a) is type(b) and same(list(a), list(b)) and same(list(a.values()), list(b.values()))
    return type(a) is type(b) and (a == b or (a != a and b != b))


@hypothesis.given(VALUES)
def test_values_come_back_with_their_types(value):
    assert same(again(value), value)


@pytest.mark.parametrize(
    "value",
    [
        np.array([1.5, "a", None], dtype=object).reshape(3, 1),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(10)[::3],
        np.array(["2020-01-01", "NaT"], dtype="datetime64[ns]"),
        np.float32(1.1),
        "long " * 1000 + "\ud800",
        b"",
        bytearray(b"abc"),
        {1, 2},
        frozenset("ab"),
        1 + 2j,
        slice(1, None, 2),
        range(3),
        np.dtype("<f4"),
        np.float64,
        np.log1p,
        float,
        collections.OrderedDict(b=1, a=[2]),
        collections.defaultdict(list, {1: [2]}),
        Bunch(a=1),
        datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_types_come_back(value):
    found = again(value)
    assert type(found) is type(value)
    if isinstance(value, np.ndarray):
        np.testing.assert_array_equal(found, value)
        assert found.dtype == value.dtype
    else:
        assert found == value


def test_arrays_of_other_classes_come_back():
    masked = np.ma.MaskedArray([1.0, 2.0], mask=[False, True], fill_value=7)
    np.testing.assert_array_equal(again(masked).filled(), [1.0, 7.0])
    for kind in (sparse.csr_matrix, sparse.csc_array):
        matrix = kind(np.eye(3))
        assert type(again(matrix)) is kind
        np.testing.assert_array_equal(again(matrix).toarray(), np.eye(3))


@pytest.mark.parametrize("make", [np.random.RandomState, np.random.default_rng])
def test_random_numbers_go_on_where_they_were(make):
    generator = make(0)
    generator.normal()
    assert again(generator).normal() == generator.normal()


def test_what_is_shared_is_shared_and_cycles_end():
    array = np.zeros(2)
    shared = again({"a": array, "b": [array, array]})
    assert shared["a"] is shared["b"][0] is shared["b"][1]
    cycle = [1]
    cycle.append({"cycle": cycle})
    found = again(cycle)
    assert found[1]["cycle"] is found


def test_shared_lists_are_not_multiplied():
    nested = [1.5]
    for _ in range(200):
        nested = [nested, nested]
    found, depth = again(nested), 0
    while isinstance(found[0], list):
        assert found[0] is found[1]
        found, depth = found[0], depth + 1
    assert depth == 200


@pytest.mark.parametrize(
    "value",
    [lambda x: x, threading.Lock(), [].append, math, (one for one in ""), functools.partial(lambda: 0)],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_stored_is_refused(value):
    with pytest.raises(TypeError):
        encode([value])
