"""The floors of ARCHITECTURE.md: no import runs upward or in a circle, imports inside functions included."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "metamix"

# From the ground up; a room may import from its own floor and those below.
FLOORS = [
    {"protocols", "registry", "progress", "deadline", "memory", "devices", "recombination", "distributions",
     "derivatives", "datasets", "data", "engines", "drawing"},
    {"fitting"},
    {"experts", "gates", "likelihoods"},
    {"training", "explanation"},
    {"estimators"},
    {"comparison"},
    {"persistence", "export", "testing", "inspection"},
    {"cli"},
    {"__main__", "__init__"},
]  # fmt: skip
# The torch room stands apart: it may use everything up to training, and no room imports it.
ANNEX, ANNEX_FLOOR = "nn", 3


def modules() -> dict[str, ast.Module]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ["metamix", *path.relative_to(PACKAGE).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text("utf-8"))
    return found


MODULES = modules()


def imported(tree: ast.Module) -> set[str]:
    """Modules of this package that a file imports, anywhere but under TYPE_CHECKING."""
    typing = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test).endswith("TYPE_CHECKING")
        for node in ast.walk(block)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in typing:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            module = node.module or ""
            names = [f"{module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else module for name in names]
        else:
            continue
        found |= {name for name in names if name.split(".")[0] == "metamix"}
    return found


def room(module: str) -> str:
    return [*module.split("."), "__init__"][1]


def floor(name: str) -> int:
    return next(i for i, rooms in enumerate(FLOORS) if name in rooms)


@pytest.mark.parametrize("module", MODULES)
def test_no_import_runs_upward(module):
    here = room(module)
    for other in imported(MODULES[module]):
        there = room(other)
        if here == ANNEX:
            assert there == ANNEX or floor(there) <= ANNEX_FLOOR, f"{module} imports {other}"
        else:
            assert there != ANNEX, f"{module} imports the torch room"
            assert floor(there) <= floor(here), f"{module} imports {other}, which is above it"


def test_no_import_runs_in_a_circle():
    graph = {module: imported(tree) - {module} for module, tree in MODULES.items()}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


def test_imports_inside_functions_are_seen():
    tree = ast.parse("def f():\n    from metamix.training import selection\n    import metamix.cli")
    assert imported(tree) == {"metamix.training.selection", "metamix.cli"}
    assert floor(room("metamix.cli")) > floor(room("metamix.training.selection"))
