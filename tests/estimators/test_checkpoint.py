"""The same call again continues an interrupted one, to the bit; another call is refused."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import ShuffleSplit

from metamix import CheckpointError, MixtureClassifier, MixtureRegressor, compare, load, make_regimes, save

X, y = make_regimes(120, n_regimes=2, random_state=0)


class Counting(RegressorMixin, BaseEstimator):
    """Ridge regression that notes each fit in a file, and fails once so many are there as `stop` says."""

    stop = None
    notes = None

    def fit(self, X, y, sample_weight=None):
        if Counting.stop is not None and Counting.fits() >= Counting.stop:
            raise KeyboardInterrupt
        with open(Counting.notes, "a") as file:
            file.write("x")
        self.model_ = Ridge().fit(X, y, sample_weight)
        return self

    def predict(self, X):
        return self.model_.predict(X)

    @classmethod
    def fits(cls):
        return cls.notes.stat().st_size


@pytest.fixture(autouse=True)
def _notes(tmp_path_factory):
    Counting.stop, Counting.notes = None, tmp_path_factory.mktemp("notes") / "fits"
    Counting.notes.touch()


def _assert_same(one, other):
    np.testing.assert_array_equal(one.predict(X), other.predict(X))
    np.testing.assert_array_equal(one.predict_experts(X), other.predict_experts(X))
    np.testing.assert_array_equal(one.oof_predictions_, other.oof_predictions_)
    np.testing.assert_array_equal(one.responsibilities_, other.responsibilities_)
    assert str(one.verdict_) == str(other.verdict_)


MIXTURES = {
    "blend": dict(cv=2, gate="softmax", max_regimes=2, max_rounds=2),
    "fold models": dict(cv=3, specialize=False, refit=False),
    "mixture": dict(cv=3, specialize=True, n_experts=2, gate="softmax", max_rounds=3),
    "in sample": dict(cv=None, specialize=True, gate="softmax", max_rounds=3),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", MIXTURES)
def test_an_interrupted_fit_continues_with_the_same_bits(tmp_path, kind):
    mixture = MixtureRegressor([Counting(), "linear"], random_state=0, **MIXTURES[kind])
    plain = clone(mixture).fit(X, y)
    whole = Counting.fits()
    Counting.notes.write_text("")
    mixture.checkpoint = tmp_path / "fits"
    Counting.stop = 2 * whole // 3
    with pytest.raises(KeyboardInterrupt):
        mixture.fit(X, y)
    kept = len(list((tmp_path / "fits").glob("*.fit")))
    assert kept
    Counting.stop = None
    _assert_same(mixture.fit(X, y), plain)
    # Equal fits, such as two rounds in sample may ask for, are made once with a checkpoint.
    assert 0.9 * whole <= Counting.fits() <= whole
    done = Counting.fits()
    _assert_same(clone(mixture).fit(X, y), plain)
    assert Counting.fits() == done
    assert {path.suffix for path in mixture.checkpoint.iterdir()} == {".fit", ".json"}


@pytest.mark.slow
def test_no_fit_is_repeated_however_often_a_call_is_interrupted(tmp_path):
    """Inside the folds of the mixture too, whose finished fits are kept until the fold is."""
    mixture = MixtureRegressor([Counting(), "linear"], random_state=0, **MIXTURES["blend"])
    plain = clone(mixture).fit(X, y)
    whole = Counting.fits()
    Counting.notes.write_text("")
    mixture.checkpoint = tmp_path / "fits"
    inside = 0
    for stop in range(0, whole, whole // 7 + 1):
        Counting.stop = stop
        with pytest.raises(KeyboardInterrupt):
            mixture.fit(X, y)
        assert Counting.fits() == stop
        inside += len(list(mixture.checkpoint.glob("*.inside/*.fit")))
    assert inside
    Counting.stop = None
    _assert_same(mixture.fit(X, y), plain)
    assert Counting.fits() <= whole
    assert {path.suffix for path in mixture.checkpoint.iterdir()} == {".fit", ".json"}


def test_classes_and_workers_and_another_number_of_them(tmp_path):
    labels = np.array(["low", "high"])[(y > np.median(y)).astype(int)]
    mixture = MixtureClassifier([LogisticRegression(), "tree"], specialize=False, cv=3, random_state=0)
    plain = clone(mixture).fit(X, labels)
    for jobs in (2, 1):
        mixture = clone(mixture).set_params(checkpoint=tmp_path / "fits", n_jobs=jobs, verbose=0).fit(X, labels)
        np.testing.assert_array_equal(mixture.predict_proba(X), plain.predict_proba(X))
    first = sorted((path.name, path.stat().st_mtime_ns) for path in (tmp_path / "fits").iterdir())
    clone(mixture).set_params(n_jobs=None, time_limit=1e6).fit(X, labels)
    assert first == sorted((path.name, path.stat().st_mtime_ns) for path in (tmp_path / "fits").iterdir())


DRIVER = """
import json, sys, time
import numpy as np
from sklearn.linear_model import Ridge
from metamix import MixtureRegressor, make_regimes

given = json.loads(sys.argv[1])

class Slow(Ridge):
    def fit(self, X, y, sample_weight=None):
        time.sleep(given["pause"])
        with open(given["out"] + ".txt", "a") as file:
            file.write("x")
        return super().fit(X, y, sample_weight)

X, y = make_regimes(given["rows"], n_regimes=2, random_state=0)
experts = [("slow", Slow()), ("far", Slow(alpha=10.0)), ("farther", Slow(alpha=100.0))]
mixture = MixtureRegressor(
    experts, cv=3, specialize=given["specialize"], gate="softmax", max_rounds=2, max_regimes=2,
    random_state=given["seed"], n_jobs=given["jobs"], checkpoint=given["folder"],
)
np.save(given["out"] + ".npy", mixture.fit(X, y).predict(X))
"""


class Driver:
    """A process that fits three experts, with a note of each fit."""

    def __init__(self, place, out, folder, *, pause=0.0, jobs=1, seed=0, specialize=False, rows=120):
        self.notes, self.answers = place / f"{out}.txt", place / f"{out}.npy"
        folder = None if folder is None else str(folder)
        given = dict(out=str(place / out), folder=folder, pause=pause, jobs=jobs, seed=seed, rows=rows)
        given |= dict(specialize=specialize)
        script = place / "driver.py"
        script.write_text(DRIVER)
        self.process = subprocess.Popen([sys.executable, script, json.dumps(given)], stderr=subprocess.PIPE)

    def predictions(self):
        error = self.process.communicate(timeout=120)[1]
        assert self.process.returncode == 0, error.decode()
        return np.load(self.answers)

    @property
    def fits(self):
        return self.notes.stat().st_size if self.notes.exists() else 0


def _kept(folder):
    return len(list(folder.glob("*.fit")))


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_killed_driver_is_continued_by_another_process(tmp_path, jobs):
    plain, folder = Driver(tmp_path, "plain", None), tmp_path / "fits"
    expected = plain.predictions()
    killed = Driver(tmp_path, "killed", folder, pause=0.1, jobs=jobs)
    while _kept(folder) < 7 and killed.process.poll() is None:
        time.sleep(0.01)
    killed.process.send_signal(signal.SIGKILL)
    killed.process.communicate()
    kept = _kept(folder)
    assert 7 <= kept < plain.fits
    again = Driver(tmp_path, "again", folder, jobs=jobs)
    np.testing.assert_array_equal(again.predictions(), expected)
    assert again.fits == plain.fits - kept


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_a_driver_killed_in_the_middle_of_a_fold_of_the_mixture_is_continued(tmp_path):
    plain, folder = Driver(tmp_path, "plain", None, specialize="auto", rows=60), tmp_path / "fits"
    expected = plain.predictions()
    killed = Driver(tmp_path, "killed", folder, specialize="auto", rows=60, jobs=2, pause=0.05)
    while len(list(folder.glob("*.inside/*.fit"))) < 5 and killed.process.poll() is None:
        time.sleep(0.01)
    killed.process.send_signal(signal.SIGKILL)
    killed.process.communicate()
    again = Driver(tmp_path, "again", folder, specialize="auto", rows=60)
    np.testing.assert_array_equal(again.predictions(), expected)
    assert again.fits <= plain.fits - 5, "what was in the folder is not fitted again"
    assert {path.suffix for path in folder.iterdir()} <= {".fit", ".json", ".part"}


@pytest.mark.slow
def test_two_drivers_at_once_in_one_folder_agree_on_a_seed(tmp_path):
    folder = tmp_path / "fits"
    one, two = (Driver(tmp_path, name, folder, seed=None, pause=0.02) for name in ("one", "two"))
    np.testing.assert_array_equal(one.predictions(), two.predictions())
    assert {path.suffix for path in folder.iterdir()} == {".fit", ".json"}
    third = Driver(tmp_path, "three", folder, seed=None)
    np.testing.assert_array_equal(third.predictions(), np.load(one.answers))
    assert third.fits == 0


@pytest.mark.slow
def test_searches_and_mixtures_of_another_process_are_found_too(tmp_path):
    one = Driver(tmp_path, "one", tmp_path / "fits", specialize="auto", rows=60)
    expected, kept = one.predictions(), _kept(tmp_path / "fits")
    two = Driver(tmp_path, "two", tmp_path / "fits", specialize="auto", rows=60)
    np.testing.assert_array_equal(two.predictions(), expected)
    assert _kept(tmp_path / "fits") == kept
    assert one.fits > two.fits == 0


def _small(folder, **more):
    given = dict(specialize=False, gate="constant", cv=3, random_state=0) | more
    return MixtureRegressor([LinearRegression(), Ridge()], checkpoint=folder, **given)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dict(X=X + 1), r"X \(120 × 6, of other content\)"),
        (dict(X=X[:, :5]), r"X \(120 × 6, now 120 × 5\)"),
        (dict(y=-y), r"y \(120, of other content\)"),
        (dict(sample_weight=np.ones(120)), r"sample_weight \(None, now 120\)"),
        (dict(groups=np.arange(120) % 9), r"groups \(None, now 120\)"),
        (dict(random_state=1), r"random_state \(0, now 1\)"),
        (dict(cv=4), r"cv \(3, now 4\)"),
        (dict(final="best"), r"final \('blend', now 'best'\)"),
        (dict(experts=[LinearRegression(), Ridge(2.0)]), r"the expert ridge \(Ridge\(\), now Ridge\(alpha=2.0\)\)"),
        (dict(experts=[Ridge()]), r"the expert linearregression \(LinearRegression\(\), now nothing\)"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_another_table_or_parameter_is_refused(tmp_path, change, said):
    _small(tmp_path).fit(X, y)
    data = {name: change[name] for name in ("sample_weight", "groups") if name in change}
    parameters = {name: value for name, value in change.items() if name not in ("X", "y", *data)}
    with pytest.raises(CheckpointError, match=rf"differs in .*{said}.*\. Give another folder, or remove this one"):
        _small(tmp_path).set_params(**parameters).fit(change.get("X", X), change.get("y", y), **data)


def test_another_version_is_refused(tmp_path):
    _small(tmp_path).fit(X, y)
    said = json.loads((tmp_path / "call.json").read_text())
    said["fingerprints"]["scikit-learn"] = {"shown": "0.1", "key": "0.1"}
    (tmp_path / "call.json").write_text(json.dumps(said))
    with pytest.raises(CheckpointError, match=r"scikit-learn \(0\.1, now \d"):
        _small(tmp_path).fit(X, y)


class Shuffled:
    """Folds that depend on something other than parameters and rows."""

    seed = 0

    def split(self, X, y=None, groups=None):
        return ShuffleSplit(3, random_state=Shuffled.seed).split(X)


def test_folds_that_change_with_each_call_are_refused(tmp_path, monkeypatch):
    _small(tmp_path, cv=Shuffled()).fit(X, y)
    _small(tmp_path, cv=Shuffled()).fit(X, y)
    monkeypatch.setattr(Shuffled, "seed", 1)
    with pytest.raises(CheckpointError, match=r"folds .*random_state"):
        _small(tmp_path, cv=Shuffled()).fit(X, y)


def test_without_a_seed_the_one_that_was_drawn_is_kept(tmp_path):
    experts = ["linear", ("forest", "extra_trees")]
    mixture = MixtureRegressor(experts, specialize=False, gate="constant", cv=3, checkpoint=tmp_path / "a")
    first = mixture.fit(X, y).predict(X)
    np.testing.assert_array_equal(clone(mixture).fit(X, y).predict(X), first)
    other = clone(mixture).set_params(checkpoint=tmp_path / "b").fit(X, y).predict(X)
    assert not np.array_equal(other, first)
    generator = np.random.RandomState(0)
    one = _small(tmp_path / "c", random_state=generator).fit(X, y)
    again = _small(tmp_path / "c", random_state=np.random.RandomState(0)).fit(X, y)
    _assert_same(one, again)
    with pytest.raises(CheckpointError, match="random_state"):
        _small(tmp_path / "c", random_state=generator).fit(X, y)


@pytest.mark.slow
def test_compare_continues_and_a_fit_is_another_call(tmp_path):
    def run(cv=2, **more):
        experts = [("counting", Counting()), "linear"]
        return compare(X[:60], y[:60], experts, gate="softmax", cv=cv, random_state=0, **more)

    plain, whole = run(), Counting.fits()
    Counting.notes.write_text("")
    Counting.stop = whole // 2
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint=tmp_path)
    Counting.stop = None
    again = run(checkpoint=tmp_path)
    assert 0.9 * whole <= Counting.fits() < 1.4 * whole
    drop = ["fit_seconds", "predict_seconds"]
    assert again.verdict == plain.verdict
    assert again.frame().drop(columns=drop).equals(plain.frame().drop(columns=drop))
    done = Counting.fits()
    third = run(checkpoint=tmp_path)
    assert Counting.fits() == done
    seconds = [one.frame().set_index("name")["fit_seconds"]["counting"] for one in (again, third)]
    assert seconds[0] == seconds[1]
    with pytest.raises(CheckpointError, match=r"the call \(compare of MixtureRegressor, now fit of"):
        _small(tmp_path).fit(X, y)
    with pytest.raises(CheckpointError, match=r"cv \(2, now 3\)"):
        run(cv=3, checkpoint=tmp_path)


def test_folders_that_are_none_are_refused_before_anything_is_read():
    with pytest.raises(CheckpointError, match="checkpoint=3 is no name of a folder"):
        MixtureRegressor(["ridge"], checkpoint=3).fit(None, None)
    with pytest.raises(CheckpointError, match="checkpoint=3 is no name of a folder"):
        compare(X, y, ["ridge"], checkpoint=3)


def test_a_mixture_with_a_checkpoint_is_saved_and_loaded(tmp_path):
    for folder in (str(tmp_path / "a"), tmp_path / "b"):
        mixture = _small(folder).fit(X, y)
        save(mixture, tmp_path / "m.mix")
        loaded = load(tmp_path / "m.mix")
        np.testing.assert_array_equal(loaded.predict(X), mixture.predict(X))
        assert str(loaded.checkpoint) == str(folder)
