"""Deadlines in other processes end at the same moment."""

import pickle

import pytest

from metamix import deadline
from metamix.deadline import Deadline


def test_a_copy_on_a_machine_whose_clock_began_at_another_time_ends_at_the_same_moment(monkeypatch):
    original = Deadline(1000.0)
    assert not original.allows("a part", 5000.0)
    packed, left = pickle.dumps(original), original.left
    began = deadline.time.monotonic
    monkeypatch.setattr(deadline.time, "monotonic", lambda: began() - 86_400.0)
    copy = pickle.loads(packed)
    assert copy.left == pytest.approx(left, abs=5.0)
    assert copy.refused == original.refused


def test_a_copy_without_limit_has_none():
    copy = pickle.loads(pickle.dumps(Deadline()))
    assert not copy.limited
    assert copy.allows("anything", 1e9)
