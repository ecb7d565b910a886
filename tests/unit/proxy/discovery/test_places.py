from __future__ import annotations

from proxy.discovery.places import Places


def test_a_place_that_was_given_back_is_used_again_last() -> None:
    places = Places(3)
    assert [places.take(), places.take()] == [0, 1]
    places.give_back(0)
    assert [places.take(), places.take(), places.take()] == [2, 0, None]
