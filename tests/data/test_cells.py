"""The type of a column is the same in every library."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from metamix.data.cells import column_kind
from metamix.data.cleaning import describe

VALUES = {
    "number": [1.5, None],
    "boolean": [True, False],
    "text": ["a", None],
    "date": [pd.Timestamp("2024-05-01"), pd.Timestamp("2024-05-02")],
    "duration": [pd.Timedelta(1, "h"), pd.Timedelta(2, "h")],
    "empty": [None, None],
}


@pytest.mark.parametrize("kind", VALUES)
def test_types_agree_between_libraries(kind):
    values = VALUES[kind]
    frame = pd.DataFrame({"a": values})
    assert column_kind(frame["a"]) == kind
    shown = "category" if kind == "text" else kind  # a text of one word
    assert describe(pl.DataFrame({"a": values}))["kind"].tolist() == [shown]
    if kind != "duration":
        assert column_kind(np.array(values, dtype=object)) == kind
    assert describe(frame)["missing"].tolist() == [frame["a"].isna().sum()]
