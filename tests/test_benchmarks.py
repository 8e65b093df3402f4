"""The benchmarks run: each script in its quick form, as its own docstring says, in a process of its own."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "benchmarks"
SCRIPTS = sorted(path for path in FOLDER.glob("*.py") if path.name != "tables.py")


def run(name, *words):
    """Run a script from the root of the repository and give what it printed."""
    command = [sys.executable, f"benchmarks/{name}.py", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, f"{' '.join(command[1:])}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_docstring_has_the_command_and_the_readme_too(path):
    command = f"python benchmarks/{path.name}"
    assert command in path.read_text(encoding="utf-8").split('"""')[1]
    assert command in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_imports():
    text = run("imports", "--quick")
    ratio = re.search(r"^metamix +\S+ +\S+ +\S+ +(\S+)", text, re.M)
    # The bar itself: it holds by so much that a busy machine does not reach it.
    assert float(ratio[1]) < 1.5
    loaded = re.search(r"^metamix .*", text, re.M)[0]
    assert loaded.rstrip().endswith(
        "none of torch, xgboost, lightgbm, pandas, matplotlib, pyarrow, narwhals, click, skops"
    )


@pytest.mark.slow
def test_prediction():
    pytest.importorskip("lightgbm", reason="the pools have LightGBM among them")
    text = run("prediction", "--quick")
    found = re.findall(r"^\((\w)\).*: ratio (\S+) \[", text, re.M)
    assert [letter for letter, _ in found] == ["a", "a", "b", "b", "c", "c"]
    assert all(float(ratio) > 0 for _, ratio in found)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the kernel's count of peak memory is asked for as on Unix")
def test_memory_and_what_travels():
    pytest.importorskip("psutil", reason="memory is read with psutil")
    text = run("memory", "--rows", "5000", "--cv", "2")
    assert re.search(r"^the whole fit, serial +\d", text, re.M)
    written, times = re.search(r"written for the workers +(\S+) tables, (\d+) time", text).groups()
    # X (1), y (0.05) and the folds, in one file: X travels once.
    assert int(times) == 1
    assert 1 < float(written) < 1.5


@pytest.mark.slow
def test_estimator_checks():
    """One check of each: all of them are in tests/test_estimators_sklearn.py."""
    text = run("estimator_checks", "--quick", "--check", "check_fit2d_1feature")
    assert text.splitlines() == [
        f"{name}: check_fit2d_1feature passed" for name in ("MixtureRegressor", "MixtureClassifier")
    ]


@pytest.mark.slow
def test_stacking_on_planted_regimes(shared):
    text = run("stacking", "--tables", "two_regimes", "--splits", "1", "--specialize", "False")
    assert re.search(r"^two_regimes +\d\.\d+", text, re.M)


@pytest.mark.slow
def test_cases_in_their_quick_form(shared):
    pytest.importorskip("xgboost", reason="two of the cases name XGBoost")
    text = run("cases", "--quick", "--case", "step,three_regimes auto")
    single, medians = (part.splitlines() for part in text.split("\n\n"))
    assert re.fullmatch(r"step +0 +\S+ +\S+ +\d+ +\d+\.\d  [a-z ]+", single[1])
    assert len(single) == len(medians) == 3
    for line in medians[1:]:
        default, plain = re.search(r"^\D+? {2,}(\S+) +(\S+) .* (?:reached|missed)$", line).groups()
        assert 0 < float(default) < 10
        assert 0 < float(plain) < 10
    assert medians[2].rstrip().endswith("missed"), "sixty rows do not show three regimes of six columns"


@pytest.mark.slow
def test_small_fits_in_their_quick_form(shared):
    text = run("small_fits", "--quick")
    assert re.search(r"^fits: 0 of 3 failed", text, re.M)
    assert re.search(r"^npreg: log-likelihood -642\.532", text, re.M)
    assert re.search(r"^tempanomalies: log-likelihood 102\.94", text, re.M)
    share, draws = re.search(r"^verdicts: gated in (\S+) % of (\d+) draws", text, re.M).groups()
    assert float(share) == 0
    assert int(draws) == 3


@pytest.mark.slow
def test_gpu_runs_its_code_on_the_cpu():
    pytest.importorskip("torch", reason="it is what the benchmark times")
    pytest.importorskip("skorch", reason="learners are trained by skorch")
    text = run("gpu", "--quick", "--device", "cpu")
    assert text.rstrip().endswith("all checks hold")
    assert len(re.findall(r"^\(c\) K +\d+  layer +\S+ ms  ÷ bare grouped products \S+ ", text, re.M)) == 2
    assert len(re.findall(r"^\([abd]\) .* ok ", text, re.M)) == 14


def test_gpu_says_so_where_there_is_none():
    torch = pytest.importorskip("torch", reason="it is what finds a GPU")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    (line,) = run("gpu", "--quick").splitlines()
    assert line.startswith("Nothing to time: device='cuda' is not there")
