"""Progress: how much is done, in order, and what is shown with and without a terminal."""

import time

from metamix import MixtureRegressor, compare, make_regimes
from metamix.cli import progress as shown
from metamix.cli.progress import Fraction, progress
from metamix.progress import Event, listen


def _watched(run):
    fraction, values, labels = Fraction(), [], []

    def see(event):
        fraction.update(event)
        values.append(fraction.value)
        labels.append(fraction.label)

    with listen(see):
        run()
    return values, labels


def test_it_only_grows_and_tells_the_outer_fold():
    X, y = make_regimes(150, random_state=0)
    values, labels = _watched(lambda: compare(X, y, ["ridge", "splines"], cv=3, random_state=0))
    assert values == sorted(values)
    assert values[-1] <= 1
    assert any(label.startswith("fold 3 of 3: ") for label in labels)
    values, _ = _watched(lambda: MixtureRegressor(["ridge", "splines"], n_experts=2, cv=3, random_state=0).fit(X, y))
    assert values == sorted(values)
    assert values[-1] > 0.4


def test_lines_without_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(shown, "LINE", 0.05)
    monkeypatch.setattr(shown._Lines, "pause", 0.05)
    with progress("houses.csv"), listen(lambda event: None):
        from metamix.progress import emit

        emit(Event("task", "ridge, fold 1", 1, 4))
        time.sleep(0.5)
    assert "5 % done, ridge, fold 1" in capsys.readouterr().err
