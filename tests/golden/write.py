"""Reference predictions of a dozen small fits: what a change of the code moves, and by how much.

python tests/golden/write.py            # compare today's predictions with the file
python tests/golden/write.py --write    # replace the file, after reading what moved

A difference is the root mean square over test rows, in standard deviations of y (or, for classes, in probability).
`tests/test_golden.py` runs the same comparison.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_diabetes, load_iris, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import TimeSeriesSplit, cross_val_predict

from metamix import MixtureClassifier, MixtureRegressor, fit_predictions, make_regimes

FILE = Path(__file__).with_name("predictions.json")
N_TEST = 40


def _diabetes() -> tuple[Any, Any]:
    return load_diabetes(return_X_y=True)


def _half(X: Any, y: Any, rows: int = 240) -> tuple[Any, Any, Any]:
    """Training rows, their target, and test rows."""
    order = np.random.default_rng(0).permutation(len(y))
    train, test = order[:rows], order[rows : rows + N_TEST]
    return X[train], y[train], X[test]


def _regressor(settings: dict[str, Any], X: Any, y: Any, **fit: Any) -> Any:
    X, y, X_test = _half(X, y)
    return MixtureRegressor(random_state=0, **settings).fit(X, y, **fit).predict(X_test) / y.std()


def _classifier(settings: dict[str, Any], X: Any, y: Any) -> Any:
    X, y, X_test = _half(X, y, 110)
    return MixtureClassifier(random_state=0, **settings).fit(X, y).predict_proba(X_test)


def _given() -> Any:
    X, y, X_test = _half(*load_wine(return_X_y=True), 130)
    models = {"weak": LogisticRegression(C=1e-3, max_iter=2000), "strong": LogisticRegression(C=0.1, max_iter=5000)}
    known = {name: cross_val_predict(model, X, y, method="predict_proba") for name, model in models.items()}
    new = {name: model.fit(X, y).predict_proba(X_test) for name, model in models.items()}
    return fit_predictions(known, X, y, random_state=0).predict_proba(X_test, predictions=new)


def _targets() -> Any:
    X, y = make_regimes(300, n_regimes=2, random_state=1)
    X, y, X_test = _half(X, np.column_stack([y, -2 * y + X[:, 0]]), 200)
    fitted = MixtureRegressor(["ridge", "quadratic"], random_state=0).fit(X, y)
    return fitted.predict(X_test) / y.std(axis=0)


CASES: dict[str, Callable[[], Any]] = {
    "default, regimes": lambda: _regressor({"experts": ["ridge", "quadratic"]}, *make_regimes(300, random_state=0)),
    "default, three regimes": lambda: _regressor(
        {"experts": ["linear", "quadratic"]}, *make_regimes(300, n_regimes=3, random_state=3)
    ),
    "default, diabetes": lambda: _regressor({"experts": ["ridge", "splines", "neighbours"]}, *_diabetes()),
    "experts on all rows": lambda: _regressor({"experts": ["ridge", "neighbours"], "specialize": False}, *_diabetes()),
    "two linear regimes": lambda: _regressor(
        {"experts": ["linear"] * 2, "specialize": True}, *make_regimes(300, random_state=0)
    ),
    "regimes counted": lambda: _regressor(
        {"experts": ["linear"], "specialize": True, "n_experts": "auto"},
        *make_regimes(300, n_regimes=3, random_state=0),
    ),
    "EM in sample": lambda: _regressor(
        {"experts": ["linear"] * 2, "gate": "constant", "cv": None, "specialize": True},
        *make_regimes(300, random_state=2),
    ),
    "time order": lambda: _regressor(
        {"experts": ["ridge", "neighbours"], "cv": TimeSeriesSplit(4), "specialize": False}, *_diabetes()
    ),
    "student t": lambda: _regressor(
        {"experts": ["linear"], "n_experts": 2, "specialize": True, "likelihood": "student_t"},
        *make_regimes(300, random_state=0),
    ),
    "Gaussian gate": lambda: _regressor(
        {"experts": ["linear"] * 2, "specialize": True, "gate": "gmm"}, *make_regimes(300, random_state=0)
    ),
    "default, classes": lambda: _classifier({"experts": ["logistic", "naive_bayes"]}, *load_wine(return_X_y=True)),
    "classes, regimes": lambda: _classifier(
        {"experts": ["logistic", "tree"], "specialize": False}, *load_iris(return_X_y=True)
    ),
    "given predictions": _given,
    "two targets": _targets,
}


def predictions() -> Iterator[tuple[str, Any]]:
    """Name and predictions of every case, on the code as it is."""
    for name, case in CASES.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield name, np.asarray(case())


def moved(known: Any, found: Any) -> float:
    """Root mean square difference of two sets of predictions."""
    return float(np.sqrt(np.mean((np.asarray(known) - np.asarray(found)) ** 2)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    known = json.loads(FILE.read_text()) if FILE.exists() else {}
    found = {}
    for name, answers in predictions():
        found[name] = answers.round(9).tolist()
        said = f"{moved(known[name], answers):10.2e}" if name in known else "       new"
        print(f"{said}  {name}", flush=True)
    if options.write:
        FILE.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
