"""metamix beside what people would pick instead, each with its defaults: losses on new rows and processor seconds.

python benchmarks/peers.py [--tables judging|choosing|NAMES] [--families regions,smooth] [--seeds 2] [--rows 1400]
                           [--pools fast,auto,best] [--rivals NAMES] [--jobs 1] [--out FILE]

Every model sees the same training rows and is judged on the same other rows: root mean squared error divided by the
standard deviation of y, for classes log-loss. Rivals that take numbers only see categories one-hot encoded, means for
missing numbers, and scaled columns; CatBoost and metamix see the table as it is. Rivals whose package is not installed
are left out, with a line. The tables are read from the folder `shared` next to the repository.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import importlib.util
import json
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.impute import SimpleImputer
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import LabelEncoder, OneHotEncoder, StandardScaler
from tables import CHOOSING, CLASSIFICATION, JUDGING, SHARED, module, split

from metamix import MixtureClassifier, MixtureRegressor

#: Predictions, or probabilities, of new rows.
Predictor = Callable[[Any], Any]

FAMILIES = ("regions", "smooth", "pieces")
#: Time and memory of a Gaussian process grow with the cube and the square of the number of rows.
GAUSSIAN_PROCESS_ROWS = 1200
NEW_ROWS = 3000


def extra_trees(X: Any, y: Any, classes: bool, seed: int) -> Predictor:
    model = ExtraTreesClassifier if classes else ExtraTreesRegressor
    return encoded(model(random_state=seed, n_jobs=1), X, y, classes)


def histogram_boosting(X: Any, y: Any, classes: bool, seed: int) -> Predictor:
    model = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    return encoded(model(random_state=seed), X, y, classes)


def gaussian_process(X: Any, y: Any, classes: bool, seed: int) -> Predictor:
    rows = np.random.default_rng(seed).permutation(len(y))[:GAUSSIAN_PROCESS_ROWS]
    X, kernel = X[rows] if isinstance(X, np.ndarray) else X.iloc[rows], ConstantKernel() * RBF()
    if classes:
        return encoded(GaussianProcessClassifier(kernel, random_state=0), X, y[rows], classes)
    model = GaussianProcessRegressor(kernel + WhiteKernel(1e-2), normalize_y=True, random_state=0)
    return encoded(model, X, y[rows], classes)


def lightgbm(X: Any, y: Any, classes: bool, seed: int, **parameters: Any) -> Predictor:
    from lightgbm import LGBMClassifier, LGBMRegressor

    model = LGBMClassifier if classes else LGBMRegressor
    return encoded(model(random_state=seed, n_jobs=1, verbose=-1, **parameters), X, y, classes)


def linear_trees(X: Any, y: Any, classes: bool, seed: int) -> Predictor:
    return lightgbm(X, y, classes, seed, linear_tree=True)


def xgboost(X: Any, y: Any, classes: bool, seed: int) -> Predictor:
    from xgboost import XGBClassifier, XGBRegressor

    return encoded((XGBClassifier if classes else XGBRegressor)(random_state=seed, n_jobs=1), X, y, classes)


def catboost(X: Any, y: Any, classes: bool, seed: int) -> Predictor:
    from catboost import CatBoostClassifier, CatBoostRegressor

    model = (CatBoostClassifier if classes else CatBoostRegressor)(
        random_seed=seed, thread_count=1, verbose=0, allow_writing_files=False
    )
    texts = [] if isinstance(X, np.ndarray) else list(X.select_dtypes(exclude="number").columns)

    def as_text(rows: Any) -> Any:
        return rows.assign(**{column: rows[column].astype(str) for column in texts}) if texts else rows

    model.fit(as_text(X), y, cat_features=texts or None)
    return lambda rows: (model.predict_proba if classes else model.predict)(as_text(rows))


def cubist(X: Any, y: Any, classes: bool, seed: int) -> Predictor:
    from cubist import Cubist

    return encoded(Cubist(random_state=seed), X, y, classes)


def xrfm(X: Any, y: Any, classes: bool, seed: int) -> Predictor:
    """It wants rows to choose its penalty by: a fifth of the training rows."""
    from xrfm import xRFM

    encoder = numbers_only(X).fit(X)
    train, held = train_test_split(np.arange(len(y)), test_size=0.2, random_state=seed, stratify=y if classes else None)
    Z, y = np.asarray(encoder.transform(X), dtype=np.float32), y if classes else np.asarray(y, dtype=np.float32)
    model = xRFM(random_state=seed, n_threads=1, device="cpu", verbose=False)
    model.fit(Z[train], y[train], Z[held], y[held])
    predict = model.predict_proba if classes else model.predict
    return lambda rows: predict(np.asarray(encoder.transform(rows), dtype=np.float32))


def tabm(X: Any, y: Any, classes: bool, seed: int) -> Predictor:
    from pytabkit import TabM_D_Classifier, TabM_D_Regressor

    model = TabM_D_Classifier if classes else TabM_D_Regressor
    return encoded(model(random_state=seed, device="cpu", n_threads=1), X, y, classes)


#: Package and fit of each rival.
RIVALS: dict[str, tuple[str, Callable[[Any, Any, bool, int], Predictor]]] = {
    "extra trees": ("sklearn", extra_trees),
    "histogram boosting": ("sklearn", histogram_boosting),
    "gaussian process": ("sklearn", gaussian_process),
    "lightgbm": ("lightgbm", lightgbm),
    "linear trees": ("lightgbm", linear_trees),
    "xgboost": ("xgboost", xgboost),
    "catboost": ("catboost", catboost),
    "cubist": ("cubist", cubist),
    "xrfm": ("xrfm", xrfm),
    "tabm": ("pytabkit", tabm),
}
NUMBERS_ONLY = {"cubist"}


def encoded(model: Any, X: Any, y: Any, classes: bool) -> Predictor:
    """The model fitted to numbers made of the columns."""
    pipeline = make_pipeline(numbers_only(X), model).fit(X, y)
    return pipeline.predict_proba if classes else pipeline.predict


def numbers_only(X: Any) -> Any:
    """Columns as numbers, for models that take nothing else."""
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    if isinstance(X, np.ndarray):
        return numbers
    one_hot = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=5, sparse_output=False)
    texts = make_column_selector(dtype_exclude="number")
    return make_column_transformer((numbers, make_column_selector(dtype_include="number")), (one_hot, texts))


def ours(pool: str, X: Any, y: Any, classes: bool, seed: int) -> Predictor:
    mixture = (MixtureClassifier if classes else MixtureRegressor)(pool, random_state=seed).fit(X, y)
    return mixture.predict_proba if classes else mixture.predict


def problem(name: str, seed: int, rows: int) -> tuple[Any, Any, Any, Any, bool]:
    """X, y, X_new, y_new, and whether y holds classes."""
    if name in FAMILIES:
        found = getattr(module(SHARED / "acceptance" / "families.py"), name)(seed)
        return found.X, found.y, found.X_test, found.y_test, False
    X, X_new, y, y_new = split(name, seed, rows, NEW_ROWS)
    classes = name in CLASSIFICATION
    if classes:  # nobody can predict a class that new rows alone have
        known = np.isin(y_new, y)
        encoder = LabelEncoder().fit(y)
        y, X_new, y_new = encoder.transform(y), X_new[known], encoder.transform(y_new[known])
    return X, y, X_new, y_new, classes


def loss(y: Any, answer: Any, classes: bool) -> float:
    """Root mean squared error in standard deviations of y, or log-loss."""
    if classes:
        return float(log_loss(y, np.clip(answer, 1e-6, 1), labels=np.arange(np.shape(answer)[1])))
    return float(np.sqrt(np.mean((np.ravel(answer) - y) ** 2)) / np.std(y))


def run(name: str, seed: int, rows: int, models: list[str]) -> dict[str, Any]:
    """Losses and seconds of the models on one problem."""
    warnings.simplefilter("ignore")
    X, y, X_new, y_new, classes = problem(name, seed, rows)
    found: dict[str, Any] = {"table": name, "seed": seed, "rows": len(y), "classes": classes, "loss": {}, "seconds": {}}
    for model in models:
        if classes and model in NUMBERS_ONLY:
            continue
        began = time.process_time()
        try:
            predict = RIVALS[model][1](X, y, classes, seed) if model in RIVALS else ours(model, X, y, classes, seed)
            found["seconds"][model] = time.process_time() - began
            found["loss"][model] = loss(y_new, predict(X_new), classes)
        except Exception as error:  # a rival may refuse a table; it is said, and the others go on
            print(f"{name} {seed}: {model} failed: {type(error).__name__}: {error}"[:200], flush=True)
    return found


def summary(rows: list[dict[str, Any]], pools: list[str]) -> Iterator[str]:
    """Lines: each pool against each rival, and against the best rival of each problem."""
    rivals = [name for name in RIVALS if any(name in row["loss"] for row in rows)]
    for pool in pools:
        for rival in rivals:
            both = [row for row in rows if {pool, rival} <= row["loss"].keys()]
            if both:
                times = [row["seconds"][pool] / row["seconds"][rival] for row in both]
                said = _compared([row["loss"][pool] / row["loss"][rival] for row in both])
                yield f"    {pool} ÷ {rival:<22} {said}; fit × {_mean(times):.1f}"
        best = [
            row["loss"][pool] / min(row["loss"][one] for one in rivals if one in row["loss"])
            for row in rows
            if pool in row["loss"]
        ]
        yield f"    {pool} ÷ {'the best rival of each':<22} {_compared(best)}"


def _compared(ratios: list[float]) -> str:
    return f"{_mean(ratios):.3f}, worst {max(ratios):.2f}, lower on {sum(one < 1 for one in ratios)} of {len(ratios)}"


def _mean(ratios: list[float]) -> float:
    return float(np.exp(np.mean(np.log(ratios))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", default="judging", help="judging, choosing, or names")
    parser.add_argument("--families", default="")
    parser.add_argument("--seeds", default="2", help="how many, or a range as 30-60")
    parser.add_argument("--rows", type=int, default=1400)
    parser.add_argument("--pools", default="fast,auto,best")
    parser.add_argument("--rivals", default=",".join(RIVALS))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", help="losses and seconds as JSON")
    options = parser.parse_args()
    named = {"judging": ",".join(JUDGING), "choosing": ",".join(CHOOSING)}.get(options.tables, options.tables)
    names = [one for one in f"{named},{options.families}".split(",") if one]
    pools, rivals = options.pools.split(","), options.rivals.split(",")
    for name in rivals:
        if not importlib.util.find_spec(RIVALS[name][0]):
            print(f"{name} is left out: the package {RIVALS[name][0]} is not installed")
    models = pools + [name for name in rivals if importlib.util.find_spec(RIVALS[name][0])]
    first, _, last = options.seeds.rpartition("-")
    jobs = [(name, seed) for name in names for seed in range(int(first or 0), int(last))]
    rows = []
    for row in Parallel(options.jobs, return_as="generator")(
        delayed(run)(name, seed, options.rows, models) for name, seed in jobs
    ):
        losses = "  ".join(f"{name} {value:.3f} ({row['seconds'][name]:.1f} s)" for name, value in row["loss"].items())
        print(f"{row['table']:<18} {row['seed']:>4} {row['rows']:>5}  {losses}", flush=True)
        rows.append(row)
        if options.out:
            Path(options.out).write_text(json.dumps(rows, indent=1))
    for kind in (False, True):
        part = [row for row in rows if row["classes"] == kind]
        if part:
            print("classes:" if kind else "numbers:", *summary(part, pools), sep="\n")


if __name__ == "__main__":
    main()
