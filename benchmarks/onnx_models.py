"""Predictions of mixtures as ONNX models in onnxruntime, against `predict`: time, size, differences.

python benchmarks/onnx_models.py [--repeats 9] [--quick]

Needs `metamix[onnx]` and onnxruntime. One thread each; times are the smallest of several, alternating between both.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnxruntime

from metamix import MixtureRegressor, make_regimes, to_onnx

MIXTURES: dict[str, dict[str, Any]] = {
    "linear experts": {"experts": ["linear", "ridge"], "specialize": True, "gate": "softmax"},
    "trees": {"experts": ["ridge", "extra_trees", "lightgbm"]},
    "default pool": {},
}


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _fastest(one: Callable[[], Any], other: Callable[[], Any], times: int) -> tuple[float, float]:
    pairs = [(seconds(one), seconds(other)) for _ in range(times)]
    return min(first for first, _ in pairs), min(second for _, second in pairs)


def compare(mixture: Any, X: Any, repeats: int) -> str:
    """Times of both for 10,000 rows and for one."""
    model = to_onnx(mixture)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    narrow = X.astype(np.float32)
    away = np.abs(session.run(None, {"X": narrow})[0] - mixture.predict(X)).max() / mixture.predict(X).std()
    parts = []
    for rows, times in ((len(X), repeats), (1, 20 * repeats)):
        ours, theirs = _fastest(
            partial(session.run, None, {"X": narrow[:rows]}), partial(mixture.predict, X[:rows]), times
        )
        parts.append(f"{rows} rows {1000 * ours:.2f} ms, predict {1000 * theirs:.2f} ms")
    return f"{len(content) / 1e6:.1f} MB, difference {away:.0e} of the deviation;  {';  '.join(parts)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="the linear experts only")
    given = parser.parse_args()
    X, y = make_regimes(1000, n_regimes=2, random_state=0)
    new = make_regimes(10_000, n_regimes=2, random_state=1)[0].astype(np.float32).astype(np.float64)
    warnings.simplefilter("ignore")
    for name, parameters in list(MIXTURES.items())[: 1 if given.quick else None]:
        mixture = MixtureRegressor(**{"experts": "auto", "cv": 3, "random_state": 0, **parameters}).fit(X, y)
        print(f"{name:<14} {compare(mixture, new, given.repeats)}")


if __name__ == "__main__":
    main()
