"""The buffer and header mutation filters: bodies, trailers, limits, and what routes change about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.configs import ROUTER, TYPE, Json, route, typed
from tests.support.differential import Pair
from tests.support.managers import Case, get, managers_fixture, post, same_everywhere
from tests.support.origin import HELLO

BUFFER = "envoy.extensions.filters.http.buffer.v3."
MUTATION = "envoy.extensions.filters.http.header_mutation.v3."


def named(name: str, type_name: str, **fields: Any) -> Json:
    return {"name": name, "typed_config": typed(type_name, **fields)}


def append(name: str, value: str) -> Json:
    return {"append": {"header": {"key": name, "value": value}}}


ROUTER_FILTER = named("router", ROUTER)
BUFFER_FILTER = named("buffer", f"{BUFFER}Buffer", max_request_bytes=10)
MUTATION_FILTER = named(
    "mutation",
    f"{MUTATION}HeaderMutation",
    mutations={
        "request_mutations": [append("x-q", "%REQ(:path)%"), {"remove": "x-a"}],
        "response_mutations": [append("x-p", "%RESPONSE_CODE%"), {"remove": "x-b"}],
    },
)
OFF: Json = {
    "buffer": typed(f"{BUFFER}BufferPerRoute", disabled=True),
    "mutation": typed(
        f"{MUTATION}HeaderMutationPerRoute",
        mutations={"request_mutations": [append("x-r", "1")], "response_mutations": [{"remove": "x-p"}]},
    ),
}
SMALL: Json = {"buffer": typed(f"{BUFFER}BufferPerRoute", buffer={"max_request_bytes": 3})}
DISABLED: Json = {"mutation": {"@type": f"{TYPE}envoy.config.route.v3.FilterConfig", "disabled": True}}
ROUTES = [
    {**route("origin", "/off"), "typed_per_filter_config": OFF},
    {**route("origin", "/small"), "typed_per_filter_config": SMALL},
    {**route("origin", "/disabled"), "typed_per_filter_config": DISABLED},
    {"match": {"prefix": "/direct"}, "direct_response": {"status": 200, "body": {"inline_string": "x"}}},
    {**route("origin", "/limited"), "per_request_buffer_limit_bytes": 3},
    route("origin", "/"),
]
MANAGERS: dict[str, Json] = {
    "buffer": {"http_filters": [BUFFER_FILTER, ROUTER_FILTER]},
    "trailers": {
        "http_filters": [BUFFER_FILTER, ROUTER_FILTER],
        "http_protocol_options": {"enable_trailers": True},
    },
    "mutation": {"http_filters": [MUTATION_FILTER, ROUTER_FILTER]},
    "both": {"http_filters": [MUTATION_FILTER, BUFFER_FILTER, ROUTER_FILTER]},
    "disabled": {"http_filters": [{**BUFFER_FILTER, "disabled": True}, ROUTER_FILTER]},
}

pair = managers_fixture(MANAGERS, routes=ROUTES)


def chunked(path: str, chunks: Sequence[bytes], trailers: bytes = b"") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n".encode()
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head + body + b"0\r\n" + trailers + b"\r\n"


@pytest.mark.parametrize("manager", MANAGERS)
@pytest.mark.parametrize("path", ["/", "/off", "/small", "/disabled", "/direct", "/limited"])
def test_bodies_through_filters(pair: Pair, manager: str, path: str) -> None:
    created = b"HTTP/1.1 201 Created\r\nx-b: 1\r\ncontent-length: 0\r\n\r\n"
    cases: list[Case] = [
        (manager, get(path, "X-A: 1"), created),
        *((manager, post(path, b"x" * size), HELLO) for size in (0, 4, 11)),
        *(
            (manager, chunked(path, chunks, trailers), HELLO)
            for chunks in ([], [b"ab", b"cd"], [b"abcdef", b"ghijkl"])
            for trailers in (b"", b"x-t: 1\r\n")
        ),
    ]
    stats = ("rq_too_large", "rq_response_before_rq_complete", "rq_2xx", "rq_4xx")
    with pair.same_stats(*(f"http.{manager}.downstream_{name}" for name in stats)):
        same_everywhere(pair, cases)
