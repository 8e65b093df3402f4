"""--time: rows in the order of a column, folds that go forward, and what becomes of the column."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import TimeSeriesSplit

from metamix import MixtureRegressor, load

FAST = ["--experts", "ridge,neighbours", "--jobs", "1"]


@pytest.fixture
def table(tmp_path):
    """A table whose rows are shuffled: the path, and the frame in the order of time."""
    rng = np.random.default_rng(0)
    days = pd.date_range("2024-01-01", periods=60)
    frame = pd.DataFrame(
        {"day": days.strftime("%d.%m.%Y"), "step": np.arange(60) * 2, "x": rng.normal(size=60).round(3)}
    )
    frame["y"] = (2 * frame["x"] + 0.1 * rng.normal(size=60)).round(3)
    path = tmp_path / "series.csv"
    frame.sample(frac=1, random_state=1).to_csv(path, index=False)
    return path, frame


def test_rows_are_sorted_and_folds_go_forward(run, table, tmp_path):
    path, frame = table
    model = tmp_path / "m.mix"
    words = ("fit", path, "--target", "y", "--time", "step", "--drop", "day", "--cv", "3", *FAST, "--out", model)
    code, out, err = run(*words)
    assert code == 0, err
    assert "Rows are in the order of step" in out
    assert "step is no column to predict from." in out
    found = load(model)
    assert isinstance(found.cv, TimeSeriesSplit)
    assert list(found.feature_names_in_) == ["x"]
    here = MixtureRegressor(["ridge", "neighbours"], cv=TimeSeriesSplit(3), random_state=0)
    here.fit(frame[["x"]], frame["y"].to_numpy())
    np.testing.assert_allclose(found.oof_predictions_, here.oof_predictions_)
    assert np.isnan(found.oof_predictions_[:15]).all(), "the first rows are never held out"


def test_a_date_stays_a_column_and_is_ordered_by_its_value(run, table, tmp_path):
    path, _ = table
    model = tmp_path / "m.mix"
    words = ("fit", path, "--target", "y", "--time", "day", "--drop", "step", "--cv", "3", *FAST, "--out", model)
    code, out, err = run(*words)
    assert code == 0, err
    assert "day stays a column to predict from." in out
    assert out.count("day: dates as %d.%m.%Y") == 1
    assert set(load(model).feature_names_in_) == {"day", "x"}
    code, out, _ = run("predict", model, path)
    assert code == 0
    code, out, _ = run("compare", path, "--target", "y", "--time", "day", "--cv", "2", *FAST)
    assert code == 0
    assert "each fold is predicted from the rows before it" in out


def test_a_report_knows_the_rows_of_the_fit_whatever_their_order(run, table, tmp_path):
    pytest.importorskip("jinja2")
    path, frame = table
    model, page = tmp_path / "m.mix", tmp_path / "r.html"
    words = ("fit", path, "--target", "y", "--time", "step", "--drop", "day", "--cv", "3", *FAST, "--out", model)
    assert run(*words, "--gate", "constant")[0] == 0
    assert "time: step" in run("show", model)[1]
    in_order = tmp_path / "in_order.csv"
    frame.to_csv(in_order, index=False)
    for rows in (path, in_order):
        code, _, err = run("report", model, rows, "--drop", "day", "--out", page, "--force")
        assert code == 0, err
        assert "The rows are those that the mixture was fitted to." in page.read_text(encoding="utf-8")


def test_what_is_no_time_is_refused(run, rejected, table, tmp_path):
    path, frame = table
    rejected(run("compare", path, "--target", "y", "--time", "dya", *FAST), "--time 'dya' is not a column", "'day'")
    rejected(run("compare", path, "--target", "y", "--time", "y", *FAST), "must be different columns")
    rejected(run("compare", path, "--target", "y", "--time", "day", "--groups", "x", *FAST), "--time and --groups")
    odd = tmp_path / "odd.csv"
    frame.assign(when=["early", "late"] * 30).to_csv(odd, index=False)
    rejected(
        run("compare", odd, "--target", "y", "--time", "when", *FAST), "neither numbers nor dates", "--date-format"
    )
    frame.assign(when=[None, *range(59)]).to_csv(odd, index=False)
    rejected(run("compare", odd, "--target", "y", "--time", "when", *FAST), "is missing in 1 of 60 rows")


def test_rows_of_one_moment_keep_their_order_and_are_counted(run, table, tmp_path):
    _, frame = table
    path = tmp_path / "ties.csv"
    frame.assign(step=np.arange(60) // 2).to_csv(path, index=False)
    out = run("compare", path, "--target", "y", "--time", "step", "--drop", "day", "--cv", "2", *FAST)[1]
    assert "30 rows share their step with an earlier one." in out
