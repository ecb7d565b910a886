import math

import pytest

from bench.client.schedule import Schedule


def test_a_constant_rate_is_evenly_spaced() -> None:
    schedule = Schedule(200, 200)
    assert [schedule.due(number) for number in (0, 1, 200)] == [0.0, 0.005, 1.0]


@pytest.mark.parametrize(("start", "end"), [(100, 2000), (2000, 100)])
def test_a_ramp_has_the_rate_of_each_moment(start: float, end: float) -> None:
    schedule = Schedule(start, end, 10)
    total = int((start + end) / 2 * 10)
    assert schedule.due(0) == 0
    assert 1 / (schedule.due(1) - schedule.due(0)) == pytest.approx(start, rel=0.1)
    assert 1 / (schedule.due(total - 1) - schedule.due(total - 2)) == pytest.approx(end, rel=0.1)
    assert schedule.due(total) == pytest.approx(10)
    assert schedule.due(total + int(end)) == pytest.approx(11)
    assert not math.isnan(schedule.due(total * 2))
