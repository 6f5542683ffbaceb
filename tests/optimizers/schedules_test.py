"""Learning rates against their formulas."""

import math

import pytest

from tf_deepinversion.optimizers import schedules


def rates(schedule, steps):
    return [float(schedule(step)) for step in range(steps)]


@pytest.mark.parametrize("warmup", [0, 1, 4])
def test_a_rate_rises_and_falls_by_half_a_cosine(warmup):
    steps, peak = 10, 0.3
    falling = steps - warmup
    assert rates(schedules.warmed_cosine(steps, peak, warmup), steps) == [
        pytest.approx(
            peak * step / warmup
            if step < warmup
            else peak * (1 + math.cos(math.pi * (step - warmup) / falling)) / 2
        )
        for step in range(steps)
    ]


@pytest.mark.parametrize("name", schedules.OPTIMIZERS)
@pytest.mark.parametrize("steps", [1, 2, 3, 25])
def test_a_short_training_trains(name, steps):
    """A rate that begins with 0 would be the whole of a single step."""
    rate = schedules.OPTIMIZERS[name](steps, 0.3)._learning_rate
    assert max(rates(rate, steps)) == pytest.approx(0.3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": -5},
        {"steps": 2.5},
        {"learning_rate": math.nan},
        {"learning_rate": -1.0},
        {"learning_rate": "0.1"},
        {"warmup": -3},
    ],
)
def test_numbers_out_of_range_are_refused(wrong):
    (name,) = wrong
    name = {"learning_rate": "peak"}.get(name, name)
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        schedules.sgd(**{"steps": 10, **wrong})
