"""Broken and odd frames: the same verdict as Envoy's, by GOAWAY, by silence, by RST_STREAM or none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.compare import Difference
from tests.support.configs import (
    Json,
    bootstrap,
    connection_manager,
    http2_cluster,
    listener,
    route,
    virtual_host,
)
from tests.support.differential import Pair, Side
from tests.support.http2_cases import CASES, FINE, GOAWAY, RESET
from tests.support.http2_client import Http2Client
from tests.support.http2_frames import code_name
from tests.support.http2_origin import Http2Origin, OriginStream

LISTENERS = ("plain", "override")
STATS = (
    "http2.header_list_size_too_large",
    "http2.inbound_empty_frames_flood",
    "http2.inbound_window_update_frames_flood",
    "http2.rx_messaging_error",
    "http2.rx_reset",
    "http2.trailers",
    "http2.tx_reset",
    "http.ingress.downstream_cx_protocol_error",
    "http.ingress.downstream_rq_total",
)


def _listener(name: str, http2: Json) -> Json:
    table = {"name": name, "virtual_hosts": [virtual_host([route("origin", "/", timeout="0s")], ["a"])]}
    fields = {"codec_type": "HTTP2", "delayed_close_timeout": "0.1s", "http2_protocol_options": http2}
    return listener([connection_manager(table, **fields)], name)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    config = bootstrap(
        [
            _listener("plain", {}),
            _listener("override", {"override_stream_error_on_invalid_http_message": True}),
        ],
        [http2_cluster("origin")],
    )
    with Pair(config, origins={"origin": Http2Origin}, listeners=LISTENERS) as started:
        yield started


def _never(stream: OriginStream) -> None:
    """An origin that does not answer."""


@pytest.mark.parametrize("name", LISTENERS)
@pytest.mark.parametrize(("frames", "kind", "code"), CASES.values(), ids=CASES)
def test_frames(pair: Pair, name: str, frames: bytes, kind: str, code: int) -> None:
    def scenario(side: Side) -> Any:
        side.origin.script(_never)
        with Http2Client(side.proxy.ports[name]) as client:
            # Our acknowledgement goes out with the first read.
            client.until(lambda client: bool(client.settings))
            client.send(frames)
            alive = client.settle()
            streams, goaways, _ = client.verdict()
            return alive, streams, goaways

    with pair.same_stats(*STATS):
        envoy, outrider = pair.both(scenario)
        pair.check([] if envoy == outrider else [Difference("verdict", envoy, outrider)])
    if name == "plain":
        alive, _, goaways = outrider
        assert alive == (kind in (FINE, RESET))
        assert [name for _, name in goaways] == ([code_name(code)] if kind == GOAWAY else [])
