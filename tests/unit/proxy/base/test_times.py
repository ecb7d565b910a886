from __future__ import annotations

import pytest

from proxy.base.times import rfc3339


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "1970-01-01T00:00:00Z"),
        (1_700_000_000.1239, "2023-11-14T22:13:20.123Z"),
        (1_700_000_000.0004, "2023-11-14T22:13:20Z"),
    ],
)
def test_moments_are_cut_to_milliseconds(seconds: float, text: str) -> None:
    assert rfc3339(seconds) == text
