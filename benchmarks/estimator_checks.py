"""scikit-learn's estimator checks on both estimators with default parameters.

python benchmarks/estimator_checks.py [regressor] [classifier] [--quick] [--check NAME]

Prints failed and slow checks as they finish, then the numbers of checks that passed, failed, were skipped, and
failed as expected. Each estimator takes about half an hour; run them in separate processes. `--quick` uses two cheap
experts, cv=2 and specialize=False and takes half a minute. `--check` runs one check and raises its error.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import argparse
import logging
import time
import warnings
from collections import Counter
from typing import Any

import sklearn
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator

from metamix import MixtureClassifier, MixtureRegressor

# Fails because of the default experts; the tests of metamix run this check with experts that satisfy it.
NOT_REPEATED = {
    "check_sample_weight_equivalence_on_dense_data": (
        "the default experts are no better: nearest neighbours take no weights, and scikit-learn declares the same "
        "failure for HistGradientBoosting, whose bins and smallest leaves count rows"
    ),
}
SLOW_SECONDS = 60.0
logging.getLogger("metamix").setLevel(logging.ERROR)  # thousands of warnings about experts that fail on very few rows


def candidate(name: str, quick: bool) -> Any:
    """The estimator with default parameters, or with cheap experts."""
    face = MixtureRegressor if name == "regressor" else MixtureClassifier
    if not quick:
        return face()
    pool = (
        [("ridge", Ridge(tol=1e-12)), ("tree", DecisionTreeRegressor(max_depth=3, random_state=0))]
        if name == "regressor"
        else [("logistic", LogisticRegression()), ("tree", DecisionTreeClassifier(max_depth=3, random_state=0))]
    )
    return face(pool, cv=2, specialize=False, random_state=0)


def run(name: str, quick: bool = False) -> Counter[str]:
    """Count the checks by status; failed, skipped and slow checks are printed as they finish."""
    counts: Counter[str] = Counter()
    started = last = time.perf_counter()

    def tell(*, check_name: str, status: str, exception: Any, **rest: Any) -> None:
        nonlocal last
        now = time.perf_counter()
        seconds, last = now - last, now
        counts[status] += 1
        if status == "failed":
            print(f"  FAILED {check_name} ({seconds:.0f} s): {type(exception).__name__}: {exception}", flush=True)
        elif status == "xfail":
            print(f"  expected to fail: {check_name}: {rest.get('expected_to_fail_reason')}", flush=True)
        elif status == "skipped":
            print(f"  skipped {check_name}: {exception}", flush=True)
        elif seconds > SLOW_SECONDS:
            print(f"  {check_name} took {seconds:.0f} s", flush=True)

    estimator = candidate(name, quick)
    print(f"{type(estimator).__name__}, {'cheap experts' if quick else 'defaults'}, scikit-learn {sklearn.__version__}")
    expected = None if quick else NOT_REPEATED
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_estimator(estimator, expected_failed_checks=expected, on_fail=None, on_skip=None, callback=tell)
    summary = ", ".join(
        f"{counts[status]} {said}"
        for status, said in [
            ("passed", "passed"), ("failed", "failed"), ("skipped", "skipped"), ("xfail", "failed as expected")
        ]
    )  # fmt: skip
    print(f"{type(estimator).__name__}: {summary}; {time.perf_counter() - started:.0f} s", flush=True)
    return counts


def run_one(name: str, wanted: str, quick: bool = False) -> int:
    """Run the checks of one name without catching errors; return their number."""
    found = 0
    for estimator, check in estimator_checks_generator(candidate(name, quick)):
        if getattr(check, "func", check).__name__ == wanted:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                check(estimator)
            found += 1
            print(f"{type(estimator).__name__}: {wanted} passed", flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=["regressor", "classifier"], metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="cheap experts, cv=2, specialize=False")
    parser.add_argument("--check", metavar="NAME", help="only this one, such as check_fit1d")
    options = parser.parse_args()
    unknown = set(options.names) - {"regressor", "classifier"}
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))} is no estimator here; give regressor, classifier, or both.")
    if options.check:
        found = sum(run_one(name, options.check, options.quick) for name in options.names)
        return 0 if found else parser.error(f"scikit-learn has no check {options.check} for these.")
    return int(any(run(name, options.quick)["failed"] for name in options.names))


if __name__ == "__main__":
    raise SystemExit(main())
