"""The HTTP filter ext_authz with an HTTP service: what is asked, and what responses do to requests and clients."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.support.configs import ROUTER, Json, cluster, typed
from tests.support.differential import Pair
from tests.support.http_text import Message
from tests.support.managers import get, managers_fixture, post, same_everywhere
from tests.support.origin import Answer, OriginConnection

NAME: Final = "envoy.filters.http.ext_authz"
ROUTER_FILTER: Final = {"name": "router", "typed_config": typed(ROUTER)}
STATS: Final = ("ok", "denied", "error", "failure_mode_allowed")
LOG: Final = (
    "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS%"
    " %DYNAMIC_METADATA(envoy.filters.http.ext_authz:x-noted)%"
)
#: What every response of the service has.
TOLD: Final = (
    "x-set: 1",
    "x-append: 2",
    "x-refused: 3",
    "x-responded: 4",
    "x-other: 5",
    "x-noted: meta",
    "set-cookie: a=1",
    "set-cookie: b=2",
    "location: /login",
    "www-authenticate: Basic",
    "content-type: text/html",
    "x-envoy-auth-headers-to-remove: x-gone, X-Gone-2,, :path",
)
UPSTREAM: Final = b"HTTP/1.1 200 OK\r\nx-responded: up\r\ncontent-length: 2\r\n\r\nok"
SENT: Final = (
    "authorization: token",
    "x-a: A",
    "x-a: B",
    "x-append: old",
    "x-set: old",
    "x-gone: 1",
    "x-gone-2: 1",
    "cookie: c=d",
    "user-agent: ua",
)


def exact(*names: str) -> Json:
    return {"patterns": [{"exact": name, "ignore_case": True} for name in names]}


def manager(service: Json, **fields: Any) -> Json:
    uri = {
        "uri": "http://authz.test:80/ignored",
        "cluster": "authz",
        "timeout": "0.5s",
        **service.pop("uri", {}),
    }
    config = typed(
        "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        transport_api_version="V3",
        http_service={"server_uri": uri, **service},
        **fields,
    )
    return {"http_filters": [{"name": NAME, "typed_config": config}, ROUTER_FILTER]}


MANAGERS: Final[dict[str, Json]] = {
    "plain": manager({}),
    "chosen": manager(
        {
            "path_prefix": "/pre",
            "authorization_request": {
                "headers_to_add": [{"key": "x-added", "value": "v"}, {"key": "X-A", "value": "%REQ(:PATH)%"}]
            },
            "authorization_response": {
                "allowed_upstream_headers": exact("x-set", "X-New", "set-cookie", "host"),
                "allowed_upstream_headers_to_append": exact("x-append", "x-other"),
                "allowed_client_headers": exact("x-refused"),
                "allowed_client_headers_on_success": exact("x-responded", "set-cookie"),
                "dynamic_metadata_from_headers": exact("x-noted"),
            },
        }
    ),
    "some": manager({}, allowed_headers=exact("x-a", "user-agent"), disallowed_headers=exact("x-a")),
    "older": manager({"authorization_request": {"allowed_headers": exact("x-a", "cookie")}}),
    "open": manager({}, failure_mode_allow=True, failure_mode_allow_header_add=True),
    "strict": manager({}, status_on_error={"code": "ServiceUnavailable"}),
    "nowhere": manager({"uri": {"cluster": "nowhere"}}),
    "dead": manager({"uri": {"cluster": "dead"}}),
}


def answer(request: Message, _connection: OriginConnection) -> bytes | Answer:
    """The service, by the last part of the path: a status, or what goes wrong. And the host of the request."""
    if request.get("x-envoy-internal") != "true":
        return UPSTREAM
    wanted = request.target.partition("?")[0].rpartition("/")[2]
    if wanted == "slow":
        return Answer(delay=1.5)
    if wanted == "cut":
        return Answer(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort", "close")
    body = b"" if wanted == "204" or request.method == "HEAD" else b"told"
    status = wanted if wanted.isdigit() else "200"
    length = () if wanted == "204" else (f"content-length: {len(body)}",)
    return ("\r\n".join((f"HTTP/1.1 {status} Told", *TOLD, *length)) + "\r\n\r\n").encode() + body


pair = managers_fixture(
    MANAGERS,
    clusters=[cluster(), cluster("authz"), cluster("dead", 1)],
    origins=("origin", "authz"),
    log=LOG,
)


def stats(name: str) -> tuple[str, ...]:
    return tuple(f"http.{name}.ext_authz.{stat}" for stat in STATS)


@pytest.mark.parametrize("name", MANAGERS)
def test_what_is_asked_and_what_becomes_of_it(pair: Pair, name: str) -> None:
    cases = [
        (name, get(target, *SENT, method=method), answer)
        for method, target in (
            ("GET", "/200?q=1"),
            ("HEAD", "/200"),
            ("DELETE", "/a/201"),
            ("GET", "/204"),
            ("GET", "/302"),
            ("GET", "/401"),
            ("OPTIONS", "/403"),
            ("GET", "/500"),
            ("GET", "/503"),
            ("GET", "/599"),
            ("GET", "/cut"),
        )
    ]
    cases += [
        (name, post("/200", b"abc", *SENT), answer),
        (name, post("/403", b"abc"), answer),
        (name, get("/200"), answer),
    ]
    with pair.same_stats(*stats(name)):
        same_everywhere(pair, cases)


@pytest.mark.parametrize("name", ["plain", "open", "strict"])
def test_a_service_that_takes_too_long(pair: Pair, name: str) -> None:
    with pair.same_stats(*stats(name)):
        same_everywhere(pair, [(name, get("/slow"), answer)])
