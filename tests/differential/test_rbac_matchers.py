"""The rbac filters with matcher trees, as Kuma and Envoy Gateway write them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.support.certs import Authority
from tests.support.configs import Json, address, bootstrap, cluster, file_log, route, typed
from tests.support.differential import Pair, Side, same_verdict
from tests.support.managers import Case, get, managers_fixture, post, same_everywhere
from tests.support.origin import HELLO
from tests.support.rbac import LOGGED, count, manager, of_route, policy, rbac, rules, validated
from tests.support.tls_managers import CLIENTS, encrypted_managers, same_for_client

ACTION: Final = "envoy.config.rbac.v3.Action"
NETWORK: Final = "envoy.extensions.matching.common_inputs.network.v3"
SSL: Final = "envoy.extensions.matching.common_inputs.ssl.v3"
HEADER: Final = "envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
IP: Final = "envoy.extensions.matching.input_matchers.ip.v3.Ip"
METADATA: Final = "envoy.extensions.matching.input_matchers.metadata.v3.Metadata"
NETWORK_FILTERS: Final = "envoy.extensions.filters.network."


def act(name: str, action: str = "ALLOW") -> Json:
    return {"action": {"name": "action", "typed_config": typed(ACTION, name=name, action=action)}}


def an_input(type_name: str, **fields: Any) -> Json:
    return {"name": "input", "typed_config": typed(type_name, **fields)}


def when(type_name: str, match: Json, **fields: Any) -> Json:
    return {"single_predicate": {"input": an_input(type_name, **fields), "value_match": match}}


def custom(type_name: str, matcher: Json, **fields: Any) -> Json:
    match = {"name": "matcher", "typed_config": matcher}
    return {"single_predicate": {"input": an_input(type_name, **fields), "custom_match": match}}


def header(name: str, **match: Any) -> Json:
    return when(HEADER, match, header_name=name)


def ranges(type_name: str, *prefixes: str, **fields: Any) -> Json:
    cidrs = [{"address_prefix": one, "prefix_len": 32} for one in prefixes]
    return custom(type_name, typed(IP, cidr_ranges=cidrs, stat_prefix="client_ip"), **fields)


def told(match: Json, *keys: str, invert: bool = False) -> Json:
    path = [{"key": key} for key in keys]
    matcher = typed(METADATA, value=match, invert=invert)
    return custom(f"{NETWORK}.DynamicMetadataInput", matcher, filter="envoy.filters.http.rbac", path=path)


def listed(*entries: tuple[Json, Json], otherwise: Json | None = None) -> Json:
    tree: Json = {
        "matcher_list": {
            "matchers": [{"predicate": predicate, "on_match": on_match} for predicate, on_match in entries]
        }
    }
    return tree if otherwise is None else {**tree, "on_no_match": otherwise}


DENIED: Final = act("default", "DENY")
GATEWAY: Final = listed(
    (header(":method", exact="get", ignore_case=True), act("readers")),
    (
        {"and_matcher": {"predicate": [
            {"or_matcher": {"predicate": [header(":method", exact="POST"), header(":method", exact="DELETE")]}},
            ranges(f"{NETWORK}.SourceIPInput", "127.0.0.1", "10.1.2.3"),
            {"not_matcher": header(":path", prefix="/private")},
        ]}},
        act("writers"),
    ),
    otherwise=DENIED,
)  # fmt: skip
SHADOWS: Final = rbac(shadow_rules=rules(known=policy()), rules=rules("LOG", logged=policy()))


def by_header(**match: Any) -> Json:
    return manager(rbac(matcher=listed((header("x-a", **match), act("matched")))))


def by_input(name: str, **match: Any) -> Json:
    return manager(
        rbac(matcher=listed((when(name, match), act("matched")), otherwise=act("other", "DENY"))),
        use_remote_address=True,
        xff_num_trusted_hops=1,
    )


MANAGERS: Final[dict[str, Json]] = {
    "gateway": manager(rbac(matcher=GATEWAY, track_per_rule_stats=True)),
    "only_default": manager(rbac(matcher={"on_no_match": DENIED})),
    "empty": manager(rbac(matcher={})),
    "both": manager(
        rbac(
            matcher=listed((header("x-a", exact="a"), act("of the matcher"))),
            rules=rules(of_rules=policy()),
            shadow_matcher=listed((header("x-a", exact="b"), act("of the shadow"))),
            shadow_rules=rules(of_shadow=policy()),
            shadow_rules_stat_prefix="sh_",
            track_per_rule_stats=True,
        )
    ),
    "log": manager(
        rbac(
            matcher=listed(
                (header("x-a", exact="a"), act("logged", "LOG")),
                (header("x-a", exact="b"), act("allowed")),
                (header("x-a", exact="c"), act("denied", "DENY")),
            )
        )
    ),
    "shadow_log": manager(rbac(shadow_matcher=listed((header("x-a", exact="a"), act("logged", "LOG"))))),
    "nested": manager(
        rbac(
            matcher=listed(
                (
                    header("x-a", prefix="a"),
                    {"matcher": listed((header("x-a", suffix="z"), act("inner", "DENY")))},
                ),
                (header("x-a", contains="a"), act("outer")),
            )
        )
    ),
    "exact": manager(
        rbac(
            matcher={
                "matcher_tree": {
                    "input": an_input(HEADER, header_name="x-a"),
                    "exact_match_map": {"map": {"a": act("a"), "b": act("b", "DENY")}},
                },
                "on_no_match": act("none"),
            }
        )
    ),
    "prefix": manager(
        rbac(
            matcher={
                "matcher_tree": {
                    "input": an_input(HEADER, header_name=":path"),
                    "prefix_match_map": {"map": {"/a": act("a"), "/a/b": act("b", "DENY")}},
                }
            }
        )
    ),
    "told": manager(
        SHADOWS,
        rbac(
            matcher=listed(
                (told({"string_match": {"exact": "known"}}, "shadow_effective_policy_id"), act("told"))
            )
        ),
    ),
    "untold": manager(
        SHADOWS, rbac(matcher=listed((told({"present_match": True}, "none", invert=True), act("untold"))))
    ),
    "told_nothing": manager(rbac(matcher=listed((told({"present_match": True}, "x"), act("told"))))),
    "told_text": manager(
        SHADOWS,
        rbac(
            matcher=listed(
                (
                    when(
                        f"{NETWORK}.DynamicMetadataInput",
                        {"exact": "known"},
                        filter="envoy.filters.http.rbac",
                        path=[{"key": "shadow_effective_policy_id"}],
                    ),
                    act("text", "DENY"),
                ),
                otherwise=act("other"),
            )
        ),
    ),
    "value_of_header": manager(
        rbac(
            matcher=listed(
                (
                    custom(HEADER, typed(METADATA, value={"present_match": True}), header_name=":path"),
                    act("value", "DENY"),
                ),
                (
                    custom(
                        HEADER, typed(METADATA, value={"null_match": {}}, invert=True), header_name=":path"
                    ),
                    act("inverted", "DENY"),
                ),
                otherwise=act("other"),
            )
        )
    ),
    "header_exact": by_header(exact="a"),
    "header_joined": by_header(exact="a,b"),
    "header_regex": by_header(safe_regex={"google_re2": {}, "regex": "[ab]"}),
    "header_contains": by_header(contains=","),
    "header_ip": manager(rbac(matcher=listed((ranges(HEADER, "10.1.2.3", header_name="x-a"), act("ip"))))),
    "host": manager(rbac(matcher=listed((header("Host", prefix="example"), act("host"))))),
    "authority": manager(rbac(matcher=listed((header(":authority", prefix="example"), act("authority"))))),
    "source": by_input(f"{NETWORK}.SourceIPInput", exact="10.1.2.3"),
    "source_any": by_input(f"{NETWORK}.SourceIPInput", safe_regex={"google_re2": {}, "regex": "[0-9.]+"}),
    "source_port": by_input(f"{NETWORK}.SourcePortInput", exact="0"),
    "direct": by_input(f"{NETWORK}.DirectSourceIPInput", exact="127.0.0.1"),
    "destination": by_input(f"{NETWORK}.DestinationIPInput", exact="127.0.0.1"),
    "destination_port": by_input(
        f"{NETWORK}.DestinationPortInput", safe_regex={"google_re2": {}, "regex": "[0-9]{4,5}"}
    ),
    "sni": by_input(f"{NETWORK}.ServerNameInput", safe_regex={"google_re2": {}, "regex": ".*"}),
    "uri": by_input(f"{SSL}.UriSanInput", safe_regex={"google_re2": {}, "regex": ".*"}),
    "not_uri": manager(
        rbac(matcher=listed(({"not_matcher": when(f"{SSL}.UriSanInput", {"prefix": "spiffe"})}, act("not"))))
    ),
    "routes": manager(rbac(), rbac(matcher={"on_no_match": act("all")})),
}
ROUTES: Final = [
    {
        **route(prefix="/routed"),
        **of_route(rbac={"matcher": listed((header("x-a", exact="a"), act("routed")))}),
    },
    route(prefix="/"),
]
pair = managers_fixture(MANAGERS, routes=ROUTES, log=LOGGED)

LINES: Final[tuple[tuple[str, ...], ...]] = (
    (),
    ("x-a: a",),
    ("x-a: b",),
    ("x-a: c",),
    ("x-a:",),
    ("x-a: az",),
    ("x-a: ba",),
    ("x-a: a", "x-a: b"),
    ("x-a: 10.1.2.3",),
)
BY_HEADER: Final = (
    *("both", "log", "shadow_log", "nested", "exact", "header_exact", "header_joined", "header_regex"),
    *("header_contains", "header_ip", "routes"),
)


@pytest.mark.parametrize("name", BY_HEADER)
def test_trees_of_headers(pair: Pair, name: str) -> None:
    cases: list[Case] = [(name, get("/routed", *lines), HELLO) for lines in LINES]
    cases += [(name, get("/", *lines), HELLO) for lines in LINES]
    with pair.same_stats(count(name)):
        same_everywhere(pair, cases)


@pytest.mark.parametrize("name", [name for name in MANAGERS if name not in BY_HEADER])
def test_what_trees_decide(pair: Pair, name: str) -> None:
    sent = [
        get("/"),
        get("/a"),
        get("/a/b/c"),
        post("/", b"body"),
        post("/private", b"body", "x-forwarded-for: 10.1.2.3"),
        get("/", "x-forwarded-for: 10.1.2.3", method="DELETE"),
        get("/", method="PUT"),
        get("/", "x-forwarded-for: ::1"),
        get("/", host="other"),
    ]
    with pair.same_stats(count(name)):
        same_everywhere(pair, [(name, one, HELLO) for one in sent])


# -- certificates, and the network filter

NAMES: Final[dict[str, Json]] = {
    "uri": when(f"{SSL}.UriSanInput", {"exact": "spiffe://cluster.local/ns/foo/sa/good"}),
    "uris": when(
        f"{SSL}.UriSanInput", {"exact": "spiffe://cluster.local/ns/foo/sa/good,spiffe://second/one"}
    ),
    "uri_prefix": when(f"{SSL}.UriSanInput", {"prefix": "spiffe://cluster.local/"}),
    "dns": when(f"{SSL}.DnsSanInput", {"exact": "client.test"}),
    "subject": when(f"{SSL}.SubjectInput", {"suffix": "/sa/good"}),
    "subject_any": when(f"{SSL}.SubjectInput", {"safe_regex": {"google_re2": {}, "regex": ".*"}}),
    "not_uri": {"not_matcher": when(f"{SSL}.UriSanInput", {"prefix": "spiffe://"})},
    "sni": when(f"{NETWORK}.ServerNameInput", {"exact": "server.test"}),
}
TLS_MANAGERS: Final = {
    name: manager(rbac(matcher=listed((one, act("matched")), otherwise=DENIED)))
    for name, one in NAMES.items()
}


def echo(name: str, matcher: Json, **fields: Any) -> Json:
    filters = [
        {
            "name": "rbac",
            "typed_config": typed(
                f"{NETWORK_FILTERS}rbac.v3.RBAC", stat_prefix=f"{name}.", matcher=matcher, **fields
            ),
        },
        {"name": "echo", "typed_config": typed(f"{NETWORK_FILTERS}echo.v3.Echo")},
    ]
    log = (
        "%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "
        "%DYNAMIC_METADATA(envoy.filters.network.rbac)% %DYNAMIC_METADATA(envoy.common)%"
    )
    return {
        "name": name,
        "stat_prefix": name,
        "address": address(f"{{{{{name}_port}}}}"),
        "access_log": [file_log(log)],
        "filter_chains": [{"filters": filters}],
    }


PLAIN: Final[dict[str, Json]] = {
    "n_source": listed(
        (when(f"{NETWORK}.SourceIPInput", {"prefix": "127."}), act("from here")), otherwise=DENIED
    ),
    "n_range": listed((ranges(f"{NETWORK}.SourceIPInput", "127.0.0.1"), act("range", "LOG"))),
    "n_denied": listed((ranges(f"{NETWORK}.DestinationIPInput", "127.0.0.1"), act("to  here", "DENY"))),
    "n_empty": {},
    "n_uri": listed((NAMES["uri_prefix"], act("uri")), otherwise=DENIED),
    "n_not_uri": listed((NAMES["not_uri"], act("no uri")), otherwise=DENIED),
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="module")
def encrypted(authority: Authority) -> Iterator[Pair]:
    with encrypted_managers(TLS_MANAGERS, authority, log=LOGGED) as started:
        yield started


@pytest.mark.parametrize("client", CLIENTS)
def test_whom_a_certificate_names(encrypted: Pair, authority: Authority, client: str) -> None:
    same_for_client(encrypted, authority, client, {name: count(name) for name in TLS_MANAGERS})


@pytest.fixture(scope="module")
def network() -> Iterator[Pair]:
    listeners = [echo(name, matcher) for name, matcher in PLAIN.items()]
    shadow = {"shadow_matcher": PLAIN["n_denied"], "shadow_rules_stat_prefix": "sh"}
    listeners.append(echo("n_shadow", PLAIN["n_source"], **shadow))
    with Pair(bootstrap(listeners), origins=(), listeners=[*PLAIN, "n_shadow"]) as started:
        yield started


@pytest.mark.parametrize("name", [*PLAIN, "n_shadow"])
def test_connections(network: Pair, name: str) -> None:
    def reply(side: Side) -> bytes:
        with socket.create_connection(("127.0.0.1", side.proxy.ports[name]), 5) as client:
            client.sendall(b"hi")
            return client.recv(10)

    before = network.lines_logged()
    with network.same_stats(f"{name}.rbac."):
        network.same_value(name, reply, settle=0)
    network.logged_since(before, 1)
    network.same_log()


INPUTS: Final = {
    **{
        f"{NETWORK}.{name}": fields
        for name, fields in {
            "SourceIPInput": {}, "SourcePortInput": {}, "DirectSourceIPInput": {}, "DestinationIPInput": {},
            "DestinationPortInput": {}, "ServerNameInput": {}, "SourceTypeInput": {},
            "FilterStateInput": {"key": "k"},
            "DynamicMetadataInput": {"filter": "f", "path": [{"key": "k"}]},
        }.items()
    },
    **{f"{SSL}.{name}": {} for name in ("UriSanInput", "DnsSanInput", "SubjectInput")},
    HEADER: {"header_name": "x"},
    "envoy.type.matcher.v3.HttpResponseHeaderMatchInput": {"header_name": "x"},
    "envoy.type.matcher.v3.HttpRequestQueryParamMatchInput": {"query_param": "x"},
}  # fmt: skip


@pytest.mark.parametrize("type_name", INPUTS)
def test_both_know_the_same_inputs(type_name: str) -> None:
    tree = listed((when(type_name, {"exact": "a"}, **INPUTS[type_name]), act("p")))
    same_verdict(validated(rbac(matcher=tree)), {"origin_port": 1})
    one = echo("l", tree)
    one["address"] = address(1)
    config = bootstrap([one], [cluster("origin", 1)])
    same_verdict(config)


@pytest.mark.parametrize(
    ("tree", "accepted"),
    [
        ({}, True),
        (listed((header("x", exact="a"), {"action": {"name": "a", "typed_config": typed(ACTION)}})), False),
        (listed((header("x", exact="a"), {"action": {"name": "a", "typed_config": typed(HEADER)}})), False),
        (listed((header("x", exact="a"), {})), False),
        (listed((header("", exact="a"), act("p"))), True),
        ({"matcher_list": {}}, False),
        (listed((told({"present_match": True}), act("p"))), False),
        (
            listed(
                (custom(HEADER, typed(METADATA, value={"present_match": True}), header_name="x"), act("p"))
            ),
            True,
        ),
        (listed((ranges(HEADER, "10.1.1.1", header_name="x"), act("p"))), True),
        (listed((ranges(HEADER, "nonsense", header_name="x"), act("p"))), False),
    ],
)
def test_both_refuse_the_same_trees(tree: Json, accepted: bool) -> None:
    assert same_verdict(validated(rbac(matcher=tree)), {"origin_port": 1})[0] is accepted
