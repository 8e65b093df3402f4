"""Rows assigned at random: each in one place, in the numbers asked for, whatever their order."""

import re

import numpy as np
import pandas as pd
import pytest

from metamix import scan
from metamix.data.chunks import Shares, assign, shares_of, width_of
from metamix.data.frames import TableError


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
    (tmp_path / "chunks").mkdir()
    return tmp_path / "chunks"


def test_every_row_with_a_target_is_in_one_place(table, folder):
    found = assign(table, Shares(2_000, 1_000, 3), folder, "y")
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
    one = assign(table, shares, folder, "y", seed=3).sample.read()
    pd.testing.assert_frame_equal(one, assign(table, shares, again, "y", seed=3).sample.read())
    assert not one.equals(assign(table, shares, other, "y", seed=4).sample.read())


def test_groups_are_held_out_as_a_whole(table, folder):
    found = assign(table, Shares(2_000, 4_000, 1), folder, "y", "group")
    held = set(found.held_out.read()["group"])
    assert 100 < len(held) < 300
    assert not held & {*found.sample.read()["group"], *found.others[0].read()["group"]}


@pytest.mark.parametrize(("n_groups", "least"), [(12, 5), (40, 3), (7, 2)])
def test_groups_of_any_size_leave_enough_on_both_sides_and_hold_out_no_more_than_asked(tmp_path, n_groups, least):
    rng = np.random.default_rng(n_groups)
    group = rng.choice(n_groups, 6_000, p=rng.dirichlet(np.full(n_groups, 2.0)))
    pd.DataFrame({"g": group, "y": rng.normal(size=6_000)}).to_parquet(tmp_path / "t.parquet")
    for seed in range(5):
        folder = tmp_path / str(seed)
        folder.mkdir()
        found = assign(scan(tmp_path / "t.parquet"), Shares(500, 600, 2), folder, "y", "g", seed, least)
        held, others = (set(one.read()["g"]) for one in (found.held_out, found.sample))
        assert not held & others
        assert min(len(held), len(others)) >= least
        assert 300 < found.held_out.n_rows < 700
        assert found.n_rows + found.unused == 6_000


def test_too_few_groups_or_rows_are_refused(tmp_path, folder):
    frame = pd.DataFrame({"g": np.arange(300) % 3, "y": 1.0 * np.arange(300)})
    frame.to_parquet(tmp_path / "t.parquet")
    table = scan(tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="'g' has 3 groups: 5 are needed to learn from and 5 others"):
        assign(table, Shares(100, 30, 1), folder, "y", "g", least=5)
    with pytest.raises(ValueError, match=r"held-out part .*, where each needs 50"):
        assign(table, Shares(100, 30, 1), folder, "y", least=50)


def test_chunks_stay_within_the_memory_or_the_error_says_which_would_do(table):
    with pytest.raises(TableError, match=r"memory=.* or more would do") as found:
        shares_of(scan(table.paths, memory=10_000), 1000.0)
    enough = re.search(r": ([\d.]+) ?(\w+) or more", str(found.value))
    assert shares_of(scan(table.paths, memory="".join(enough.groups())), 1000.0).n_chunks <= 200


def test_what_fits_is_not_divided(table):
    few = shares_of(scan(table.paths, memory="20MB"), 1000.0)
    assert (few.sample, few.held_out, few.n_chunks) == (20_000, 0, 0)


def test_less_memory_means_a_smaller_sample_and_more_chunks(table):
    large, small = (shares_of(scan(table.paths, memory=memory), 1000.0) for memory in ("4MB", "400kB"))
    assert (large.sample, small.sample) == (4_000, 400)
    assert (large.held_out, small.held_out) == (2_000, 400)
    assert small.n_chunks > large.n_chunks
    assert width_of(table) == 24
