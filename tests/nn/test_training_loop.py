"""Early stopping, learning rates, progress events, callbacks and interruptions."""

import re
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="metamix.nn needs torch")
skorch = pytest.importorskip("skorch", reason="the estimators of metamix.nn need skorch")

from metamix.nn import NeuralMixtureRegressor  # noqa: E402
from metamix.progress import listen  # noqa: E402

BRIEF = {"hidden": 8, "max_epochs": 4, "batch_size": 64, "start": "random", "random_state": 0}


def test_early_stopping_keeps_the_best_epoch():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 5)), rng.normal(size=60)
    settings = {**BRIEF, "max_epochs": 300, "learning_rate": 0.03}
    model = NeuralMixtureRegressor(2, patience=5, **settings).fit(x, y)
    losses = model.history_["valid_loss"]
    assert len(losses) < 300
    assert model.best_epoch_ == losses.idxmin() + 1
    assert len(losses) == model.best_epoch_ + 5
    # Training of only that many epochs gives the same weights: the best epoch's were restored.
    settings["max_epochs"] = model.best_epoch_
    np.testing.assert_allclose(NeuralMixtureRegressor(2, patience=5, **settings).fit(x, y).predict(x), model.predict(x))
    whole = NeuralMixtureRegressor(2, early_stopping=False, **BRIEF).fit(x, y)
    assert len(whole.history_) == whole.best_epoch_ == 4
    assert "valid_loss" not in whole.history_


@pytest.mark.parametrize("schedule", ["cosine", None])
def test_learning_rate_schedules_are_the_formula(two_lines, schedule):
    seen = []

    class Record(skorch.callbacks.Callback):
        def on_epoch_end(self, net, **more):
            seen.append(net.optimizer_.param_groups[-1]["lr"])

    settings = {**BRIEF, "max_epochs": 10, "learning_rate": 0.01, "early_stopping": False}
    NeuralMixtureRegressor(2, schedule=schedule, callbacks=[Record()], **settings).fit(*two_lines(60))
    epochs = np.arange(1, 11)  # the callback is called after the scheduler
    expected = 0.01 * (1 + np.cos(np.pi * epochs / 10)) / 2 if schedule == "cosine" else np.full(10, 0.01)
    np.testing.assert_allclose(seen, expected, atol=1e-9)


def test_an_event_per_epoch(two_lines, capsys, monkeypatch):
    x, y = two_lines(60)
    events = []
    with listen(events.append):
        NeuralMixtureRegressor(2, **BRIEF).fit(x, y)
    assert [event.done for event in events if event.kind == "round"] == [1, 2, 3, 4]
    assert {"train_loss", "valid_loss"} <= set(events[-1].detail)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr("metamix.progress.display.LINE", 0.001)
    NeuralMixtureRegressor(2, verbose=1, **{**BRIEF, "max_epochs": 30}).fit(x, y)
    assert re.search(r"^NeuralMixtureRegressor  .*epoch \d+ \(\d+ of at most 30\)", capsys.readouterr().err, re.M)


def test_an_interruption_reaches_the_caller(three_columns):
    X, y = three_columns()

    def stop(event):
        if event.kind == "round" and event.done == 2:
            raise KeyboardInterrupt

    with listen(stop), pytest.raises(KeyboardInterrupt):
        NeuralMixtureRegressor(2, **BRIEF).fit(X, y)

    class Interrupt(skorch.callbacks.Callback):
        def on_batch_end(self, net, **more):
            raise KeyboardInterrupt  # as by the keyboard, within an epoch

    with pytest.raises(KeyboardInterrupt):
        NeuralMixtureRegressor(2, callbacks=[Interrupt()], **BRIEF).fit(X, y)


def test_a_callback_may_end_training(three_columns):
    X, y = three_columns()

    class Stop(skorch.callbacks.Callback):
        def on_epoch_end(self, net, **more):
            if len(net.history) == 2:
                raise KeyboardInterrupt  # how skorch callbacks end training

    model = NeuralMixtureRegressor(2, callbacks=[Stop()], **BRIEF).fit(X, y)
    assert len(model.history_) == 2
    assert len(model.predict(X)) == len(X)


def test_a_loss_that_is_not_finite_raises(two_lines):
    x, y = two_lines(60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=r"The loss is not finite .* lower learning_rate"):
            NeuralMixtureRegressor(2, learning_rate=1e30, **BRIEF).fit(x, y)


def test_the_bias_controller_moves_in_training(two_lines):
    options = {"top_k": 1, "gate_options": {"bias_rate": 0.5}, "early_stopping": False}
    # Of 61 rows two experts cannot have the same number, so that each of the steps moves the bias.
    model = NeuralMixtureRegressor(2, **options, **{**BRIEF, "max_epochs": 3}).fit(*two_lines(61))
    bias = model.network_.mixture.gate.bias
    assert bias[0] == -bias[1]
    assert bias[0].item() in (-1.5, -0.5, 0.5, 1.5)
