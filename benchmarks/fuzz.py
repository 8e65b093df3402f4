"""Malformed inputs to every public entry and option: whatever comes out must be a documented error, or an answer.

python benchmarks/fuzz.py [--count 3000] [--seed 0] [--entry NAME] [--quick]

An input is a call that works, of which one or two arguments are replaced by something else: another type, another
shape, missing or masked values, numbers that are too large, the wrong kind of part. A call passes if it answers, or if
it raises an error that metamix, scikit-learn or click raise on purpose (a `raise` statement of theirs, or
scikit-learn's validation of input), which is a ValueError, TypeError, KeyError or RuntimeError with a message, or an
OSError that names a file. Anything else is a fault: an AssertionError, IndexError or AttributeError, a message of numpy
or of Python's own operators, a call of more than 60 seconds. The command line runs in this process; it passes if it
ends with one line and without the hint to use --debug. `--quick` makes 60 inputs, to test that the script runs.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import argparse
import contextlib
import io
import linecache
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from types import GeneratorType
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import mean_squared_error
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler

import metamix
from metamix import MixtureClassifier, MixtureRegressor, compare, fit_predictions, load, make_regimes, save, use_engine
from metamix.cli import main as command_line
from metamix.data.columns import ColumnEncoder
from metamix.gates import ForestGate, GaussianGate, NeighboursGate, SoftmaxGate
from metamix.likelihoods import Categorical, Gaussian, Outliers, Poisson, StudentT
from metamix.persistence import untrusted_types

N = 24
SECONDS = 60
DOCUMENTED = (ValueError, TypeError, KeyError, RuntimeError, NotFittedError)
OWN = ("metamix.", "sklearn.", "click.")
VALIDATION = "sklearn.utils"

rng = np.random.default_rng(0)
X = rng.normal(size=(N, 2))
Y = X[:, 0] + rng.normal(size=N)
LABELS = np.where(np.median(Y) < Y, "a", "b")
FRAME = pd.DataFrame(X, columns=["u", "v"])
GROUPS = np.arange(N) // 2
GIVEN = np.column_stack([Y + 0.3, 0.8 * Y])

#: Factories, since some can be used only once.
ANYTHING: list[Callable[[], Any]] = [
    lambda: None, lambda: True, lambda: False, lambda: 0, lambda: 1, lambda: -1, lambda: 2, lambda: 2.5, lambda: -0.5,
    lambda: float("nan"), lambda: float("inf"), lambda: 10**30, lambda: 1e300, lambda: 1j, lambda: "", lambda: "x",
    lambda: "auto", lambda: "5", lambda: b"x", lambda: "a\0b", lambda: [], lambda: [1], lambda: ["x"], lambda: [None],
    lambda: [[1], [2]], lambda: [[1, 2], [3]], lambda: (), lambda: ("a", 1), lambda: {}, lambda: {"a": 1},
    lambda: {1: "a"}, set, lambda: {"x"}, object, lambda: object, lambda: len, lambda: (i for i in range(3)),
    lambda: range(3), lambda: Ridge, Ridge, lambda: LogisticRegression, LogisticRegression, StandardScaler, KMeans,
    lambda: np.array([]), lambda: np.array(3), lambda: np.array(["a", "b"]), lambda: np.float64(2), lambda: np.int64(2),
    lambda: np.bool_(True), lambda: np.zeros((2, 2)), lambda: np.zeros((2, 2, 2)), lambda: FRAME, lambda: FRAME["u"],
    lambda: sparse.csr_matrix(X), lambda: pd.NA, lambda: pd.NaT, lambda: np.datetime64("2020-01-01"),
    lambda: Exception("x"), lambda: Path("x"), lambda: slice(3), lambda: 5 * ["ridge"],
]  # fmt: skip


def column_like(good: Any) -> list[Callable[[], Any]]:
    """Things that resemble a column: other lengths, shapes and types, gaps and masks."""
    values = np.asarray(good)
    first = values[0]

    def changed(value: Any) -> Any:
        cells = values.astype(object).copy()
        cells[1] = value
        return cells

    return [
        lambda: values[:5], lambda: values[:0], lambda: values[:1], lambda: np.tile(values, 2), lambda: values[:, None],
        lambda: np.column_stack([values, values]), lambda: np.empty((N, 0)), lambda: values[None], lambda: first,
        lambda: np.zeros((N, 2, 2)), lambda: list(values), lambda: list(changed(None)), lambda: changed(None),
        lambda: changed(np.nan), lambda: changed("x"), lambda: changed(3), lambda: changed([1, 2]), lambda: changed({}),
        lambda: pd.Series(values), lambda: pd.Series(changed(None)), lambda: pd.Series(values, dtype="category"),
        lambda: pd.DataFrame({"y": values}), lambda: np.full(N, np.nan), lambda: np.full(N, np.inf),
        lambda: np.full(N, 1e200), lambda: np.full(N, -1.0), lambda: np.zeros(N), lambda: np.ones(N, dtype=complex),
        lambda: np.full(N, "2020-01-01", dtype="M8[D]"), lambda: np.array(["a"] * N), lambda: [1, "b"] * (N // 2),
        lambda: np.ma.masked_array(np.ones(N), mask=np.arange(N) > 3), lambda: sparse.csr_matrix(np.ones((N, 1))),
        lambda: np.arange(N), lambda: np.arange(N) % 2 == 0, lambda: (i for i in range(N)), lambda: {"y": 1},
    ]  # fmt: skip


def table_like() -> list[Callable[[], Any]]:
    """Things that resemble a table."""
    gaps = X.copy()
    gaps[0, 0] = np.nan
    large = X.copy()
    large[0, 0] = 1e200
    return [
        lambda: X[:5], lambda: X[:0], lambda: X[:1], lambda: X[:, :0], lambda: X[:, 0], lambda: X[:, :1],
        lambda: np.hstack([X, X]), lambda: X[None], lambda: gaps, lambda: large, lambda: X * np.inf, lambda: X.tolist(),
        lambda: X.astype(object), lambda: X.astype(str), lambda: X.astype(complex), lambda: X > 0, lambda: FRAME[:0],
        lambda: FRAME[[]], lambda: FRAME[:5], lambda: FRAME.rename(columns={"u": "w"}), lambda: FRAME[["v", "u"]],
        lambda: FRAME.assign(v="a"), lambda: FRAME.assign(v=None), lambda: FRAME.assign(v=[[1]] * N),
        lambda: FRAME.assign(v=pd.Timestamp("2020")), lambda: pd.concat([FRAME, FRAME], axis=1), lambda: FRAME["u"],
        lambda: FRAME.to_dict("list"), lambda: FRAME.rename(columns={"u": 1}), lambda: sparse.csr_matrix(X),
        lambda: sparse.coo_matrix(X), lambda: np.ma.masked_array(X, mask=X > 0), lambda: X.astype("float16"),
        lambda: np.full((N, 2), "2020-01-01", dtype="M8[D]"), lambda: [[1, 2], [3]], lambda: iter(X),
    ]  # fmt: skip


PARTS: dict[str, list[Callable[[], Any]]] = {
    "experts": [
        lambda: [Ridge], lambda: [("", Ridge())], lambda: [("a", Ridge)], lambda: [("a", 1)], lambda: [("cv", Ridge())],
        lambda: {"a": Ridge()}, lambda: (e for e in ["ridge"]), lambda: {"ridge"}, lambda: ["ridge", None],
        lambda: [LogisticRegression()], lambda: [StandardScaler()], lambda: [KMeans()], lambda: ["rigde"],
        lambda: [("a__b", Ridge())], lambda: [("a", Ridge()), ("a", Ridge())], lambda: [("a", Ridge(), 0)],
        lambda: [Ridge(alpha=-1)], lambda: [Ridge(alpha="x")], lambda: ["ridge", ["ridge"]], lambda: [SoftmaxGate()],
        lambda: [MixtureRegressor(["ridge"], cv="x")], lambda: [MixtureClassifier(specialize="x")], lambda: "ridge",
        lambda: [b"ridge"],
    ],
    "gate": [
        lambda: SoftmaxGate(penalty="x"), lambda: SoftmaxGate(degree=7), lambda: SoftmaxGate(penalty=-1), Ridge,
        lambda: GaussianGate(sharpness=0), lambda: ForestGate(n_estimators=0), lambda: NeighboursGate(n_neighbors="x"),
        lambda: [], lambda: ["constant", "x"], lambda: [SoftmaxGate, "constant"], lambda: GaussianMixture(2),
        lambda: LogisticRegression(C=-1), lambda: {"softmax"}, lambda: SoftmaxGate, lambda: "sofmax",
    ],
    "gate_features": [
        lambda: ["u"], lambda: [0, 7], lambda: [True], lambda: "y", lambda: SelectKBest(k=1), lambda: StandardScaler,
        lambda: [None], lambda: ["w"], lambda: [0, 0], lambda: [0.5], lambda: slice(1), lambda: np.array([0]),
    ],
    "likelihood": [
        lambda: "categorical", Categorical, Poisson, lambda: "poisson", lambda: StudentT(df=-1), lambda: StudentT,
        lambda: Gaussian(floor="x"), lambda: Outliers(share=2), lambda: Outliers(Categorical()), lambda: "normal",
    ],
    "scoring": [
        lambda: "accuracy", lambda: "r2", lambda: "roc_auc", lambda: "neg_mean_squared_log_error", lambda: "precision",
        lambda: mean_squared_error, lambda: lambda *_: None, lambda: lambda *_: "x", lambda: "adjusted_rand_score",
        lambda: lambda *_: float("nan"), lambda: ["r2", "accuracy"], lambda: "neg_mean_poisson_deviance",
    ],
    "cv": [
        lambda: [(0, 1)], lambda: [([0], [1])], lambda: [([0, 1], [1, 2])], lambda: [([0], [99])], lambda: [([], [])],
        lambda: KFold, lambda: KFold(99), lambda: "loo", lambda: (i for i in ()), lambda: [([0.5], [1])], lambda: 99,
        lambda: iter([(np.arange(12), np.arange(12, 24))]), lambda: [(["a"], ["b"])], lambda: [(None, None)],
    ],
    "start": [
        lambda: "kmean", lambda: np.zeros(N), lambda: np.zeros((N, 2)), lambda: -np.ones((N, 2)), lambda: [["a"]] * N,
        lambda: np.full((N, 2), np.nan), lambda: np.arange(N), lambda: [None] * N, lambda: np.ones((5, 2)),
    ],
    "final_estimator": [
        lambda: Ridge(alpha=-1), lambda: LogisticRegression(), lambda: Ridge, lambda: "ridge", lambda: KMeans(),
        lambda: StandardScaler(), lambda: DummyClassifier(), lambda: DummyRegressor(),
    ],
    "random_state": [lambda: np.random, lambda: 2**32, lambda: np.random.default_rng(0)],
    "device": [lambda: "gpu", lambda: "cuda:99", lambda: "cuda:x", lambda: "CPU"],
    "names": [lambda: ["a"], lambda: ["a", "a"], lambda: ["", ""], lambda: ["stack", "b"], lambda: [1, 2]],
    "predictions": [
        lambda: {"a": Y, "b": Y[:5]}, lambda: {"a": LABELS, "b": Y}, lambda: {}, lambda: Y, lambda: GIVEN[:5],
        lambda: GIVEN * np.nan, lambda: np.stack([GIVEN, GIVEN], axis=2), lambda: pd.DataFrame(GIVEN), lambda: GIVEN.T,
        lambda: {"stack": Y}, lambda: GIVEN[:, :0], lambda: GIVEN * 1e300, lambda: {1: Y, "b": Y}, lambda: {"a": None},
    ],
}  # fmt: skip
#: Values that would start thousands of processes or fits.
COSTLY = {"n_jobs": (2, 10**30), "max_epochs": (10**30,), "n_samples": (10**30,), "n_features": (10**30,)}
COLUMNS = {"y", "sample_weight", "groups"}


class Entry:
    """A call that works, and the arguments that may be replaced."""

    def __init__(self, name: str, call: Callable[..., Any], good: dict[str, Any], free: list[str]) -> None:
        self.name, self.call, self.good, self.free = name, call, good, free

    def pools(self, argument: str) -> list[Callable[[], Any]]:
        found = list(ANYTHING)
        if argument in COLUMNS:
            target = self.good.get("y")
            found = found[::4] + column_like(Y if argument == "sample_weight" or target is None else target)
        elif argument == "X":
            found = found[::4] + table_like()
        elif argument in PARTS:
            found = found[::2] + PARTS[argument]
        elif "__" in argument:  # parameters of an expert, which is copied before it is fitted
            found = [make for make in found if not isinstance(make(), GeneratorType)]
        return found

    def malformed(self, rng: np.random.Generator) -> tuple[dict[str, Any], list[str]]:
        """Arguments of which one or two are replaced, and their names."""
        chosen = rng.choice(self.free, size=min(len(self.free), 1 + int(rng.random() < 0.25)), replace=False).tolist()
        arguments = dict(self.good)
        for name in chosen:
            pool = self.pools(name)
            value = pool[rng.integers(len(pool))]()
            if any(type(value) is type(bad) and value == bad for bad in COSTLY.get(name, ())):
                value = 0
            arguments[name] = value
        return arguments, chosen


def estimator(face: Any, parameters: list[str]) -> Callable[..., Any]:
    """Fit with these parameters and data; X, y, sample_weight and groups go to fit."""

    def call(**arguments: Any) -> Any:
        data = {name: arguments.pop(name) for name in ("X", "y", "sample_weight", "groups") if name in arguments}
        model = face(**arguments).fit(data.pop("X"), data.pop("y"), **data)
        return model.predict(X[:3])

    return call


class Entries:
    """All entries, made once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.table = folder / "rows.csv"
        FRAME.assign(y=Y, c=LABELS, g=GROUPS).to_csv(self.table, index=False)
        save(self.numbers, folder / "one.mix")

    @cached_property
    def numbers(self) -> Any:
        pool = [("line", Ridge()), ("plain", DummyRegressor())]
        return MixtureRegressor(pool, gate="constant", specialize=False, cv=2, random_state=0).fit(FRAME, Y)

    @cached_property
    def classes(self) -> Any:
        pool = [("line", LogisticRegression()), ("plain", DummyClassifier())]
        return MixtureClassifier(pool, gate="constant", specialize=False, cv=2, random_state=0).fit(X, LABELS)

    @cached_property
    def precomputed(self) -> Any:
        return fit_predictions(GIVEN, X, Y, cv=2, gate="constant", random_state=0)

    def all(self) -> list[Entry]:
        return [*self._fits(), *self._methods(), *self._functions(), *self._files(), *self._networks()]

    def _fits(self) -> Iterator[Entry]:
        common = {"gate": "constant", "specialize": False, "cv": 2, "random_state": 0}
        data = ["X", "y", "sample_weight", "groups"]
        for face, pool, y in (
            (MixtureRegressor, [("line", Ridge()), ("plain", DummyRegressor())], Y),
            (MixtureClassifier, [("line", LogisticRegression()), ("plain", DummyClassifier())], LABELS),
        ):
            parameters = [name for name in face().get_params(deep=False) if name != "verbose"]
            good = {"experts": pool, **common, "X": X, "y": y}
            yield Entry(face.__name__, estimator(face, parameters), good, [*parameters, *data])
            special = {**good, "specialize": True, "start": "kmeans", "max_rounds": 1}
            yield Entry(f"{face.__name__} specialised", estimator(face, parameters), special, [*parameters, *data])
        names = [name for name in metamix.MixtureOfPredictions().get_params() if name != "task"]
        good = {"predictions": GIVEN, "X": X, "y": Y, "gate": "constant", "cv": 2, "random_state": 0}
        yield Entry("fit_predictions", fit_predictions, good, ["predictions", "task", *names, *data])
        good = {"X": X, "y": Y, "experts": [("line", Ridge())], "cv": 2, "random_state": 0}
        yield Entry("compare", compare, good, [*good, "scoring", "n_jobs", "task", "device", "groups", "sample_weight"])

    def _methods(self) -> Iterator[Entry]:
        plain = ["predict", "gate_weights", "predict_experts", "transform", "assign", "predict_variance",
                 "predict_gradient"]  # fmt: skip
        for kind, model, y in (("regressor", self.numbers, Y), ("classifier", self.classes, LABELS)):
            for name in [*plain, "predict_proba"]:
                if hasattr(model, name):
                    yield Entry(f"{kind}.{name}", getattr(model, name), {"X": X}, ["X"])
            for name in ("log_prob", "responsibilities", "score"):
                yield Entry(f"{kind}.{name}", getattr(model, name), {"X": X, "y": y}, ["X", "y"])
            yield Entry(f"{kind}.get_feature_names_out", model.get_feature_names_out, {}, ["input_features"])
        model = self.numbers
        yield Entry("predict_quantile", model.predict_quantile, {"X": X, "q": 0.5}, ["X", "q"])
        yield Entry("predict_interval", model.predict_interval, {"X": X}, ["X", "coverage"])
        yield Entry("sample", model.sample, {"X": X}, ["X", "random_state"])
        for name in ("predict", "gate_weights", "assign"):
            good = {"X": X, "predictions": GIVEN}
            yield Entry(f"precomputed.{name}", getattr(self.precomputed, name), good, list(good))
        good = {"X": X, "y": Y, "predictions": GIVEN}
        yield Entry("precomputed.log_prob", self.precomputed.log_prob, good, list(good))
        for name in ("experts", "line", "line__alpha", "cv"):
            yield Entry("set_params", self._set_and_fit, {name: getattr(model, name, 1.0)}, [name])

    def _set_and_fit(self, **parameters: Any) -> Any:
        pool = [("line", Ridge()), ("plain", DummyRegressor())]
        model = MixtureRegressor(pool, gate="constant", specialize=False, cv=2)
        return model.set_params(**parameters).fit(X, Y)

    def _functions(self) -> Iterator[Entry]:
        def with_engine(engine: Any, n_jobs: Any = 1, threads_per_task: Any = 1) -> None:
            with use_engine(engine, n_jobs, threads_per_task=threads_per_task):
                metamix.engines.current_engine()

        yield Entry("use_engine", with_engine, {"engine": "serial"}, ["engine", "n_jobs", "threads_per_task"])
        yield Entry(
            "make_regimes",
            make_regimes,
            {"n_samples": 30},
            ["n_samples", "noise", "n_features", "n_regimes", "task", "random_state"],
        )
        yield Entry("load_example", metamix.load_example, {"name": "mixed"}, ["name"])
        for kind in ("regressors", "classifiers", "gates", "likelihoods"):
            yield Entry(f"registry.{kind}", getattr(metamix.registry, kind).__getitem__, {}, ["name"])
        options = ["categories", "scale", "missing", "max_categories", "missing_indicator"]

        def encode(X: Any, **parameters: Any) -> Any:
            return ColumnEncoder(**parameters).fit(X).transform(FRAME)

        yield Entry("ColumnEncoder", encode, {"X": FRAME}, ["X", *options])

    def _files(self) -> Iterator[Entry]:
        file = self.folder / "one.mix"
        yield Entry("save", save, {"mixture": self.numbers, "path": self.folder / "two.mix"}, ["mixture", "path"])
        yield Entry("load", load, {"path": file}, ["path", "trusted"])
        yield Entry("untrusted_types", untrusted_types, {}, ["path"])
        table = str(self.table)
        learn = {"--target": "y", "--experts": "linear", "--cv": "2", "--jobs": "1"}
        free = ["--target", "--task", "--experts", "--cv", "--groups", "--weights", "--scoring", "--seed", "--jobs",
                "--device", "--out", "table"]  # fmt: skip
        for command in ("compare", "fit"):
            good = {"command": command, "table": table, **learn, "--out": str(self.folder / "out"), "--force": ""}
            yield Entry(f"metamix {command}", _run_command, good, free)
        good = {"command": "predict", "file": str(file), "table": table}
        yield Entry("metamix predict", _run_command, good, ["file", "table", "--out", "--trust"])
        yield Entry("metamix parts", _run_command, {"command": "parts"}, ["table"])

    def _networks(self) -> Iterator[Entry]:
        try:
            from metamix import nn
        except ImportError:
            return
        for face, y in ((nn.NeuralMixtureRegressor, Y), (nn.NeuralMixtureClassifier, LABELS)):
            parameters = [name for name in face().get_params(deep=False) if name not in ("verbose", "callbacks")]
            good = {"n_experts": 2, "hidden": 4, "max_epochs": 1, "random_state": 0, "X": X, "y": y}
            yield Entry(face.__name__, estimator(face, parameters), good, [*parameters, "X", "y", "sample_weight"])


WORDS = [
    "", "x", "-1", "0", "1", "99", "2.5", "nan", "y", "c", "g", "u", "u,v", "ridge", "rigde", "logistic",
    "accuracy", "r2", "regression", "classification", "cuda:99", "gpu", "/dev/full", "/nowhere/x", "/tmp",
    "/proc/x", "a\0b", "é", "[", "--target", "-h", "1e9", "99999999999999999999", "all", "regressors",
    "check", "neg_log_loss", "neg_mean_squared_log_error", "roc_auc", "one.mix", "rows.csv",
]  # fmt: skip


def _run_command(command: str, **given: Any) -> None:
    """Run the command line in this process; raise what its last line says if that is not one line of metamix's."""
    words = [command]
    for name, value in given.items():
        words += ([name] if name.startswith("--") else []) + ([str(value)] if value != "" or name != "--force" else [])
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            command_line(words)
        except SystemExit as end:
            code = end.code
    said = err.getvalue()
    lines = [line for line in said.splitlines() if line.startswith("metamix: error:")]
    if code and (len(lines) != 1 or "--debug" in said or "Traceback" in said):
        raise AssertionError(f"{' '.join(map(repr, words))} said {said!r}")


class CommandEntry(Entry):
    """An entry whose arguments are words."""

    def pools(self, argument: str) -> list[Callable[[], Any]]:
        return [lambda word=word: word for word in WORDS]


def fault(error: BaseException) -> str:
    """What is wrong with an error; empty if it is documented."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__", ""))
    said = f"{type(error).__name__}: {' '.join(str(error).split())[:150]} ({module}:{frame.lineno})"
    if isinstance(error, OSError):
        return "" if error.filename else said
    wrong = AttributeError | IndexError | AssertionError | NotImplementedError | RecursionError | UnicodeError
    if not str(error) or (isinstance(error, wrong) and not isinstance(error, NotFittedError)):
        return said
    if not isinstance(error, (*DOCUMENTED, ImportError)):
        return said
    if module.startswith(VALIDATION):
        return ""
    raised = linecache.getline(frame.filename, frame.lineno or 0).strip().startswith("raise")
    return "" if raised and module.startswith(OWN) else said


class _TooLongError(BaseException):
    """A call took too long."""


def _stop(*_: Any) -> None:
    raise _TooLongError


def attempt(entry: Entry, arguments: dict[str, Any]) -> str:
    """Call an entry; what is wrong with the error that it raised, or nothing."""
    before = signal.signal(signal.SIGALRM, _stop)
    signal.alarm(SECONDS)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            entry.call(**arguments)
    except _TooLongError:
        return f"more than {SECONDS} seconds"
    except Exception as error:
        return fault(error)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return ""


def shown(value: Any) -> str:
    """A value in a line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def fuzz(count: int, seed: int, only: str = "") -> tuple[Counter[str], list[str]]:
    """How many inputs each entry got, and what is wrong with the errors that came out."""
    draw = np.random.default_rng(seed)
    tried: Counter[str] = Counter()
    faults = []
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        entries = [one for one in Entries(Path(folder)).all() if only in one.name]
        for entry in entries:
            if entry.call is _run_command:
                entry.__class__ = CommandEntry
        # Entries with more arguments get more inputs.
        share = np.array([np.sqrt(len(entry.free)) for entry in entries])
        for i in draw.choice(len(entries), size=count, p=share / share.sum()):
            arguments, chosen = entries[i].malformed(draw)
            tried[entries[i].name] += 1
            if wrong := attempt(entries[i], arguments):
                given = ", ".join(f"{name}={shown(arguments[name])}" for name in chosen)
                faults.append(f"{entries[i].name}({given}): {wrong}")
    return tried, faults


def main() -> int:
    """Print how many inputs there were and every fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--entry", default="", help="only entries whose names contain this")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    tried, faults = fuzz(60 if options.quick else options.count, options.seed, options.entry)
    for name, count in sorted(tried.items()):
        print(f"    {name:32} {count:5}")
    for line in faults:
        print(line)
    print(f"{tried.total()} malformed inputs to {len(tried)} entries: {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
