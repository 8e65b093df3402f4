"""Mixtures of tables in Parquet files: what more rows than the sample teach, and that nothing else differs."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import SGDRegressor
from sklearn.model_selection import PredefinedSplit, TimeSeriesSplit

import metamix
from metamix import MixtureClassifier, MixtureRegressor, TableWarning, load, save, scan
from metamix.persistence import untrusted_types


class FailsLater(SGDRegressor):
    """Learns at first, and from no chunk."""

    def partial_fit(self, X, y, sample_weight=None):
        raise ValueError("no more")


#: So little that the sample is about 1,500 rows of these tables.
MEMORY = "2MB"
FAST = {"specialize": False, "cv": 2, "random_state": 0, "gate": "constant"}


def rare(frame):
    return (frame["a"] > 0.96).to_numpy()


def law(frame):
    """A region with 2 % of the rows, of which a sample of 1,500 has 30, has a law of its own."""
    usual = 2 * frame["b"] + frame["kind"].map({"u": 0.0, "v": 1.0, "w": -1.0, "x": 0.5}).astype(float)
    return np.where(rare(frame), 8 * np.sin(5 * frame["b"]), usual)


def draw(n, seed, kinds="uvw"):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.uniform(-1, 1, (n, 3)), columns=list("abc"))
    frame["kind"] = rng.choice(list(kinds), n)
    frame["day"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 3000, n), unit="D")
    frame["y"] = law(frame) + 0.3 * rng.normal(size=n)
    frame.loc[rng.random(n) < 0.05, "c"] = np.nan
    return frame


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three files, sorted by the column that decides the region; the last has a kind that the sample lacks."""
    path = tmp_path_factory.mktemp("big")
    frame = draw(30_000, 0).sort_values("a")
    frame.iloc[-3:, frame.columns.get_loc("kind")] = "x"
    for i, part in enumerate(np.array_split(np.arange(30_000), 3)):
        frame.iloc[part].to_parquet(path / f"part{i}.parquet", index=False)
    return path


@pytest.fixture(scope="module")
def experts():
    from metamix.experts.regressors import lightgbm, ridge

    return [("ridge", ridge()), ("lightgbm", lightgbm(n_estimators=150, learning_rate=0.1))]


@pytest.fixture(scope="module")
def fitted(folder, experts):
    with pytest.warns(TableWarning, match="not seen in training"):  # once, however many chunks have it
        return MixtureRegressor(experts, **FAST).fit(scan(folder, memory=MEMORY), "y")


@pytest.fixture(scope="module")
def new():
    return draw(20_000, 1)


def test_all_rows_teach_what_the_sample_cannot(fitted, folder, experts, new):
    table = scan(folder)
    some = table.sample(1_500)
    alone = MixtureRegressor(experts, **FAST).fit(some.drop(columns="y"), some["y"])
    X, truth, where = new.drop(columns="y"), law(new), rare(new)
    errors = [(one.predict(X) - truth) ** 2 for one in (alone, fitted)]
    assert errors[1].mean() < 0.7 * errors[0].mean()
    assert errors[1][where].mean() < 0.7 * errors[0][where].mean()


def test_the_verdict_is_of_rows_that_no_expert_has_seen(fitted, new):
    said = str(fitted.verdict_)
    assert "The table has 30000 rows" in said
    assert "lightgbm" in said.partition("Fitted to ")[2].partition(".")[0]
    assert "cannot learn in chunks: ridge" in said
    assert "no model has seen the rows" in said
    blend = fitted.candidates_.set_index("candidate").loc["blend", "loss"]
    y = new["y"]
    assert blend == pytest.approx(np.mean((fitted.predict(new.drop(columns="y")) - y) ** 2), rel=0.4)
    assert len(fitted.oof_predictions_) == len(fitted.fold_of_row_) < 4_000


def test_the_same_seed_gives_the_same_mixture(fitted, folder, experts, new):
    files = sorted(folder.glob("*.parquet"))
    with pytest.warns(TableWarning, match="not seen in training"):
        again = MixtureRegressor(experts, **FAST).fit(scan(files[::-1], memory=MEMORY), "y")
    X = new.drop(columns="y")
    np.testing.assert_array_equal(again.predict(X), fitted.predict(X))


def test_pieces_are_predicted_as_the_whole(fitted, new):
    X = new.drop(columns="y").assign(kind=new["kind"].mask(new["c"] > 0.9, "never seen"))
    pieces = [X[i : i + 3_001] for i in range(0, len(X), 3_001)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TableWarning)  # of the kind that was never seen
        for what in (fitted.predict, fitted.predict_interval):  # products of matrices round as their size has it
            np.testing.assert_allclose(np.concatenate([what(one) for one in pieces]), what(X), rtol=1e-12)
        trees = np.concatenate([fitted.predict_experts(one)[:, 1] for one in pieces])
        np.testing.assert_array_equal(trees, fitted.predict_experts(X)[:, 1])
        bounds = fitted.predict_interval(X)
    covered = ((bounds[:, 0] <= new["y"]) & (new["y"] <= bounds[:, 1])).mean()
    assert 0.85 < covered < 0.95


def test_it_is_saved_like_others(fitted, new, tmp_path):
    save(fitted, tmp_path / "m.mix")
    again = load(tmp_path / "m.mix", trusted=untrusted_types(tmp_path / "m.mix"))
    X = new.drop(columns="y")[:100]
    np.testing.assert_array_equal(again.predict(X), fitted.predict(X))
    assert str(again.verdict_) == str(fitted.verdict_)


def test_a_table_that_fits_is_fitted_as_any_other(tmp_path):
    frame = draw(300, 2)
    frame.to_parquet(tmp_path / "small.parquet")
    X, y = frame.drop(columns="y"), frame["y"]
    ordinary = MixtureRegressor(["ridge", "neighbours"], **FAST).fit(X, y)
    found = MixtureRegressor(["ridge", "neighbours"], **FAST).fit(scan(tmp_path, memory="1GB"), "y")
    assert str(found.verdict_) == str(ordinary.verdict_)
    np.testing.assert_allclose(found.predict(X), ordinary.predict(X))


def test_experts_of_regimes_learn_with_responsibilities_as_weights(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.uniform(-1, 1, (12_000, 2)), columns=["a", "b"])
    truth = np.where(frame["a"] > 0, np.sin(6 * frame["b"]), 3 + np.cos(6 * frame["b"]))
    frame.assign(y=truth + 0.8 * rng.normal(size=12_000)).to_parquet(tmp_path / "t.parquet")
    from metamix.experts.regressors import lightgbm

    expert = lightgbm(n_estimators=100, learning_rate=0.1)
    settings = {"specialize": True, "n_experts": 2, "gate": "softmax", "cv": 2, "random_state": 0, "max_rounds": 2}
    table = scan(tmp_path, memory="1MB")
    found = MixtureRegressor([("l", expert)], **settings).fit(table, "y")
    some = table.sample(len(found.fold_of_row_))
    alone = MixtureRegressor([("l", expert)], **settings).fit(some[["a", "b"]], some["y"])
    errors = [np.mean((one.predict(frame) - truth) ** 2) for one in (alone, found)]
    assert errors[1] < 0.8 * errors[0]
    assert found.n_experts_ == 2


def test_classes_weights_and_groups_by_name(tmp_path):
    frame = draw(12_000, 3).drop(columns=["day"])
    frame["dear"] = np.where(frame["y"] > 0.5, "yes", "no")
    frame.loc[7, "dear"] = "perhaps"  # one row, which the sample lacks
    frame["weight"] = np.where(frame["c"] > 0, 2.0, 1.0)
    frame["group"] = np.arange(12_000) // 4
    frame.drop(columns="y").to_parquet(tmp_path / "t.parquet")
    table = scan(tmp_path, memory=MEMORY)
    with pytest.warns(TableWarning, match=r"left out, 1 in all: 'perhaps'"):
        found = MixtureClassifier(["logistic", "lightgbm"], **FAST).fit(
            table, "dear", sample_weight="weight", groups="group"
        )
    assert found.classes_.tolist() == ["no", "yes"]
    assert found.feature_names_in_.tolist() == ["a", "b", "c", "kind"]
    new = draw(4_000, 4)
    X = new.drop(columns=["day", "y"])
    assert (found.predict(X) == np.where(new["y"] > 0.5, "yes", "no")).mean() > 0.85


def test_a_rare_class_keeps_no_chunk_from_teaching(tmp_path):
    """Of 48 rows a chunk has two or three, and some chunks none."""
    frame = draw(12_000, 5)[["a", "b"]]
    frame["what"] = np.where(np.sin(20 * frame["a"]) * frame["b"] > 0, "yes", "no")
    frame.loc[::250, "what"] = "rare"
    frame.to_parquet(tmp_path / "t.parquet")
    from metamix.experts.classifiers import xgboost

    experts = [("trees", xgboost(n_estimators=40, learning_rate=0.2, colsample_bytree=1.0)), "naive_bayes"]
    found = MixtureClassifier(experts, **FAST).fit(scan(tmp_path, memory="500kB"), "what")
    assert "rare" in found.classes_
    n_held_out = len(found.fold_of_row_)
    assert f"Fitted to {12_000 - n_held_out} rows: trees" in str(found.verdict_)
    booster = found.named_experts_["trees"].named_steps["model"].classifier_.get_booster()
    assert booster.num_boosted_rounds() == 40


def test_groups_are_held_out_whole_or_too_few_are_refused(tmp_path):
    frame = draw(8_000, 6)[["a", "b", "y"]]
    frame["few"], frame["some"] = np.arange(8_000) % 3, np.arange(8_000) % 15
    frame.to_parquet(tmp_path / "t.parquet")
    table = scan(tmp_path, memory="1MB")
    settings = {**FAST, "cv": 3}
    with pytest.raises(ValueError, match="'few' has 3 groups: 3 are needed"):
        MixtureRegressor(["ridge"], **settings).fit(table.without(["some"]), "y", groups="few")
    found = MixtureRegressor(["ridge"], **settings).fit(table.without(["few"]), "y", groups="some")
    assert "rows of the groups that are held out are not used" in str(found.verdict_)


def test_experts_on_columns_by_position_where_a_column_is_left_out(tmp_path):
    frame = draw(6_000, 7)[["a", "b", "y"]]
    frame.insert(0, "row_id", np.arange(6_000))
    frame.to_parquet(tmp_path / "t.parquet")
    experts = [
        ("some", "ridge", [1, 2]),
        ("mask", "ridge", [False, True, True]),
    ]
    with pytest.warns(TableWarning, match="row_id: has another value in every row"):
        found = MixtureRegressor(experts, **FAST).fit(scan(tmp_path, memory="500kB"), "y")
    assert found.predict(frame.drop(columns="y")[:5]).shape == (5,)


def test_a_checkpoint_continues_whatever_memory_is_free(folder, tmp_path):
    settings = {**FAST, "random_state": None, "checkpoint": str(tmp_path / "kept")}
    experts = ["ridge", "neighbours"]
    X = draw(100, 8).drop(columns="y")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TableWarning)
        first, again = (
            MixtureRegressor(experts, **settings).fit(scan(folder, memory=memory), "y") for memory in (MEMORY, "3MB")
        )
        with pytest.raises(metamix.CheckpointError, match="columns"):
            MixtureRegressor(experts, **settings).fit(scan(folder, memory=MEMORY).without(["a"]), "y")
    np.testing.assert_array_equal(again.predict(X), first.predict(X))
    assert again.random_state is None
    assert again.checkpoint == settings["checkpoint"]


def test_a_failure_in_a_chunk_is_warned_of_or_raised(tmp_path):
    frame = draw(6_000, 9)[["a", "b", "y"]]
    frame.to_parquet(tmp_path / "t.parquet")
    experts = [("ridge", "ridge"), ("once", FailsLater(random_state=0))]
    with pytest.warns(FitFailedWarning, match="kept as fitted to the sample .* once .*no more"):
        found = MixtureRegressor(experts, **FAST).fit(scan(tmp_path, memory="500kB"), "y")
    assert "since fits to more rows failed: once" in str(found.verdict_)
    with pytest.raises(ValueError, match="no more"):
        MixtureRegressor(experts, on_error="raise", **FAST).fit(scan(tmp_path, memory="500kB"), "y")


def test_what_follows_the_order_of_rows_is_refused(folder):
    table = scan(folder, memory=MEMORY)
    for cv in (TimeSeriesSplit(3), PredefinedSplit(np.zeros(30_000)), True, "5"):
        with pytest.raises(ValueError, match="assigned at random; give a number of folds"):
            MixtureRegressor(["ridge"], cv=cv).fit(table, "y")
    with pytest.raises(ValueError, match="assigned at random; give another gate"):
        MixtureRegressor(["ridge"], gate="online").fit(table, "y")


def test_what_is_refused(folder, tmp_path):
    table = scan(folder, memory=MEMORY)
    with pytest.raises(TypeError, match="names of its columns"):
        MixtureRegressor(["ridge"]).fit(table, np.zeros(3))
    with pytest.raises(metamix.data.frames.TableError, match="there is no column 'z'"):
        MixtureRegressor(["ridge"]).fit(table, "z")
    with pytest.raises(ValueError, match="give a number of folds"):
        MixtureRegressor(["ridge"], cv=[([0, 1], [2])]).fit(table, "y")
    pd.DataFrame({"y": [1.0]}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="no column but 'y'"):
        MixtureRegressor(["ridge"]).fit(scan(tmp_path), "y")


def test_tables_and_names_where_frames_and_values_belong(fitted, folder, new):
    table = scan(folder, memory=MEMORY)
    for what in (fitted.predict, fitted.gate_weights, lambda X: fitted.score(X, "y")):
        with pytest.raises(TypeError, match=r"a table of metamix.scan is for fit; predict .* table.batches"):
            what(table)
    with pytest.raises(TypeError, match=r"is for fit; .* give compare, .* a frame"):
        metamix.compare(table, "y")
    with pytest.raises(TypeError, match=r"y='y' is the name of a column, .* X\['y'\]"):
        MixtureRegressor(["ridge"]).fit(new, "y")
    with pytest.raises(TypeError, match="groups='kind' is the name of a column"):
        MixtureRegressor(["ridge"]).fit(new, new["y"], groups="kind")
    with pytest.raises(TypeError, match="sample_weight='b' is the name of a column"):
        metamix.compare(new, new["y"], sample_weight="b")


def test_partial_fit_after_it_counts_all_rows_with_their_weights(tmp_path):
    frame = draw(6000, 5)[["a", "b", "y"]].assign(weight=np.tile([0.0, 1.0, 3.0], 2000))
    frame.to_parquet(tmp_path / "table.parquet", index=False)
    table = scan(tmp_path / "table.parquet", memory="1MB")
    mixture = MixtureRegressor([("line", SGDRegressor()), ("other", SGDRegressor(alpha=0.01))], **FAST)
    mixture.fit(table, "y", sample_weight="weight")
    assert len(mixture.fold_of_row_) < 3000
    new = draw(50, 6)
    mixture.partial_fit(new[["a", "b"]], new["y"], np.full(50, 2.0))
    assert (mixture._online.n_rows, mixture._online.total_weight) == (4050, 8100)
    save(mixture, tmp_path / "mixture.mix")
    assert load(tmp_path / "mixture.mix")._online.n_rows == 4050


# Frames of dask

# Dask calls pandas with a keyword that pandas 3.1 deprecates.
of_dask = pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.reset_index:DeprecationWarning")


@pytest.fixture
def dask_frame(folder):
    """The table of the files as a frame of dask."""
    dd = pytest.importorskip("dask.dataframe", reason='dask.dataframe is not installed: pip install "dask[dataframe]"')
    return dd.read_parquet(folder)[["a", "b", "y"]]


@of_dask
def test_a_frame_of_dask_is_fitted_as_its_files(dask_frame, folder, new):
    new = new[["a", "b"]]
    line = MixtureRegressor([("line", SGDRegressor())], **FAST)
    expected = clone(line).fit(scan(folder, memory=MEMORY).without(["c", "kind", "day"]), "y").predict(new)
    found = clone(line).fit(scan(dask_frame, memory=MEMORY), "y")
    assert "rows that no expert has seen" in str(found.verdict_)
    np.testing.assert_array_equal(found.predict(new), expected)
    # All of the memory: the whole table is the sample. The target is a column, or a Series beside the frame.
    by_name = clone(line).fit(dask_frame, "y")
    beside = clone(line).fit(dask_frame.drop(columns="y"), dask_frame["y"])
    np.testing.assert_array_equal(beside.predict(new), by_name.predict(new))
    parts = dask_frame.drop(columns="y").map_partitions(by_name.predict, meta=(None, float)).compute()
    np.testing.assert_allclose(parts, by_name.predict(dask_frame.compute()[["a", "b"]]), rtol=1e-12)


@of_dask
def test_weights_and_groups_of_a_frame_of_dask(dask_frame):
    X = dask_frame[["a", "b"]]
    weight, groups = X["a"].abs() + 0.1, (10 * X["b"]).round()
    mixture = MixtureRegressor([("line", SGDRegressor())], **FAST)
    mixture.fit(X, dask_frame["y"], sample_weight=weight, groups=groups)
    assert list(mixture.feature_names_in_) == ["a", "b"]
    assert mixture._rows_of_fit[1] == pytest.approx(weight.sum().compute(), rel=1e-6)


@of_dask
def test_what_of_dask_is_refused(dask_frame, fitted):
    mixture = MixtureRegressor([("line", SGDRegressor())], **FAST)
    with pytest.raises(TypeError, match="y is a ndarray, and X a frame of dask: give the name"):
        mixture.fit(dask_frame, np.zeros(3))
    with pytest.raises(metamix.data.frames.TableError, match="y has other partitions than X"):
        mixture.fit(dask_frame, dask_frame["y"].repartition(npartitions=7))
    with pytest.raises(metamix.data.frames.TableError, match=r"X.compute.*map_partitions"):
        fitted.predict(dask_frame)
