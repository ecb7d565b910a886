"""The date of responses follows the clock once a second."""

from __future__ import annotations

from proxy.base.stream_info import WallClock
from proxy.hcm.http_date import HttpDate
from tests.support.streams import START


def test_the_date_changes_with_the_second() -> None:
    now = START
    date = HttpDate(WallClock(lambda: now, lambda: now), lambda: now)
    assert date.text() == "Sun, 22 Nov 2026 16:23:54 GMT"
    now = START + 0.3
    assert date.encoded() == b"Sun, 22 Nov 2026 16:23:54 GMT"
    now = START + 0.4
    assert date.text() == "Sun, 22 Nov 2026 16:23:55 GMT"
