"""Events reach whoever listens, and nobody else."""

import logging
import threading

import pytest

from metamix.progress import Event, emit, listen, mute


def test_listeners_nest_and_end_with_their_block():
    outer, inner = [], []
    with listen(outer.append):
        emit(Event("start", "a", 0, 2))
        with listen(inner.append):
            emit(Event("task", "b", 1, 2, {"seconds": 0.5}))
        emit(Event("end", "c", 2, 2))
    emit(Event("task", "nobody hears this"))
    assert [event.label for event in outer] == ["a", "b", "c"]
    assert [event.label for event in inner] == ["b"]
    assert inner[0].detail["seconds"] == 0.5


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_a_listener_raises_stops_the_work_and_ends_the_listening(error):
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


def test_a_muted_block_is_heard_by_nobody_and_other_threads_have_their_own_listeners():
    heard = []
    with listen(heard.append):
        with mute():
            emit(Event("task", "muted"))
        thread = threading.Thread(target=emit, args=(Event("task", "elsewhere"),))
        thread.start()
        thread.join()
        emit(Event("task", "here"))
    assert [event.label for event in heard] == ["here"]


def test_events_do_not_change():
    event = Event("task", "a")
    with pytest.raises(AttributeError):
        event.label = "b"
    with pytest.raises(TypeError):
        event.detail["seconds"] = 1
