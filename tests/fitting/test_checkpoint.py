"""Finished fits in a folder: kept whole or not at all, found again by content, refused where anything differs."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import RepeatedKFold

from metamix.data.folds import make_folds
from metamix.engines import LocalEngine, SerialEngine
from metamix.fitting import FitSession, NamedExpert, Problem
from metamix.fitting.checkpoint import (
    Checkpoint,
    CheckpointError,
    CheckpointWarning,
    Fingerprint,
    check_folder,
    content_key,
    table_fingerprint,
    value_fingerprint,
    version_fingerprints,
)

FINGERPRINTS = {"cv": value_fingerprint("cv", 3)}
fits = []


class Counting(RegressorMixin, BaseEstimator):
    """Ridge regression that notes each fit, and fails once as many are there as `after`."""

    def __init__(self, alpha=1.0):
        self.alpha = alpha

    after = None

    def fit(self, X, y, sample_weight=None):
        if Counting.after is not None and len(fits) >= Counting.after:
            raise KeyboardInterrupt
        fits.append(len(X))
        self.model_ = Ridge(self.alpha).fit(X, y, sample_weight)
        return self

    def predict(self, X):
        return self.model_.predict(X)


@pytest.fixture(autouse=True)
def _no_fits():
    fits.clear()
    Counting.after = None


def _data(n=60):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 2))
    return Problem(X, X[:, 0] - 2 * X[:, 1] + 0.1 * rng.standard_normal(n))


def _session(folder, *experts, cv=3, engine=None, data=None, fingerprints=FINGERPRINTS):
    data = _data() if data is None else data
    folds = make_folds(cv, data.X, data.y, random_state=0)
    named = [NamedExpert(f"expert {i}", one) for i, one in enumerate(experts)]
    checkpoint = None if folder is None else Checkpoint(folder, fingerprints)
    return FitSession(named, data, folds, engine or SerialEngine(), checkpoint=checkpoint)


def _everything(session):
    """Tables and coefficients of fits of every kind."""
    data, folds = session.problem, session.folds
    weights = np.random.default_rng(1).random((data.n, 2))
    kept, table = session.cross_fit()
    _, by_regime = session.cross_fit([0, 0], weights, keep=True)
    nested = session.cross_fit_nested(table, kept, folds.nested(data.X, data.y))
    whole, _ = session.fit_all()
    found = [table.values, by_regime.values, *(one.values for one in nested.inside)]
    found += [one.predict(data.X) for one in whole.values()]
    found += [model.predict(data.X) for model in by_regime.models.values()]
    return found


@pytest.mark.parametrize("k", [0, 1, 4, 11, 19])
def test_after_an_interruption_only_the_rest_is_fitted_and_every_bit_is_the_same(tmp_path, k):
    with _session(None, Counting(), Counting(2.0)) as session:
        expected = _everything(session)
    whole = len(fits)
    fits.clear()
    Counting.after = k
    with pytest.raises(KeyboardInterrupt), _session(tmp_path, Counting(), Counting(2.0)) as session:
        _everything(session)
    Counting.after = None
    with _session(tmp_path, Counting(), Counting(2.0)) as session:
        found = _everything(session)
    assert len(fits) == whole
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    with _session(tmp_path, Counting(), Counting(2.0)) as session:
        _everything(session)
        assert session.restored_seconds > 0
    assert len(fits) == whole


def test_rows_held_out_often_have_the_same_bits_whatever_was_finished_first(tmp_path):
    data = _data(40)
    cv = RepeatedKFold(n_splits=2, n_repeats=5, random_state=0)
    with _session(None, Ridge(), LinearRegression(), cv=cv, data=data) as session:
        expected = session.cross_fit()[1].values
    with _session(tmp_path, Ridge(), LinearRegression(), cv=cv, data=data) as session:
        session.cross_fit(only=[7, 3, 8])
    with _session(tmp_path, Ridge(), LinearRegression(), cv=cv, data=data, engine=LocalEngine(2)) as session:
        np.testing.assert_array_equal(session.cross_fit()[1].values, expected)


def test_seconds_are_those_of_the_fit_and_not_of_reading(tmp_path):
    with _session(tmp_path, Counting()) as session:
        _, first = session.cross_fit()
        fitted, _ = session.fit_all()
    with _session(tmp_path, Counting()) as session:
        _, second = session.cross_fit()
        again, _ = session.fit_all()
    np.testing.assert_array_equal(first.fit_seconds, second.fit_seconds)
    assert fitted[0].seconds == again[0].seconds


def test_other_rows_folds_weights_and_experts_are_other_fits(tmp_path):
    with _session(tmp_path, Counting()) as session:
        session.cross_fit()
    other = _data()
    other.y[0] += 1e-9
    weights = np.full((60, 1), 0.5)
    changed = [dict(data=other), dict(cv=4), dict(data=Problem(other.X, _data().y, sample_weight=weights[:, 0]))]
    for i, change in enumerate(changed):
        fits.clear()
        with _session(tmp_path, Counting(), **change) as session:
            session.cross_fit()
            assert len(fits) == len(session.folds), i
    fits.clear()
    with _session(tmp_path, Counting(), Counting(3.0)) as session:
        session.cross_fit()
        session.cross_fit([0], weights)
    assert len(fits) == 6, "those of the second expert, and the weighted ones"


def test_equal_experts_and_equal_columns_of_weights_are_the_same_fit_each_under_its_own_name(tmp_path):
    weights = np.random.default_rng(0).random((60, 2))
    with _session(tmp_path, Counting(), Counting()) as session:
        session.fit_all()
        session.cross_fit([0], weights[:, :1].copy())
    done = len(fits)
    with _session(tmp_path, Counting(), Counting()) as session:
        assert [one.name for one in session.fit_all()[0].values()] == ["expert 0", "expert 1"]
        session.cross_fit([1, 0], weights)
    assert len(fits) == done + 3, "one column of weights is new"


def test_a_failure_is_not_kept(tmp_path):
    class Failing(Ridge):
        def fit(self, X, y, sample_weight=None):
            raise RuntimeError("no memory")

    before = _data()
    with _session(tmp_path, Counting(), data=before) as session:
        session.cross_fit()
        session.experts = [NamedExpert("failing", Ridge())]
        (error,) = session.map(_fails, [1], ["a"], complete=lambda value: True)
        assert isinstance(error, ZeroDivisionError)
        assert session.map(_double, [2], ["a"], complete=lambda value: False) == [4]
        assert session.map(_double, [3], ["a"]) == [6]
        assert len(list(tmp_path.glob("*.fit"))) == 3
        assert session.map(_double, [2], ["a"], complete=lambda value: True) == [4]
        assert len(list(tmp_path.glob("*.fit"))) == 4


def _fails(inputs, job):
    return 1 / 0


def _double(inputs, job):
    return 2 * job


# --- the folder -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [0, 10, 40, -1], ids=["empty", "in the hash", "in the content", "last byte"])
def test_a_torn_file_is_told_and_its_fit_is_done_again(tmp_path, cut):
    with _session(tmp_path, Counting()) as session:
        expected = session.cross_fit()[1].values
    path = min(tmp_path.glob("*.fit"))
    path.write_bytes(path.read_bytes()[:cut])
    fits.clear()
    with pytest.warns(CheckpointWarning, match="its fit is done again"), _session(tmp_path, Counting()) as session:
        np.testing.assert_array_equal(session.cross_fit()[1].values, expected)
    assert len(fits) == 1
    with _session(tmp_path, Counting()) as session:
        session.cross_fit()
    assert len(fits) == 1, "it was written anew"


def test_a_changed_byte_is_noticed(tmp_path):
    checkpoint = Checkpoint(tmp_path, FINGERPRINTS)
    checkpoint.put("a", np.arange(100), 0.0, "a")
    content = bytearray((tmp_path / "a.fit").read_bytes())
    content[-9] ^= 1
    (tmp_path / "a.fit").write_bytes(content)
    with pytest.warns(CheckpointWarning, match="incomplete"):
        assert checkpoint.get("a") is None
    assert checkpoint.get("b") is None


def test_of_two_at_once_in_one_folder_none_spoils_it(tmp_path):
    def drive(seed):
        checkpoint = Checkpoint(tmp_path, FINGERPRINTS)
        for i in np.random.default_rng(seed).permutation(30):
            known = checkpoint.get(str(i))
            assert known is None or (known.value == np.full(2000, i)).all()
            checkpoint.put(str(i), np.full(2000, i), 0.0, "")
        return checkpoint.seed

    with ThreadPoolExecutor(8) as pool:
        seeds = set(pool.map(drive, range(8)))
    assert len(seeds) == 1, "the seed is drawn once"
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".fit"}
    assert all((Checkpoint(tmp_path, FINGERPRINTS).get(str(i)).value == i).all() for i in range(30))


@pytest.mark.parametrize(
    ("fingerprints", "said"),
    [
        ({"cv": value_fingerprint("cv", 5)}, r"differs in cv \(3, now 5\)\. Give another folder, or remove this one"),
        ({}, r"cv \(3, now nothing\)"),
        ({**FINGERPRINTS, "lightgbm": Fingerprint("4.7.0", "4.7.0")}, r"lightgbm \(nothing, now 4\.7\.0\)"),
        ({"cv": Fingerprint("3", "other")}, r"cv \(3, of other content\)"),
    ],
)
def test_another_call_is_refused_by_what_differs(tmp_path, fingerprints, said):
    Checkpoint(tmp_path, FINGERPRINTS)
    with pytest.raises(CheckpointError, match=said):
        Checkpoint(tmp_path, fingerprints)


def test_other_folds_and_other_formats_are_refused(tmp_path):
    checkpoint = Checkpoint(tmp_path, FINGERPRINTS)
    checkpoint.check_folds("a")
    checkpoint.check_folds("a")
    with pytest.raises(CheckpointError, match=r"folds .*random_state"):
        checkpoint.check_folds("b")
    said = json.loads((tmp_path / "call.json").read_text())
    (tmp_path / "call.json").write_text(json.dumps({**said, "format": 99}))
    with pytest.raises(CheckpointError, match=r"the format \(99, now 1\)"):
        Checkpoint(tmp_path, FINGERPRINTS)
    (tmp_path / "call.json").write_text("{")
    with pytest.raises(CheckpointError, match="is not a file of a checkpoint; remove the folder"):
        Checkpoint(tmp_path, FINGERPRINTS)


def test_folders_that_are_none(tmp_path):
    for folder in (3, "", True, ["a"], "a\0b"):
        with pytest.raises(CheckpointError, match="is no name of a folder; give one, such as 'fits', or None"):
            check_folder(folder)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="a folder with other files; give a new or an empty folder"):
        Checkpoint(tmp_path, FINGERPRINTS)
    with pytest.raises(CheckpointError, match=r"cannot be used .*give a folder that you can write to"):
        Checkpoint(tmp_path / "notes.txt", FINGERPRINTS)
    Checkpoint(tmp_path / "a" / "b", FINGERPRINTS)
    assert (tmp_path / "a" / "b" / "call.json").exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a file away")
def test_files_of_another_user_are_not_read(tmp_path):
    checkpoint = Checkpoint(tmp_path, FINGERPRINTS)
    checkpoint.put("a", 1, 0.0, "a")
    os.chown(tmp_path / "a.fit", 12345, 12345)
    with pytest.raises(CheckpointError, match="belongs to another user, and reading a checkpoint runs code"):
        checkpoint.get("a")
    os.chown(tmp_path / "call.json", 12345, 12345)
    with pytest.raises(CheckpointError, match="belongs to another user"):
        Checkpoint(tmp_path, FINGERPRINTS)


def test_what_cannot_be_kept_is_told_and_the_call_goes_on(tmp_path):
    checkpoint = Checkpoint(tmp_path, FINGERPRINTS)
    with pytest.warns(CheckpointWarning, match="ridge, fold 0 is not kept"):
        checkpoint.put("a", threading.Lock(), 0.0, "ridge, fold 0")
    assert [path.name for path in tmp_path.iterdir()] == ["call.json"]


def test_parts_of_a_task_are_kept_until_it_is_and_two_at_once_do_not_spoil_it(tmp_path):
    one, two = (Checkpoint(tmp_path, FINGERPRINTS).inside("mixture, fold 0") for _ in range(2))
    other = Checkpoint(tmp_path, FINGERPRINTS).inside("mixture, fold 1")
    assert not list(tmp_path.glob("*.inside")), "nothing is made before something is kept"
    for part, value in ((one, 1), (other, 2)):
        part.put("a", value, 0.5, "ridge, fold 0")
    assert (one.get("a").value, two.get("a").value, other.get("a").value) == (1, 1, 2)
    outer = Checkpoint(tmp_path, FINGERPRINTS)
    assert outer.get("a") is None
    outer.put("whole", 3, 0.5, "mixture, fold 0")
    assert (one.get("a"), other.get("a").value) == (None, 2)
    two.put("b", 4, 0.5, "ridge, fold 1")  # of a process that is still at it
    assert two.get("b").value == 4
    outer.put("whole", 3, 0.5, "mixture, fold 0")
    assert two.get("b") is None
    assert len(list(tmp_path.glob("*.inside"))) == 1


def test_what_a_killed_process_was_writing_is_removed_after_an_hour(tmp_path):
    checkpoint = Checkpoint(tmp_path, FINGERPRINTS)
    checkpoint.inside("mixture, fold 0").put("a", 1, 0.5, "ridge, fold 0")
    (inside,) = tmp_path.glob("*.inside")
    old, fresh = [tmp_path / ".a.part", inside / ".b.part"], tmp_path / ".c.part"
    for path in (*old, fresh):
        path.write_bytes(b"half")
    for path in old:
        os.utime(path, (0, 0))
    Checkpoint(tmp_path, FINGERPRINTS)
    assert [path.exists() for path in (*old, fresh)] == [False, False, True]
    assert checkpoint.inside("mixture, fold 0").get("a").value == 1


def test_where_the_folder_is_not_to_be_seen_parts_are_not_kept(tmp_path):
    checkpoint = pickle.loads(pickle.dumps(Checkpoint(tmp_path / "a", FINGERPRINTS)))
    assert checkpoint.inside("mixture, fold 0") is not None
    shutil.rmtree(tmp_path / "a")
    assert checkpoint.inside("mixture, fold 0") is None
    Checkpoint(tmp_path / "a", {"cv": value_fingerprint("cv", 99)})  # another call, on another machine
    assert checkpoint.inside("mixture, fold 0") is None


@pytest.mark.skipif(os.name == "nt", reason="files have no limit there")
def test_a_disk_that_fills_up_ends_the_keeping_and_not_the_call(tmp_path):
    import resource

    checkpoint = Checkpoint(tmp_path, FINGERPRINTS)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.warns(CheckpointWarning, match="ridge, fold 0 is not kept .*File too large"):
            checkpoint.put("a", np.random.default_rng(0).random(1000), 0.0, "ridge, fold 0")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert [path.name for path in tmp_path.iterdir()] == ["call.json"]


# --- what calls are recognised by -----------------------------------------------------------------------


def test_tables_are_equal_by_content_names_and_types():
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
    same = table_fingerprint(frame.copy())
    assert same == table_fingerprint(frame)
    assert same.shown == "2 × 2"
    others = [
        frame.rename(columns={"a": "c"}), frame.assign(a=[1, 2]), frame.assign(a=[1.0, 3.0]), frame[["b", "a"]],
        frame.iloc[::-1], frame.to_numpy(),
    ]  # fmt: skip
    assert len({table_fingerprint(one).key for one in [frame, *others]}) == 7
    assert table_fingerprint(None, None) == Fingerprint("None", "")


def test_what_has_no_name_to_be_found_again_by_is_refused():
    with pytest.raises(CheckpointError, match="cannot recognise the expert f in a later call"):
        value_fingerprint("the expert f", lambda x: x)


def test_versions_are_those_of_the_parts_and_the_source_of_own_classes():
    from lightgbm import LGBMRegressor, __version__
    from sklearn.pipeline import make_pipeline

    fingerprints = version_fingerprints([make_pipeline(Counting(), LGBMRegressor()), Ridge(), 3, None])
    assert {"Python", "numpy", "scikit-learn", "metamix", "lightgbm", "the source of Counting"} == set(fingerprints)
    assert fingerprints["lightgbm"].shown == __version__
    assert fingerprints["the source of Counting"].key != version_fingerprints([Wrong()])["the source of Wrong"].key


class Wrong(Counting):
    """Another source."""


def test_keys_are_those_of_another_process():
    code = (
        "import numpy as np\n"
        "from sklearn.linear_model import Ridge\n"
        "from metamix.fitting.checkpoint import content_key\n"
        "print(content_key((Ridge(2.0), {'b': {1, 2}, 'a': 'x'}, np.arange(5.0))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == content_key((Ridge(2.0), {"a": "x", "b": {2, 1}}, np.arange(5.0)))
