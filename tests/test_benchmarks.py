"""The scripts in benchmarks/ run in their quick form, and what they print is consistent."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "benchmarks"
# What several scripts use is no script.
HELPERS = {"tables.py", "worker_processes.py"}
SCRIPTS = sorted(path for path in FOLDER.glob("*.py") if path.name not in HELPERS)


def run(name, *words):
    """Run a script from the root of the repository and return its output."""
    command = [sys.executable, f"benchmarks/{name}.py", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, f"{' '.join(command[1:])}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_the_command_is_in_the_docstring_and_in_the_readme(path):
    command = f"python benchmarks/{path.name}"
    assert command in path.read_text(encoding="utf-8").split('"""')[1]
    assert command in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_imports():
    text = run("imports", "--quick")
    ratio = re.search(r"^metamix +\S+ +\S+ +\S+ +(\S+)", text, re.M)
    # The target of the benchmark. The measured ratio is 0.004, so a busy machine cannot exceed it.
    assert float(ratio[1]) < 1.5
    loaded = re.search(r"^metamix .*", text, re.M)[0]
    assert loaded.rstrip().endswith("none of torch, xgboost, lightgbm, pandas, matplotlib, pyarrow, narwhals, click")


@pytest.mark.slow
def test_prediction():
    pytest.importorskip("lightgbm")
    text = run("prediction", "--quick")
    letters = re.findall(r"^\((\w)\).*: ratio \S+ \[", text, re.M)
    assert letters == ["a", "a", "b", "b", "c", "c", "d", "d", "d", "d"]
    fits = re.findall(r"^\(c\).*: ratio (\S+) .*\n +mixture (\S+) s, stacking (\S+) s", text, re.M)
    assert len(fits) == 2
    for ratio, mixture, stacking in fits:  # a single repeat, so the median ratio is the ratio of the times
        assert float(ratio) == pytest.approx(float(mixture) / float(stacking), rel=0.03)


@pytest.mark.slow
def test_saving():
    text = run("saving", "--quick")
    assert float(re.search(r"MB, ratio (\S+)", text)[1]) < 1.1


@pytest.mark.slow
def test_onnx_models():
    pytest.importorskip("onnxruntime")
    text = run("onnx_models", "--quick")
    assert float(re.search(r"difference (\S+)", text)[1]) < 1e-4


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="each file is loaded in a fork, whose memory is read")
def test_damaged_files():
    text = run("damaged_files", "--quick")
    files, failures = re.search(r"^files (\d+), failures (\d+)", text, re.M).groups()
    assert int(files) >= 35
    assert failures == "0", text


@pytest.mark.heavy
def test_reports():
    pytest.importorskip("jinja2")
    text = run("reports", "--quick")
    sizes = [float(size) for size in re.findall(r"^(?:experts|regimes) +\S+ +\S+ +(\S+)", text, re.M)]
    assert len(sizes) == 2
    assert max(sizes) < 2


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_silence():
    text = run("silence", sys.executable, "-c", "import time; print('first'); time.sleep(1); print('second')")
    assert re.search(r"s, after 'first'$", text, re.M)


@pytest.mark.heavy
@pytest.mark.skipif(sys.platform == "win32", reason="signals to a group of processes are POSIX")
def test_interrupts(shared):
    found = re.findall(r"exit codes (.*), files left (\d+), processes left (\d+)$", run("interrupts", "--quick"), re.M)
    assert found == [("[130]", "0", "0")] * 2


@pytest.mark.heavy
@pytest.mark.skipif(sys.platform == "win32", reason="peak memory is read with the module resource")
def test_memory():
    pytest.importorskip("psutil")
    text = run("memory", "--rows", "3000", "--cv", "2")
    one, whole, over = (
        float(re.search(rf"^{line} +(\S+)", text, re.M)[1])
        for line in ("one weighted fit on one fold", "the whole fit, serial", "above one fit")
    )
    assert over == pytest.approx(whole - one, abs=0.011)
    written, times = re.search(r"written for the workers +(\S+) tables, (\d+) time", text).groups()
    # One file with X (1 table), y (0.05 tables) and the folds, written once.
    assert int(times) == 1
    assert 1.05 < float(written) < 1.5


@pytest.mark.slow
def test_estimator_checks():
    """One check of each estimator; the tests of the estimators run all of them."""
    text = run("estimator_checks", "--quick", "--check", "check_fit2d_1feature")
    assert text.splitlines() == [
        f"{name}: check_fit2d_1feature passed" for name in ("MixtureRegressor", "MixtureClassifier")
    ]


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("kind", "table", "base"), [("numbers", "boston", "ridge"), ("classes", "credit_g", "logistic")]
)
def test_pools(shared, kind, table, base):
    variants = "boosting:max_iter=2;boosting:max_iter=2;extra_trees:n_estimators=20"
    text = run("pools", "--kind", kind, "--tables", table, "--rows", "150", "--base", base, "--variants", variants)
    few, again, forest = (float(x) for x in re.search(rf"^{table} +0 +(\S+) +(\S+) +(\S+)$", text, re.M).groups())
    assert few == again != forest
    ratios = [float(found) for found in re.findall(r"^(\d\.\d+), worst", text, re.M)]
    assert ratios == pytest.approx([1.0, 1.0, forest / few], abs=1e-3)


@pytest.mark.heavy
def test_stacking(shared):
    text = run("stacking", "--tables", "two_regimes", "--splits", "1", "--specialize", "False")
    ratio, by_split = re.search(r"^two_regimes +(\d\.\d+) +\S+ +(\d\.\d+) ", text, re.M).groups()
    assert ratio == by_split  # a single split
    assert float(ratio) < 1.05


@pytest.mark.slow
def test_honesty():
    text = run("honesty", "--law", "noise,groups,regimes,stacking", "--draws", "2", "--rows", "40", "--jobs", "1")
    assert re.search(r"^noise: 2 draws; claims that do not hold: \d$", text, re.M)
    assert re.search(r"^regimes: 2 draws; names the mixture or what contains it: \d$", text, re.M)
    claimed, real = (float(x) for x in re.findall(r"over mean of y: claimed (\S+), real (\S+) ±", text)[0])
    assert abs(claimed - real) < 1, "of a variance of one"
    ratio, worst = (float(x) for x in re.search(r"stacking (\S+) ± \S+, worst (\S+) of 2 draws", text).groups())
    assert 0 < ratio <= worst


def test_cases(shared):
    text = run("cases", "--quick", "--case", "step,l1_norm")
    single, medians = (part.splitlines()[1:] for part in text.split("\n\n"))
    for one, median in zip(single, medians, strict=True):
        name, seed, value, _, K, *_ = re.split(r" {1,}", one)
        assert seed == "0"
        assert median.split()[:2] == [name, value]  # a single seed
        assert median.split()[3] == K
        low, high, verdict = re.search(r"(?:([\d.]+) …|≤) ([\d.]+) +(reached|missed)$", median).groups()
        assert (float(low or 0) <= float(value) <= float(high)) == (verdict == "reached")


@pytest.mark.heavy
def test_small_fits(shared):
    text = run("small_fits", "fits", "--quick", "--specialize", "True")
    assert re.search(r"^fits: 0 of 3 failed", text, re.M)
    text = run("small_fits", "likelihoods", "verdicts", "--quick")
    assert re.search(r"^npreg: log-likelihood -642\.532", text, re.M)
    assert re.search(r"^tempanomalies: log-likelihood 102\.94", text, re.M)
    share, counts = re.search(r"^verdicts: gated in (\S+) % of 3 draws .*\); (.*); \d+ s", text, re.M).groups()
    found = {name.strip(): int(count) for name, count in re.findall(r"([a-z -]+?) (\d+)", counts)}
    assert sum(found.values()) == 3
    assert float(share) == pytest.approx(100 * found.get("gated", 0) / 3, abs=0.05)


@pytest.mark.heavy
def test_gpu_runs_on_the_cpu():
    pytest.importorskip("torch")
    pytest.importorskip("skorch")
    text = run("gpu", "--quick", "--device", "cpu")
    assert text.rstrip().endswith("all checks hold")
    assert len(re.findall(r"^\(c\) K +\d+  layer +\S+ ms  ÷ bare grouped products \S+ ", text, re.M)) == 2
    assert len(re.findall(r"^\([abd]\) .* ok ", text, re.M)) == 14


def test_gpu_ends_with_a_message_where_there_is_none():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    (line,) = run("gpu", "--quick").splitlines()
    assert line.startswith("Nothing to time: device='cuda' is not available")


@pytest.mark.heavy
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel holds child processes to a limit of addresses")
def test_beyond_memory():
    pytest.importorskip("lightgbm")
    text = run("beyond_memory", "--gigabytes", "0.3", "--limit", "900MB")
    assert re.search(r"^fit: peak \d+ MB", text, re.M)
    n, sample, held_out = map(int, re.search(r"has (\d+) rows: .*? sample of (\d+) .*? those of (\d+)", text).groups())
    assert n == 900_000
    assert sample + held_out < n / 10
    assert f"Fitted to {n - held_out} rows: trees" in text
    assert re.search(rf"^predict with bounds: {n} rows", text, re.M)
    assert float(re.search(r"^new rows +\S+ +\S+ +(\S+)", text, re.M)[1]) < 0.9


@pytest.mark.heavy
def test_together():
    pytest.importorskip("lightgbm")
    pytest.importorskip("distributed")
    text = run(
        "together", "--rows", "60000", "--memory", "20MB", "--trees", "50", "--experts", "lightgbm,lightgbm_dask"
    )
    table = text.partition("without noise:")[2]
    assert [float(n) > 1 for n in re.findall(r"^lightgbm\w* +(\S+)", table, re.M)] == [True, True]


@pytest.mark.slow
def test_responsibilities():
    text = run("responsibilities", "--rows", "300000")
    ratios = re.findall(r"(\S+) ×, memory (\S+) arrays", text)
    assert len(ratios) == 3
    assert all(float(arrays) < 3 for _, arrays in ratios[1:])


@pytest.mark.heavy
def test_long_run():
    text = run("long_run", "--fits", "20", "--rows", "100")
    assert float(re.search(r"÷ the first: (\S+)", text)[1]) < 1.2
    left = re.findall(r"(\d+) files, (\d+) threads, (\d+) processes", text)
    assert len(left) == 5
    assert left[-1] == left[0]


@pytest.mark.heavy
def test_shares():
    pytest.importorskip("xgboost")
    pytest.importorskip("lightgbm")
    text = run("shares", "--quick", "--tables", "two_regimes")
    parts = re.search(r"^two_regimes +200 +\S+ +(\S+) +(\S+) +(\S+)", text, re.M).groups()
    assert all(0 < float(part) < 1 for part in parts)


@pytest.mark.heavy
def test_time_order():
    text = run("time_order", "--quick", "--jobs", "1", "--variants", "candidates")
    stationary, drift = (re.search(rf"^{name} +(\S+)", text, re.M)[1] for name in ("stationary", "drift"))
    means = float(re.search(r"^planted +(\S+)", text, re.M)[1])
    assert means == pytest.approx((float(stationary) * float(drift)) ** 0.5, abs=2e-3)


@pytest.mark.heavy
@pytest.mark.parametrize("engine", ["local", "dask"])
def test_kills(engine):
    pytest.importorskip("psutil")
    if engine == "dask":
        pytest.importorskip("distributed")
    text = run("kills", "--quick", "--engines", engine)
    disturbed, same, whole = re.search(
        r": 5 fits, (\d) lost .* bit in (\d), no expert dropped in (\d)$", text, re.M
    ).groups()
    assert int(disturbed) >= 2, "few kills come after the end"
    assert (same, whole) == ("5", "5")


@pytest.mark.heavy
def test_checkpoint():
    text = run("checkpoint", "--rows", "60", "--experts", "ridge")
    whole = float(re.search(r"with one (\S+) s, again", text)[1])
    parts = [float(x) for x in re.findall(r"^\S.*  (\S+) s  +\S+%$", text, re.M)]
    assert sum(parts) == pytest.approx(whole, abs=0.05 * len(parts) + 0.05), "rounded to a tenth"
    assert int(re.search(r"^the folder: (\d+) fits", text, re.M)[1]) > 0


@pytest.mark.heavy
def test_engines():
    pytest.importorskip("psutil")
    pytest.importorskip("distributed")
    text = run("engines", "--quick")
    memory = [float(found) for found in re.findall(r"memory of a worker (\S+) tables", text)]
    assert len(memory) == 2
    assert max(memory) < 1.5, "one copy in each worker"


@pytest.mark.heavy
def test_cluster():
    text = run("cluster", "--quick", "--machines", "1,100", "--gigabits", "1")
    work, longest, driver = (
        float(x) for x in re.search(r"lists, (\S+) s; longest .* list (\S+) s; driver (\S+) s", text).groups()
    )
    one, many = (float(x) for x in re.findall(r"machines: +(\S+) s", text))
    assert one == pytest.approx(work + driver, abs=0.2)
    assert longest + driver <= many + 0.2
