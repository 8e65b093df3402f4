"""Callbacks of scikit-learn follow a fit: what they hear of it, in searches and pipelines, and what files keep."""

import io

import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from metamix import MixtureRegressor, load, make_regimes, save

callback = pytest.importorskip("sklearn.callback", reason="this scikit-learn has no callbacks")

ALONE = {"specialize": False, "cv": 3, "gate": "constant", "random_state": 0}


class Heard:
    """A callback that writes down the path of each task when it begins and when it ends."""

    max_propagation_depth = None

    def __init__(self):
        self.calls = []

    def setup(self, estimator, context):
        self.calls.append(("setup", ()))

    def teardown(self, estimator, context):
        self.calls.append(("teardown", ()))

    def on_fit_task_begin(self, estimator, context):
        self.calls.append(("begin", self.path(context)))

    def on_fit_task_end(self, estimator, context, *, X=None, fitted_estimator=None):
        self.calls.append(("end", self.path(context)))
        if hasattr(fitted_estimator, "predict"):
            self.prediction = fitted_estimator.predict(X)

    def path(self, context):
        return (*(() if context.parent is None else self.path(context.parent)), context.task_name)


@pytest.fixture(scope="module")
def data():
    return make_regimes(120, n_regimes=2, random_state=0)


def test_a_fit_and_its_tasks_are_told_in_order(data):
    heard = Heard()
    mixture = MixtureRegressor(["ridge", "splines"], **ALONE).set_callbacks(heard).fit(*data)
    assert heard.calls[0] == ("setup", ())
    assert heard.calls[-1] == ("teardown", ())
    open_tasks, ended = [], []
    for what, path in heard.calls[1:-1]:
        if what == "begin":
            assert path[:-1] == (open_tasks[-1] if open_tasks else ())
            open_tasks.append(path)
        else:
            assert open_tasks.pop() == path
            ended.append(path)
    assert not open_tasks
    assert ended.count(("fit", "experts")) == 2  # out of fold, and on all rows
    assert [path[2] for path in ended if len(path) == 3][:2] == ["ridge, fold 0", "splines, fold 0"]
    assert (heard.prediction == mixture.predict(data[0])).all()


def test_rounds_are_tasks(data):
    heard = Heard()
    mixture = MixtureRegressor(["linear"] * 2, specialize=True, cv=3, gate="softmax", random_state=0)
    mixture.set_callbacks(heard).fit(*data)
    ended = [path[-1] for what, path in heard.calls if what == "end" and len(path) == 2]
    assert [name for name in ended if name.startswith("round ")] == [f"round {k}" for k in mixture.history_["round"]]


def test_a_fit_that_fails_is_torn_down(data):
    class Broken(Ridge):
        def fit(self, X, y, sample_weight=None):
            raise RuntimeError("no memory left")

    heard = Heard()
    mixture = MixtureRegressor([("broken", Broken())], on_error="raise", **ALONE).set_callbacks(heard)
    with pytest.raises(RuntimeError, match="no memory left"):
        mixture.fit(*data)
    assert heard.calls[-1] == ("teardown", ())
    assert not [name for name in vars(mixture) if "ctx" in name]


def test_scikit_learns_own_callbacks_follow_searches_and_pipelines(data):
    monitor = callback.ScoringMonitor(scoring="r2")
    mixture = MixtureRegressor(["ridge"], **ALONE).set_callbacks(monitor).fit(*data)
    assert monitor.get_logs().data[-1]["r2"] == mixture.score(*data)
    heard = Heard()
    GridSearchCV(MixtureRegressor(["ridge"], **ALONE), {"final": ["best"]}, cv=2).set_callbacks(heard).fit(*data)
    assert sum(path[-1] == "experts" for what, path in heard.calls if what == "end") == 2 * 3
    heard = Heard()
    make_pipeline(StandardScaler(), MixtureRegressor(["ridge"], **ALONE)).set_callbacks(heard).fit(*data)
    assert sum(path[-1] == "experts" for what, path in heard.calls if what == "end") == 2


def test_the_bar_of_scikit_learn_is_drawn(data, monkeypatch):
    pytest.importorskip("rich")
    text = io.StringIO()
    monkeypatch.setattr("sys.stdout", text)
    MixtureRegressor(["ridge"], **ALONE).set_callbacks(callback.ProgressBar()).fit(*data)
    assert "MixtureRegressor - experts #0" in text.getvalue()


def test_clones_keep_callbacks_and_files_do_not(data, tmp_path):
    heard = Heard()
    mixture = MixtureRegressor(["ridge"], **ALONE).set_callbacks(heard).fit(*data)
    save(mixture, tmp_path / "m.mix")
    assert (load(tmp_path / "m.mix").predict(data[0]) == mixture.predict(data[0])).all()
    before = len(heard.calls)
    clone(mixture).fit(*data)
    assert len(heard.calls) == 2 * before
    mixture.set_callbacks().fit(*data)
    assert len(heard.calls) == 2 * before


def test_what_callbacks_hear_changes_nothing(data):
    plain = MixtureRegressor(["ridge", "splines"], **ALONE).fit(*data)
    told = MixtureRegressor(["ridge", "splines"], **ALONE).set_callbacks(Heard()).fit(*data)
    assert (plain.predict(data[0]) == told.predict(data[0])).all()
