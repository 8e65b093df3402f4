"""What people see while they wait: on a terminal, with and without rich, in a file, in a notebook, and nothing."""

import os
import re
import subprocess
import sys
import textwrap
import time

import pytest

from metamix.progress import Event, display, emit, show_progress

#: A fit of an expert that sleeps, so that the display is drawn in between.
FIT = """
import sys, time
from sklearn.linear_model import Ridge
from metamix import MixtureRegressor, make_regimes

class Sleepy(Ridge):
    def fit(self, X, y, sample_weight=None):
        time.sleep(0.6)
        return super().fit(X, y)

X, y = make_regimes(60, random_state=0)
mixture = MixtureRegressor([("sleepy [red]", Sleepy())], specialize=False, cv=3, verbose={verbose}, gate="constant")
mixture.fit(X, y)
"""


def on_a_terminal(code):
    """What a program writes to a terminal of 80 columns."""
    import pty

    terminal, screen = pty.openpty()
    words = [sys.executable, "-c", textwrap.dedent(code)]
    env = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    child = subprocess.Popen(words, stdout=screen, stderr=screen, stdin=screen, env=env)
    os.close(screen)
    pieces = []
    while True:
        try:
            pieces.append(os.read(terminal, 65536))
        except OSError:  # Linux says so when the other side has gone
            break
    os.close(terminal)
    assert child.wait() == 0
    return b"".join(pieces).decode()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="pseudo-terminals are POSIX")
def test_a_bar_of_rich_is_drawn_and_removed():
    pytest.importorskip("rich")
    said = on_a_terminal(FIT.format(verbose=1))
    assert "MixtureRegressor" in said
    assert "━" in said
    assert "sleepy [red], fold" in said  # names are no markup
    assert said.endswith("\x1b[1A\x1b[2K\x1b[?25h") or said.rstrip("\r").endswith("\x1b[2K")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="pseudo-terminals are POSIX")
def test_without_rich_it_is_one_line_that_is_removed():
    said = on_a_terminal("import sys\nsys.modules['rich'] = None\n" + FIT.format(verbose=1))
    lines = said.split("\r")
    assert any("sleepy [red], fold" in line for line in lines)
    assert max(map(len, lines)) < 80
    assert "\n" not in said
    assert said.endswith(f"\r{'':79}\r")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="pseudo-terminals are POSIX")
def test_nothing_is_shown_unless_asked_for():
    assert on_a_terminal(FIT.format(verbose=0)) == ""


def test_lines_where_there_is_no_terminal(monkeypatch, capsys):
    monkeypatch.setattr(display, "LINE", 0.05)
    with show_progress("houses\n.csv"):
        emit(Event("part", "experts", total=4))
        emit(Event("task", "ridge, fold 1", 1, 4))
        emit(Event("loss", "ridge", detail={"squared error": 31.17}))
        time.sleep(0.5)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "houses .csv  0:00  ridge, fold 1 (1 of 4), out-of-fold squared error 31.17 (ridge)"


def test_a_short_block_says_nothing_in_a_file(capsys):
    with show_progress("houses.csv"):
        emit(Event("part", "experts"))
    assert capsys.readouterr().err == ""


def interrupted():
    with show_progress("next"):
        time.sleep(0.3)
        raise KeyboardInterrupt


def test_a_display_inside_another_is_silent_and_the_next_one_is_not(monkeypatch, capsys):
    monkeypatch.setattr(display, "LINE", 0.05)
    with show_progress("outer"), show_progress("inner"):
        time.sleep(0.3)
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    said = capsys.readouterr().err
    assert "outer" in said
    assert "inner" not in said
    assert "next" in said


@pytest.mark.slow
def test_a_notebook_has_a_bar_of_its_own():
    manager = pytest.importorskip("jupyter_client.manager", reason="there is no Jupyter")
    pytest.importorskip("ipykernel")
    kernel, client = manager.start_new_kernel(env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
    try:
        shown = []

        def see(message):
            if message["msg_type"] in ("display_data", "update_display_data"):
                shown.append(message["content"]["data"]["text/html"])
            assert message["msg_type"] not in ("error", "stream"), message["content"]

        client.execute_interactive(FIT.format(verbose=1), output_hook=see, timeout=120)
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
    assert any(re.search("<progress.*MixtureRegressor.*sleepy", one) for one in shown)
    assert shown[-1] == ""
