"""A drain that tells more and more connections to end."""

from __future__ import annotations

from proxy.base.stream_info import GradualDrain


def test_the_share_of_true_grows_with_the_time_and_ends_at_all() -> None:
    now = [100.0]
    drawn = iter(range(10**9))
    drain = GradualDrain(10, lambda: now[0], lambda: next(drawn))

    def share() -> int:
        return sum(bool(drain) for _ in range(10))

    found = []
    for seconds in (0, 0.5, 1, 5, 9, 10, 11):
        now[0] = 100.0 + seconds
        found.append(share())
    # The second that has begun counts, as with Envoy's rounding.
    assert found == [0, 1, 1, 5, 9, 10, 10]
