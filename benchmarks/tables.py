"""The real tables of the benchmarks, read from the folder `shared` next to the repository and split."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

SHARED = Path(__file__).resolve().parents[2] / "shared"

#: The tables on which rules were chosen, and the others, by which they are judged.
CHOOSING = [
    "abalone", "airfoil", "bike_hourly", "boston", "california_housing", "concrete", "cpu_act", "diamonds", "insurance",
    "kin8nm", "space_ga", "wine_white", "puma8NH", "adult", "credit_g", "electricity", "magic_telescope", "phoneme",
    "telco_churn", "hpc_jobs", "page_blocks", "yeast",
]  # fmt: skip
JUDGING = [
    "energy", "wine_red", "yacht", "kin40k", "mcycle", "seoul_bike", "planes2d", "puma32H", "stock", "debutanizer",
    "wage", "skillcraft", "chicago_l", "cps1988", "storms_wind", "wind_ireland", "engel", "ames", "communities_crime",
    "hotel_rates", "randhie", "spambase", "coil2000", "attrition", "satimage", "segment", "covertype_10k", "nursery",
    "splice", "shuttle", "waveform5000", "car",
]  # fmt: skip
CLASSIFICATION = [
    "adult", "credit_g", "electricity", "magic_telescope", "phoneme", "telco_churn", "covertype_10k", "hpc_jobs",
    "page_blocks", "satimage", "waveform5000", "yeast", "spambase", "coil2000", "attrition", "segment", "nursery",
    "splice", "shuttle", "car",
]  # fmt: skip
REGRESSION = [name for name in CHOOSING + JUDGING if name not in CLASSIFICATION]
POOLS = {
    "regression": ["ridge", "lightgbm", "extra_trees", "neighbours", "svm"],
    "classification": ["logistic", "lightgbm", "extra_trees", "neighbours", "naive_bayes"],
}


def module(path: Path) -> Any:
    """Load a Python file that is not part of a package."""
    if not path.exists():
        raise SystemExit(f"{path} is missing: the benchmarks need the folder `shared` next to the repository.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def split(name: str, seed: int, n_train: int = 2000, n_test: int = 3000) -> tuple[Any, ...]:
    """X_train, X_test, y_train, y_test of one table: at most `n_train` and `n_test` rows, drawn by seed."""
    if name in ("two_regimes", "three_regimes"):
        X, y, X_test, y_test = getattr(module(SHARED / "acceptance" / "cases.py"), name)(n_train, seed)
        return X, X_test, y, y_test
    X, y, _ = module(SHARED / "data" / "load.py").load(name)
    rows = np.random.default_rng(seed).permutation(len(y))
    n_train = min(n_train, int(0.8 * len(y)))
    train, test = rows[:n_train], rows[n_train : n_train + n_test]
    y = y.to_numpy() if name in REGRESSION else y.astype(str).to_numpy()
    return X.iloc[train], X.iloc[test], y[train], y[test]
