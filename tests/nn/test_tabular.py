"""TableEncoder and Batches."""

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch", reason="metamix.nn needs torch")

from metamix.nn.tabular import MAX_CATEGORIES, Batches, Table, TableEncoder  # noqa: E402


def test_rare_and_unknown_categories_share_a_code():
    towns = [f"town {i}" for i in range(MAX_CATEGORIES + 50)]
    encoder = TableEncoder().fit(pd.DataFrame({"town": towns[:100] * 8 + towns * 2}))
    codes = encoder.transform(pd.DataFrame({"town": [*towns, "elsewhere"]}))[1][:, 0]
    # The first hundred occur ten times, the others twice.
    assert len(set(codes[:100])) == 100
    assert len(set(codes)) == MAX_CATEGORIES
    assert (codes == codes[-1]).sum() == 51 + 1
    assert codes.max() < encoder.levels[0]
    order = 1 + np.argsort(np.argsort(towns[:60]))
    few = TableEncoder().fit(pd.DataFrame({"town": towns[:60]}))
    assert few.transform(pd.DataFrame({"town": [*towns[:60], "elsewhere"]}))[1][:, 0].tolist() == [*order, 0]


@pytest.mark.parametrize("batch_size", [1, 7, 30, 1000])
@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_contain_each_row_once(batch_size, shuffle):
    rows = torch.arange(30.0)
    batches = Batches(Table({"x": rows[:, None]}, {"y": 2 * rows}), batch_size, shuffle)
    pairs = [(inputs["x"][:, 0], targets["y"]) for inputs, targets in batches]
    assert len(pairs) == len(batches) == -(-30 // batch_size)
    assert all(torch.equal(2 * x, y) for x, y in pairs)
    seen = torch.cat([x for x, _ in pairs])
    assert torch.equal(seen.sort().values, rows)
    assert torch.equal(seen, rows) == (not shuffle)
