"""Which values of Envoy's own request fields are refused when they are checked strictly."""

from __future__ import annotations

import pytest

from proxy.base.headers import HeaderMap
from proxy.router.strict_check import failed_check

NUMBER, RETRY_ON, RETRY_GRPC_ON = "x-envoy-max-retries", "x-envoy-retry-on", "x-envoy-retry-grpc-on"


@pytest.mark.parametrize(
    ("name", "value", "refused"),
    [
        (NUMBER, "0", False),
        (NUMBER, "+1", False),
        (NUMBER, "18446744073709551615", False),
        (NUMBER, "18446744073709551616", True),
        (NUMBER, "-1", True),
        (NUMBER, "", True),
        (RETRY_ON, "5xx, reset", False),
        (RETRY_ON, "", False),
        (RETRY_ON, "5XX", True),
        (RETRY_ON, "5xx,bogus", True),
        (RETRY_GRPC_ON, "cancelled,internal", False),
        (RETRY_GRPC_ON, "aborted", True),
    ],
)
def test_values(name: str, value: str, refused: bool) -> None:
    assert failed_check(HeaderMap([(name, value)]), (name,)) == (name if refused else None)


def test_only_listed_fields_are_looked_at_and_the_first_is_told() -> None:
    headers = HeaderMap([(NUMBER, "x"), (RETRY_ON, "y")])
    assert failed_check(headers, ()) is None
    assert failed_check(headers, (RETRY_ON, NUMBER)) == RETRY_ON
