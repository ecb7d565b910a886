"""grpc-timeout and gRPC content types as Envoy reads them."""

from __future__ import annotations

import pytest

from proxy.base.headers import HeaderMap
from proxy.router.grpc_timeout import grpc_timeout


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1H", 3600.0),
        ("2M", 120.0),
        ("3S", 3.0),
        ("250m", 0.25),
        ("5000u", 0.005),
        ("1000n", 0.000001),
        ("0m", 0.0),
        ("12345678S", 12345678.0),
        ("123456789m", None),
        ("5", None),
        ("S", None),
        ("-1S", None),
        ("1s", None),
        ("", None),
    ],
)
def test_grpc_timeout(text: str, seconds: float | None) -> None:
    value = grpc_timeout(HeaderMap([("grpc-timeout", text)]))
    assert value == (None if seconds is None else pytest.approx(seconds))


def test_a_request_without_grpc_timeout() -> None:
    assert grpc_timeout(HeaderMap()) is None
