"""What a report of many rows and experts costs beyond the fit, how large the page is, and how soon it opens.

    python benchmarks/reports.py

50,000 rows of ten columns of numbers and two categories; twelve linear experts, which see three columns each. Once the
experts are combined by a gate, once they are the regimes of a mixture. Printed are seconds of CPU of the fit and of the
report, and the size of the page; and, where playwright and Chromium are installed, medians over five openings: seconds
until the text is there, until the last chart is drawn, and what all processes of the browser computed until then.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

from metamix import MixtureRegressor, report
from metamix.gates import SoftmaxGate

EXPERTS = 12
OPENINGS = 5
#: Milliseconds from the click on: of the first paint, and of the moment when no chart is left to be drawn.
WATCH = """
new PerformanceObserver(list => { window.painted = list.getEntries()[0].startTime; })
  .observe({type: "paint", buffered: true});
const look = () => {
  const charts = document.querySelectorAll(".chart");
  if (charts.length && document.querySelector(".chart:not([data-drawn])") === null) window.all = performance.now();
  else requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""


def table(n: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """X, y and the planted regime (n,): twelve lines, in bands of the first column."""
    rng = np.random.default_rng(0)
    values = rng.uniform(size=(n, 10))
    X = pd.DataFrame(values, columns=[f"column {j}" for j in range(10)])
    X["city"] = rng.choice(["Rome", "Oslo", "Lima", "Kyiv"], n)
    X["kind"] = rng.choice(list("abcdefgh"), n)
    regime = np.minimum((EXPERTS * values[:, 0]).astype(int), EXPERTS - 1)
    slopes = rng.normal(size=(EXPERTS, 10))
    y = (slopes[regime] * values).sum(axis=1) + (X["city"] == "Rome") + 0.1 * rng.standard_normal(n)
    return X, np.asarray(y), regime


def mixtures(regime: np.ndarray) -> dict[str, MixtureRegressor]:
    """The mixtures by name, unfitted."""
    few = [(f"line {k}", "ridge", [f"column {(k + i) % 10}" for i in range(3)] + ["city"]) for k in range(EXPERTS)]
    alike = [(f"line {k}", "ridge") for k in range(EXPERTS)]
    gate = SoftmaxGate(penalty=0.1, max_iter=30)
    settings: dict[str, Any] = {"gate": gate, "cv": 2, "random_state": 0, "n_jobs": 1}
    return {
        "experts": MixtureRegressor(few, specialize=False, **settings),
        "regimes": MixtureRegressor(alike, specialize=True, start=regime, max_rounds=1, **settings),
    }


def opened(page: Path) -> tuple[float, ...] | None:
    """Medians of seconds until the text is there, until all is drawn, and of CPU; None without a browser."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if executable is None:
        return None
    with sync_playwright() as playwright:
        root = hasattr(os, "geteuid") and os.geteuid() == 0  # to whom Chromium refuses its sandbox
        arguments = ["--no-sandbox"] if root else []
        browser = playwright.chromium.launch(executable_path=executable, args=arguments)
        found = []
        for _ in range(OPENINGS):
            tab = browser.new_page(viewport={"width": 1280, "height": 900})
            tab.add_init_script(WATCH)
            before = _seconds_of_browser()
            tab.goto(page.as_uri())
            tab.wait_for_function("window.all && window.painted", polling=20)
            spent = _seconds_of_browser() - before
            found.append((*(tab.evaluate(f"window.{name}") / 1000 for name in ("painted", "all")), spent))
            tab.close()
        browser.close()
    return tuple(statistics.median(one) for one in zip(*found, strict=True))


def _seconds_of_browser() -> float:
    """CPU time of the processes that this one has started, and of those that they have."""
    times = [one.cpu_times() for one in psutil.Process().children(recursive=True)]
    return sum(one.user + one.system for one in times)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--quick", action="store_true", help="2,000 rows")
    parser.add_argument("--profile", action="store_true", help="where the report spends its time")
    words = parser.parse_args()
    X, y, regime = table(2000 if words.quick else words.rows)
    print(f"{len(X)} rows, {EXPERTS} linear experts, seconds\n")
    print(f"{'':10}{'fit':>8}{'report':>8}{'MB':>8}{'text':>8}{'charts':>8}{'browser':>9}")
    for name, mixture in mixtures(regime).items():
        began = time.process_time()
        mixture.fit(X, y)
        fitted = time.process_time()
        profile = cProfile.Profile()
        with tempfile.TemporaryDirectory() as folder:
            if words.profile:
                profile.enable()
            page = report(mixture, X, y, Path(folder, "page.html"))
            profile.disable()
            done = time.process_time()
            size = page.stat().st_size / 1e6
            seen = opened(page)
        seconds = "" if seen is None else "{:8.2f}{:8.2f}{:9.2f}".format(*seen)
        print(f"{name:10}{fitted - began:8.1f}{done - fitted:8.1f}{size:8.2f}{seconds}", flush=True)
        if words.profile:
            pstats.Stats(profile).sort_stats("cumulative").print_stats("metamix", 45)


if __name__ == "__main__":
    main()
