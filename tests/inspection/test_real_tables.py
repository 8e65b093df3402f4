"""The report and every display, of mixtures fitted to a few rows of real tables of all kinds."""

import importlib.util

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import TimeSeriesSplit

import metamix
from metamix import MixtureClassifier, MixtureRegressor, inspection

pytest.importorskip("jinja2")
plt = pytest.importorskip("matplotlib.pyplot")

DISPLAYS = [getattr(inspection, name) for name in inspection.__all__ if name.endswith("Display")]
ROWS = 160
#: What each table is an example of; of those in the order of time the first rows are taken, and a date is added.
TABLES = {
    "concrete": "numbers",
    "old_faithful": "one column",
    "diamonds": "numbers and categories",
    "ames": "73 columns, most of them categories",
    "hotel_rates": "numbers and categories",
    "energy_mt": "two targets",
    "sulfur_mt": "two targets in the order of time",
    "chicago_l": "dates, in the order of time",
    "adult": "two classes, missing values",
    "telco_churn": "two classes, categories",
    "car": "four classes, categories only",
    "hpc_jobs": "four classes",
}


def read(shared, name):
    """X, y and whether the rows are in the order of time."""
    spec = importlib.util.spec_from_file_location("load", shared / "data" / "load.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    X, y, meta = module.load(name)
    ordered = "order of time" in TABLES[name]
    rows = np.arange(ROWS) if ordered else np.random.default_rng(0).permutation(len(X))[:ROWS]
    X, y = X.iloc[rows].reset_index(drop=True), y.iloc[rows].to_numpy()
    if ordered:
        X = X.assign(day=pd.date_range("2020-01-01", periods=ROWS, freq="D"))
    return X, y.astype(str) if meta["task"] != "regression" and y.ndim == 1 else y, ordered


@pytest.mark.heavy
@pytest.mark.parametrize("name", TABLES)
def test_report_and_displays(shared, name, tmp_path):
    X, y, ordered = read(shared, name)
    classes = y.dtype.kind not in "fiu"
    experts = ["logistic", "naive_bayes"] if classes else ["ridge", "splines"]
    mixture = (MixtureClassifier if classes else MixtureRegressor)(
        experts,
        n_experts=2,
        start="kmeans",
        gate="softmax",
        max_rounds=1,
        random_state=0,
        cv=TimeSeriesSplit(3) if ordered else 3,
    ).fit(X, y)
    text = metamix.report(mixture, X, y, tmp_path / "page.html").read_text("utf-8")
    assert "Who is trusted where" in text
    assert len(text) < 2e6
    for display in DISPLAYS:
        shown = display.from_estimator(mixture, X, y)
        assert len(shown.frame())
        shown.plot().figure_.canvas.draw()
        plt.close("all")
