"""What routes do to a request and its response, beyond choosing a cluster; and what is counted and logged."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.support.compare import Difference, diff_lists, diff_replies
from tests.support.configs import ROUTER, TYPE, Json, address, cluster, typed
from tests.support.differential import Outcome, Pair, Side
from tests.support.managers import LOG, Case, get, logging_apart, managers_fixture, post, same_everywhere
from tests.support.origin import HELLO, Script

LEVELS = ("ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS")


def added(name: str, value: str, action: str = "APPEND_IF_EXISTS_OR_ADD") -> Json:
    return {"header": {"key": name, "value": value}, "append_action": action}


def of_level(name: str, *more: Json) -> Json:
    """Operations that show where they stand."""
    operations = [
        added(f"x-only-{name}", name),
        added("x-all", name),
        *(added(f"x-{action.lower().replace('_', '-')}", name, action) for action in LEVELS),
        *more,
    ]
    removed = [f"x-remove-{name}"]
    return {
        "request_headers_to_add": operations,
        "response_headers_to_add": operations,
        "request_headers_to_remove": removed,
        "response_headers_to_remove": removed,
    }


FACTS = (
    "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% %PROTOCOL% %REQ(:METHOD)% "
    "%REQ(X-A?X-B)% %ROUTE_NAME% %VIRTUAL_CLUSTER_NAME% %UPSTREAM_CLUSTER% %START_TIME(%Y)% %BYTES_RECEIVED% %%"
)
WEIGHTED: Json = {
    "weighted_clusters": {
        "clusters": [
            {"name": "origin", "weight": 1, "host_rewrite_literal": "weighted.host", **of_level("weighted")}
        ]
    }
}


def forward(path: str, action: Mapping[str, Any], **fields: Any) -> Json:
    return {
        "name": path.strip("/"),
        "match": {"prefix": path},
        "route": {"cluster": "origin", **action},
        **fields,
    }


def pattern(regex: str, substitution: str) -> Json:
    return {"pattern": {"regex": regex}, "substitution": substitution}


def cookie(name: str, **fields: Any) -> Json:
    return {"cluster": "other", "hash_policy": [{"cookie": {"name": name, **fields}}]}


def mirrored(*policies: Json) -> Json:
    return {"request_mirror_policies": list(policies)}


ROUTES = [
    forward("/levels", {}, **of_level("route", added("x-facts", FACTS))),
    {"name": "weighted", "match": {"prefix": "/weighted"}, "route": WEIGHTED, **of_level("route")},
    forward("/prefix/", {"prefix_rewrite": "/"}),
    forward("/with_query", {"prefix_rewrite": "/q?x=1"}),
    forward("/regex", {"regex_rewrite": pattern("/regex/(.*)", "/x/\\1/y")}),
    forward("/literal", {"host_rewrite_literal": "literal.host"}),
    forward("/forwarded", {"host_rewrite_literal": "literal.host", "append_x_forwarded_host": True}),
    forward("/header", {"host_rewrite_header": "x-host"}),
    forward("/path_host", {"host_rewrite_path_regex": pattern("^/path_host/([^/]*).*", "\\1.com")}),
    forward("/auto", {"cluster": "named", "auto_host_rewrite": True, "append_x_forwarded_host": True}),
    forward("/mirror", mirrored({"cluster": "shadow"})),
    forward(
        "/as_is",
        mirrored({"cluster": "shadow", "disable_shadow_host_suffix_append": True}, {"cluster": "empty"}),
    ),
    forward("/by_header", mirrored({"cluster_header": "x-shadow"})),
    forward(
        "/never", mirrored({"cluster": "shadow", "runtime_fraction": {"default_value": {"numerator": 0}}})
    ),
    forward("/counted", {}, stat_prefix="counted"),
    forward("/cookie", cookie("s", ttl="60s", path="/p")),
    forward("/session", cookie("s", ttl="0s", attributes=[{"name": "SameSite", "value": "Lax"}])),
    forward("/no_cookie", cookie("s")),
    forward(
        "/redirected",
        {
            "internal_redirect_policy": {
                "max_internal_redirects": 2,
                "redirect_response_codes": [302, 303, 307],
                "response_headers_to_copy": ["x-copy"],
            }
        },
    ),
    forward("/any_scheme", {"internal_redirect_policy": {"allow_cross_scheme_redirect": True}}),
    forward("/dead", {"cluster": "dead"}),
    forward("/empty", {"cluster": "empty"}),
    forward("/", {}),
]
VIRTUAL_HOST: Json = {
    "name": "host",
    "domains": ["*"],
    "routes": ROUTES,
    **of_level("host"),
    "virtual_clusters": [
        {
            "name": "gets",
            "headers": [
                {"name": ":path", "string_match": {"prefix": "/levels"}},
                {"name": ":method", "string_match": {"exact": "GET"}},
            ],
        },
        {"name": "counted", "headers": [{"name": ":path", "string_match": {"prefix": "/counted"}}]},
    ],
}
ATTEMPTS: Json = {
    **VIRTUAL_HOST,
    "include_request_attempt_count": True,
    "include_attempt_count_in_response": True,
}


def table(virtual_host: Json = VIRTUAL_HOST, **fields: Any) -> Json:
    return {"route_config": {"name": "table", "virtual_hosts": [virtual_host], **of_level("table"), **fields}}


def router(**fields: Any) -> Json:
    return {"http_filters": [{"name": "router", "typed_config": typed(ROUTER, **fields)}]}


CHECKED = [
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-max-retries",
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
]
INTERNAL: Json = {
    "use_remote_address": True,
    "internal_address_config": {"cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]},
}
EARLY = f"{TYPE}envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
MANAGERS: dict[str, Json] = {
    "plain": table(),
    "internal": {**table(), **INTERNAL},
    "reverse": table(most_specific_header_mutations_wins=True),
    "attempts": table(ATTEMPTS),
    "suppressed": {**table(ATTEMPTS), **router(suppress_envoy_headers=True)},
    "expected": {**table(), **INTERNAL, **router(respect_expected_rq_timeout=True)},
    "strict": {**table(), **INTERNAL, **router(strict_check_headers=CHECKED)},
    "scheme": {**table(), "scheme_header_transformation": {"scheme_to_overwrite": "https"}},
    "early": {
        **table(),
        "early_header_mutation_extensions": [
            {
                "name": "early",
                "typed_config": {
                    "@type": EARLY,
                    "mutations": [
                        {"append": {"header": {"key": "x-early", "value": "%REQ(X-A)% %PROTOCOL%"}}},
                        {"remove": "x-b"},
                    ],
                },
            }
        ],
    },
    "trailers": {**table(), "http_protocol_options": {"enable_trailers": True}},
}
NAMED: Json = {
    "name": "named",
    "type": "STRICT_DNS",
    "dns_lookup_family": "V4_ONLY",
    "connect_timeout": "2s",
    "load_assignment": {
        "cluster_name": "named",
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address("{{origin_port}}", "localhost")}}]}],
    },
}
CLUSTERS = [
    cluster(),
    cluster("shadow"),
    cluster("other", "{{origin_port}}", lb_policy="RANDOM"),
    cluster("dead", 1),
    {"name": "empty", "type": "STATIC", "load_assignment": {"cluster_name": "empty"}},
    NAMED,
]

pair = managers_fixture(
    MANAGERS,
    clusters=CLUSTERS,
    origins=("origin", "shadow"),
    log=f"{LOG} %VIRTUAL_CLUSTER_NAME% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %UPSTREAM_PROTOCOL% %REQ(:AUTHORITY)%",
)

MARKED = [
    *(f"X-Remove-{level}: 1" for level in ("weighted", "route", "host", "table")),
    *(f"X-{action.replace('_', '-')}: mine" for action in LEVELS),
    "X-All: mine",
    "X-A: a",
]
MARKED_ANSWER = "\r\n".join(["HTTP/1.1 200 OK", "content-length: 2", *MARKED, "", "ok"]).encode()


@pytest.mark.parametrize("manager", ["plain", "reverse", "attempts", "suppressed"])
@pytest.mark.parametrize("path", ["/levels", "/weighted", "/counted", "/", "/dead", "/empty"])
def test_header_operations_of_all_levels(pair: Pair, manager: str, path: str) -> None:
    # Repeated, because what is made of a head is kept.
    cases: list[Case] = [
        (manager, get(path, *fields), answer)
        for fields in ([], MARKED)
        for answer in (HELLO, MARKED_ANSWER)
        for _ in range(3)
    ]
    same_everywhere(pair, cases)


@pytest.mark.parametrize("host", ["example.com", "example.com:8080"])
def test_rewrites(pair: Pair, host: str) -> None:
    paths = """
        /prefix/abc?x /prefix/ /with_query/z?w=2 /with_queryz /regex/a/b?c /regex /literal /forwarded /header
        /path_host/foo/x?y /path_host /auto
    """
    cases: list[Case] = [
        (manager, get(path, *fields, host=host), HELLO)
        for manager in ("internal", "suppressed")
        for path in paths.split()
        for fields in (
            [],
            ["X-Host: header.host", "X-Forwarded-Host: a.b", "X-Envoy-Original-Path: /o", "X-Host: second"],
        )
    ]
    same_everywhere(pair, cases)


@pytest.mark.parametrize("path", ["/cookie", "/session", "/no_cookie"])
def test_hash_cookies(pair: Pair, path: str) -> None:
    def shape(side: Side) -> object:
        seen = []
        for fields in ([], ["Cookie: s=abc"], ['Cookie: x=y; s="q"']):
            done = side.run(get(path, *fields), HELLO, "plain", {})
            given = done.reply.response.all("set-cookie")
            seen.append([(value.partition("=")[0], len(value), value.partition(";")[2]) for value in given])
        return seen

    with logging_apart(pair, 3):
        pair.same_value("set-cookie", shape, settle=0)


REQUESTS = {
    "get": get("/mirror"),
    "port": get("/mirror", host="example.com:80"),
    "body": post("/mirror", b"abc"),
    "chunked": b"POST /mirror HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "large": post("/as_is", b"x" * 100_000),
    "as_is": get("/as_is"),
    "header": get("/by_header", "X-Shadow: shadow"),
    "unknown": get("/by_header", "X-Shadow: nonesuch"),
    "none": get("/by_header"),
    "never": get("/never"),
}


@pytest.mark.parametrize("manager", ["plain", "internal"])
@pytest.mark.parametrize("kind", REQUESTS)
def test_mirrored_requests(pair: Pair, manager: str, kind: str) -> None:
    def run(side: Side) -> Outcome:
        done = side.run(REQUESTS[kind], HELLO, manager, {})
        deadline = time.monotonic() + 1
        while kind not in ("unknown", "none", "never") and time.monotonic() < deadline:
            if side.origins["shadow"].requests:
                break
            time.sleep(0.005)
        done.upstream = {name: origin.requests for name, origin in side.origins.items()}
        return done

    with pair.same_stats("cluster.shadow.upstream_rq_", "cluster.shadow.internal.", "cluster.empty."):
        envoy, outrider = pair.both(run)
        differences = diff_replies(envoy.reply, outrider.reply)
        for name in envoy.upstream:
            differences += diff_lists(f"upstream.{name}", envoy.upstream[name], outrider.upstream[name])
        pair.check(differences)


def redirects(*locations: str, status: int = 302) -> list[bytes]:
    heads = [
        f"HTTP/1.1 {status} F\r\nlocation: {location}\r\nx-copy: c\r\ncontent-length: 0\r\n\r\n"
        for location in locations
    ]
    return [*(head.encode() for head in heads), HELLO]


LOCATIONS = [
    "http://example.com/ok",
    "http://example.com:81/ok?z",
    "/relative",
    "https://example.com/",
    "http://elsewhere",
    "http://example.com/a b",
    "http:///x",
    "ftp://x/",
    "http://example.com/redirected/again#fragment",
    "HTTP://example.com/upper",
    "http://user@example.com/x",
]
NAMES = [
    "passthrough_internal_redirect_" + name for name in ("bad_location", "unsafe_scheme", "no_route")
] + [
    "passthrough_internal_redirect_too_many_redirects",
    "downstream_rq_total",
]


def follow(pair: Pair, request: bytes, script: Script, rounds: int, *, ignore: Sequence[str] = ()) -> None:
    """Compare replies, all requests and as many access log lines."""
    before = pair.lines_logged()
    names = [f"http.internal.{name}" for name in NAMES]
    names += [f"cluster.origin.upstream_internal_redirect_{what}_total" for what in ("failed", "succeeded")]
    with pair.same_stats(*names, "vhost.host.vcluster.", "cluster.origin.internal."):
        envoy, outrider = pair.run(request, script, listener="internal")
        differences = diff_replies(envoy.reply, outrider.reply)
        differences += diff_lists("upstream", envoy.all_requests, outrider.all_requests)
        assert len(envoy.all_requests) == rounds
        logs = pair.logged_since(before, rounds)
        if logs[0] != logs[1]:
            differences.append(Difference("access_log", *logs))
        pair.check(differences, ignore=ignore)


@pytest.mark.parametrize("location", LOCATIONS)
def test_internal_redirects(pair: Pair, location: str) -> None:
    passed_on = location in ("/relative", "http://example.com/a b", "http:///x") or location[:4] in (
        "http",
        "ftp:",
    )
    refused = location in (
        "/relative",
        "https://example.com/",
        "http://example.com/a b",
        "http:///x",
        "ftp://x/",
    )
    assert passed_on or location.startswith("HTTP")
    follow(pair, get("/redirected"), redirects(location), 1 if refused else 2)


@pytest.mark.parametrize("status", [301, 302, 303, 307])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_statuses_of_internal_redirects(pair: Pair, status: int, method: str) -> None:
    request = post("/redirected", b"body") if method == "POST" else get("/redirected", method=method)
    rounds = 1 if status == 301 else 2
    # Envoy counts a body that it sends again as received again.
    ignore = ["access_log"] if method == "POST" and status in (302, 307) else []
    follow(pair, request, redirects("http://e/x", status=status), rounds, ignore=ignore)


def test_chains_of_internal_redirects(pair: Pair) -> None:
    locations = [f"http://example.com/redirected/{number}" for number in range(3)]
    follow(pair, get("/redirected"), redirects(*locations), 3)
    follow(pair, get("/any_scheme"), redirects("https://e/x"), 2)
    follow(pair, get("/any_scheme"), redirects("http://e/x", "http://e/y"), 2)
    follow(pair, get("/redirected", "X-Request-Id: abc", "X-Copy: old"), redirects("http://e/x"), 2)


NUMBERS = ["-1", "0", "", "+9000", "50000", "1.5", "18446744073709551615", "18446744073709551616", "9" * 5000]
VALUES = {
    **dict.fromkeys(CHECKED[:3], NUMBERS),
    CHECKED[3]: ["5xx", "5xx, reset", "reset-before-request", "5XX", "", "5xx,,reset", ",", "bogus,5xx"],
    CHECKED[4]: ["cancelled,internal", "unavailable", "aborted", ""],
}


@pytest.mark.parametrize("name", CHECKED)
def test_strictly_checked_fields(pair: Pair, name: str) -> None:
    def status(side: Side) -> list[tuple[int, bytes]]:
        replies = [
            side.run(get("/", f"{name}: {value}"), HELLO, "strict", {}).reply for value in VALUES[name]
        ]
        return [(reply.status, reply.response.body) for reply in replies]

    with logging_apart(pair, len(VALUES[name])):
        pair.same_value("status", status, settle=0)


@pytest.mark.parametrize("value", ["2500", "x", "-1", ""])
def test_expected_timeouts_that_are_respected(pair: Pair, value: str) -> None:
    expected, wanted = f"X-Envoy-Expected-Rq-Timeout-Ms: {value}", "X-Envoy-Upstream-Rq-Timeout-Ms: 3000"
    same_everywhere(
        pair, [(manager, get("/", expected, wanted), HELLO) for manager in ("expected", "internal", "plain")]
    )


UNTRUSTED = [*CHECKED[:3], "x-envoy-upstream-stream-duration-ms"]
LONG = [
    "9" * 12,
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "9" * 400,
    "0" * 5000 + "9",
]


@pytest.mark.parametrize("name", UNTRUSTED)
def test_numbers_of_any_length(pair: Pair, name: str) -> None:
    same_everywhere(pair, [("internal", get("/", f"{name}: {value}"), HELLO) for value in LONG])


@pytest.mark.parametrize("manager", ["scheme", "early"])
def test_what_is_changed_before_routing(pair: Pair, manager: str) -> None:
    same_everywhere(pair, [(manager, get("/levels", "X-A: a", "X-B: b"), HELLO)] * 3)


@pytest.mark.parametrize("manager", ["plain", "trailers"])
def test_trailers(pair: Pair, manager: str) -> None:
    chunks = b"3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n"
    head = b"Host: a\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nTrailer: x-t\r\n\r\n"
    answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-t\r\n\r\n"
    cases: list[Case] = [
        (manager, b"POST / HTTP/1.1\r\n" + head + chunks, answer + chunks),
        (manager, get(), answer + chunks),
        (manager, b"POST / HTTP/1.1\r\n" + head + chunks, HELLO),
    ]
    same_everywhere(pair, cases)


@pytest.mark.parametrize("manager", ["plain", "internal"])
@pytest.mark.parametrize("path", ["/levels", "/counted", "/", "/dead", "/empty"])
def test_responses_are_counted_by_virtual_cluster_route_and_origin(
    pair: Pair, manager: str, path: str
) -> None:
    names = [
        "vhost.host.",
        *(f"cluster.{name}.{who}." for name in ("origin", "dead", "empty") for who in WHO),
    ]
    with pair.same_stats(*names):
        same_everywhere(pair, [(manager, get(path), HELLO)] * 3)


WHO = ("internal", "external")


def test_an_alternative_name_for_the_stats(pair: Pair) -> None:
    with pair.same_stats("cluster.origin.alt."):
        field = "X-Envoy-Upstream-Alt-Stat-Name: alt"
        same_everywhere(pair, [("internal", get("/", field), HELLO), ("plain", get("/", field), HELLO)])
