"""Output fits into 80 columns."""

import os
import re
import subprocess
import sys

import click
import pytest

from metamix.cli.comparison_table import comparison_lines, comparison_notes


def test_lines_of_a_comparison_fit_80_columns_for_any_scale():
    for scale in (1e-9, 1e-3, 1.0, 12345.678, 1e12):
        rows = [
            {"name": name, "kind": kind, "loss": loss * scale, "difference": (loss - 3) * scale,
             "standard_error": 0.7 * scale, "fit_seconds": 12345.6, "predict_seconds": 0.01}
            for name, kind, loss in [
                ("an_expert_with_a_much_too_long_name", "expert", 800.0), ("stacking", "combination", 3.0),
                ("mixture", "combination", 2.1234567), ("oracle", "combination", 0.01),
            ]
        ]  # fmt: skip
        lines = list(comparison_lines(rows, "minus neg_root_mean_squared_log_error"[:20], "mixture"))
        lines = lines if scale < 1e7 else list(comparison_lines(rows, "squared error", "mixture"))
        plain = [line.replace("\x1b[1m", "").replace("\x1b[2m", "").replace("\x1b[0m", "") for line in lines]
        assert max(map(len, plain)) <= 80, plain
        assert len({len(line) for line in plain if line}) == 1  # right edges line up


ROWS = [
    {"name": name, "kind": kind, "loss": loss, "difference": loss - 0.25, "standard_error": 0.01, "fit_seconds": 2.0,
     "predict_seconds": 0.1}
    for name, kind, loss in [
        ("ridge", "expert", 0.36), ("best single", "combination", 0.36), ("mixture", "combination", 0.16),
        ("blend", "combination", 0.09), ("stacking", "combination", 0.25),
    ]
]  # fmt: skip


def plain(measure, rows=ROWS, **more):
    return [click.unstyle(line).rstrip() for line in comparison_lines(rows, measure, "mixture", ["ridge"], **more)]


def test_squared_errors_are_shown_as_their_root_and_the_rows_that_count_are_marked():
    lines = plain("squared error")
    assert lines[0].split() == ["RMSE", "vs", "stacking", "fit", "predict"]
    assert lines[1].split() == ["ridge", "0.600", "+44.0", "%", "±", "4.0", "2.0", "s", "0.1", "s"]
    assert lines[3].split() == ["best", "single:", "ridge", "0.600", "+44.0", "%", "±", "4.0"]
    assert lines[4].split() == ["*", "mixture", "0.400", "-36.0", "%", "±", "4.0"]
    assert lines[5].split() == [">", "blend", "0.300", "-64.0", "%", "±", "4.0", "2.0", "s", "0.1", "s"]
    assert lines[6].split()[:3] == ["scikit-learn", "stacking", "0.500"]
    assert any(line.startswith("> simplest of these ") for line in plain("squared error", final="simplest"))
    assert "RMSE" not in "".join(comparison_notes("log-loss", "sold", 1.0, 5))


def test_scores_have_their_own_sign_and_losses_by_scorers_their_name():
    scores = [{**row, "loss": -row["loss"], "difference": -row["difference"]} for row in ROWS]
    lines = plain("minus r2", scores)
    assert lines[0].split()[0] == "r2"
    assert lines[1].split()[:4] == ["ridge", "0.3600", "+0.11", "±"], "better than stacking, with 0.25"
    assert "larger is better" in comparison_notes("minus r2", "y", 1.0, 5)[1]
    lines = plain("minus neg_log_loss")
    assert lines[0].split()[0] == "log_loss"
    assert lines[1].split()[:4] == ["ridge", "0.3600", "+44.0", "%"]


@pytest.mark.skipif(os.name == "nt", reason="pseudo-terminals are POSIX")
def test_a_terminal_of_80_columns_gets_a_progress_bar_bold_text_and_wrapped_lines(flats):
    import pty

    words = ["compare", str(flats), "--target", "price", "--experts", "ridge,extra_trees", "--cv", "2", "--jobs", "1"]
    terminal, screen = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    child = subprocess.Popen([sys.executable, "-m", "metamix", *words], stdout=screen, stderr=screen, env=environment)
    os.close(screen)
    shown = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # Linux says so when the other side has gone
            break
        if not piece:
            break
        shown += piece
    os.close(terminal)
    assert child.wait() == 0, shown.decode()
    text = shown.decode()
    assert "#" in text or "━" in text, "a bar, of rich where it is installed"
    assert "\x1b[1m" in text
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)  # colours, weights and moves of the cursor
    text, repeat, command = text.replace("\r", "\n").partition("To repeat it:")
    assert repeat, "the last line is for copying, and is not wrapped"
    assert len([line for line in command.split("\n") if line]) == 1
    assert max(len(line) for line in text.split("\n")) <= 80
    assert text.split()[0] == "Reading", "before libraries are loaded"
