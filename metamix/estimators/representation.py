"""What notebooks show of a mixture: experts, gate, verdict, and how much each column counts."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

import numpy as np
from sklearn import config_context
from sklearn.utils import estimator_html_repr

from metamix.estimators.resolution import GivenExpert

__all__ = ["mixture_html"]

#: Longer texts are cut; their start tells them apart.
LONGEST = 300
#: Colours are those of the surrounding page, and one grey and one blue that can be read on black and on white.
STYLE = """
.metamix-mixture {font-size: 0.95em; line-height: 1.4; max-width: 60em; overflow-x: auto}
.metamix-mixture p {margin: 0.4em 0}
.metamix-mixture table {
  border-collapse: collapse; margin: 0.5em 0; background: none; color: inherit; font-size: inherit}
.metamix-mixture tr {background: none}
.metamix-mixture th, .metamix-mixture td {
  text-align: left; vertical-align: top; padding: 0.2em 1em 0.2em 0; background: none; color: inherit;
  border: 0; border-bottom: 1px solid rgba(128, 128, 128, 0.4); overflow-wrap: anywhere; white-space: normal}
.metamix-mixture th {font-weight: 600; white-space: nowrap}
.metamix-mixture td.number {text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums}
.metamix-mixture .bar {display: inline-block; height: 0.7em; margin-right: 0.5em; background: #4b8bd6}
.metamix-mixture summary {cursor: pointer; padding: 0.2em 0}
.metamix-mixture code {background: none; color: inherit; padding: 0; border: 0; overflow-wrap: anywhere}
""".strip()


def mixture_html(mixture: Any) -> str:
    """HTML of a mixture: what it combines and, where it is fitted, its verdict and the columns that lead.

    Parameters
    ----------
    mixture : MixtureRegressor or MixtureClassifier
        Fitted or not.

    Returns
    -------
    str
        An element with a style of its own; names are escaped. scikit-learn's diagram of the parameters is inside,
        folded.

    Examples
    --------
    >>> from metamix import MixtureRegressor
    >>> "ridge" in mixture_html(MixtureRegressor(["ridge", "forest"]))
    True
    """
    fitted = mixture.__sklearn_is_fitted__()
    title = f"<p><strong>{escape(type(mixture).__name__)}</strong> ({'fitted' if fitted else 'not fitted'})</p>"
    said = _of_fitted(mixture) if fitted else _of_parameters(mixture)
    diagram = f"<details><summary>Parameters</summary>{estimator_html_repr(mixture)}</details>"
    return f'<div class="metamix-mixture"><style>{STYLE}</style>{title}{said}{diagram}</div>'


def _of_parameters(mixture: Any) -> str:
    """Experts and gate as they were given."""
    # Experts that cannot be read are reported by fit; they are shown as they were given.
    named = mixture._named_experts() or [GivenExpert("", mixture.experts)]
    rows = [(_text(one.name), _code(one.expert), _seen(one.columns)) for one in named]
    heads = ["expert", "given as", "columns"] if any(seen for *_, seen in rows) else ["expert", "given as"]
    return _table(heads, [row[: len(heads)] for row in rows]) + f"<p>Gate: {_code(mixture.gate)}</p>"


def _of_fitted(mixture: Any) -> str:
    """Verdict, columns and, where there is a mixture among them, its regimes."""
    said = "".join(f"<p>{escape(line)}</p>" for line in str(mixture.verdict_ or "").splitlines())
    said += _columns(mixture, "regime" if mixture.verdict_ is None else "column")
    inner = getattr(mixture, "mixture_", None)
    if inner is not None and inner.n_experts_ > 1:
        said += "<p>Regimes of the column <code>mixture</code>:</p>" + _columns(inner, "regime")
    if not len(mixture.responsibilities_):  # learned batch by batch
        return said
    of = "rows and targets" if mixture.responsibilities_.ndim == 3 else "rows"
    return said + (
        f"<p>Responsibility: mean probability, given y, that the {of} of fit belong to it. Leads: share of the {of} "
        "where this probability is the largest.</p>"
    )


def _columns(mixture: Any, kind: str) -> str:
    """A row for each column: its model, its mean responsibility, and the share of rows that it leads; and the gate."""
    responsibilities = mixture.responsibilities_
    gates = mixture.gate_ if isinstance(mixture.gate_, list) else [mixture.gate_]
    gate = f"<p>Gate: {', '.join(map(_code, dict.fromkeys(map(_short, gates))))}</p>"
    if not len(responsibilities):  # there are no rows of fit
        models = [(_text(name), _code(_kind(model))) for name, model in mixture.named_experts_.items()]
        return _table([kind, "model"], models) + gate
    leaders = responsibilities.argmax(axis=1)
    rows = []
    for k, (name, model) in enumerate(mixture.named_experts_.items()):
        share = float(responsibilities[:, k].mean())
        bar = f'<span class="bar" style="width: {5 * share:.2f}em"></span>'
        rows.append((_text(name), _code(_kind(model)), bar + _percent(share), _percent(float((leaders == k).mean()))))
    return _table([kind, "model", "responsibility", "leads"], rows, numbers=2) + gate


def _kind(model: Any) -> str:
    """What predicts a column: the class of a model, of a pipeline's last step, of what scales y; the mean of y."""
    if isinstance(model, list):  # of several targets, or folds, which are alike
        model = model[0]
    if isinstance(model, float | np.ndarray):
        return ", ".join(f"{value:.4g}" for value in np.ravel(model))
    while hasattr(model, "steps") or hasattr(model, "regressor_"):
        model = model.steps[-1][1] if hasattr(model, "steps") else model.regressor_
    return type(model).__name__


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]], numbers: int = 0) -> str:
    """A table of cells that are escaped already; the last columns are numbers."""
    heads = list(heads)
    first = len(heads) - numbers
    head = "".join(f"<th>{one}</th>" for one in heads)
    body = "".join(
        f"<tr>{''.join(f'<td{_class(i >= first)}>{cell}</td>' for i, cell in enumerate(row))}</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _class(is_number: bool) -> str:
    return ' class="number"' if is_number else ""


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _short(value: Any) -> str:
    """The value as scikit-learn prints it, cut where it is long."""
    with config_context(print_changed_only=True), np.printoptions(precision=4, threshold=10):
        text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _text(name: str) -> str:
    return escape(_short(name))


def _seen(columns: Any) -> str:
    """Columns of an expert; empty for all of them."""
    return "" if columns is None else _code(columns)


def _code(value: Any) -> str:
    return f"<code>{escape(_short(value))}</code>"
