"""What pressure means for actions."""

from __future__ import annotations

import pytest

from proxy.overload.triggers import Subject, TimerMinimum, Trigger


@pytest.mark.parametrize(("pressure", "state"), [(0.0, 0.0), (0.89, 0.0), (0.9, 1.0), (1.0, 1.0), (1.7, 1.0)])
def test_a_threshold_is_all_or_nothing(pressure: float, state: float) -> None:
    assert Trigger("r", 0.9, 0.9).state(pressure) == state


@pytest.mark.parametrize(("pressure", "state"), [(0.5, 0.0), (0.75, 0.5), (1.0, 1.0)])
def test_a_scale_rises_between_its_ends(pressure: float, state: float) -> None:
    assert Trigger("r", 0.5, 1.0).state(pressure) == state


def test_the_most_active_trigger_counts() -> None:
    subject = Subject("a", [Trigger("heap", 0.9, 0.9), Trigger("cpu", 0.5, 1.0)])
    assert subject.update({"heap": 0.95, "cpu": 0.6})
    assert subject.state == 1.0
    # The gauge follows the trigger that has changed last, as Envoy's does.
    assert not subject.update({"cpu": 0.75})
    assert (subject.state, subject.told) == (1.0, 0.5)
    assert subject.update({"heap": 0.1})
    assert subject.state == 0.5


def test_a_resource_that_is_not_told_keeps_its_state() -> None:
    subject = Subject("a", [Trigger("heap", 0.9, 0.9)])
    subject.update({"heap": 1.0})
    assert not subject.update({"other": 0.0})
    assert subject.state == 1.0


@pytest.mark.parametrize(
    ("least", "state", "expected"),
    [
        (TimerMinimum(2.0, 0.0), 0.0, 600.0),
        (TimerMinimum(2.0, 0.0), 0.7, 181.4),  # the example of Envoy's documentation
        (TimerMinimum(2.0, 0.0), 1.0, 2.0),
        (TimerMinimum(900.0, 0.0), 1.0, 600.0),
        (TimerMinimum(None, 0.1), 1.0, 60.0),
        (TimerMinimum(None, 0.0), 1.0, 0.001),
    ],
)
def test_a_timeout_goes_down_to_its_minimum(least: TimerMinimum, state: float, expected: float) -> None:
    assert least.reduced(600.0, state) == pytest.approx(expected)
