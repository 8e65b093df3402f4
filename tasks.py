"""Everyday tasks of metamix, from a clean clone, with nothing but Python 3.11 or newer.

    python3 tasks.py demo            install, then run the main job: metamix demo
    python3 tasks.py test [...]      install, then ruff, mypy and every test; arguments go to pytest
    python3 tasks.py quick [...]     install, then the quick tests only
    python3 tasks.py lint            install, then ruff and mypy
    python3 tasks.py notebooks       install, then execute the notebooks

"Install" makes the virtual environment .venv beside this file, or finds that it is up to date.
"""

# Parses on old interpreters, in order to tell them so: no f-strings, no annotations.
import glob
import hashlib
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, *(["Scripts", "python.exe"] if os.name == "nt" else ["bin", "python"]))
STAMP = os.path.join(VENV, "metamix-stamp.txt")
REQUIREMENTS = os.path.join(ROOT, "requirements.txt")
PROJECTS = [ROOT] + sorted(glob.glob(os.path.join(ROOT, "plugins", "metamix-*")))

LINT = [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]]
PYTEST = ["pytest", "-n", "2", "--dist", "worksteal"]
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def say(text):
    """Tell what is being done; at once, so that it stands before what a child prints."""
    print("tasks.py: " + text)
    sys.stdout.flush()


def run(command, one_thread=False):
    """Run a command in the clone and return its exit code; after Ctrl-C, wait until it has cleaned up."""
    say(" ".join(os.path.relpath(part, ROOT) if part.startswith(ROOT + os.sep) else part for part in command))
    child = subprocess.Popen(command, cwd=ROOT, env=dict(os.environ, **(ONE_THREAD if one_thread else {})))
    try:
        return child.wait()
    except KeyboardInterrupt:  # the terminal has told the child as well; whoever cannot wait presses again
        child.wait()
        raise


def wanted_stamp():
    """Say what the environment depends on: the interpreter and the place, then what is to be installed."""
    digest = hashlib.sha256()
    for path in [REQUIREMENTS] + [os.path.join(project, "pyproject.toml") for project in PROJECTS]:
        with open(path, "rb") as file:
            digest.update(file.read().replace(b"\r\n", b"\n") + b"\0")
    # Editable installs remember the folder, so a clone that was moved needs a new environment.
    return ["%s at %s" % (sys.version.replace("\n", " "), ROOT), digest.hexdigest()]


def found_stamp():
    """Read what the environment was made for, or [] where there is none that works."""
    if not os.path.exists(STAMP):  # written last: without it the environment is half made
        return []
    try:
        subprocess.check_output([PYTHON, "-c", "import pytest, sklearn, metamix"], stderr=subprocess.PIPE)
        with open(STAMP) as file:
            return file.read().splitlines()
    except (OSError, subprocess.CalledProcessError):
        return []


def install():
    """Make or renew the environment where that is needed; return an exit code."""
    wanted, found = wanted_stamp(), found_stamp()
    if found == wanted:
        say("the environment .venv is up to date")
        return 0
    if found[:1] != wanted[:1]:
        say("making the environment .venv (a minute or two, about 2.3 GB)")
        if run([sys.executable, "-m", "venv", "--clear", VENV]):
            say("no virtual environment could be made. On Debian and Ubuntu: apt install python3-venv")
            return 1
    else:
        say("requirements have changed: renewing the environment .venv")
        os.remove(STAMP)
    # One command for all, so that pip sees every requirement at once; no extras, see pyproject.toml.
    editable = [part for project in PROJECTS for part in ("-e", project)]
    quiet = [] if sys.stdout.isatty() else ["--quiet"]  # somebody who waits wants to see it move
    code = run([PYTHON, "-m", "pip", "install"] + quiet + ["-r", REQUIREMENTS] + editable)
    if code:
        say("installing failed; what pip said stands above. The same command tries again")
    else:
        with open(STAMP, "w") as file:
            file.write("\n".join(wanted))
    return code


def main(task, rest):
    """Install, do one task and return its exit code."""
    jobs = {
        "demo": [["metamix", "demo"] + rest],
        "test": LINT + [PYTEST + rest],
        "quick": [PYTEST + ["-m", "not slow"] + rest],
        "lint": LINT,
        "notebooks": [PYTEST + ["tests/test_documents.py", "-k", "notebook"] + rest],
    }
    if task not in jobs:
        print(__doc__)
        return 0 if task in ("-h", "--help", "help") else 2
    if install():
        return 1
    failed = [" ".join(job[:2]) for job in jobs[task] if run([PYTHON, "-m"] + job, one_thread=task != "demo")]
    say("FAILED: " + ", ".join(failed) if failed else "done")
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.version_info < (3, 11):
        too_old = "metamix needs Python 3.11 or newer, and this is %s. Try: python3.11 tasks.py demo"
        sys.exit(too_old % sys.version.split()[0])
    try:
        sys.exit(main(sys.argv[1] if sys.argv[1:] else "help", sys.argv[2:]))
    except KeyboardInterrupt:
        say("stopped")
        sys.exit(130)
