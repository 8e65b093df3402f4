"""The plan of ARCHITECTURE.md, held to the code: who may import whom, what is too large or never done."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# --- the plan: a new file is a new line here and in ARCHITECTURE.md ------------------

GROUND = {
    "answers", "cells", "columns", "datasets", "derivatives", "devices", "distributions", "engines", "features",
    "folds", "frames", "judging", "objectives", "progress", "protocols", "recombination", "registry", "tables",
}  # fmt: skip
PARTS = {"experts", "gates", "likelihoods", "stacking"}
# Training is handed its parts, resolved: it must not even be able to look one up.
BELOW_TRAINING = (GROUND - {"registry"}) | {"fitting"}
SHARED = {"training.gating"}
TRAINING = {
    "training": set(),
    "training.gating": set(),
    "training.sharpening": SHARED,
    "training.estep": SHARED | {"training.sharpening"},
    "training.em": SHARED | {"training.estep", "training.pools"},
    "training.cheap": set(),
    "training.partition": set(),
    "training.bending": {"training.cheap", "training.pools"},
    "training.proxies": {"training.cheap", "training.partition", "training.pools"},
    "training.starts": {"training.cheap", "training.proxies", "training.pools"},
    "training.pools": set(),
    "training.joining": set(),
    "training.last_gate": SHARED | {"training.sharpening", "training.joining", "training.pools"},
    # of the alternation it sees the answers, like anybody's
    "training.selection": SHARED | {"training.joining", "training.last_gate"},
}
LIVING = {"estimators", "comparison"}
VISITORS = {"persistence", "testing", "inspection"}

MAY_IMPORT: dict[str, set[str]] = {
    **{room: GROUND for room in GROUND},
    "fitting": GROUND,
    **{room: GROUND | {"fitting"} for room in PARTS},
    **{room: BELOW_TRAINING | allowed for room, allowed in TRAINING.items()},
    "estimators": GROUND | {"fitting", "gates", "stacking"} | set(TRAINING),
    "comparison": GROUND | {"fitting", "estimators"},
    **{room: GROUND | LIVING for room in VISITORS},
    "cli": GROUND | LIVING | VISITORS,
    "__main__": {"cli"},
    "nn": GROUND | set(TRAINING),
}

# What estimators take from a part: what turns a plain classifier into a gate, and the one that no name stands for.
FROM_GATES = {"ClassifierGate", "LineGate"}

# Foreign libraries: these everywhere, the others in the rooms that exist for them.
EVERYWHERE = {"numpy", "scipy", "sklearn", "narwhals", "pandas"}
FOREIGN = {
    "cli": {"click"},
    "engines": {"cloudpickle", "dask", "distributed", "joblib", "threadpoolctl"},
    "estimators": {"joblib"},
    "devices": {"torch", "xgboost"},
    "experts": {"lightgbm", "xgboost"},
    "comparison": {"matplotlib"},
    "inspection": {"matplotlib"},
    "nn": {"skorch", "torch"},
    "persistence": {"skops"},
    "tables": {"pyarrow"},
}
# Imported inside the function that needs them, except where a room exists for nothing else.
LAZY = {
    "click", "dask", "distributed", "lightgbm", "matplotlib", "narwhals", "pandas", "pyarrow", "skops",
    "skorch", "torch", "xgboost",
}  # fmt: skip
AT_THE_TOP = {("cli", "click"), ("nn", "skorch"), ("nn", "torch"), ("persistence", "skops")}

LINES, METHODS = 400, 12
NO_HOME = {"base", "common", "helper", "helpers", "misc", "tools", "util", "utils"}
# What scikit-learn calls on an estimator is its protocol, not the width of our class.
PROTOCOL = {
    "decision_function", "fit", "fit_transform", "get_feature_names_out", "get_metadata_routing",
    "get_params", "inverse_transform", "predict", "predict_log_proba", "predict_proba", "score",
    "set_params", "transform",
}  # fmt: skip

# --- reading the code ----------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """One file: its dotted module, its text and its tree."""

    module: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def room(self) -> str:
        parts = self.module.split(".")[1:]
        return ".".join(parts[:2]) if parts[:1] == ["training"] else (parts or ["__init__"])[0]


@dataclass(frozen=True)
class Import:
    """One import: the module and, of `from module import name`, the name; where it stands."""

    module: str
    name: str | None
    at_top: bool
    line: int

    @property
    def library(self) -> str:
        return self.module.split(".")[0]


def imports(source: Source, is_package: bool = False) -> list[Import]:
    """Return every import of a file, also inside functions and through import_module."""
    found, tree = [], source.tree
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
    typing = {id(n) for i in ast.walk(tree) if is_type_checking(i) for n in ast.walk(i)}
    for node in ast.walk(tree):
        top = id(node) not in inside and id(node) not in typing
        if isinstance(node, ast.Import):
            found += [Import(alias.name, None, top, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            stem = node.module or ""
            if node.level:
                parents = source.module.split(".")
                parents = parents[: len(parents) - node.level + is_package]
                stem = ".".join([*parents, *([stem] if stem else [])])
            found += [Import(stem, alias.name, top, node.lineno) for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            if isinstance(node.args[0], ast.Constant):
                found.append(Import(str(node.args[0].value), None, top, node.lineno))
    return found


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def house() -> dict[str, Source]:
    """Return the package's files by module."""
    sources = {}
    for path in sorted((ROOT / "metamix").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        sources[module] = Source(module, path.read_text(encoding="utf-8"))
    return sources


HOUSE = house()
PACKAGES = {module for module in HOUSE if (ROOT / module.replace(".", "/")).is_dir()}


def arrows(source: Source) -> Iterator[tuple[str, Import]]:
    """Yield the modules of the house that a file imports, each with the import it stands in."""
    for item in imports(source, source.module in PACKAGES):
        if item.library != "metamix":
            continue
        inner = f"{item.module}.{item.name}"
        if item.module == "metamix" and item.name == "__version__":
            continue
        yield (inner if inner in HOUSE else item.module), item


# --- the rules, each a function from a file to what is wrong with it -----------------


def wrong_floor(source: Source) -> Iterator[str]:
    if source.room == "__init__":  # the public face: names every room, imports none
        yield from (f"line {i.line} imports {i.module} at once" for i in imports(source) if i.at_top and
                    i.library not in sys.stdlib_module_names)  # fmt: skip
        return
    if source.room not in MAY_IMPORT:
        yield f"{source.room} is no room of the plan: add it to ARCHITECTURE.md and to this test"
        return
    for module, item in arrows(source):
        room = Source(module, "").room
        if room == "__init__":
            yield f"line {item.line} imports from metamix itself: name the room instead"
        elif room != source.room and room not in MAY_IMPORT[source.room]:
            yield f"line {item.line}: {source.room} may not import {room}"
        elif (source.room, room) == ("estimators", "gates") and item.name not in FROM_GATES:
            yield f"line {item.line}: estimators take only {FROM_GATES} from gates, not {item.name}"


def wrong_library(source: Source) -> Iterator[str]:
    room = source.room.split(".")[0]
    for item in imports(source):
        if item.library in sys.stdlib_module_names or item.library == "metamix":
            continue
        if item.library not in EVERYWHERE | FOREIGN.get(room, set()):
            yield f"line {item.line}: {room} is not the room for {item.library}"
        elif item.at_top and item.library in LAZY and (room, item.library) not in AT_THE_TOP:
            yield f"line {item.line}: import {item.library} inside the function that needs it"


def wrong_underscore(source: Source) -> Iterator[str]:
    foreign = set()
    for item in imports(source):
        if item.library in {"metamix", "__future__"}:
            continue
        dotted = [*item.module.split("."), *([item.name] if item.name else [])]
        if any(part.startswith("_") for part in dotted):
            yield f"line {item.line}: {'.'.join(dotted)} is private to another library"
        foreign.add(item.name or item.library)
    aliases = {a.asname for n in ast.walk(source.tree) if isinstance(n, ast.Import) for a in n.names if a.asname}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            private = node.attr.startswith("_") and not node.attr.startswith("__")
            if private and node.value.id in foreign | aliases:
                yield f"line {node.lineno}: {node.value.id}.{node.attr} is private to another library"


def wrong_size(source: Source) -> Iterator[str]:
    lines = len(source.text.splitlines())
    if lines > LINES:
        yield f"has {lines} lines, {LINES} are allowed: which part of it is a room of its own?"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef):
            methods = {n.name for n in node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
            public = {name for name in methods if not name.startswith("_")} - PROTOCOL
            if len(public) > METHODS:
                yield f"class {node.name} has {len(public)} public methods, {METHODS} are allowed"


def wrong_name(source: Source) -> Iterator[str]:
    if source.module.split(".")[-1].strip("_") in NO_HOME:
        yield "says nothing about what is in it: a function without a home means the plan is wrong"


def wrong_print(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield f"line {node.lineno} prints: raise an event (metamix.progress) or log"


def wrong_first_line(source: Source) -> Iterator[str]:
    if not source.text.startswith(('"""', 'r"""')) or not ast.get_docstring(source.tree):
        yield "does not begin with a line that says what the room is for"


def public(source: Source) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """Yield the functions and classes that a file offers: what __all__ lists, or what has no underscore."""
    listed = None
    for node in source.tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            listed = set(ast.literal_eval(node.value))
    for node in source.tree.body:
        is_named = isinstance(node, ast.FunctionDef | ast.ClassDef)
        if is_named and (node.name in listed if listed is not None else not node.name.startswith("_")):
            yield node


def at_the_door(source: Source, name: str) -> bool:
    """Say whether people reach a function: in a room of one file, or through the room's front door."""
    parent = source.module.rpartition(".")[0]
    if parent in PACKAGES - {"metamix"}:
        factory = f'"{source.module}:{name}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        return factory or any(item.name == name for item in imports(HOUSE[parent], is_package=True))
    return True


def wrong_docstring(source: Source) -> Iterator[str]:
    for node in public(source):
        text = ast.get_docstring(node) or ""
        decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
        if not text and "overload" not in decorators:
            yield f"line {node.lineno}: {node.name} has no docstring"
        # What a command does is shown by running it; its docstring is its help.
        is_command = any(".command" in name or ".group" in name for name in decorators)
        if isinstance(node, ast.FunctionDef) and text and ">>>" not in text and not is_command:
            if at_the_door(source, node.name):
                yield f"line {node.lineno}: {node.name} has no doctest"


RULES = [
    wrong_floor, wrong_library, wrong_underscore, wrong_size, wrong_name, wrong_print, wrong_first_line,
    wrong_docstring,
]  # fmt: skip


# --- the tests -----------------------------------------------------------------------


def report(rule, sources) -> str:
    return "\n".join(dict.fromkeys(f"{source.module}: {wrong}" for source in sources for wrong in rule(source)))


@pytest.mark.parametrize("rule", RULES)
def test_the_house_keeps_the_rule(rule):
    wrong = report(rule, HOUSE.values())
    assert not wrong, "\n" + wrong


def test_no_circle():
    graph = {name: {module for module, _ in arrows(source)} & set(HOUSE) for name, source in HOUSE.items()}
    del graph["metamix"]
    left = set(graph)
    while free := {name for name in left if not graph[name] & left - {name}}:
        left -= free  # imports nothing that is still here: no part of a circle
    assert not left, f"these files import each other in a circle, or one that does: {sorted(left)}"


def test_every_foreign_library_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(item for extra in extras.values() for item in extra)]
    declared = {re.split(r"[^\w-]", item)[0].replace("scikit-learn", "sklearn") for item in wanted}
    libraries = {item.library for source in HOUSE.values() for item in imports(source)}
    foreign = libraries - sys.stdlib_module_names - {"metamix"}
    assert foreign - {"dask"} <= declared  # dask comes with distributed
    assert {"numpy", "sklearn"} <= foreign


def others(*folders: str) -> list[Source]:
    """Return the Python files outside the package, by their path."""
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [Source(str(p.relative_to(ROOT).with_suffix("")), p.read_text(encoding="utf-8")) for p in paths]


@pytest.mark.parametrize("rule", [wrong_size, wrong_first_line])
def test_what_stands_beside_the_house_keeps_the_rule(rule):
    wrong = report(rule, others("tests", "plugins", "benchmarks"))
    assert not wrong, "\n" + wrong


def test_plugins_import_nothing_of_the_house():
    wrong = []
    for source in others("plugins"):
        allowed = {"metamix.testing"} if "/tests/" in source.module else set()
        for item in imports(source):
            inner = f"{item.module}.{item.name}" if item.module == "metamix" else item.module
            if item.library == "metamix" and inner not in allowed:
                wrong.append(f"{source.module}: line {item.line} imports {inner}")
    assert not wrong


def test_no_machine_path_is_written_down():
    places = "|".join(["work", "tmp", "root", "home", "Users", "opt", "mnt"])
    pattern = re.compile(rf"(?<![\w.~\-/<}}])/(?:{places})/\w|[A-Z]:\\\\?Users")
    folders = ["metamix", "tests", "plugins", "notebooks", "benchmarks"]
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*")] + list(ROOT.glob("*.*"))
    wanted = {".py", ".md", ".toml", ".txt", ".ipynb", ".json"}
    wrong = []
    for path in paths:
        if path.is_file() and path.suffix in wanted:
            lines = path.read_text(encoding="utf-8").splitlines()
            wrong += [f"{path.relative_to(ROOT)}: {line}" for line in lines if pattern.search(line)]
    assert not wrong
    assert pattern.search("open('/" + "tmp/table.csv')")
    assert not pattern.search("https://example.org/" + "work/page")


@pytest.mark.parametrize(
    ("rule", "module", "text"),
    [
        (wrong_floor, "metamix.novelty", ""),
        (wrong_floor, "metamix.tables", "def f():\n    from metamix.fitting import fit_experts"),
        (wrong_floor, "metamix.experts.trees", "from metamix import gates"),
        (wrong_floor, "metamix.training.em", "from ..registry import gates"),
        (wrong_floor, "metamix.training.selection", "from metamix.training.em import alternate"),
        (wrong_floor, "metamix.estimators.regressor", "from metamix.gates import SoftmaxGate"),
        (wrong_floor, "metamix.cli", "import importlib\nimportlib.import_module('metamix.fitting')"),
        (wrong_floor, "metamix.testing", "import metamix"),
        (wrong_floor, "metamix", "import numpy"),
        (wrong_library, "metamix.fitting", "def f():\n    import joblib"),
        (wrong_library, "metamix.tables", "import pandas as pd"),
        (wrong_library, "metamix.experts.trees", "from xgboost import XGBRegressor"),
        (wrong_underscore, "metamix.fitting", "from sklearn.utils import _safe_indexing"),
        (wrong_underscore, "metamix.fitting", "from sklearn.utils._indexing import resample"),
        (wrong_underscore, "metamix.fitting", "import sklearn.utils as u\nu._safe_indexing(X, rows)"),
        (wrong_size, "metamix.tables", "\n" * 401),
        (wrong_size, "metamix.tables", "class A:" + "".join(f"\n    def f{i}(self): ..." for i in range(13))),
        (wrong_name, "metamix.training.utils", ""),
        (wrong_print, "metamix.tables", "print('done')"),
        (wrong_first_line, "metamix.tables", "import os\n"),
        (wrong_docstring, "metamix.tables", "def read(): ..."),
        (wrong_docstring, "metamix.tables", "class Table: ..."),
        (wrong_docstring, "metamix.tables", "def read():\n    'Read a table.'"),
    ],
)
def test_each_rule_catches_what_breaks_it(rule, module, text):
    assert list(rule(Source(module, text)))


def test_rules_let_pass_what_is_right():
    text = '"""Tables."""\n\nfrom typing import TYPE_CHECKING\n\nimport numpy as np\n\nif TYPE_CHECKING:\n'
    text += "    import pandas as pd\n\nfrom metamix.cells import kind\n\n\nclass A:\n    'Say.'\n\n"
    text += "    def _f(self):\n        import pandas as pd\n        return self._f, np.array(pd.NA)\n"
    assert not [wrong for rule in RULES for wrong in rule(Source("metamix.tables", text))]
