"""`original_ip_detection_extensions`: the client's address in a field of its own, and several places to look."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.support.configs import Json, typed
from tests.support.differential import Pair, Side
from tests.support.http2_client import Http2Client
from tests.support.managers import get, managers_fixture, post, same_everywhere
from tests.support.origin import HELLO

PREFIX: Final = "envoy.extensions.http.original_ip_detection."
TEN: Final = {"cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}


def by_header(**fields: Any) -> Json:
    return typed(f"{PREFIX}custom_header.v3.CustomHeaderConfig", **{"header_name": "X-Real", **fields})


def by_xff(**fields: Any) -> Json:
    return typed(f"{PREFIX}xff.v3.XffConfig", **fields)


def detections(*configs: Json) -> Json:
    extensions = [{"name": f"one{index}", "typed_config": config} for index, config in enumerate(configs)]
    return {"original_ip_detection_extensions": extensions, "internal_address_config": TEN}


MANAGERS: Final[dict[str, Json]] = {
    "plain": detections(by_header()),
    "trusted": detections(by_header(allow_extension_to_set_address_as_trusted=True)),
    "rejecting": detections(by_header(reject_with_status={"code": "NotFound"})),
    "rejecting_oddly": detections(by_header(reject_with_status={"code": "Continue"})),
    "header_xff": detections(by_header(), by_xff(skip_xff_append=False)),
    "xff_header": detections(by_xff(skip_xff_append=False), by_header()),
    "two": detections(by_header(header_name="x-first"), by_header(reject_with_status={"code": "Forbidden"})),
    "xff_rejecting": detections(by_xff(xff_num_trusted_hops=1), by_header(reject_with_status={"code": "OK"})),
    "cidrs_header": detections(
        by_xff(
            xff_trusted_cidrs={"cidrs": [{"address_prefix": "9.0.0.0", "prefix_len": 8}]},
            skip_xff_append=False,
        ),
        by_header(allow_extension_to_set_address_as_trusted=True),
    ),
    "of_xff": detections(by_header(header_name="x-forwarded-for"), by_xff()),
}
ADDRESSES: Final = (
    "10.1.2.3",
    "8.8.8.8",
    "bad",
    "",
    "1.2.3.4:80",
    "::1",
    "[::1]",
    "::ffff:10.2.3.4",
    "fe80::1%lo",
    "10.1.2.3, 1.1.1.1",
    "01.2.3.4",
    "1.2.3",
)
#: Beside an address, or in its place.
OTHERS: Final = (
    ("X-Real: 8.8.8.8", "X-Real: 10.9.9.9"),
    ("X-Real: bad", "X-Real: 10.9.9.9"),
    ("X-First: 7.7.7.7", "X-Real: 8.8.8.8"),
    ("X-First: bad", "X-Real: 8.8.8.8"),
    ("X-Forwarded-For: 1.1.1.1",),
    ("X-Forwarded-For: 1.1.1.1, 10.9.9.9", "X-Real: bad"),
    ("X-Forwarded-For: 10.9.9.9", "X-Real: 10.1.2.3"),
    ("X-Real: 10.1.2.3", "X-Envoy-Max-Retries: 2"),
)

pair = managers_fixture(MANAGERS)


@pytest.mark.parametrize("manager", MANAGERS)
def test_the_client_is_told_from_a_field(pair: Pair, manager: str) -> None:
    fields = [(), *((f"X-Real: {address}",) for address in ADDRESSES), *OTHERS]
    with pair.same_stats(f"http.{manager}.downstream_rq_"):
        same_everywhere(pair, [(manager, get("/", *some), HELLO) for some in fields])


def test_who_is_refused_is_refused_in_any_shape(pair: Pair) -> None:
    grpc = ("content-type: application/grpc", "te: trailers")
    cases = [
        ("rejecting", request, HELLO)
        for request in (
            post("/", b"body"),
            get(method="HEAD"),
            get("/", *grpc, method="POST"),
            get("/nowhere", host="elsewhere.example"),
        )
    ]
    same_everywhere(pair, cases)


def test_who_is_refused_need_not_send_a_body(pair: Pair) -> None:
    same_everywhere(pair, [("rejecting", get("/", "expect: 100-continue"), HELLO)])


@pytest.mark.parametrize("manager", ["plain", "rejecting", "trusted"])
def test_clients_of_http2_share_a_connection(pair: Pair, manager: str) -> None:
    told: Final = (("10.1.1.1",), (), ("8.8.8.8",), ("bad",), ("10.1.1.1",), ())

    def run(side: Side) -> list[str | None]:
        side.origin.script(HELLO)
        with Http2Client(side.proxy.ports[manager]) as client:
            views = [
                client.request(2 * number + 1, fields=[("x-real", one) for one in some])
                for number, some in enumerate(told)
            ]
        return [dict(view.fields).get(":status") for view in views]

    before = pair.lines_logged()
    pair.same_value("statuses", run, settle=0)
    theirs, ours = pair.logged_since(before, len(told))
    assert sorted(theirs) == sorted(ours)
