"""The HTTP filter local_ratelimit: buckets, fields, routes and descriptors, with stats, flags and logs."""

from __future__ import annotations

import time
from typing import Any, Final

import pytest

from tests.support.client import Client
from tests.support.configs import ROUTER, TYPE, Json, cluster, route, typed
from tests.support.differential import Pair, Side
from tests.support.managers import LOG, get, managers_fixture, same_everywhere
from tests.support.origin import HELLO

LIMIT: Final = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
NAME: Final = "envoy.filters.http.local_ratelimit"
ROUTER_FILTER: Final = {"name": "router", "typed_config": typed(ROUTER)}
ALWAYS: Final = {"default_value": {"numerator": 100}}
GRPC: Final = get("/a.B/C", "content-type: application/grpc", "te: trailers", method="POST")
OFF: Final = {NAME: {"@type": f"{TYPE}envoy.config.route.v3.FilterConfig", "disabled": True}}


def tokens(most: int, interval: str = "3600s", per_fill: int = 1) -> Json:
    return {"max_tokens": most, "tokens_per_fill": per_fill, "fill_interval": interval}


def limit(prefix: str, **fields: Any) -> Json:
    """A config that is enabled and enforced; None leaves a field out."""
    given = {"filter_enabled": ALWAYS, "filter_enforced": ALWAYS, **fields}
    return typed(
        LIMIT, stat_prefix=prefix, **{key: value for key, value in given.items() if value is not None}
    )


def manager(name: str, **fields: Any) -> Json:
    return {"http_filters": [{"name": NAME, "typed_config": limit(name, **fields)}, ROUTER_FILTER]}


def with_limit(one: Json, prefix: str, **fields: Any) -> Json:
    return {**one, "typed_per_filter_config": {NAME: limit(prefix, **fields)}}


def added(*pairs: tuple[str, str], action: str = "APPEND_IF_EXISTS_OR_ADD") -> list[Json]:
    return [{"header": {"key": key, "value": value}, "append_action": action} for key, value in pairs]


#: The shape that Kuma generates for a MeshRateLimit.
KUMA: Final = {
    "token_bucket": tokens(1, "10s"),
    "status": {"code": "Locked"},
    "filter_enabled": {"runtime_key": "local_rate_limit_enabled", **ALWAYS},
    "filter_enforced": {"runtime_key": "local_rate_limit_enforced", **ALWAYS},
    "response_headers_to_add": [
        *added(("x-kuma-rate-limit-header", "test-value"), ("x-kuma-rate-limit", "other-value")),
        *added(("x-kuma-rate-limit-header-set", "test-value"), action="OVERWRITE_IF_EXISTS_OR_ADD"),
    ],
}
ROUTES: Final = [
    with_limit(route(prefix="/kuma"), "rate_limit", **KUMA),
    with_limit(route(prefix="/own"), "own", token_bucket=tokens(1)),
    with_limit(route(prefix="/idle"), "idle", token_bucket=tokens(1), filter_enabled=None),
    {
        **with_limit({"match": {"prefix": "/direct"}}, "direct", token_bucket=tokens(1)),
        "direct_response": {"status": 204},
    },
    {**route(prefix="/off"), "typed_per_filter_config": OFF},
    route(prefix="/"),
]
MANAGERS: Final[dict[str, Json]] = {
    "plain": manager("plain", token_bucket=tokens(2)),
    "unset": manager("unset"),
    "never": manager("never", token_bucket=tokens(1), filter_enabled=None),
    "shadow": manager(
        "shadow",
        token_bucket=tokens(1),
        filter_enforced=None,
        request_headers_to_add_when_not_enforced=added(("x-limited", "%REQ(:PATH)%")),
    ),
    "keys": manager(
        "keys",
        token_bucket=tokens(1),
        filter_enabled={"runtime_key": "my.enabled", "default_value": {"numerator": 0}},
        filter_enforced={"runtime_key": "my.enforced", "default_value": {"numerator": 100}},
    ),
    "status": manager(
        "status",
        token_bucket=tokens(1),
        status={"code": "ServiceUnavailable"},
        response_headers_to_add=added(("x-one", "%RESPONSE_CODE%"), ("x-one", "2"), ("content-type", "text/html")),
    ),
    "low": manager("low", token_bucket=tokens(1), status={"code": "Found"}),
    "exhausted": manager("exhausted", token_bucket=tokens(1), rate_limited_as_resource_exhausted=True),
    "connection": manager(
        "connection", token_bucket=tokens(1), local_rate_limit_per_downstream_connection=True
    ),
    "told": manager(
        "told", token_bucket=tokens(2, "60s"), enable_x_ratelimit_headers="DRAFT_VERSION_03"
    ),
    "often": manager(
        "often", token_bucket=tokens(2, "60s", 240), enable_x_ratelimit_headers="DRAFT_VERSION_03"
    ),
    "slow": manager("slow", token_bucket=tokens(1, "3s"), enable_x_ratelimit_headers="DRAFT_VERSION_03"),
    "plenty": manager("plenty", token_bucket=tokens(100), enable_x_ratelimit_headers="DRAFT_VERSION_03"),
    "mapped": {
        **manager("mapped", token_bucket=tokens(1)),
        "local_reply_config": {"body_format": {"text_format": "%LOCAL_REPLY_BODY% %RESPONSE_CODE_DETAILS%"}},
    },
    "routes": manager("routes", token_bucket=tokens(1)),
    "bare": {"http_filters": [{"name": NAME, "typed_config": typed(LIMIT, stat_prefix="bare")}, ROUTER_FILTER]},
}  # fmt: skip

pair = managers_fixture(
    MANAGERS,
    routes=ROUTES,
    clusters=[cluster()],
    log=LOG,
    layered_runtime={"layers": [{"name": "static", "static_layer": {"my.enabled": 100, "my.enforced": 0}}]},
)

THREE: Final = [get()] * 3
CASES: Final = {
    "plain": [*THREE, get(method="HEAD"), GRPC],
    "unset": THREE,
    "never": THREE,
    "shadow": THREE,
    "keys": THREE,
    "status": THREE,
    "low": THREE,
    "exhausted": [GRPC, GRPC, get()],
    "connection": THREE,
    "told": THREE,
    "often": THREE,
    "mapped": THREE,
    "bare": [
        get(path) for path in ("/kuma", "/kuma", "/own", "/own", "/idle", "/idle", "/direct", "/direct", "/")
    ],
    "routes": [
        get(path) for path in ("/kuma", "/own", "/direct", "/off", "/off", "/", "/", "/idle", "/idle", "/nowhere")
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_limits(pair: Pair, name: str) -> None:
    prefixes = (f"{name}.http_local", f"http.{name}.downstream_rq_")
    with pair.same_stats(*prefixes):
        same_everywhere(pair, [(name, request, HELLO) for request in CASES[name]])


def test_requests_of_one_connection_have_limits_of_their_own(pair: Pair) -> None:
    def run(side: Side) -> list[list[int]]:
        side.origins["origin"].script(HELLO)
        told = []
        for _ in range(2):
            with Client(side.proxy.ports["connection"], timeout=10.0) as client:
                told.append([client.request(get()).status for _ in range(2)])
        return told

    assert pair.same_value("statuses", run, settle=0) == [[200, 429], [200, 429]]


def test_a_client_is_told_how_long_until_the_next_token(pair: Pair) -> None:
    def run(side: Side) -> list[list[str]]:
        side.origins["origin"].script(HELLO)
        told = []
        with Client(side.proxy.ports["slow"], timeout=10.0) as client:
            for pause in (0.0, 1.5):
                time.sleep(pause)
                told.append(client.request(get()).response.all("x-ratelimit-reset"))
        return told

    assert pair.same_value("seconds", run, settle=0) == [["3"], ["2"]]


def test_requests_that_come_again_and_again_are_told_each_time(pair: Pair) -> None:
    """A request that was planned before goes upstream as it went the first time, with a request id of its own."""
    cases = [("plenty", request, HELLO) for request in (get("/?a"), get("/", "x-b: 1")) for _ in range(5)]
    outcomes = same_everywhere(pair, cases)
    ids = {message.get("x-request-id") for one in outcomes for message in one.all_requests}
    assert len(ids) == len(cases)
    left = [int(one.reply.response.get("x-ratelimit-remaining") or "") for one in outcomes]
    assert left == [left[0] - number for number in range(len(cases))]
