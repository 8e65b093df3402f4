"""report(): the page, put together from sections, scripts and the template, and written to a file."""

from __future__ import annotations

import base64
import hashlib
import json
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from metamix.inspection.inputs import check_mixture
from metamix.inspection.report.fitting import how_read
from metamix.inspection.report.items import Code, Item, Part, Picture, Section, Table, Text, clipped
from metamix.inspection.report.sections import sections
from metamix.inspection.report.subject import Subject
from metamix.persistence.output import OutputFile

__all__ = ["report"]

HERE = "metamix.inspection.report"
SCRIPTS = ("vega.min.js", "vega-lite.min.js", "vega-embed.min.js")
#: Modules, and the distributions whose versions are named.
LIBRARIES = {
    "numpy": "numpy", "scipy": "scipy", "sklearn": "scikit-learn", "pandas": "pandas", "joblib": "joblib",
    "xgboost": "xgboost", "lightgbm": "lightgbm", "catboost": "catboost", "torch": "torch", "skorch": "skorch",
}  # fmt: skip
#: A call is cut where it is longer.
LONGEST_CALL = 5_000


def report(
    mixture: Any,
    X: Any,
    y: Any,
    path: Any,
    *,
    title: str | None = None,
    comparison: Any = None,
    call: str | None = None,
    notes: Sequence[str] = (),
) -> Path:
    """Write a report on a fitted mixture: one HTML file with the verdict, regions, laws, calibration and the rest.

    The file requests nothing from any network and is smaller than 2 MB. Its charts have their numbers in tables, and
    it can be printed. Needs jinja2 (``pip install "metamix[report]"``).

    Parameters
    ----------
    mixture : MixtureRegressor or MixtureClassifier
        Fitted. K is the number of its experts, C of its classes.
    X : array, sparse matrix or data frame of shape (n, d)
        The rows of `fit`, for out-of-fold losses, or others.
    y : array-like of shape (n,), (n, T) or (n, L)
        Of these rows. The first five of several targets or labels have parts of their own.
    path : str or path
        The file. One that exists is replaced.
    title : str, optional
        Of the page; "Report on a MixtureRegressor" or the like by default.
    comparison : Comparison, optional
        Of `metamix.compare` on the same rows, to be shown beside the candidates.
    call : str, optional
        How the mixture was made, to be shown as it is; the mixture with its parameters by default.
    notes : sequence of str
        How the table was read, where it came from a file.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ImportError
        If jinja2 is not installed.
    TypeError
        If `mixture` is something else, such as a pipeline.
    sklearn.exceptions.NotFittedError
        If the mixture was not fitted.
    ValueError
        If X or y is None or does not fit the mixture.
    metamix.persistence.ModelFileError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from metamix import MixtureRegressor, make_regimes, report
    >>> X, y = make_regimes(100, random_state=0)
    >>> mixture = MixtureRegressor(["ridge", "neighbours"], specialize=False, gate="constant", random_state=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report(mixture.fit(X, y), X, y, Path(folder, "mixture.html")).stat().st_size < 2e6
    True
    """
    template = load_template()
    check_mixture(mixture, "metamix.report")
    output = OutputFile(path)
    subject = Subject(mixture, X, y, comparison)
    title = clipped(f"Report on a {type(mixture).__name__}" if title is None else title)
    shown = [*sections(subject), how_read(subject, notes), _origin(subject, call)]
    page = _rendered(template, title, shown, subject)
    with output.open() as file:
        file.write(page.encode("utf-8", "replace"))
    return Path(output.name)


def load_template() -> Any:
    """The template of the page.

    Raises
    ------
    ImportError
        If jinja2 is not installed, with what to install.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise ImportError("metamix.report needs jinja2: pip install 'metamix[report]'") from error
    environment = Environment(
        loader=PackageLoader(HERE, ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html.jinja")


def _rendered(template: Any, title: str, sections: list[Section], subject: Subject) -> str:
    """The page as text."""
    pictures = [item for one in sections for part in one.parts for item in part.items if isinstance(item, Picture)]
    keys = {id(picture): f"chart-{i}" for i, picture in enumerate(pictures)}
    scripts = [_script(name) for name in (*SCRIPTS, "draw.js")]
    return str(
        template.render(
            title=title,
            made=datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
            sections=sections,
            key_of=lambda picture: keys[id(picture)],
            has_candidates=subject.mixture.candidates_ is not None,
            measure=subject.measure,
            has_regimes=subject.has_regimes,
            charts=in_script(json.dumps({keys[id(one)]: one.spec for one in pictures}, allow_nan=False)),
            scripts=scripts,
            licences="\n\n".join(
                _script(f"LICENSE{name}") for name in ("-vega", "-vega-lite", "-vega-embed", "S-of-parts.txt")
            ),
            hashes=" ".join(f"'sha256-{_digest(one)}'" for one in scripts),
            style=files(HERE).joinpath("page.css").read_text("utf-8"),
        )
    )


def in_script(text: str) -> str:
    r"""JSON that can stand in an element of script: no character of it ends the element or begins a comment.

    Examples
    --------
    >>> print(in_script('["</script><!--"]'))
    ["\u003c/script\u003e\u003c!--"]
    """
    for one in "<>&\u2028\u2029":
        text = text.replace(one, f"\\u{ord(one):04x}")
    return text


def _script(name: str) -> str:
    """A script of the package, or a licence, without the address of its source map, which browsers would ask for."""
    folder = files(HERE) if name == "draw.js" else files(HERE).joinpath("scripts")
    text = folder.joinpath(name).read_text("utf-8")
    text = "\n".join(line for line in text.splitlines() if not line.startswith("//# sourceMappingURL"))
    assert "</script" not in text.lower(), name
    return text


def _digest(script: str) -> str:
    """By which the page's security policy knows its own scripts."""
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


def _origin(subject: Subject, call: str | None) -> Section:
    """Versions, seed and call."""
    mixture: Any = subject.mixture
    with np.printoptions(threshold=20):  # of parameters that are arrays, the ends
        text = mixture.__repr__(N_CHAR_MAX=LONGEST_CALL) if call is None else call
    text = "".join(one if one.isprintable() or one == "\n" else "□" for one in text)
    seed = mixture.random_state
    said = "No seed was given: another fit may give other results." if seed is None else f"Seed: {clipped(seed, 200)}."
    shape = f"{subject.n} rows, {len(subject.names)} columns"
    said += f" This page is about {shape}."
    rows = [("Python", platform.python_version()), ("metamix", _version("metamix"))]
    rows += [(known, _version(known)) for module, known in LIBRARIES.items() if module in sys.modules]
    items: list[Item] = [
        Code(text[:LONGEST_CALL]),
        Text(said),
        Table.of("Versions", ["software", "version"], rows, [1]),
    ]
    return Section("origin", "Call, seed and versions", [Part("", items)])


def _version(distribution: str) -> str:
    for name in (distribution, f"{distribution}-cpu"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "not known"
