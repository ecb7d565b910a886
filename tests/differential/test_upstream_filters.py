"""HTTP filters of clusters, and the router's for clusters, beside Envoy."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.support.client import exchange
from tests.support.compare import diff_lists, diff_replies
from tests.support.configs import (
    HTTP_OPTIONS,
    ROUTER,
    Json,
    bootstrap,
    cluster,
    connection_manager,
    file_log,
    http_proxy,
    listener,
    route,
    typed,
    virtual_host,
)
from tests.support.differential import Pair, Side, pair_fixture, same_verdict
from tests.support.origin import Answer
from tests.support.stories import TRUST

FILTERS: Final = "envoy.extensions.filters.http."
MUTATION: Final = f"{FILTERS}header_mutation.v3.HeaderMutation"
CODEC: Final = {"name": "codec", "typed_config": typed(f"{FILTERS}upstream_codec.v3.UpstreamCodec")}
FAST: Final = {"base_interval": "0.001s", "max_interval": "0.002s"}
LOG: Final = (
    "%REQ(:PATH)% %REQ(x-up)% %RESP(x-seen)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS%"
)


def put(name: str, value: str, action: str = "OVERWRITE_IF_EXISTS_OR_ADD") -> Json:
    return {"append": {"header": {"key": name, "value": value}, "append_action": action}}


def both(*mutations: Json) -> Json:
    return {"request_mutations": list(mutations), "response_mutations": list(mutations)}


def mutation(name: str, mutations: Json, **fields: Any) -> Json:
    return {"name": name, "typed_config": typed(MUTATION, mutations=mutations, **fields)}


def own(name: str, *filters: Json, port: str = "origin", **fields: Any) -> Json:
    version = {"http_protocol_options": {}}
    options = typed(HTTP_OPTIONS, explicit_http_config=version, http_filters=list(filters), **fields)
    return cluster(name, f"{{{{{port}_port}}}}", typed_extension_protocol_options={HTTP_OPTIONS: options})


FACTS: Final = {
    "request_mutations": [
        put("x-up", "1"),
        put("x-host", "%UPSTREAM_HOST%"),
        put("x-attempt", "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"),
        put("x-cluster", "%UPSTREAM_CLUSTER%"),
        put("x-path", "%REQ(:PATH)%"),
        put("x-code", "%RESPONSE_CODE%"),
        {"remove": "x-secret"},
    ],
    "response_mutations": [
        put("x-seen", "1"),
        put("x-code", "%RESPONSE_CODE%"),
        put("x-attempt", "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"),
        put("x-host", "%UPSTREAM_HOST%"),
        {"remove": "x-gone"},
    ],
}
ADD: Final = "APPEND_IF_EXISTS_OR_ADD"
GROWS: Final = {
    "request_mutations": [put("x-tries", "v", ADD)],
    "response_mutations": [put("x-again", "1")],
}
CLUSTERS: Final = [
    cluster(),
    cluster("shadow"),
    own("facts", mutation("hm", FACTS), CODEC),
    own("grows", mutation("hm", GROWS), CODEC),
    own("two", mutation("a", both(put("x-a", "1"))), mutation("b", both(put("x-b", "2"))), CODEC),
    own("only-codec", CODEC),
    own("disabled", {**mutation("hm", both(put("x-d", "1"))), "disabled": True}, CODEC),
    own("copied", request_mirror_policies=[{"cluster": "copies"}]),
    own("copies", mutation("hm", FACTS), CODEC, port="shadow"),
    own(
        "last-wins", mutation("hm", both(put("x-l", "own")), most_specific_header_mutations_wins=True), CODEC
    ),
    own("dead", mutation("hm", FACTS), CODEC, port="dead"),
]
RETRIES: Final = {
    "retry_on": "retriable-headers",
    "retriable_headers": [{"name": "x-again", "present_match": True}],
    "retry_back_off": FAST,
}


def per_route(mutations: Json) -> Json:
    return {"typed_per_filter_config": {"hm": typed(f"{MUTATION}PerRoute", mutations=mutations)}}


OFF: Final = {"typed_per_filter_config": {"hm": typed("envoy.config.route.v3.FilterConfig", disabled=True)}}
OF_ROUTE: Final = per_route(both(put("x-route", "1"), put("x-l", "route")))
#: Path → route.
ROUTES: Final[dict[str, Json]] = {
    "/facts": route("facts"),
    "/retried": route("grows", retry_policy={**RETRIES, "num_retries": 3}),
    "/once-more": route("grows", retry_policy=RETRIES),
    "/two": route("two"),
    "/plain": route(),
    "/only-codec": route("only-codec"),
    "/disabled": route("disabled"),
    "/copied": route("copied"),
    "/dead": route("dead"),
    "/of-route": {**route("facts"), **OF_ROUTE},
    "/enabled": {**route("disabled"), **OF_ROUTE},
    "/off": {**route("facts"), **OFF},
    "/plain-of-route": {**route(), **OF_ROUTE},
    "/last-wins": {**route("last-wins"), **OF_ROUTE},
    "/mirrored": route(request_mirror_policies=[{"cluster": "copies"}]),
    "/mirrored-of-route": {**route(request_mirror_policies=[{"cluster": "copies"}]), **OF_ROUTE},
    "/timed": route("facts", timeout="0.3s"),
}


def manager(*filters: Json) -> Json:
    host = virtual_host(
        [{**one, "match": {"path": path}} for path, one in ROUTES.items()],
        include_request_attempt_count=True,
        **per_route(both(put("x-of-host", "1"), put("x-l", "host"))),
    )
    router = typed(ROUTER, upstream_http_filters=list(filters))
    return connection_manager(
        {"name": "local", "virtual_hosts": [host]},
        access_log=[file_log(LOG)],
        http_filters=[{"name": "envoy.filters.http.router", "typed_config": router}],
        **TRUST,
    )


pair = pair_fixture(
    bootstrap(
        [
            listener([manager()], "plain"),
            listener([manager(mutation("hm", both(put("x-router", "1"))), CODEC)], "filtering"),
        ],
        CLUSTERS,
    ),
    origins=("origin", "shadow"),
    listeners=("plain", "filtering"),
    values={"dead_port": 1},
)
OK: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\nx-gone: 1\r\nx-keep: 1\r\n\r\nx"
COPIED: Final = frozenset({"/copied", "/mirrored", "/mirrored-of-route"})
#: They name the origins' ports, or depend on the clock.
IGNORED: Final = [
    *(f"upstream.{name}[{at}].field.x-host" for name in ("origin", "shadow") for at in range(4)),
    *(f"upstream.origin[{at}].field.x-envoy-expected-rq-timeout-ms" for at in range(1, 4)),
    *(f"upstream.{name}.field.x-host" for name in ("origin", "shadow")),
    "response.field.x-host",
]


@pytest.mark.parametrize("where", ["plain", "filtering"])
@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("times", [1, 3], ids=["once", "again"])
def test_filters(pair: Pair, where: str, path: str, times: int) -> None:
    sent = f"GET {path} HTTP/1.1\r\nhost: a.test\r\nx-secret: s\r\n\r\n".encode()
    late = Answer(OK, delay=0.7)

    def run(side: Side) -> Any:
        for _ in range(times):
            for name, origin in side.origins.items():
                origin.script(late if path == "/timed" and name == "origin" else OK)
            reply = exchange(side.proxy.ports[where], sent, timeout=5.0)
            if path in COPIED:
                side.origins["shadow"].wait_for_requests(1)
        return reply, {name: origin.requests for name, origin in side.origins.items()}

    envoy, outrider = pair.both(run)
    differences = diff_replies(envoy[0], outrider[0])
    for name in ("origin", "shadow"):
        differences += diff_lists(f"upstream.{name}", envoy[1][name], outrider[1][name])
    pair.check(differences, ignore=IGNORED)
    pair.same_log()


def chain(*filters: Json, of_router: bool) -> Json:
    if not of_router:
        return http_proxy(clusters=[own("origin", *filters)])
    router = typed(ROUTER, upstream_http_filters=list(filters))
    return http_proxy(hcm={"http_filters": [{"name": "router", "typed_config": router}]})


ONE: Final = mutation("hm", both(put("x-a", "1")))
CHAINS: Final[dict[str, list[Json]]] = {
    "none": [],
    "without a codec": [ONE],
    "with the codec first": [CODEC, ONE],
    "with two codecs": [CODEC, CODEC],
    "with a router": [{"name": "router", "typed_config": typed(ROUTER)}, CODEC],
    "with what is for clients": [
        {"name": "cors", "typed_config": typed(f"{FILTERS}cors.v3.Cors")},
        CODEC,
    ],
    "with what is not there": [
        {**ONE, "typed_config": typed(f"{FILTERS}local_ratelimit.v3.LocalRateLimit", stat_prefix="x")},
        CODEC,
    ],
    "with a path": [mutation("hm", {"request_mutations": [put(":path", "/other")]}), CODEC],
}


@pytest.mark.parametrize("of_router", [True, False], ids=["router", "cluster"])
@pytest.mark.parametrize("title", CHAINS)
def test_chains_that_may_be(title: str, of_router: bool) -> None:
    same_verdict(chain(*CHAINS[title], of_router=of_router), {"origin_port": 1, "listener_port": 2})
