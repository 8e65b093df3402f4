"""What means of y for large categories bring: loss of experts by name with them divided by the loss without.

python benchmarks/encoding.py [--splits 3]

Tables with categories of more than 20 values, from a folder `shared` beside the repository: at most 2000 training rows,
up to 4000 test rows; root mean squared error, or log-loss of the classes.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.metrics import log_loss, root_mean_squared_error
from sklearn.model_selection import train_test_split

from metamix import registry
from metamix.data.columns import ColumnEncoder

FOLDER = Path(__file__).parents[2] / "shared" / "data"
NUMBERS, CLASSES = ("hotel_rates", "ames", "communities_crime"), ("adult", "coil2000")
EXPERTS = {False: ("ridge", "splines", "neighbours", "extra_trees", "lightgbm", "boosting"),
           True: ("logistic", "neighbours", "extra_trees", "lightgbm", "boosting")}  # fmt: skip


def without_means(expert: Any) -> Any:
    """The expert with `ColumnEncoder` in place of `FeatureEncoder`."""
    plain = clone(expert)
    parameters = plain.named_steps["columns"].get_params()
    plain.set_params(columns=ColumnEncoder(**{k: v for k, v in parameters.items() if k != "classes"}))
    return plain


def loss(expert: Any, train: pd.DataFrame, test: pd.DataFrame, classes: bool) -> float:
    """Loss on the test rows."""
    expert.fit(train.drop(columns="target"), train["target"])
    rows = test.drop(columns="target")
    if classes:
        return float(log_loss(test["target"], np.clip(expert.predict_proba(rows), 1e-6, 1), labels=expert.classes_))
    return float(root_mean_squared_error(test["target"], expert.predict(rows)))


def main() -> None:
    """Print a row of ratios for each table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--splits", type=int, default=3)
    splits = parser.parse_args().splits
    if not FOLDER.is_dir():
        sys.exit(f"{FOLDER} is not there: the tables are not part of the repository")
    warnings.simplefilter("ignore")
    for name in (*NUMBERS, *CLASSES):
        classes = name in CLASSES
        frame = pd.read_parquet(FOLDER / f"{name}.parquet").dropna(subset="target")
        frame["target"] = frame["target"].astype(str if classes else float)
        found = []
        for expert in EXPERTS[classes]:
            model = (registry.classifiers if classes else registry.regressors)[expert](
                **({"random_state": 0} if expert in ("extra_trees", "lightgbm", "boosting") else {})
            )
            ratios = []
            for seed in range(splits):
                n = min(2000, int(0.67 * len(frame)))
                train, test = train_test_split(frame, train_size=n, random_state=seed)
                with_means, plain = (loss(one, train, test[:4000], classes) for one in (model, without_means(model)))
                ratios.append(with_means / plain)
            found.append(f"{expert} {np.exp(np.mean(np.log(ratios))):.3f}")
        print(f"{name:<18}", "  ".join(found), flush=True)


if __name__ == "__main__":
    main()
