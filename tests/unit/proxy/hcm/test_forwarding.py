"""Who a request comes from, and what is said of it upstream."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.base.address import Address
from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.base.stream_info import ConnectionInfo, DrainState
from proxy.hcm.forwarding import (
    LocalNode,
    Origin,
    append_via,
    apply_forwarding,
    last_xff_address,
    remove_hop_by_hop,
)
from tests.support.hcm_messages import manager

TEN = {"cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}


def forwarded(
    fields: list[tuple[str, str]], peer: str = "1.2.3.4", **config: Any
) -> tuple[Origin, dict[str, str]]:
    compiled, problems = manager(**config)
    assert problems == []
    head = RequestHead("GET", "/", "host", HeaderMap(fields))
    connection = ConnectionInfo(1, Address(peer, 99), Address("9.9.9.9", 80), 0.0, DrainState())
    origin = apply_forwarding(
        head, connection, compiled, LocalNode("5.5.5.5", "node", "cluster"), ("x-mine",)
    )
    return origin, dict(head.headers)


def test_an_edge_trusts_nobody() -> None:
    origin, headers = forwarded(
        [("x-forwarded-for", "10.0.0.1"), ("x-forwarded-proto", "https"), ("x-envoy-max-retries", "3")],
        use_remote_address=True,
        internal_address_config=TEN,
    )
    assert (origin.address.ip, origin.internal, origin.edge) == ("1.2.3.4", False, True)
    assert headers == {
        "x-forwarded-for": "10.0.0.1,1.2.3.4",
        "x-forwarded-proto": "http",
        "x-envoy-external-address": "1.2.3.4",
    }


def test_an_internal_client_may_set_what_it_likes() -> None:
    origin, headers = forwarded(
        [("x-envoy-max-retries", "3"), ("x-mine", "1")],
        peer="10.1.1.1",
        use_remote_address=True,
        internal_address_config=TEN,
    )
    assert origin.internal
    assert not origin.edge
    assert headers["x-envoy-internal"] == "true"
    assert headers["x-envoy-max-retries"] == "3"
    assert headers["x-mine"] == "1"


@pytest.mark.parametrize(
    ("chain", "hops", "address"),
    [
        ("1.1.1.1, 2.2.2.2", 0, "2.2.2.2"),
        ("1.1.1.1, 2.2.2.2", 1, "1.1.1.1"),
        ("1.1.1.1", 1, "1.2.3.4"),
        ("junk", 0, "1.2.3.4"),
        ("1.1.1.1,", 0, "1.2.3.4"),
    ],
)
def test_trusted_hops(chain: str, hops: int, address: str) -> None:
    origin, headers = forwarded([("x-forwarded-for", chain)], xff_num_trusted_hops=hops)
    assert origin.address.ip == address
    assert headers["x-forwarded-for"] == chain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("::ffff:10.0.0.1", "::ffff:10.0.0.1"),
        ("2001:DB8::0:1", "2001:db8::1"),
        ("01.2.3.4", None),
        ("1.2.3.4:5", None),
    ],
)
def test_addresses_are_printed_as_envoy_does(text: str, shown: str | None) -> None:
    address, _ = last_xff_address(HeaderMap([("x-forwarded-for", text)]), 0)
    assert (address and address.ip) == shown


def test_a_peer_on_this_machine_is_named_by_our_own_address() -> None:
    _, headers = forwarded([], peer="127.0.0.1", use_remote_address=True)
    assert headers["x-forwarded-for"] == "5.5.5.5"
    _, headers = forwarded([], peer="127.0.0.2", use_remote_address=True)
    assert headers["x-forwarded-for"] == "127.0.0.2"


def test_add_user_agent_names_cluster_and_node() -> None:
    _, headers = forwarded([], add_user_agent=True)
    assert headers["user-agent"] == headers["x-envoy-downstream-service-cluster"] == "cluster"
    assert headers["x-envoy-downstream-service-node"] == "node"


@pytest.mark.parametrize(
    ("coding", "left"), [("gzip, trailers", "trailers"), ("gzip", None), ("Trailers", "trailers")]
)
def test_te_keeps_only_trailers(coding: str, left: str | None) -> None:
    headers = HeaderMap([("te", coding), ("connection", "te"), ("keep-alive", "1"), ("x", "1")])
    remove_hop_by_hop(headers, upgrade=False)
    assert dict(headers) == ({"x": "1"} if left is None else {"x": "1", "te": left})


def test_an_upgrade_keeps_its_two_fields() -> None:
    headers = HeaderMap([("connection", "upgrade"), ("upgrade", "websocket")])
    remove_hop_by_hop(headers, upgrade=True)
    assert set(headers) == {"connection", "upgrade"}


def test_via_is_appended_in_one_line() -> None:
    headers = HeaderMap([("via", "1.0 a"), ("via", "1.0 b")])
    append_via(headers, "1.1 me")
    assert headers.values_of("via") == ["1.0 a,1.0 b, 1.1 me"]


CUSTOM = "type.googleapis.com/envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig"
XFF = "type.googleapis.com/envoy.extensions.http.original_ip_detection.xff.v3.XffConfig"


def by_header(**fields: Any) -> dict[str, Any]:
    return {"name": "custom", "typed_config": {"@type": CUSTOM, "header_name": "X-Real", **fields}}


BY_XFF = {"name": "xff", "typed_config": {"@type": XFF, "skip_xff_append": False}}


def test_a_field_of_its_own_tells_the_client() -> None:
    origin, _ = forwarded([("x-real", "10.1.2.3")], original_ip_detection_extensions=[by_header()])
    assert (origin.address.ip, origin.internal, origin.direct) == ("10.1.2.3", False, False)


@pytest.mark.parametrize("trusted", [False, True])
def test_such_an_address_is_internal_only_if_it_is_trusted(trusted: bool) -> None:
    detection = by_header(allow_extension_to_set_address_as_trusted=trusted)
    origin, headers = forwarded(
        [("x-real", "10.1.2.3")], original_ip_detection_extensions=[detection], internal_address_config=TEN
    )
    assert origin.internal is trusted
    assert ("x-envoy-internal" in headers) is trusted


def test_without_the_field_the_next_extension_looks() -> None:
    both = {"original_ip_detection_extensions": [by_header(), BY_XFF]}
    origin, headers = forwarded([("x-forwarded-for", "8.8.8.8")], **both)
    assert origin.address.ip == "8.8.8.8"
    assert headers["x-forwarded-for"] == "8.8.8.8,1.2.3.4"
    origin, headers = forwarded([("x-forwarded-for", "8.8.8.8"), ("x-real", "9.9.9.9")], **both)
    assert origin.address.ip == "9.9.9.9"
    assert headers["x-forwarded-for"] == "8.8.8.8"


@pytest.mark.parametrize(
    "fields", [[], [("x-real", "")], [("x-real", "1.1.1.1:80")], [("x-real", "1.1.1.1, 2.2.2.2")]]
)
def test_a_request_without_an_address_may_be_refused(fields: list[tuple[str, str]]) -> None:
    detection = by_header(reject_with_status={"code": "NotFound"})
    origin, _ = forwarded(fields, original_ip_detection_extensions=[detection, BY_XFF])
    assert (origin.reject_status, origin.address.ip) == (404, "1.2.3.4")
    origin, _ = forwarded(fields, original_ip_detection_extensions=[by_header()])
    assert (origin.reject_status, origin.address.ip) == (0, "1.2.3.4")
