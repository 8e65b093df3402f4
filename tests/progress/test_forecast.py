"""What is told of the time that is left: against fits whose parts take a known time, and against real ones."""

import pytest

from metamix import MixtureRegressor, compare, make_regimes
from metamix.progress import Event, listen
from metamix.progress.forecast import Forecast, in_words


class Clock:
    """A clock that only the test moves."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def run(forecast, clock, part, tasks, seconds, total=0):
    """A part of so many tasks that take so many seconds each."""
    forecast.update(Event("part", part, total=total))
    for done in range(1, tasks + 1):
        clock.now += seconds
        forecast.update(Event("task", f"{part} {done}", done, tasks))


def test_nothing_is_foretold_before_something_was_done(clock):
    forecast = Forecast(clock)
    forecast.update(Event("part", "experts", total=10))
    clock.now = 60
    assert forecast.left() is None
    assert forecast.share == 0


def test_what_is_left_lies_between_the_bounds(clock):
    forecast = Forecast(clock)
    ends = {"experts": 20.0, "regimes": 10.0, "mixture": 30.0, "nested experts": 20.0}
    whole = sum(ends.values())
    for part, seconds in ends.items():
        for half in (5, 10):
            if half == 5:
                run(forecast, clock, part, 5, seconds / 10, total=10)
            else:
                clock.now += seconds / 2
            least, most = forecast.left() if half == 5 else (0, whole)
            assert least - 1e-9 <= whole - clock.now <= most + 1e-9


def test_a_part_of_known_length_is_foretold_closely(clock):
    forecast = Forecast(clock)
    run(forecast, clock, "chunks", 8, 4.0, total=20)
    least, most = forecast.left()
    assert 28 <= least < 48 < most <= 58
    assert forecast.share == pytest.approx(0.4, abs=0.03)


def test_rounds_end_before_the_last_one_perhaps(clock):
    forecast = Forecast(clock)
    forecast.update(Event("part", "rounds"))
    for number in (1, 2):
        clock.now += 6
        forecast.update(Event("round", f"round {number}", number, 10, {"loss": 0.5, "entropy": 0.2}))
    assert forecast.left() == (0.0, pytest.approx(48.0))
    assert forecast.text == "round 2 (2 of at most 10)"
    assert forecast.loss == "loss 0.5"


def test_later_outer_folds_take_as_long_as_those_before(clock):
    forecast = Forecast(clock)
    for fold in range(2):
        forecast.update(Event("start", f"outer fold {fold + 1} of 4", fold, 4))
        run(forecast, clock, "experts", 10, 3.0)
    forecast.update(Event("start", "outer fold 3 of 4", 2, 4))
    run(forecast, clock, "experts", 5, 2.0)
    assert forecast.left() == pytest.approx((0.6 * 60 - 10, 1.2 * 60 - 10))
    assert forecast.text == "outer fold 3 of 4: experts 5 (5 of 5)"


def test_the_first_outer_fold_counts_for_all(clock):
    forecast = Forecast(clock)
    forecast.update(Event("start", "outer fold 1 of 3", 0, 3))
    run(forecast, clock, "experts", 5, 2.0, total=10)
    alone = Forecast(clock)
    clock.now = 0
    alone = Forecast(clock)
    run(alone, clock, "experts", 5, 2.0, total=10)
    for whole, one in zip(forecast.left(), alone.left(), strict=True):
        assert whole == pytest.approx(one + 2 * (10 + one))


@pytest.mark.parametrize("left", [(0.0, 1.0), (3.0, 3.0), (33.0, 170.0), (61.0, 4000.0), (3700.0, 3800.0)])
def test_words_never_promise_less_than_the_bound(left):
    units = {"s": 1, "min": 60, "h": 3600}
    words = in_words(left).removesuffix(" left").removeprefix("about ").removeprefix("up to ")
    number, unit = words.split(" to ")[-1].split()
    assert float(number) * units[unit] >= 0.98 * left[1]


def test_of_a_real_fit_the_share_grows_and_every_part_is_known():
    X, y = make_regimes(150, random_state=0)
    forecast, shares, texts, losses = Forecast(), [], [], []

    def see(event):
        forecast.update(event)
        shares.append(forecast.share)
        texts.append(forecast.text)
        losses.append(forecast.loss)

    with listen(see):
        compare(X, y, ["ridge", "splines"], cv=3, random_state=0)
    assert shares == sorted(shares)
    assert shares[-1] <= 1
    assert any(text.startswith("outer fold 3 of 3: ridge") for text in texts)
    mixture = MixtureRegressor(["ridge", "splines"], cv=3, random_state=0)
    with listen(see):
        mixture.fit(X, y)
    table = mixture.candidates_.set_index("candidate")["loss"]
    assert float(losses[-1].split()[2]) == pytest.approx(min(table["best single"], table["mixture"]), rel=1e-3)


def test_parts_come_in_the_order_that_is_expected():
    from metamix.progress.forecast import AFTER_EXPERTS

    X, y = make_regimes(150, random_state=0)
    seen = []
    with listen(lambda event: seen.append(event.label) if event.kind == "part" else None):
        MixtureRegressor(["ridge", "splines"], cv=3, random_state=0).fit(X, y)
    assert seen[0] == "experts"
    order = list(AFTER_EXPERTS)
    assert set(seen[1:]) <= set(order)
    assert [order.index(part) for part in seen[1:]] == sorted(order.index(part) for part in seen[1:])
