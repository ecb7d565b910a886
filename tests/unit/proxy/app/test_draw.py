from __future__ import annotations

from proxy.app.draw import random_draw


def test_two_sources_differ_and_stay_in_range() -> None:
    one, other = random_draw(), random_draw()
    drawn = [one() for _ in range(100)]
    assert all(0 <= value < 2**64 for value in drawn)
    assert drawn != [other() for _ in range(100)]
