"""How connections of clients end that have lived as long as they may, beside Envoy."""

from __future__ import annotations

import time

import pytest

from tests.support.client import exchange
from tests.support.configs import http_proxy
from tests.support.differential import Pair, Side, pair_fixture

COUNTERS = [
    f"http.ingress.downstream_cx_{name}"
    for name in (
        "total",
        "max_duration_reached",
        "delayed_close_timeout",
        "destroy",
        "destroy_local",
        "destroy_remote",
        "destroy_active_rq",
    )
]
REQUEST = b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n"
pair = pair_fixture(
    http_proxy(
        hcm={
            "common_http_protocol_options": {"max_connection_duration": "0.5s"},
            "drain_timeout": "0.6s",
            "delayed_close_timeout": "0.2s",
        }
    )
)


@pytest.mark.parametrize(
    ("sent", "least", "most"),
    [(b"", 0.45, 0.9), (REQUEST, 1.0, 2.0), (b"GET / HT", 2.2, 9.0)],
    ids=["silent", "idle", "half a head"],
)
def test_the_end(pair: Pair, sent: bytes, least: float, most: float) -> None:
    def run(side: Side) -> tuple[str, float]:
        begun = time.monotonic()
        reply = exchange(side.proxy.port, sent, until="close", timeout=2.5)
        return reply.end, time.monotonic() - begun

    with pair.same_stats(*COUNTERS):
        envoy, outrider = pair.both(run)
        assert envoy[0] == outrider[0]
        for _, elapsed in (envoy, outrider):
            assert least <= elapsed <= most
