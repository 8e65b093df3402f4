"""Shared data reaches each worker once, unchanged and read-only; unpicklable objects give clear errors."""

import os
import sys
import threading
import time

import cloudpickle
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse

from metamix.engines import LocalEngine

# Classes and functions of this module are pickled by value, as those of a notebook are.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

LOCAL = LocalEngine(2, threads_per_task=2)


class Recorded:
    """Writes a line to a file each time it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __setstate__(self, state):
        self.__dict__.update(state)
        with open(self.path, "a") as file:
            file.write(f"{os.getpid()}\n")


def test_shared_data_is_loaded_once_per_worker(tmp_path):
    def process(*_):
        time.sleep(0.02)
        return os.getpid()

    with LOCAL.open(Recorded(tmp_path / "loads")) as session:
        workers = {outcome.value for _ in range(2) for outcome in session.run(process, range(20))}
    loads = (tmp_path / "loads").read_text().split()
    assert len(loads) == len(set(loads))
    assert {int(pid) for pid in loads} == workers
    assert os.getpid() not in workers


def test_workers_keep_the_data_of_one_session_only(values):
    def loaded(*_):
        from metamix.engines import serialization

        return [value[0] for value in serialization._loaded.values()]

    for number in range(3):
        assert values(LOCAL, loaded, [0], np.full(3, number)) == [[number]]


def test_arrays_keep_memory_order_and_values_and_are_read_only_maps(values):
    rng = np.random.default_rng(1)
    arrays = [
        rng.normal(size=(500, 4)),
        np.asfortranarray(rng.normal(size=(7, 3))),
        rng.integers(0, 9, 11).astype(np.int16),
        np.empty((0, 4)),
    ]

    def look(arrays, i):
        with pytest.raises(ValueError, match="read-only"):
            arrays[i][0] = 0
        with pytest.raises(ValueError, match="cannot set WRITEABLE"):
            arrays[i].setflags(write=True)
        aligned = arrays[i].ctypes.data % 64 == 0
        return arrays[i], arrays[i].flags.c_contiguous, arrays[i].flags.f_contiguous, aligned

    # An array that cannot be made writable is mapped from a file opened for reading.
    for array, (copy, c_order, f_order, aligned) in zip(
        arrays[:3], values(LOCAL, look, [0, 1, 2], arrays), strict=True
    ):
        np.testing.assert_array_equal(copy, array)
        assert copy.dtype == array.dtype
        assert (c_order, f_order) == (array.flags.c_contiguous, array.flags.f_contiguous)
        assert aligned
    assert values(LOCAL, lambda a, i: a[i].shape, [3], arrays) == [(0, 4)]


def test_frames_and_sparse_matrices_are_unchanged(values):
    columns = {"x": [1.5, None, 3.0], "word": ["one", "two", None], "n": [1, 2, 3]}
    frame = pd.DataFrame(columns).astype({"word": "category"})
    frame["when"] = pd.date_range("2026-01-01", periods=3)
    frame["text"] = ["a", "b", "c"]
    shared = {
        "pandas": frame,
        "polars": pl.DataFrame(columns),
        "sparse": scipy.sparse.random(50, 6, density=0.2, format="csr", rng=0),
        "array": scipy.sparse.csc_array(np.eye(4)),
    }
    got = dict(zip(shared, values(LOCAL, lambda shared, key: shared[key], list(shared), shared), strict=True))
    pd.testing.assert_frame_equal(got["pandas"], shared["pandas"])
    assert got["polars"].equals(shared["polars"])
    for key in ("sparse", "array"):
        assert type(got[key]) is type(shared[key])
        assert (got[key] != shared[key]).nnz == 0


def test_objects_that_cannot_be_pickled_give_clear_errors(run, tmp_path, monkeypatch):
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", str(tmp_path))
    with pytest.raises(TypeError, match="use_engine"), LOCAL.open(threading.Lock()):
        pass
    task, value, good = run(
        LOCAL,
        lambda _, task: (x for x in [1]) if task == "generator" else task,
        [threading.Lock(), "generator", 1],
    )
    assert isinstance(task.error, TypeError)
    assert "generator that cannot be sent back" in str(value.error)
    assert good.value == 1
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_removed_after_an_error_too(run, tmp_path, monkeypatch):
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", str(tmp_path))

    def leave():
        with LOCAL.open(np.ones(10)) as session:
            assert len(list(tmp_path.iterdir())) == 1
            next(session.run(lambda *_: None, [0]))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        leave()
    assert list(tmp_path.iterdir()) == []
