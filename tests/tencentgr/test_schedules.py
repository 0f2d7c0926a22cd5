import math

import pytest

from tencentgr.schedules import Schedule


def rates(schedule: Schedule) -> list[float]:
    return [schedule.rate(step // schedule.epoch_steps, step) for step in range(schedule.num_epochs * 2)]


def test_further_epochs_follow_a_schedule_of_their_own():
    """Two epochs of two steps, then three more: the second cosine begins at the peak, as if trained alone."""
    first, more = Schedule("cosine", 2, 2), Schedule("cosine", 2, 5, ends=(2,))
    assert rates(more) == rates(first) + rates(Schedule("cosine", 2, 3))
    assert rates(more)[4] == 1.0 and rates(more)[6] == pytest.approx(0.5 * (1 + math.cos(math.pi / 3)))


def test_warm_up_and_halving_begin_again_too():
    warm = Schedule("none", 2, 4, warmup_steps=2, ends=(2,))
    assert rates(warm) == [0.5, 1.0, 1.0, 1.0, 0.5, 1.0, 1.0, 1.0]
    halved = Schedule("step", 2, 33, ends=(12,))
    assert [halved.rate(epoch, 2 * epoch) for epoch in (0, 10, 12, 21, 22, 32)] == [1, 0.5, 1, 1, 0.5, 0.25]
    often = Schedule("step", 2, 6, step_size=2)
    assert [often.rate(epoch, 2 * epoch) for epoch in range(6)] == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_what_grows_with_training_stays_grown():
    more = Schedule("cosine", 2, 5, ends=(2,))
    assert [more.progress(step) for step in (0, 1, 3, 4, 9)] == [0.0, 0.25, 0.75, 1.0, 1.0]
    assert Schedule("cosine", 2, 5).progress(9) == 0.9
