from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format

from proxy.config.istio_messages import MESSAGES

ALPN = "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig"


def read(name: str, **config: Any) -> Any:
    return json_format.ParseDict(config, MESSAGES[name]())


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_classes_stand_under_their_names(name: str) -> None:
    assert MESSAGES[name].DESCRIPTOR.full_name == name


def test_fields_have_the_numbers_and_kinds_of_istio() -> None:
    # Bytes as istiod sends them: one override of HTTP/2 (2) to "istio-h2".
    message = MESSAGES[ALPN].FromString(b"\x0a\x0c\x08\x02\x12\x08istio-h2")
    assert message == read(
        ALPN, alpn_override=[{"upstream_protocol": "HTTP2", "alpn_override": ["istio-h2"]}]
    )
    stats = read(
        "stats.PluginConfig",
        tcp_reporting_duration="5s",
        metrics=[{"name": "requests_total", "dimensions": {"a": "b"}, "tags_to_remove": ["c"]}],
        reporter="SERVER_GATEWAY",
    )
    assert stats.tcp_reporting_duration.seconds == 5
    assert dict(stats.metrics[0].dimensions) == {"a": "b"}
    assert stats.reporter == 1
