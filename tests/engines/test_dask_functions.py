"""Workers of Dask on other machines load the table of a fit themselves: the same bits, once in each, or an error."""

import functools
import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import cloudpickle
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LinearRegression

from metamix import MixtureRegressor, compare, make_regimes, use_engine
from metamix.engines import DifferentDataError

distributed = pytest.importorskip("distributed", reason='distributed is not installed: pip install "metamix[dask]"')

# Classes and functions of this module are pickled by value, as those of a notebook are.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

N = 2000


@pytest.fixture(autouse=True)
def other_machines(monkeypatch, dask_engine):
    """No file can be written that the workers could map, as where they are on other machines."""
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", "/nonexistent")


class Relay:
    """Passes connections on to an address, and counts the bytes that come in."""

    def __init__(self, address):
        host, port = address.removeprefix("tcp://").split(":")
        self.there = (host, int(port))
        self.received = 0
        self.server = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self.server.getsockname()[1]}"
        self.sockets = [self.server]
        self.threads = []
        self.start(self.accept)

    def start(self, function, *arguments):
        self.threads.append(threading.Thread(target=function, args=arguments, daemon=True))
        self.threads[-1].start()

    def accept(self):
        with suppress(OSError):  # closed
            while True:
                near, far = self.server.accept()[0], socket.create_connection(self.there)
                self.sockets += [near, far]
                self.start(self.pump, near, far, True)
                self.start(self.pump, far, near, False)

    def pump(self, source, target, counted):
        with suppress(OSError):
            while content := source.recv(65536):
                self.received += len(content) * counted
                target.sendall(content)
            target.shutdown(socket.SHUT_WR)

    def stop(self):
        for one in self.sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(timeout=10)
        for one in self.sockets:
            one.close()


@pytest.fixture
def relay(cluster):
    relay = Relay(cluster.address)
    yield relay
    relay.stop()


def numbers(seed=0, columns=40):
    return np.random.default_rng(seed).normal(size=(N, columns))


def target(X):
    return X[:, 0] + np.sin(3 * X[:, 1])


def words():
    """A frame of which nearly every column is read in another way than it is written."""
    X = numbers()
    frame = pd.DataFrame({f"x{j}": X[:, j] for j in range(X.shape[1])})
    frame["price"] = [f"{value:.2f}".replace(".", ",") for value in X[:, 2]]
    frame["day"] = [f"{1 + i % 28:02d}.{1 + i % 12:02d}.2024" for i in range(N)]
    frame["city"] = np.array(["Rome", "Oslo", None], dtype=object)[np.arange(N) % 3]
    return frame


def written(kind, folder):
    """A function that reads a table of some kind from a file."""
    path = str(folder / "table")
    if kind == "frame":
        words().to_csv(path, index=False)
        return functools.partial(pd.read_csv, path)
    if kind == "sparse":
        path += ".npz"
        sparse.save_npz(path, sparse.csc_array(np.where(numbers() > 1, numbers(), 0)))
        return functools.partial(sparse.load_npz, path)
    path += ".npy"
    np.save(path, np.asfortranarray(numbers().astype(np.float32)))
    return functools.partial(np.load, path)


def note(path):
    """Write this process to a file; return how many have been."""
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    return len(Path(path).read_text().split())


def noted(path, function):
    note(path)
    return function()


def a_mixture(**parameters):
    return MixtureRegressor(["ridge", "linear"], specialize=False, cv=2, random_state=0, **parameters)


@pytest.mark.filterwarnings("ignore::metamix.data.cleaning.TableWarning")
@pytest.mark.parametrize("kind", [pytest.param("frame", marks=pytest.mark.slow), "array", "sparse"])
def test_each_worker_loads_the_table_once_nobody_sends_it_and_the_bits_are_those_of_the_table(kind, relay, tmp_path):
    function, y = written(kind, tmp_path), target(numbers())
    X = function()
    expected = a_mixture().fit(X, y)
    with use_engine("dask", address=relay.address):
        found = a_mixture().fit(functools.partial(noted, tmp_path / "loads", function), y)
        by_function = relay.received
        again = a_mixture().fit(X, y)
        with_rows = relay.received - by_function
    for one in (found, again):
        np.testing.assert_array_equal(one.predict(X), expected.predict(X))
        np.testing.assert_array_equal(one.oof_predictions_, expected.oof_predictions_)
    loads = (tmp_path / "loads").read_text().split()
    assert len(loads) == len(set(loads)) == 3
    assert str(os.getpid()) in loads
    sizes = {"frame": lambda: X.memory_usage().sum(), "array": lambda: X.nbytes, "sparse": lambda: X.data.nbytes}
    assert with_rows - by_function > 0.9 * sizes[kind]()


def changed(function, pid, how):
    X = function()
    if os.getpid() == pid:
        return X
    if how == "a number":
        X[N // 2, 3] += 1
    return {"a number": X, "a row less": X[:-1], "a column less": X[:, :-1], "nothing": None}[how]


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("a number", "of the same shape"),
        ("a row less", "1999 × 40 in place of 2000 × 40"),
        ("a column less", "X has 39 features, but MixtureRegressor is expecting 40"),
        ("nothing", "cannot be prepared in the same way"),
    ],
)
def test_another_table_in_a_worker_is_an_error_with_its_remedy(how, told, cluster, tmp_path):
    function = functools.partial(changed, written("array", tmp_path), os.getpid(), how)
    with use_engine("dask", address=cluster.address), pytest.raises(DifferentDataError) as caught:
        a_mixture().fit(function, target(numbers()))
    for part in ("changed", "returned another table", told, "called by the worker tcp://127", "X=function()"):
        assert part in str(caught.value)


def not_there(function, pid):
    if os.getpid() != pid:
        raise FileNotFoundError(2, "No such file or directory", "/data/rows.npy")
    return function()


def not_pickled(function, pid):
    lock = threading.Lock()
    return lambda: function() if lock else None


def with_not_there(function, pid):
    return functools.partial(not_there, function, pid)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (with_not_there, r"not_there .* the worker tcp://127.* could not call it \(FileNotFoundError.*rows.npy"),
        (not_pickled, r"<lambda> .* it cannot be pickled \(TypeError"),
    ],
)
def test_where_workers_cannot_load_the_table_it_is_sent_and_a_warning_says_why(make, told, cluster, tmp_path):
    read, y = written("array", tmp_path), target(numbers())
    expected = a_mixture().fit(read(), y).predict(read())
    with use_engine("dask", address=cluster.address), pytest.warns(UserWarning, match=told) as caught:
        found = a_mixture().fit(make(read, os.getpid()), y)
    assert len(caught) == 1
    assert "Let every worker see what it reads" in str(caught[0].message)
    np.testing.assert_array_equal(found.predict(read()), expected)
    assert found.failures_.empty


class Fragile(RegressorMixin, BaseEstimator):
    """Least squares; the first fit of all kills its worker, in which the table is then loaded once more."""

    def __init__(self, path=""):
        self.path = path

    def fit(self, X, y, sample_weight=None):
        if note(self.path) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(1)  # so that the other worker does not do everything
        self.line_ = LinearRegression().fit(X, y, sample_weight)
        return self

    def predict(self, X):
        return self.line_.predict(X)


def later(path, function, act):
    """What happens where the table is loaded by a worker that came in place of another."""
    late = note(path) > 3
    if late and act == "fails":
        raise PermissionError("no access")
    X = function()
    if late and act == "differs":
        X[0, 0] += 1
    return X


@pytest.mark.slow
@pytest.mark.parametrize("act", ["loads", "fails", "differs"])
def test_a_worker_that_comes_in_place_of_a_killed_one_loads_the_table_too(act, cluster, tmp_path):
    read, y = written("array", tmp_path), target(numbers())
    experts = [("one", LinearRegression()), ("two", LinearRegression(fit_intercept=False))]
    mixture = MixtureRegressor(experts, specialize=False, cv=4, random_state=0)
    expected = mixture.fit(read(), y).predict(read())
    mixture.set_params(one=Fragile(str(tmp_path / "fits")))
    function = functools.partial(later, tmp_path / "loads", read, act)
    with use_engine("dask", address=cluster.address):
        if act == "differs":
            with pytest.raises(DifferentDataError, match="of the same shape"):
                mixture.fit(function, y)
            return
        if act == "fails":
            with pytest.warns(UserWarning, match="PermissionError: no access"):
                mixture.fit(function, y)
        else:
            mixture.fit(function, y)
    assert len((tmp_path / "loads").read_text().split()) >= 4
    np.testing.assert_array_equal(mixture.predict(read()), expected)
    assert mixture.failures_.empty


class Reloaded:
    """Data that a function makes."""

    def loader(self):
        return lambda: np.ones((N, 2))


def test_what_a_worker_makes_is_read_only_there(run, dask_engine):
    found = run(dask_engine, lambda made, task: (made.flags.writeable, float(made.sum())), range(2), Reloaded())
    assert [outcome.value for outcome in found] == [(False, 2.0 * N)] * 2


@pytest.mark.heavy
def test_compare_has_workers_load_the_table_for_each_outer_fold(cluster, tmp_path):
    X, y = make_regimes(90, random_state=0)
    np.save(tmp_path / "rows.npy", X)
    function = functools.partial(noted, tmp_path / "loads", functools.partial(np.load, tmp_path / "rows.npy"))
    options = {"experts": [LinearRegression(), "ridge"], "cv": 3, "random_state": 0}
    expected = compare(X, y, **options).frame()
    with use_engine("dask", address=cluster.address):
        found = compare(function, y, **options).frame()
    columns = ["name", "loss", "difference", "standard_error"]
    pd.testing.assert_frame_equal(found[columns], expected[columns], check_exact=True)
    assert len((tmp_path / "loads").read_text().split()) == 1 + 2 * 3
