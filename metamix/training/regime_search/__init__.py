"""Initial responsibilities and the number of regimes, found by proxy models before strong experts are fitted."""

from metamix.training.regime_search.capacity import capacity_of
from metamix.training.regime_search.initial import (
    SearchSettings,
    fewest_rows,
    from_user,
    initial_responsibilities,
    make_start,
    prune,
    search_regimes,
)
from metamix.training.regime_search.proxy_mixture import FoundRegimes

__all__ = [
    "FoundRegimes",
    "SearchSettings",
    "capacity_of",
    "fewest_rows",
    "from_user",
    "initial_responsibilities",
    "make_start",
    "prune",
    "search_regimes",
]
