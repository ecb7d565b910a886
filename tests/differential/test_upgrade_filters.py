"""Filters of an upgrade: `upgrade_configs[].filters` take the place of the connection manager's own."""

from collections.abc import Iterator

import pytest

from tests.support.configs import http_proxy, typed
from tests.support.differential import Pair

MUTATION = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"
ROUTER = "envoy.extensions.filters.http.router.v3.Router"
UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
PLAIN = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
REFUSED = b"HTTP/1.1 426 Upgrade Required\r\ncontent-length: 0\r\n\r\n"


def _mark(value: str) -> list[dict[str, object]]:
    added = {"append": {"header": {"key": "x-chain", "value": value}}}
    return [
        {"name": f"mark-{value}", "typed_config": typed(MUTATION, mutations={"request_mutations": [added]})},
        {"name": "router", "typed_config": typed(ROUTER)},
    ]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    config = http_proxy(
        hcm={
            "http_filters": _mark("own"),
            "upgrade_configs": [{"upgrade_type": "websocket", "filters": _mark("upgrade")}],
        }
    )
    with Pair(config) as started:
        yield started


@pytest.mark.parametrize(("request_bytes", "chain"), [(PLAIN, "own"), (UPGRADE, "upgrade")])
def test_an_upgrade_passes_its_own_filters(pair: Pair, request_bytes: bytes, chain: str) -> None:
    outcome = pair.same(request_bytes, script=REFUSED)
    assert ("x-chain", chain) in outcome.request.fields
