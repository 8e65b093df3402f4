"""Development tasks of metamix. Needs Python 3.11 or newer and a clone of the repository.

    python3 tasks.py demo            install, then run: metamix demo
    python3 tasks.py test [...]      install, then run ruff, mypy and all tests except those marked heavy
    python3 tasks.py test all [...]  install, then run the tests marked heavy, and those of the other plugins
    python3 tasks.py quick [...]     install, then run the tests that are marked neither slow nor heavy
    python3 tasks.py lint            install, then run ruff and mypy
    python3 tasks.py notebooks       install, then write the notebooks from the examples
    python3 tasks.py docs            install, and Sphinx too, then build the site in docs/_build/html

[...] are arguments of pytest. "Install" creates the virtual environment .venv in this folder if it is missing, and
updates it if the requirements have changed. It has the package and the CatBoost plugin; all plugins, what they and ONNX
need, and shap are in an environment of their own, .venv-plugins, made by "test all".
"""

# Old interpreters must be able to parse this file, to print which version is needed: no f-strings, no annotations.
import glob
import hashlib
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.abspath(__file__))
REQUIREMENTS = os.path.join(ROOT, "requirements.txt")
DOCS = os.path.join(ROOT, "docs")
PLUGINS = sorted(glob.glob(os.path.join(ROOT, "plugins", "metamix-*")))
LIGHT = [plugin for plugin in PLUGINS if os.path.basename(plugin) == "metamix-catboost"]
OTHERS = [plugin for plugin in PLUGINS if plugin not in LIGHT]

LINT = [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]]
PYTEST = ["pytest", "-n", "2", "--dist", "worksteal"]
SITE = ["sphinx", "-q", "-W", "--keep-going", "-b", "html", DOCS, os.path.join(DOCS, "_build", "html")]
NO_TESTS = 5  # exit code of pytest if no test was selected
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def say(text):
    """Print a message and flush, so that it precedes the output of child processes."""
    print("tasks.py: " + text)
    sys.stdout.flush()


def run(command, one_thread=False):
    """Run a command in the clone and return its exit code; after Ctrl-C, wait for the child to exit."""
    say(" ".join(os.path.relpath(part, ROOT) if part.startswith(ROOT + os.sep) else part for part in command))
    child = subprocess.Popen(command, cwd=ROOT, env=dict(os.environ, **(ONE_THREAD if one_thread else {})))
    try:
        return child.wait()
    except KeyboardInterrupt:  # the terminal sends SIGINT to the child too; a second Ctrl-C stops waiting
        child.wait()
        raise


class Environment:
    """A virtual environment in the clone, with projects of the clone installed in editable form."""

    def __init__(self, name, size, packages, projects, imports):
        self.name = name
        self.size = size
        self.packages = packages  # arguments of pip
        self.projects = projects
        self.imports = imports
        self.folder = os.path.join(ROOT, name)
        self.python = os.path.join(self.folder, *(["Scripts", "python.exe"] if os.name == "nt" else ["bin", "python"]))
        self.stamp = os.path.join(self.folder, "metamix-stamp.txt")

    def wanted_stamp(self):
        """Return what the environment depends on: interpreter and folder, and a hash of the requirements."""
        digest = hashlib.sha256()
        for path in [REQUIREMENTS] + [os.path.join(project, "pyproject.toml") for project in self.projects]:
            with open(path, "rb") as file:
                digest.update(file.read().replace(b"\r\n", b"\n") + b"\0")
        # Editable installs contain the path of the folder, so a moved clone needs a new environment.
        return ["%s at %s" % (sys.version.replace("\n", " "), ROOT), digest.hexdigest()]

    def found_stamp(self):
        """Return the stamp that the environment was created with, or [] if there is no working environment."""
        if not os.path.exists(self.stamp):  # written last: without it the installation is incomplete
            return []
        try:
            subprocess.check_output([self.python, "-c", "import " + self.imports], stderr=subprocess.PIPE)
            with open(self.stamp) as file:
                return file.read().splitlines()
        except (OSError, subprocess.CalledProcessError):
            return []

    def install(self):
        """Create or update the environment if needed; return an exit code."""
        wanted, found = self.wanted_stamp(), self.found_stamp()
        if found == wanted:
            say("the environment %s is up to date" % self.name)
            return 0
        if found[:1] != wanted[:1]:
            say("creating the environment %s (a minute or two, about %s)" % (self.name, self.size))
            if run([sys.executable, "-m", "venv", "--clear", self.folder]):
                say("the virtual environment could not be created. On Debian and Ubuntu: apt install python3-venv")
                return 1
        else:
            say("requirements have changed: updating the environment %s" % self.name)
            os.remove(self.stamp)
        # A single command, so that pip resolves all requirements together; no extras, see pyproject.toml.
        editable = [part for project in self.projects for part in ("-e", project)]
        quiet = [] if sys.stdout.isatty() else ["--quiet"]
        code = run([self.python, "-m", "pip", "install"] + quiet + self.packages + editable)
        if code:
            say("the installation failed, see the output of pip above. Run the same command to try again")
        else:
            with open(self.stamp, "w") as file:
                file.write("\n".join(wanted))
        return code


MAIN = Environment(".venv", "2.3 GB", ["-r", REQUIREMENTS], [ROOT] + LIGHT, "pytest, sklearn, metamix")
# The same releases, of what the plugins need only.
TOOLS = ["-c", REQUIREMENTS, "hypothesis", "pytest", "pytest-timeout", "pytest-xdist"]
ONNX = ["onnx", "onnxruntime", "skl2onnx", "onnxmltools", "onnxscript", "skorch", "lightgbm", "xgboost-cpu"]
OF_ONNX = [
    os.path.join(ROOT, "tests", "export"),
    os.path.join(ROOT, "tests", "test_benchmarks.py::test_onnx_models"),
    os.path.join(ROOT, "plugins", "metamix-catboost", "tests"),
]
SHAP = ["shap"]  # it brings numba, 210 MB
OF_SHAP = [os.path.join(ROOT, "tests", "inspection", "test_other_tools.py::test_shap_explains_a_linear_function")]
OF_PLUGINS = Environment(".venv-plugins", "2.3 GB", TOOLS + ONNX + SHAP, [ROOT] + PLUGINS, "pytest, sklearn, metamix")


def test_plugins(rest):
    """Install all plugins, run the tests of those that are not in .venv, of ONNX and of shap; return an exit code."""
    tests = [path for path in OTHERS + OF_ONNX + OF_SHAP if os.path.exists(path.split("::")[0])]
    if not tests:
        return 0
    if OF_PLUGINS.install():
        return 1
    return run([OF_PLUGINS.python, "-m"] + PYTEST + ["--doctest-modules"] + tests + rest, True)


def install_sphinx():
    """Add what builds the site to the environment; return an exit code. Nobody who builds no site needs it."""
    return run([MAIN.python, "-m", "pip", "install", "--quiet", "-r", os.path.join(DOCS, "requirements.txt")])


def main(task, rest):
    """Install, run one task and return its exit code."""
    if task == "test" and rest[:1] == ["all"]:
        task, rest = "test all", rest[1:]
    jobs = {
        "demo": [["metamix", "demo"] + rest],
        "test": LINT + [PYTEST + ["-m", "not heavy"] + rest],
        "test all": [PYTEST + ["-m", "heavy"] + rest],
        "quick": [PYTEST + ["-m", "not slow and not heavy"] + rest],
        "lint": LINT,
        "notebooks": [["notebooks.write"] + rest],
        "docs": [SITE + rest],
    }
    if task not in jobs:
        print(__doc__)
        return 0 if task in ("-h", "--help", "help") else 2
    if MAIN.install() or (task == "docs" and install_sphinx()):
        return 1
    passed = (0, NO_TESTS) if task == "test all" else (0,)
    codes = [(job, run([MAIN.python, "-m"] + job, one_thread=task != "demo")) for job in jobs[task]]
    if task == "test all":
        codes.append((["pytest", "plugins"], test_plugins(rest)))
    failed = [" ".join(job[:2]) for job, code in codes if code not in passed]
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
