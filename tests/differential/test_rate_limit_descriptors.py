"""What requests are counted as: the actions of rate limits, by the bucket that local_ratelimit tells of."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.differential.test_local_ratelimit import ALWAYS, LIMIT, NAME, ROUTER_FILTER, tokens
from tests.support.client import Client
from tests.support.configs import Json, cluster, route, typed, virtual_host
from tests.support.differential import Pair, Side
from tests.support.managers import get, managers_fixture
from tests.support.origin import HELLO

#: The default bucket, which no descriptor has.
DEFAULT: Final = 1000


def limit(**fields: Any) -> Json:
    return typed(
        LIMIT,
        **{
            "stat_prefix": "x",
            "filter_enabled": ALWAYS,
            "filter_enforced": ALWAYS,
            "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
            "token_bucket": tokens(DEFAULT),
            "always_consume_default_token_bucket": False,
            **fields,
        },
    )


def descriptor(most: int, *entries: tuple[str, str], interval: str = "3600s") -> Json:
    return {
        "entries": [{"key": key, "value": value} for key, value in entries],
        "token_bucket": tokens(most, interval),
    }


def counted(prefix: str, action: Any, *descriptors: Json, **fields: Any) -> Json:
    """A route whose own limits have one rate limit, with these actions."""
    actions = action if isinstance(action, list) else [action]
    own = {"rate_limits": [{"actions": actions}], "descriptors": list(descriptors), **fields}
    return {**route(prefix=prefix), "typed_per_filter_config": {NAME: limit(**own)}}


def routed(prefix: str, limits: list[Json], *, includes: bool = False, **fields: Any) -> Json:
    """A route with rate limits of its own and a filter config for it."""
    one = route(prefix=prefix, rate_limits=limits, **({"include_vh_rate_limits": True} if includes else {}))
    return {**one, "typed_per_filter_config": {NAME: limit(descriptors=OF_ROUTES, **fields)}}


def generic(value: str, **fields: Any) -> Json:
    return {"actions": [{"generic_key": {"descriptor_value": value}}], **fields}


OF_ROUTES: Final = [
    descriptor(11, ("generic_key", "host")),
    descriptor(12, ("generic_key", "route"), interval="7200s"),
    descriptor(13, ("generic_key", "staged")),
    descriptor(14, ("generic_key", "disabled")),
]
ANY_HEADER: Final = {"request_headers": {"header_name": "x-a", "descriptor_key": "a"}}
SKIP_HEADER: Final = {
    "request_headers": {"header_name": "x-b", "descriptor_key": "b", "skip_if_absent": True}
}
METADATA_KEY: Final = {"key": "ns", "path": [{"key": "deep"}, {"key": "name"}]}
ROUTES: Final = [
    counted("/source", {"source_cluster": {}}, descriptor(5, ("source_cluster", ""))),
    counted("/destination", {"destination_cluster": {}}, descriptor(5, ("destination_cluster", "origin"))),
    counted("/header", ANY_HEADER, descriptor(5, ("a", "1")), descriptor(6, ("a", ""))),
    counted(
        "/path",
        {"request_headers": {"header_name": ":path", "descriptor_key": "p"}},
        descriptor(5, ("p", "")),
    ),
    counted(
        "/skip",
        [ANY_HEADER, SKIP_HEADER],
        descriptor(5, ("a", ""), ("b", "")),
        descriptor(6, ("a", "")),
        descriptor(7, ("b", ""), ("a", "")),
    ),
    counted(
        "/query",
        {"query_parameters": {"query_parameter_name": "q", "descriptor_key": "q"}},
        descriptor(5, ("q", "a b")),
        descriptor(6, ("q", "")),
    ),
    counted(
        "/optional",
        [
            {
                "query_parameters": {
                    "query_parameter_name": "q",
                    "descriptor_key": "q",
                    "skip_if_absent": True,
                }
            },
            {"generic_key": {"descriptor_value": "g", "descriptor_key": "k"}},
        ],
        descriptor(5, ("q", ""), ("k", "g")),
        descriptor(6, ("k", "g")),
    ),
    counted(
        "/matched-query",
        {
            "query_parameter_value_match": {
                "descriptor_value": "v",
                "query_parameters": [
                    {"name": "q", "string_match": {"prefix": "a"}},
                    {"name": "r", "present_match": True},
                ],
            }
        },
        descriptor(5, ("query_match", "v")),
    ),
    counted(
        "/unmatched-query",
        {
            "query_parameter_value_match": {
                "descriptor_key": "k",
                "descriptor_value": "v",
                "expect_match": False,
                "query_parameters": [{"name": "q", "string_match": {"exact": "a"}}],
            }
        },
        descriptor(5, ("k", "v")),
    ),
    counted(
        "/remote",
        {"remote_address": {}},
        descriptor(5, ("remote_address", "127.0.0.1")),
        descriptor(6, ("remote_address", "")),
    ),
    counted(
        "/masked",
        {"masked_remote_address": {"v4_prefix_mask_len": 12, "v6_prefix_mask_len": 32}},
        descriptor(5, ("masked_remote_address", "127.0.0.0/12")),
        descriptor(6, ("masked_remote_address", "2001:db8::/32")),
        descriptor(7, ("masked_remote_address", "")),
    ),
    counted(
        "/whole", {"masked_remote_address": {}}, descriptor(5, ("masked_remote_address", "127.0.0.1/32"))
    ),
    counted(
        "/generic",
        {"generic_key": {"descriptor_value": "%REQ(x-a)%"}},
        descriptor(5, ("generic_key", "%REQ(x-a)%")),
        descriptor(6, ("generic_key", "")),
    ),
    counted(
        "/matched-header",
        {
            "header_value_match": {
                "descriptor_value": "v",
                "headers": [{"name": "x-a", "string_match": {"exact": "1"}}, {"name": "x-b"}],
            }
        },
        descriptor(5, ("header_match", "v")),
    ),
    counted(
        "/unmatched-header",
        {
            "header_value_match": {
                "descriptor_value": "v",
                "descriptor_key": "k",
                "expect_match": False,
                "headers": [{"name": ":path", "string_match": {"suffix": "r"}}],
            }
        },
        descriptor(5, ("k", "v")),
    ),
    {
        **counted(
            "/metadata",
            {"metadata": {"descriptor_key": "m", "metadata_key": METADATA_KEY, "source": "ROUTE_ENTRY"}},
            descriptor(5, ("m", "n")),
        ),
        "metadata": {"filter_metadata": {"ns": {"deep": {"name": "n"}}}},
    },
    {
        **counted(
            "/number",
            {
                "metadata": {
                    "descriptor_key": "m",
                    "metadata_key": METADATA_KEY,
                    "source": "ROUTE_ENTRY",
                    "default_value": "d",
                }
            },
            descriptor(5, ("m", "d")),
        ),
        "metadata": {"filter_metadata": {"ns": {"deep": {"name": 1}}}},
    },
    counted(
        "/dynamic",
        {"metadata": {"descriptor_key": "m", "metadata_key": METADATA_KEY}},
        descriptor(5, ("m", "")),
    ),
    counted(
        "/nothing",
        [
            {"metadata": {"descriptor_key": "m", "metadata_key": METADATA_KEY, "skip_if_absent": True}},
            {"generic_key": {"descriptor_value": "g"}},
        ],
        descriptor(5, ("generic_key", "g")),
    ),
    counted(
        "/few",
        ANY_HEADER,
        descriptor(1, ("a", "")),
        max_dynamic_descriptors=2,
        enable_x_ratelimit_headers="OFF",
    ),
    counted(
        "/hits",
        None,
        descriptor(5, ("generic_key", "g")),
        rate_limits=[generic("g", hits_addend={"number": 2})],
    ),
    counted(
        "/no-hits",
        None,
        descriptor(5, ("generic_key", "g")),
        rate_limits=[generic("g", hits_addend={"number": 0})],
    ),
    counted(
        "/computed",
        None,
        descriptor(50, ("generic_key", "g")),
        rate_limits=[generic("g", hits_addend={"format": "%REQ(x-hits)%"})],
    ),
    counted(
        "/consumed",
        {"generic_key": {"descriptor_value": "g"}},
        descriptor(5, ("generic_key", "g")),
        always_consume_default_token_bucket=True,
        token_bucket=tokens(2),
    ),
    counted(
        "/both",
        None,
        descriptor(5, ("generic_key", "slow"), interval="7200s"),
        descriptor(6, ("generic_key", "fast")),
        rate_limits=[generic("fast"), generic("slow")],
    ),
    counted("/none", {"generic_key": {"descriptor_value": "g"}}, descriptor(0, ("generic_key", "g"))),
    counted("/never", ANY_HEADER, descriptor(5, ("a", "")), token_bucket=tokens(0)),
    routed("/host", []),
    routed("/own", [generic("route")]),
    routed("/including", [generic("route")], includes=True),
    routed("/filter-includes", [generic("route")], vh_rate_limits="INCLUDE"),
    routed("/ignoring", [], vh_rate_limits="IGNORE"),
    routed("/stage", [generic("route"), generic("staged", stage=3)], stage=3),
    routed("/disabled", [generic("disabled", disable_key="ratelimit.off"), generic("route")]),
    routed("/addend", [generic("route", hits_addend={"number": 3})]),
    {
        "match": {"prefix": "/direct"},
        "direct_response": {"status": 204},
        "typed_per_filter_config": {NAME: limit(descriptors=OF_ROUTES)},
    },
    route(prefix="/"),
]
FILTERS: Final = [
    {"name": NAME, "typed_config": typed(LIMIT, stat_prefix="http_local_rate_limiter")},
    ROUTER_FILTER,
]
HOST: Final = virtual_host(ROUTES, rate_limits=[generic("host")])

MUTATION: Final = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"
#: Another filter has seen the request before.
BEHIND: Final = {
    "name": "mutation",
    "typed_config": typed(
        MUTATION,
        mutations={"request_mutations": [{"append": {"header": {"key": "x-a", "value": "%REQ(x-z)%"}}}]},
    ),
}
pair = managers_fixture(
    {
        "told": {"http_filters": FILTERS, "use_remote_address": False},
        "behind": {"http_filters": [BEHIND, *FILTERS]},
        "before": {"http_filters": [FILTERS[0], BEHIND, ROUTER_FILTER]},
    },
    route_config={"virtual_hosts": [HOST]},
    clusters=[cluster()],
)


def x(**fields: str) -> tuple[str, ...]:
    return tuple(f"x-{name.replace('_', '-')}: {value}" for name, value in fields.items())


CASES: Final[dict[str, list[bytes]]] = {
    "source": [get("/source")] * 2,
    "destination": [get("/destination")],
    "header": [get("/header"), *(get("/header", *x(a=a)) for a in ("1", "2", "2", "3", "", "1"))],
    "header of a filter before": [get("/header", "x-z: 1"), get("/header", "x-z: 2"), *[get("/few", "x-z: 1")] * 2],
    "header of a filter behind": [get("/header", "x-z: 1"), get("/header", "x-a: 2"), *[get("/few", "x-a: 1")] * 2],
    "first of several": [get("/header", "x-a: 1", "x-a: 7"), get("/header", "x-a: 7", "x-a: 1")],
    "pseudo header": [get("/path?1"), get("/path?2"), get("/path?1")],
    "skipped header": [
        get("/skip"),
        get("/skip", *x(a="1")),
        get("/skip", *x(b="1")),
        get("/skip", *x(a="1", b="1")),
    ],
    "query": [get(f"/query{q}") for q in ("", "?q", "?q=", "?q=a%20b", "?q=a+b", "?%71=z", "?q=z&q=a", "?q=%zz")],
    "optional query": [get("/optional"), get("/optional?q=1")],
    "matched query": [get(f"/matched-query{q}") for q in ("", "?q=ab", "?q=ab&r", "?q=%61b&r=1", "?q=b&r")],
    "unmatched query": [get(f"/unmatched-query{q}") for q in ("", "?q=a", "?q=b")],
    "remote": [get("/remote"), get("/remote", "x-forwarded-for: 1.2.3.4"), get("/remote", "x-forwarded-for: ::1")],
    "masked": [
        get("/masked", *(() if not ip else (f"x-forwarded-for: {ip}",)))
        for ip in ("", "127.15.255.255", "127.16.0.0", "2001:db8:1::1", "2001:db9::1", "2001:db9:1::1")
    ],
    "whole": [get("/whole"), get("/whole", "x-forwarded-for: 1.2.3.4")],
    "generic": [get("/generic", *x(a="1")), get("/generic", *x(a="2"))],
    "matched header": [get("/matched-header", *one) for one in ((), x(a="1"), x(a="1", b="2"), x(a="2", b="2"))],
    "unmatched header": [get("/unmatched-header"), get("/unmatched-header?x")],
    "metadata": [get("/metadata"), get("/number"), get("/dynamic"), get("/nothing")],
    "few": [get("/few", *x(a=a)) for a in ("1", "2", "2", "1", "3", "2", "1", "3")],
    "hits": [get("/hits")] * 3,
    "no hits": [get("/no-hits")] * 2,
    "computed": [
        get("/computed", *(() if hits is None else x(hits=hits)))
        for hits in (None, "3", "2.9", "-1", "zzz", "1e1", "", "2000000000", "inf", " 4", "0")
    ],
    "consumed": [get("/consumed")] * 3,
    "both": [get("/both")] * 6,
    "none": [get("/none")] * 2,
    "never": [get("/never"), get("/never", *x(a="1"))],
    "host": [get("/host")] * 2,
    "own": [get("/own")] * 2,
    "including": [get("/including")] * 2,
    "filter includes": [get("/filter-includes")] * 2,
    "ignoring": [get("/ignoring")],
    "stage": [get("/stage")],
    "disabled": [get("/disabled")],
    "addend": [get("/addend")] * 2,
    "direct": [get("/direct")],
}  # fmt: skip


@pytest.mark.parametrize("title", CASES)
def test_a_request_draws_from_the_bucket_of_what_it_is_counted_as(pair: Pair, title: str) -> None:
    def run(side: Side) -> list[tuple[int, list[str], list[str], list[str]]]:
        side.origins["origin"].script(HELLO)
        told = []
        port = "behind" if "before" in title else "before" if "behind" in title else "told"
        with Client(side.proxy.ports[port], timeout=10.0) as client:
            for request in CASES[title]:
                response = client.request(request).response
                told.append(
                    (
                        response.status,
                        response.all("x-ratelimit-limit"),
                        response.all("x-ratelimit-remaining"),
                        response.all("x-ratelimit-reset") if title == "none" else [],
                    )
                )
        return told

    pair.same_value(title, run, settle=0)
