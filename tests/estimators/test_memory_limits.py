"""A fit that memory does not suffice for is refused before it begins, or parts of a pool are left out."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from metamix import (
    InsufficientMemoryError,
    MemoryLimitWarning,
    MixtureRegressor,
    compare,
    make_regimes,
    use_engine,
)
from metamix.engines import LocalEngine, SerialEngine, ThreadsEngine
from metamix.estimators import memory_limits
from metamix.estimators.memory_limits import estimate_fit, within_memory
from metamix.fitting import Problem
from metamix.memory import FreeMemory

X, y = make_regimes(120, n_regimes=2, random_state=0)
KINDS = ["ridge", "extra_trees", None]


def _problem(n=100_000, d=10, **more):
    return Problem(np.broadcast_to(0.0, (n, d)), np.broadcast_to(0.0, n), **more)


def _kept(problem, experts, engine=None):
    """Names of the experts for which there is memory, and what is left out."""
    mixture = MixtureRegressor(experts)
    named, left_out = within_memory(mixture, mixture._resolve_experts(), problem, engine or SerialEngine())
    return [name for name, _ in named], left_out


@pytest.fixture
def free(monkeypatch):
    """Set how much memory is taken to be free."""

    def set_free(together, each=np.inf):
        monkeypatch.setattr(memory_limits, "free_memory", lambda: FreeMemory(together, min(each, together)))

    return set_free


def test_more_of_anything_takes_more():
    one = estimate_fit(_problem(), ["ridge"], 5)
    larger = [
        estimate_fit(_problem(n=200_000), ["ridge"], 5),
        estimate_fit(_problem(d=20), ["ridge"], 5),
        estimate_fit(_problem(), ["ridge", "splines"], 5),
        estimate_fit(_problem(), ["ridge"], 5, ThreadsEngine(2)),
        estimate_fit(_problem(n_classes=10), ["extra_trees"], 5),
    ]
    assert all(other.together > one.together for other in larger)
    trees = [estimate_fit(_problem(), ["extra_trees"], 5, refit=refit).driver for refit in (True, False)]
    assert trees[1] > 2 * trees[0], "models of the folds are kept"


class Elsewhere:
    """An engine of other machines, that would fail if it were used."""

    def open(self, shared):
        raise AssertionError


def test_threads_share_the_table_and_libraries_and_other_machines_take_nothing():
    one, threads, processes, elsewhere = (
        estimate_fit(_problem(), ["ridge"], 5, engine)
        for engine in (SerialEngine(), ThreadsEngine(2), LocalEngine(2), Elsewhere())
    )
    assert threads.together == threads.each == one.driver + 2 * one.tasks[0]
    table, worker = 8 * 100_000 * 10, memory_limits.WORKER
    assert processes.together == pytest.approx(threads.together + table + 2 * worker)
    assert processes.each == max(one.driver, worker + one.tasks[0])
    assert elsewhere.together == elsewhere.each == one.driver


def test_columns_of_words_are_as_many_as_their_values():
    frame = pd.DataFrame({"a": np.arange(60.0), "b": list("xyz") * 20, "c": [f"{i}" for i in range(60)]})
    assert estimate_fit(Problem(frame, np.zeros(60)), [None], 5).columns == 1 + 4 + 21


def test_of_a_pool_what_does_not_fit_in_alone_is_left_out(free):
    pool = MixtureRegressor("fast")._given_experts()
    costs = dict(zip(pool, estimate_fit(_problem(), pool, 5).tasks, strict=True))
    largest = max(costs, key=costs.get)
    others = [name for name in pool if name != largest]
    free(estimate_fit(_problem(), others, 5).together)
    with pytest.warns(MemoryLimitWarning, match=rf"Left out for want of memory: the expert {largest} \(about "):
        assert _kept(_problem(), "fast")[0] == others
    free(1000)
    with pytest.raises(InsufficientMemoryError, match="1 expert on"):
        _kept(_problem(), "fast")


def test_a_list_is_refused_only_beyond_the_accuracy_of_the_estimate(free):
    needed = estimate_fit(_problem(), KINDS, 5).together
    experts = ["ridge", "extra_trees", ("mine", Ridge())]
    names = (["ridge", "extra_trees", "mine"], [])
    free(1.01 * needed)
    assert _kept(_problem(), experts) == names
    free(needed / 2.9)
    with pytest.warns(MemoryLimitWarning, match=r"3 experts on 100,000 rows of 10 columns may take .* The fit goes on"):
        assert _kept(_problem(), experts) == names
    free(needed / 3.1)
    with pytest.raises(InsufficientMemoryError, match="3 experts on 100,000 rows of 10 columns may take"):
        _kept(_problem(), experts)


def test_the_remedies_are_those_that_help(free):
    experts = ["ridge", "extra_trees", ("mine", Ridge())]
    serial, parallel = (estimate_fit(_problem(), KINDS, 5, engine) for engine in (SerialEngine(), LocalEngine(4)))
    free((serial.together + parallel.together) / 2)
    with pytest.warns(MemoryLimitWarning, match=r"in 4 processes .*n_jobs=1 takes about .*rows would do") as caught:
        _kept(_problem(), experts, LocalEngine(4))
    rows = int(str(caught[0].message).split("about ")[-1].split(" rows")[0].replace(",", ""))
    assert _kept(_problem(n=int(0.95 * rows)), experts, LocalEngine(4))[1] == []
    with pytest.warns(MemoryLimitWarning):
        _kept(_problem(n=int(1.1 * rows)), experts, LocalEngine(4))
    assert _kept(_problem(), experts)[1] == []
    free(np.inf, each=serial.each / 20)
    with pytest.raises(InsufficientMemoryError, match="in one process"):
        _kept(_problem(), experts, LocalEngine(4))


def test_what_other_machines_take_is_not_counted(free):
    free(1.01 * estimate_fit(Problem(X, y), ["ridge"], 5, Elsewhere()).together)
    mixture = MixtureRegressor(["ridge"])
    with use_engine(Elsewhere()), pytest.raises(AssertionError):
        mixture.fit(X, y)
    with pytest.warns(MemoryLimitWarning, match="1 expert on 120 rows"):
        mixture.fit(X, y)


def test_it_is_said_in_the_verdict_and_of_the_estimator(free):
    problem = Problem(X, y)
    free(estimate_fit(problem, ["ridge", "splines"], 3).together + 1000)
    mixture = MixtureRegressor("fast", specialize=False, gate="constant", cv=3, random_state=0)
    with pytest.warns(MemoryLimitWarning):
        mixture.fit(X, y)
    assert mixture.left_out_
    assert all(name in " ".join(mixture.left_out_) for name in ("the expert", "of memory"))
    assert "Left out for want of memory: the expert" in str(mixture.verdict_)
    with pytest.warns(MemoryLimitWarning):
        found = compare(X, y, "fast", cv=2, gate="constant", random_state=0)
    assert "Left out for want of memory: the expert" in found.verdict
    assert found.mixtures[0].left_out_ == mixture.left_out_
    free(1000)
    with pytest.raises(InsufficientMemoryError, match=r"rows|shorter list"):
        MixtureRegressor(["ridge"]).fit(X, y)


CODE = """
import json, resource, sys
import numpy as np
from sklearn.linear_model import Ridge
from metamix import InsufficientMemoryError, MixtureRegressor

class Noted(Ridge):
    def fit(self, X, y, sample_weight=None):
        print("fitted")
        return super().fit(X, y, sample_weight)

X = np.zeros((400_000, 20))
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 2**28, size + 2**28))
try:
    MixtureRegressor(["extra_trees", Noted()], random_state=0).fit(X, X[:, 0])
except InsufficientMemoryError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is not enforced elsewhere")
def test_under_a_limit_of_the_system_nothing_is_fitted():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert "fitted" not in done.stdout
    assert "2 experts on 400,000 rows of 20 columns may take" in done.stdout
    assert "rows would do: give a sample" in done.stdout


PEAK = """
import json, sys, warnings
import numpy as np
from metamix import MixtureClassifier, MixtureRegressor
from metamix.estimators.memory_limits import estimate_fit
from metamix.fitting import Problem

def status(key):
    for line in open("/proc/self/status"):
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024

def data(n, d, classes):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    y = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + rng.standard_normal(n)
    return X, (np.digitize(y, [-1, 1]) if classes else y)

experts, n, d, classes = json.loads(sys.argv[1])
kind = MixtureClassifier if classes else MixtureRegressor
warnings.simplefilter("ignore")
mixture = kind(experts, cv=3, gate="softmax", specialize="auto" if n <= 10_000 else False, max_rounds=1)
mixture.fit(*data(300, d, classes))  # libraries are loaded
X, y = data(n, d, classes)
before = status("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
mixture.fit(X, y)
problem = Problem(X, y, n_classes=3 if classes else None)
print(json.dumps([status("VmHWM") - before, estimate_fit(problem, experts, 3).together]))
"""


@pytest.mark.heavy
@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")
@pytest.mark.parametrize(
    ("experts", "n", "d", "classes"),
    [
        (["ridge", "splines"], 10_000, 10, False),
        (["ridge", "splines"], 30_000, 10, False),
        (["ridge", "extra_trees"], 5_000, 5, False),
        (["ridge", "extra_trees"], 15_000, 5, False),
        (["logistic", "extra_trees"], 5_000, 5, True),
    ],
)
def test_estimates_are_within_a_factor_of_three_of_the_peak(experts, n, d, classes):
    done = subprocess.run(
        [sys.executable, "-c", PEAK, json.dumps([experts, n, d, classes])], capture_output=True, text=True, check=True
    )
    peak, estimate = json.loads(done.stdout)
    assert peak / 3 < estimate < 3 * peak


def test_a_small_fit_needs_no_more_workers_than_there_are_fits():
    many = [estimate_fit(_problem(n=100), ["ridge", "splines"], 5, LocalEngine(jobs)).together for jobs in (10, 64)]
    assert many[0] == many[1] < 2e9
