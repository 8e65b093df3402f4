"""Rows dealt at random: each in one place, in the numbers asked for, whatever their order."""

import numpy as np
import pandas as pd
import pytest

from metamix import scan
from metamix.data.chunks import Shares, deal, shares_of, width_of


@pytest.fixture
def table(tmp_path):
    n = 20_000
    frame = pd.DataFrame({"x": np.arange(n), "group": np.arange(n) // 20, "y": np.linspace(0, 1, n)})
    frame.loc[::100, "y"] = np.nan
    (tmp_path / "table").mkdir()
    frame[:15_000].to_parquet(tmp_path / "table" / "a.parquet")
    frame[15_000:].to_parquet(tmp_path / "table" / "b.parquet")
    return scan(tmp_path / "table")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "dealt").mkdir()
    return tmp_path / "dealt"


def test_every_row_with_a_target_is_in_one_place(table, folder):
    found = deal(table, Shares(2_000, 1_000, 3), folder, "y")
    pieces = [chunk.read() for chunk in (found.sample, found.held_out, *found.others)]
    whole = pd.concat(pieces).sort_values("x")["x"].to_numpy()
    np.testing.assert_array_equal(whole, [x for x in range(20_000) if x % 100])
    assert found.without_target == 200
    assert found.n_rows == 19_800
    for piece, expected in zip(pieces, [2_000, 1_000, *[17_000 / 3] * 3], strict=True):
        assert abs(len(piece) - 0.99 * expected) < 5 * np.sqrt(expected)
        assert abs(piece["x"].mean() - 10_000) < 5 * 20_000 / np.sqrt(12 * expected)


def test_the_seed_decides(table, folder, tmp_path):
    again, other = tmp_path / "again", tmp_path / "other"
    again.mkdir()
    other.mkdir()
    shares = Shares(2_000, 1_000, 1)
    one = deal(table, shares, folder, "y", seed=3).sample.read()
    pd.testing.assert_frame_equal(one, deal(table, shares, again, "y", seed=3).sample.read())
    assert not one.equals(deal(table, shares, other, "y", seed=4).sample.read())


def test_groups_are_held_out_as_a_whole(table, folder):
    found = deal(table, Shares(2_000, 4_000, 1), folder, "y", "group")
    held = set(found.held_out.read()["group"])
    assert 100 < len(held) < 300
    assert not held & {*found.sample.read()["group"], *found.others[0].read()["group"]}


def test_what_fits_is_not_divided(table):
    few = shares_of(scan(table.paths, memory="20MB"), 1000.0)
    assert (few.sample, few.held_out, few.n_chunks) == (20_000, 0, 0)


def test_less_memory_means_a_smaller_sample_and_more_chunks(table):
    large, small = (shares_of(scan(table.paths, memory=memory), 1000.0) for memory in ("4MB", "400kB"))
    assert (large.sample, small.sample) == (4_000, 400)
    assert (large.held_out, small.held_out) == (2_000, 400)
    assert small.n_chunks > large.n_chunks
    assert width_of(table) == 24
