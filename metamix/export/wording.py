"""Formulas as text."""

from __future__ import annotations

from typing import Any

__all__ = ["as_text"]


def as_text(parts: dict[str, Any], name: str = "prediction") -> str:
    """Lines of the form ``name = sum of terms``, the result first.

    Parameters
    ----------
    parts : dict
        As of `metamix.export.Formula`.
    """
    gate, lines = parts["gate"], []
    pairs = [_times(weight, one) for one, weight in parts["weights"].items()]
    if gate is not None:
        shares = [f"gate[{one}] {one}" for one in gate["scores"]]
        inside = " + ".join(shares)
        pairs += shares if gate["share"] == 1 else [f"{gate['share']:.6g} ({inside})"]
    lines.append(f"{name} = {_joined(pairs)}")
    if gate is not None:
        kept = "" if gate["top_k"] is None else f", the largest {gate['top_k']} of each row divided by their sum"
        lines.append(f"gate = softmax(score){kept}")
        lines += [f"score[{one}] = {_sum(score)}" for one, score in gate["scores"].items()]
    for one, value in parts["values"].items():
        if "weights" in value:
            lines += ["", as_text({**value, "at_least": None}, one)]
        elif "mean_of" in value:
            lines.append(f"{one} = mean of")
            lines += [f"    {_sum(part)}" for part in value["mean_of"]]
        elif "coefficients" in value:
            pairs = [_times(weight, other) for other, weight in value["coefficients"].items() if weight]
            others, margin = ", ".join(value["coefficients"]), f"{value['margin']:.6g}"
            intercept = f"{value['intercept']:.6g}"
            lines.append(f"{one} = {_joined([intercept, *pairs])}")
            lines.append(f"    not below min({others}) - {margin} and not above max({others}) + {margin}")
        else:
            lines.append(f"{one} = {_sum(value)}")
    if parts.get("at_least") is not None:
        lines.append(f"(no value of an expert is below {parts['at_least']:.6g})")
    return "\n".join(lines)


def _sum(part: dict[str, Any]) -> str:
    pairs = [_times(term["coefficient"], _base(term)) for term in part["terms"]]
    intercept = f"{part['intercept']:.6g}"
    return _joined(pairs if intercept == "0" and pairs else [intercept, *pairs])


def _base(term: dict[str, Any]) -> str:
    if "product" in term:
        return " ".join(f"(({_base(one)}) - {one['centre']:.6g}) / {one['scale']:.6g}" for one in term["product"])
    if "is" not in term:
        return str(term["column"])
    kind = term["is"]
    if kind == "missing":
        return f"[{term['column']} is missing]"
    return f"[{term['column']} = {kind['equals']}]" if "equals" in kind else f"[{term['column']} is another value]"


def _times(weight: float, what: str) -> str:
    shown = f"{weight:.6g}"
    return what if shown == "1" else f"{shown} {what}"


def _joined(pairs: list[str]) -> str:
    """A sum, with minus signs where coefficients are negative."""
    text = " + ".join(pairs)
    return text.replace("+ -", "- ")
