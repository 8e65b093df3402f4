"""metamix: mixtures of experts over any scikit-learn style models. This file is the public face.

Names are loaded when they are first asked for (PEP 562), so that ``import metamix`` costs little
more than importing scikit-learn and never brings in a library that is not used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metamix.comparison import Comparison, compare
    from metamix.data.cleaning import TableCleaner, TableWarning, describe
    from metamix.data.parquet import scan
    from metamix.datasets import load_example, make_regimes
    from metamix.deadline import TimeLimitWarning
    from metamix.engines import use_engine
    from metamix.estimators import MixtureClassifier, MixtureOfPredictions, MixtureRegressor, fit_predictions
    from metamix.export import to_formula, to_onnx
    from metamix.fitting.checkpoint import CheckpointError, CheckpointWarning
    from metamix.inspection.report import report
    from metamix.memory import InsufficientMemoryError, MemoryLimitWarning
    from metamix.persistence import load, save

    __version__: str

# Which room each public name lives in.
_HOME = {
    "CheckpointError": "fitting.checkpoint",
    "CheckpointWarning": "fitting.checkpoint",
    "Comparison": "comparison",
    "InsufficientMemoryError": "memory",
    "MemoryLimitWarning": "memory",
    "MixtureClassifier": "estimators",
    "MixtureOfPredictions": "estimators",
    "MixtureRegressor": "estimators",
    "TableCleaner": "data.cleaning",
    "TableWarning": "data.cleaning",
    "TimeLimitWarning": "deadline",
    "compare": "comparison",
    "describe": "data.cleaning",
    "fit_predictions": "estimators",
    "to_formula": "export",
    "to_onnx": "export",
    "load": "persistence",
    "load_example": "datasets",
    "make_regimes": "datasets",
    "report": "inspection.report",
    "save": "persistence",
    "scan": "data.parquet",
    "use_engine": "engines",
}

# Rooms that users name themselves, as in ``metamix.gates.SoftmaxGate``.
_ROOMS = (
    "comparison",
    "datasets",
    "engines",
    "estimators",
    "experts",
    "export",
    "gates",
    "inspection",
    "likelihoods",
    "persistence",
    "registry",
    "testing",
)

__all__ = [
    "CheckpointError",
    "CheckpointWarning",
    "Comparison",
    "InsufficientMemoryError",
    "MemoryLimitWarning",
    "MixtureClassifier",
    "MixtureOfPredictions",
    "MixtureRegressor",
    "TableCleaner",
    "TableWarning",
    "TimeLimitWarning",
    "compare",
    "describe",
    "fit_predictions",
    "load",
    "load_example",
    "make_regimes",
    "report",
    "save",
    "scan",
    "to_formula",
    "to_onnx",
    "use_engine",
]


def __getattr__(name: str) -> Any:
    value: Any
    if name in _HOME:
        value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    elif name in _ROOMS:
        value = import_module(f"{__name__}.{name}")
    elif name == "__version__":
        from importlib.metadata import version

        value = version("metamix")
    else:
        raise AttributeError(f"module 'metamix' has no attribute {name!r}; it has {', '.join(__dir__())}.")
    globals()[name] = value  # found once, from then on an ordinary attribute
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_ROOMS, "__version__"])
