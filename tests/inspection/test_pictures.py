"""Every display draws every kind of mixture: nothing overlaps, warns or is cut off, whatever the names."""

import sys

import numpy as np
import pytest

from metamix import inspection
from metamix.drawing import new_axes
from metamix.inspection import CalibrationDisplay, CandidatesDisplay, ConvergenceDisplay, GateDisplay

DISPLAYS = [getattr(inspection, name) for name in inspection.__all__ if name.endswith("Display")]
MIXTURES = ["two_regimes", "default", "twelve", "twelve_experts", "classes", "targets"]
#: What does not exist: candidates of a mixture alone, rounds without a mixture.
ABSENT = {(CandidatesDisplay, "two_regimes"), (CandidatesDisplay, "twelve"), (CandidatesDisplay, "classes")}
ABSENT |= {(ConvergenceDisplay, "twelve_experts")}


def texts(figure):
    """Pieces of text that are seen, with their boxes in pixels."""
    from matplotlib.text import Text

    renderer = figure.canvas.get_renderer()
    found = [one for one in figure.findobj(Text) if one.get_visible() and one.get_text().strip()]
    off = [axes for axes in figure.axes if not axes.axison]
    found = [one for one in found if one.axes not in off]
    return [(one, one.get_window_extent(renderer)) for one in found]


def check(figure):
    """No text is smaller than ten points, outside the figure, or over another."""
    figure.canvas.draw()
    ticks = {
        tick
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_ticklabels(which="both")
        if not axis.get_view_interval()[0] - 1e-9 <= tick.get_position()["xy".index(axis.axis_name)]
        <= axis.get_view_interval()[1] + 1e-9
    }  # fmt: skip
    shown = [(one, box) for one, box in texts(figure) if one not in ticks]
    assert shown
    width, height = figure.get_size_inches() * figure.dpi
    for one, box in shown:
        assert one.get_fontsize() >= 10
        assert box.x0 >= -3, f"{one.get_text()!r} is cut off"
        assert box.x1 <= width + 3, f"{one.get_text()!r} is cut off"
        assert box.y0 >= -3, f"{one.get_text()!r} is cut off"
        assert box.y1 <= height + 3, f"{one.get_text()!r} is cut off"
        assert len(max(one.get_text().split("\n"), key=len)) < 120
    level = [(one, box) for one, box in shown if one.get_rotation() % 90 == 0]
    for i, (one, box) in enumerate(level):
        for other, other_box in level[:i]:
            inner = box.padded(-1.5)
            assert not inner.overlaps(other_box.padded(-1.5)), f"{one.get_text()!r} over {other.get_text()!r}"


@pytest.mark.parametrize("name", MIXTURES)
@pytest.mark.parametrize("display", DISPLAYS)
def test_every_display_draws_every_mixture(display, name, request, plt):
    mixture, X, y = request.getfixturevalue(name)
    target = {"target": 1} if name == "targets" else {}
    if (display, name) in ABSENT:
        with pytest.raises(ValueError, match="specialize"):
            display.from_estimator(mixture, X, y, **target)
        return
    found = display.from_estimator(mixture, X, y, **target)
    assert len(found.frame())
    assert found.plot() is found
    assert found.figure_ is found.ax_.figure
    check(found.figure_)


@pytest.mark.parametrize("display", DISPLAYS)
def test_a_display_draws_into_axes_that_are_given(display, default, plt):
    mixture, X, y = default
    figure, axes = plt.subplots(1, 2, figsize=(14, 6))
    found = display.from_estimator(mixture, X, y).plot(axes[1])
    figure.canvas.draw()
    assert found.figure_ is figure
    by_hand = plt.figure().add_axes((0.2, 0.2, 0.7, 0.7))
    assert display.from_estimator(mixture, X, y).plot(by_hand).figure_ is by_hand.figure
    by_hand.figure.canvas.draw()


@pytest.mark.parametrize("name", ["default", "classes", "targets", "twelve"])
def test_explanations_are_drawn(name, request, plt):
    mixture, X, _ = request.getfixturevalue(name)
    explanation = mixture.explain(X)
    for ax in (explanation.plot(), explanation[3].plot()):
        check(ax.figure)


@pytest.mark.parametrize("display", DISPLAYS)
def test_what_is_no_mixture_is_refused(display, two_regimes):
    from sklearn.exceptions import NotFittedError
    from sklearn.linear_model import Ridge

    _, X, y = two_regimes
    with pytest.raises(TypeError, match="got Ridge"):
        display.from_estimator(Ridge(), X, y)
    with pytest.raises(NotFittedError):
        display.from_estimator(type(two_regimes[0])(), X, y)


@pytest.mark.parametrize("display", [d for d in DISPLAYS if d is not ConvergenceDisplay])
def test_a_target_that_does_not_exist_is_refused(display, default, targets):
    mixture, X, y = default
    with pytest.raises(ValueError, match="one target; leave it out"):
        display.from_estimator(mixture, X, y, target=1)
    mixture, X, y = targets
    with pytest.raises(ValueError, match="from 0 to 1"):
        display.from_estimator(mixture, X, y, target=2)


def test_rows_and_y_are_asked_for(two_regimes):
    mixture, X, _ = two_regimes
    with pytest.raises(ValueError, match="give y"):
        CalibrationDisplay.from_estimator(mixture, X, None)
    with pytest.raises(ValueError, match="give X"):
        GateDisplay.from_estimator(mixture, None)
    with pytest.raises(ValueError, match="inconsistent"):
        CalibrationDisplay.from_estimator(mixture, X, np.zeros(3))


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'pip install "metamix\[plot\]"'):
        new_axes(None, 4, 3)
