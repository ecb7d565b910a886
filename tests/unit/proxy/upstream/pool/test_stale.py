from __future__ import annotations

from proxy.upstream.pool.stale import ObservedCloses


def test_nothing_is_known_at_first() -> None:
    assert ObservedCloses().trusts(3600.0, 5.0)


def test_connections_are_trusted_for_half_the_time_after_which_one_was_closed() -> None:
    closes = ObservedCloses()
    closes.note(2.0, 100.0)
    closes.note(1.0, 101.0)
    closes.note(1.5, 102.0)
    assert closes.trusts(0.4, 103.0)
    assert not closes.trusts(0.5, 103.0)


def test_what_was_seen_is_forgotten_in_time() -> None:
    closes = ObservedCloses()
    closes.note(1.0, 100.0)
    assert not closes.trusts(5.0, 109.0)
    assert closes.trusts(5.0, 111.0)
    closes.note(60.0, 200.0)
    assert not closes.trusts(50.0, 400.0)
    assert closes.trusts(50.0, 441.0)
