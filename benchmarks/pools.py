"""What an expert, or another setting of one, brings to a pool: losses of combined predictions on new rows.

python benchmarks/pools.py [--kind numbers|classes] [--tables choosing|judging|NAMES] [--rows 1400] [--seeds 1]
                           [--base NAMES] [--variants "lightgbm,xgboost;lightgbm:colsample_bytree=0.5,xgboost"]

Every expert is cross-fitted once. Each variant of the pool, which are the experts of the base and those of the variant,
is combined by `fit_predictions`, and its loss (root mean squared error, or log-loss) divided by that of the first one.
The tables are read from the folder `shared` next to the repository.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import ast
import warnings
from typing import Any

import numpy as np
from sklearn.metrics import log_loss, root_mean_squared_error
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
from tables import CHOOSING, CLASSIFICATION, JUDGING, split

from metamix import fit_predictions, registry
from metamix.experts.pools import POOLS


def expert(written: str, classes: bool) -> Any:
    """The expert NAME or NAME:parameter=value:parameter=value."""
    name, *parameters = written.split(":")
    pairs = (one.split("=", maxsplit=1) for one in parameters)
    known = registry.classifiers if classes else registry.regressors
    return known[name](**{parameter: ast.literal_eval(value) for parameter, value in pairs})


def losses(table: str, seed: int, rows: int, base: list[str], variants: list[list[str]]) -> list[float]:
    """Loss of each variant on the new rows of a table."""
    classes = table in CLASSIFICATION
    X, X_new, y, y_new = split(table, seed, rows, 3000)
    cv: Any = KFold(5, shuffle=True, random_state=seed)
    if classes:
        names, counts = np.unique(y, return_counts=True)
        common, known = np.isin(y, names[counts >= 5]), np.isin(y_new, names[counts >= 5])
        X, y, X_new, y_new = X[common], y[common], X_new[known], y_new[known]
        cv = StratifiedKFold(5, shuffle=True, random_state=seed)
    held_out, new = {}, {}
    for one in dict.fromkeys(base + [name for variant in variants for name in variant]):
        model, method = expert(one, classes), "predict_proba" if classes else "predict"
        held_out[one] = cross_val_predict(model, X, y, cv=cv, method=method)
        new[one] = getattr(model.fit(X, y), method)(X_new)
    found = []
    for variant in variants:
        pool = base + variant
        given = {one: held_out[one] for one in pool}
        mixture = fit_predictions(given, X, y, gate="constant", cv=list(cv.split(X, y)), random_state=0)
        answers = {one: new[one] for one in pool}
        if classes:
            probabilities = np.clip(mixture.predict_proba(X_new, predictions=answers), 1e-6, 1)
            found.append(float(log_loss(y_new, probabilities, labels=mixture.classes_)))
        else:
            found.append(float(root_mean_squared_error(y_new, mixture.predict(X_new, predictions=answers))))
    return found


def main() -> None:
    """Print a line for each table, and the mean ratio of each variant."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--kind", choices=["numbers", "classes"], default="numbers")
    parser.add_argument("--tables", default="choosing")
    parser.add_argument("--rows", type=int, default=1400)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--base", help='by default that of "auto", without boosted trees')
    parser.add_argument("--variants", default="lightgbm,xgboost;lightgbm;xgboost")
    asked = parser.parse_args()
    classes = asked.kind == "classes"
    base = asked.base.split(",") if asked.base else list(POOLS["auto"][classes])
    variants = [variant.split(",") for variant in asked.variants.split(";")]
    listed = {"choosing": CHOOSING, "judging": JUDGING}.get(asked.tables)
    tables = [one for one in listed if (one in CLASSIFICATION) == classes] if listed else asked.tables.split(",")
    ratios = []
    for table in tables:
        for seed in range(asked.seeds):
            found = losses(table, seed, asked.rows, base, variants)
            ratios.append(np.array(found) / found[0])
            print(f"{table:20} {seed}  " + "  ".join(f"{one:.4f}" for one in found), flush=True)
    means, worst = np.exp(np.mean(np.log(ratios), axis=0)), np.max(ratios, axis=0)
    for variant, mean, most in zip(asked.variants.split(";"), means, worst, strict=True):
        print(f"{mean:.3f}, worst {most:.3f}  {variant}")


if __name__ == "__main__":
    main()
