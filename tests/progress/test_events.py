"""Events reach the listeners of the current block, and no others."""

import io
import json
import logging
import threading

import numpy as np
import pytest

from metamix import MixtureRegressor, make_regimes
from metamix.progress import Event, emit, json_lines, listen, mute


def test_listeners_can_be_nested_and_end_with_their_block():
    outer, inner = [], []
    with listen(outer.append):
        emit(Event("start", "a", 0, 2))
        with listen(inner.append):
            emit(Event("task", "b", 1, 2, {"seconds": 0.5}))
        emit(Event("end", "c", 2, 2))
    emit(Event("task", "after the block"))
    assert [event.label for event in outer] == ["a", "b", "c"]
    assert [event.label for event in inner] == ["b"]
    assert inner[0].detail["seconds"] == 0.5


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_exception_in_a_listener_propagates_and_removes_the_listener(error):
    calls = []

    def listener(event):
        calls.append(event)
        raise error

    with pytest.raises(error), listen(listener):
        emit(Event("task", "a"))
    emit(Event("task", "b"))
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("kind", "level"), [("task", logging.DEBUG), ("failure", logging.WARNING), ("retry", logging.WARNING)]
)
def test_events_are_logged(caplog, kind, level):
    with caplog.at_level(logging.DEBUG, logger="metamix"):
        emit(Event(kind, "forest, fold 3", 3, 5, {"reason": "no memory"}))
    (record,) = caplog.records
    assert (record.levelno, record.name) == (level, "metamix")
    assert "forest, fold 3" in record.getMessage()
    assert "3 of 5" in record.getMessage()
    assert "no memory" in record.getMessage()


def test_muted_events_and_events_of_other_threads_do_not_reach_a_listener():
    received = []
    with listen(received.append):
        with mute():
            emit(Event("task", "muted"))
        thread = threading.Thread(target=emit, args=(Event("task", "elsewhere"),))
        thread.start()
        thread.join()
        emit(Event("task", "here"))
    assert [event.label for event in received] == ["here"]


def test_events_are_immutable():
    event = Event("task", "a")
    with pytest.raises(AttributeError):
        event.label = "b"
    with pytest.raises(TypeError):
        event.detail["seconds"] = 1


def test_a_fit_as_lines_of_json_says_what_listeners_hear():
    X, y = make_regimes(120, n_regimes=2, random_state=0)
    mixture = MixtureRegressor(["linear"] * 2, specialize=True, cv=3, gate="softmax", random_state=0)
    heard, lines = [], io.StringIO()
    with listen(heard.append), listen(json_lines(lines)):
        mixture.fit(X, y)
        emit(Event("failure", "a", detail={"loss": np.float32(0.5), "reason": ValueError("no")}))
    said = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert [(one["kind"], one["label"], one["done"], one["total"]) for one in said] == [
        (one.kind, one.label, one.done, one.total) for one in heard
    ]
    assert "round" in {one["kind"] for one in said}
    assert said[-1]["detail"] == {"loss": 0.5, "reason": "no"}
    assert [one["time"] for one in said] == sorted(one["time"] for one in said)
