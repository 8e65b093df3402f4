"""Writes the notebooks from the examples, by sphinx-gallery, as its site does. `python3 tasks.py notebooks` runs it."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"


def examples() -> list[Path]:
    """The scripts, in order of their names."""
    return sorted((ROOT / "examples").glob("*/plot_*.py"), key=lambda path: path.name)


def notebook_of(script: Path) -> Path:
    """Where the notebook of a script is stored."""
    return NOTEBOOKS / f"{script.stem.removeprefix('plot_')}.ipynb"


def converted(scripts: list[Path]) -> dict[Path, str]:
    """The text of the notebook of each script; it depends on nothing else, the interpreter included."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        copies = {script: Path(folder, script.name) for script in scripts}
        for script, copy in copies.items():
            copy.write_text(script.read_text(encoding="utf-8"), encoding="utf-8")  # notebooks are written beside them
        command = shutil.which("sphinx_gallery_py2jupyter", path=str(Path(sys.executable).parent))
        if command is None:
            raise FileNotFoundError(
                "sphinx-gallery is not installed beside this interpreter: pip install sphinx-gallery"
            )
        subprocess.run([command, *map(str, copies.values())], check=True, stdout=subprocess.DEVNULL)
        for script, copy in copies.items():
            notebook = nbformat.read(copy.with_suffix(".ipynb"), as_version=4)
            notebook.metadata.pop("language_info")
            for number, cell in enumerate(notebook.cells):
                cell["id"] = f"cell-{number}"
                cell.metadata.clear()
            notebook.nbformat_minor = 5
            found[script] = nbformat.writes(notebook) + "\n"
    return found


def main() -> None:
    """Write all notebooks and remove those without a script."""
    found = {notebook_of(script): text for script, text in converted(examples()).items()}
    for path in set(NOTEBOOKS.glob("*.ipynb")) - set(found):
        path.unlink()
    for path, text in found.items():
        path.write_text(text, encoding="utf-8")
    print(f"{len(found)} notebooks were written from examples/")


if __name__ == "__main__":
    main()
