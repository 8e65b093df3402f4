"""Help, unexpected errors and Ctrl-C."""

import os
import signal
import subprocess
import sys
import time

import pandas as pd
import psutil
import pytest

from metamix import load_example


def python(*words, **options):
    environment = {**os.environ, "COLUMNS": "80"}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, **options)


def test_help_imports_no_large_library():
    code = (
        "import sys\nfrom metamix.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('numpy', 'sklearn', 'pandas', 'torch') if m in sys.modules])"
    )
    done = python("-c", code)
    assert done.stdout.strip().endswith("[]"), done.stdout + done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert python("-m", "metamix").returncode == 2


def test_an_unexpected_error_is_one_line_and_a_traceback_with_debug():
    code = (
        "import metamix.data.files, metamix.cli, sys\n"
        "def read_file(path, **given):\n    raise LookupError('no such key')\n"
        "metamix.data.files.read_file = read_file\n"
        "metamix.cli.main(['compare', 't.csv', '--target', 'y', *sys.argv[1:]])"
    )
    quiet, loud = python("-c", code), python("-c", code, "--debug")
    assert quiet.returncode == 1
    assert quiet.stderr.strip() == "metamix: error: LookupError: no such key (add --debug for the traceback)"
    assert "Traceback" in loud.stderr
    assert "no such key" in loud.stderr


def _is_busy_worker(process):
    try:
        return "popen_loky" in " ".join(process.cmdline()) and process.cpu_times().user > 5
    except psutil.NoSuchProcess:
        return False


@pytest.mark.skipif(os.name == "nt", reason="signals to a group of processes are POSIX")
@pytest.mark.parametrize(
    ("which", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.heavy)]
)
def test_an_interruption_leaves_no_file_and_no_process(tmp_path, which, code):
    X, price = load_example("mixed")
    pd.concat([X.assign(price=price)] * 5).to_csv(tmp_path / "t.csv", index=False)
    words = [sys.executable, "-m", "metamix", "fit", "t.csv", "--target", "price", "--out", "m.mix", "--jobs", "2"]
    child = subprocess.Popen(
        words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    assert "regression of price" in child.stdout.readline()
    parent = psutil.Process(child.pid)
    # Workers that are still importing would report the interruption themselves.
    while not any(_is_busy_worker(process) for process in parent.children(recursive=True)):
        assert child.poll() is None, child.communicate()
        time.sleep(0.05)
    others = parent.children(recursive=True)
    os.killpg(child.pid, which)
    _, err = child.communicate(timeout=240)
    assert psutil.wait_procs(others, timeout=60)[1] == []
    assert child.returncode == code
    assert all(line.startswith("t.csv  ") for line in err.split("\n") if line)  # progress, if it took half a minute
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]
