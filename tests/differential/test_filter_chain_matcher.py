"""`Listener.filter_chain_matcher`: matcher trees that name filter chains, as waypoints have them.

The chain that serves a connection names itself through the direct_response filter. A PROXY protocol header sets
the addresses, a ClientHello the server name and the application protocols.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest
from envoy.config.listener.v3 import listener_pb2

from tests.differential.test_filter_chain_match import ask, listener_filter, naming_chain
from tests.support.configs import Json, address, bootstrap, cluster, file_log, typed
from tests.support.differential import Pair, Side, same_verdict
from tests.support.envoy import Envoy
from tests.support.filter_chain_cases import Arrival
from tests.support.mesh import mesh_bootstrap, parsed
from tests.support.outrider import subject
from tests.support.proxy_process import ProxyProcess
from tests.support.xds_server import XdsServer

NETWORK: Final = "envoy.extensions.matching.common_inputs.network.v3"
SSL: Final = "envoy.extensions.matching.common_inputs.ssl.v3"
ECHO: Final = "envoy.extensions.filters.network.echo.v3.Echo"
IP: Final = "envoy.extensions.matching.input_matchers.ip.v3.Ip"
SHARE: Final = "envoy.extensions.matching.input_matchers.consistent_hashing.v3.ConsistentHashing"
STRING: Final = "google.protobuf.StringValue"


def to(chain: str, **fields: Any) -> Json:
    return {"action": {"name": "chain", "typed_config": typed(STRING, value=chain)}, **fields}


def an_input(name: str, **fields: Any) -> Json:
    type_name = name if "." in name else f"{NETWORK}.{name}"
    return {"name": "input", "typed_config": typed(type_name, **fields)}


def when(name: str, match: Json, **fields: Any) -> Json:
    return {"single_predicate": {"input": an_input(name, **fields), "value_match": match}}


def holds(name: str, matcher: Json) -> Json:
    return {
        "single_predicate": {
            "input": an_input(name),
            "custom_match": {"name": "custom", "typed_config": matcher},
        }
    }


def listed(*entries: tuple[Json, Json], otherwise: Json | None = None) -> Json:
    matchers = [{"predicate": predicate, "on_match": on_match} for predicate, on_match in entries]
    tree: Json = {"matcher_list": {"matchers": matchers}}
    return tree if otherwise is None else {**tree, "on_no_match": otherwise}


def looked_up(name: str, entries: dict[str, Json], kind: str = "exact_match_map", **fields: Any) -> Json:
    return {"matcher_tree": {"input": an_input(name), kind: {"map": entries}}, **fields}


def custom(name: str, matcher: Json, **fields: Any) -> Json:
    tree = {"input": an_input(name), "custom_match": {"name": "custom", "typed_config": matcher}}
    return {"matcher_tree": tree, **fields}


def ranges(*entries: tuple[str, int, Json], exclusive: bool = False) -> Json:
    matchers = [
        {
            "ranges": [{"address_prefix": prefix, "prefix_len": length}],
            "on_match": on_match,
            "exclusive": exclusive,
        }
        for prefix, length, on_match in entries
    ]
    return typed("xds.type.matcher.v3.IPMatcher", range_matchers=matchers)


def domains(*entries: tuple[str, Json]) -> Json:
    matchers = [{"domains": names.split(), "on_match": on_match} for names, on_match in entries]
    return typed("xds.type.matcher.v3.ServerNameMatcher", domain_matchers=matchers)


ANY: Final[Json] = {"safe_regex": {"google_re2": {}, "regex": ".*"}}
#: A matcher that finds nothing. With `keep_matching` Envoy 1.40 crashes at the first connection that gets there.
NOWHERE: Final[Json] = {"matcher": looked_up("DestinationPortInput", {"1": to("b")})}
#: As Istio writes them for a waypoint: by destination, then port, then what the client speaks.
WAYPOINT: Final = custom(
    "DestinationIPInput",
    ranges(
        ("10.0.0.1", 32, {"matcher": looked_up(
            "DestinationPortInput",
            {
                "8000": {"matcher": listed((when("ApplicationProtocolInput", {"contains": "'h2'"}), to("b")),
                                           otherwise=to("a"))},
                "8001": to("c"),
            },
        )}),
        ("10.0.0.0", 8, to("d")),
    ),
    on_no_match=to("a"),
)  # fmt: skip

TREES: Final[dict[str, Json]] = {
    "waypoint": WAYPOINT,
    "empty": {},
    "only_default": {"on_no_match": to("a")},
    "unknown_name": listed((when("DestinationPortInput", {"exact": "8000"}), to("none"))),
    "name_of_default": listed((when("DestinationPortInput", {"exact": "8000"}), to("default"))),
    "unset_name": listed((when("DestinationPortInput", {"exact": "8000"}), to(""))),
    "source": looked_up("SourceIPInput", {"192.0.2.7": to("a"), "2001:db8::7": to("b")}),
    "source_port": looked_up("SourcePortInput", {"40000": to("a"), "4": to("b")}),
    "source_port_prefix": looked_up(
        "SourcePortInput", {"4": to("a"), "40": to("b"), "400000": to("c")}, kind="prefix_match_map"
    ),
    "direct_source": looked_up("DirectSourceIPInput", {"127.0.0.1": to("a"), "127.0.0.2": to("b")}),
    "source_type": looked_up("SourceTypeInput", {"local": to("a"), "": to("b")}),
    "server_name": looked_up("ServerNameInput", {"a.com": to("a"), "A.com": to("b"), "": to("c")}),
    "transport": looked_up("TransportProtocolInput", {"tls": to("a"), "raw_buffer": to("b"), "": to("c")}),
    "protocols": looked_up("ApplicationProtocolInput", {"'h2'": to("a"), "'h2','http/1.1'": to("b")}),
    "no_protocols": listed(({"not_matcher": when("ApplicationProtocolInput", ANY)}, to("a"))),
    "state": listed((when("FilterStateInput", ANY, key="none"), to("a")), otherwise=to("b")),
    "namespace": listed((when("NetworkNamespaceInput", ANY), to("a")), otherwise=to("b")),
    "uri": listed((when(f"{SSL}.UriSanInput", ANY), to("a")), otherwise=to("b")),
    "not_uri": listed(
        ({"not_matcher": when(f"{SSL}.UriSanInput", ANY)}, to("a")),
        (when("DestinationPortInput", ANY), to("b")),
    ),
    "wider": custom("DestinationIPInput", ranges(("10.0.0.1", 32, NOWHERE), ("10.0.0.0", 8, to("c")))),
    "wider_domain": custom("ServerNameInput", domains(("a.com", NOWHERE), ("*.com", to("c")))),
    "exclusive": custom(
        "DestinationIPInput",
        ranges(("10.0.0.1", 32, NOWHERE), ("10.0.0.0", 8, to("c")), exclusive=True),
        on_no_match=to("d"),
    ),
    "nowhere": listed(
        (
            when("DestinationIPInput", {"prefix": "10."}),
            {"matcher": looked_up("DestinationPortInput", {"8001": to("b")})},
        ),
        (when("DestinationIPInput", {"prefix": "10.0."}), to("c")),
    ),
    "domains": custom(
        "ServerNameInput",
        domains(
            ("*", to("d")),
            ("*.com", to("c")),
            ("*.example.com *.com.uk", to("b")),
            ("www.example.com a.com A.org", to("a")),
        ),
    ),
    "domains_otherwise": custom("ServerNameInput", domains(("*.example.com", to("b"))), on_no_match=to("a")),
    "address_ranges": listed(
        (
            holds(
                "SourceIPInput",
                typed(IP, cidr_ranges=[{"address_prefix": "192.0.2.0", "prefix_len": 24}], stat_prefix="s"),
            ),
            to("a"),
        ),
        otherwise=to("b"),
    ),
    "share": listed(
        (holds("SourcePortInput", typed(SHARE, threshold=3, modulo=7)), to("a")),
        (holds("ServerNameInput", typed(SHARE, threshold=2, modulo=4, seed=2**63 + 1)), to("b")),
        (holds("DestinationIPInput", typed(SHARE, threshold=1, modulo=2, seed=9)), to("c")),
    ),
    "share_of_all": listed((holds("DestinationIPInput", typed(SHARE, modulo=1)), to("a"))),
    "share_of_none": listed((holds("DestinationIPInput", typed(SHARE, threshold=5, modulo=5)), to("a"))),
    "all": listed(
        (
            {
                "and_matcher": {
                    "predicate": [
                        when("DestinationPortInput", {"exact": "8001"}),
                        {
                            "or_matcher": {
                                "predicate": [
                                    when("ServerNameInput", {"suffix": ".com"}),
                                    when("SourceIPInput", {"prefix": "2001"}),
                                ]
                            }
                        },
                    ]
                }
            },
            to("a"),
        ),
    ),
}
ARRIVALS: Final = (
    Arrival(),
    Arrival(port=8001),
    Arrival(destination="10.9.9.9"),
    Arrival(destination="203.0.113.1"),
    Arrival(destination="2001:db8::1", source="2001:db8::7", port=8001),
    Arrival(destination="10.0.0.1", source="10.0.0.1"),
    Arrival(source="127.0.0.1"),
    Arrival(source_port=4, direct_source="127.0.0.2"),
    Arrival(sni="a.com"),
    Arrival(sni="A.com", alpn=("h2",)),
    Arrival(sni="A.org", alpn=("h2", "http/1.1")),
    Arrival(sni="www.example.com", port=8001),
    Arrival(sni="x.y.example.com"),
    Arrival(sni="example.com"),
    Arrival(sni="x.com.uk"),
    Arrival(sni=""),
)


def a_listener(name: str, tree: Json, *, default: bool = False) -> Json:
    chains = [naming_chain(one, {}) for one in "abcd"]
    made: Json = {
        "name": name,
        "stat_prefix": name,
        "address": address(f"{{{{{name}_port}}}}", "0.0.0.0"),
        "listener_filters": [
            listener_filter("proxy_protocol", "ProxyProtocol"),
            listener_filter("tls_inspector", "TlsInspector"),
        ],
        "access_log": [file_log("%FILTER_CHAIN_NAME% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%")],
        "filter_chains": chains,
        "filter_chain_matcher": tree,
    }
    return {**made, "default_filter_chain": naming_chain("default", {})} if default else made


LISTENERS: Final = {
    f"{name}{'_else' if default else ''}": a_listener(
        f"{name}{'_else' if default else ''}", tree, default=default
    )
    for name, tree in TREES.items()
    for default in (False, True)
}


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with Pair(bootstrap(list(LISTENERS.values())), origins=(), listeners=list(LISTENERS)) as started:
        yield started


@pytest.mark.parametrize("name", LISTENERS)
def test_the_same_chain_serves_a_connection(pair: Pair, name: str) -> None:
    def chosen(side: Side) -> list[str | None]:
        return [ask(side.proxy.ports[name], arrival) for arrival in ARRIVALS]

    before = pair.lines_logged()
    with pair.same_stats(f"listener.{name}.no_filter_chain_match"):
        pair.same_value(name, chosen, settle=0)
    pair.logged_since(before, len(ARRIVALS))
    pair.same_log(len(ARRIVALS))


def test_the_chains_of_a_waypoint(pair: Pair) -> None:
    def chosen(**fields: Any) -> str | None:
        return pair.same_value("chain", lambda side: ask(side.proxy.ports["waypoint"], Arrival(**fields)))

    assert chosen() == "a"
    assert chosen(sni="a.com", alpn=("h2",)) == "b"
    assert chosen(port=8001) == "c"
    assert chosen(port=9999) == "d"
    assert chosen(destination="203.0.113.1") == "a"


def validated(tree: Json, *chains: Json, **fields: Any) -> Json:
    made = {
        "name": "l",
        "address": address(1),
        "filter_chains": list(chains) or [naming_chain("a", {})],
        "filter_chain_matcher": tree,
        **fields,
    }
    return {"static_resources": {"listeners": [made]}}


PORT: Final = when("DestinationPortInput", {"exact": "1"})


@pytest.mark.parametrize(
    ("config", "accepted"),
    [
        (validated({}), True),
        (validated({"on_no_match": to("a")}), True),
        (validated({"on_no_match": to("none")}), True),
        (validated({"on_no_match": to("")}), True),
        (validated({"on_no_match": to("a", keep_matching=True)}), True),
        (validated({"on_no_match": {}}), False),
        (validated(listed((PORT, {}))), False),
        (validated(listed(({}, to("a")))), False),
        (validated({"matcher_list": {}}), False),
        (validated({"matcher_tree": {"input": an_input("SourceIPInput")}}), False),
        (validated(looked_up("SourceIPInput", {})), False),
        (validated(looked_up("SourceIPInput", {"x": {}})), False),
        (validated({"on_no_match": {"action": {"name": "a", "typed_config": typed(IP)}}}), False),
        (validated({}, naming_chain("", {})), False),
        (validated({}, naming_chain("a", {}), naming_chain("a", {})), False),
        (validated({}, naming_chain("a", {}), naming_chain("b", {})), True),
        (validated({}, naming_chain("a", {"server_names": ["w*"]})), True),
        (validated({}, naming_chain("a", {"address_suffix": "1"})), False),
        (validated({}, naming_chain("a", {}), default_filter_chain=naming_chain("", {})), True),
        (validated({}, naming_chain("a", {}), default_filter_chain=naming_chain("a", {})), True),
        (validated(custom("ServerNameInput", domains(("a.com", to("a"))))), True),
        (validated(custom("ServerNameInput", domains(("a.com a.com", to("a"))))), False),
        (validated(custom("ServerNameInput", domains(("*.", to("a"))))), False),
        (validated(custom("ServerNameInput", domains(("w*.a.com", to("a"))))), False),
        (validated(custom("ServerNameInput", domains(("*a.com", to("a"))))), False),
        (validated(custom("ServerNameInput", domains(("*.*.com", to("a"))))), False),
        (validated(custom("ServerNameInput", domains(("* a.com", to("a"))))), True),
        (validated(custom("ServerNameInput", domains(("", to("a"))))), False),
        (validated(custom("ServerNameInput", domains())), True),
        (validated(custom("SourceIPInput", ranges(("x", 3, to("a"))))), False),
        (validated(custom("SourceIPInput", typed(IP))), False),
        (validated(listed((holds("SourceIPInput", typed(SHARE, threshold=2, modulo=1)), to("a")))), False),
        (validated(listed((holds("SourceIPInput", typed(SHARE, threshold=1)), to("a")))), False),
        (validated(listed((holds("SourceIPInput", typed(SHARE)), to("a")))), False),
    ],
)
def test_both_take_the_same_trees(config: Json, accepted: bool) -> None:
    assert same_verdict(config)[0] == accepted


INPUTS: Final[dict[str, Json]] = {
    **{
        f"{NETWORK}.{name}": {}
        for name in (
            *("SourceIPInput", "SourcePortInput", "DirectSourceIPInput", "DestinationIPInput"),
            *("DestinationPortInput", "SourceTypeInput", "ServerNameInput", "TransportProtocolInput"),
            *("ApplicationProtocolInput", "NetworkNamespaceInput"),
        )
    },
    f"{NETWORK}.FilterStateInput": {"key": "k"},
    f"{NETWORK}.DynamicMetadataInput": {"filter": "f", "path": [{"key": "k"}]},
    **{f"{SSL}.{name}": {} for name in ("UriSanInput", "DnsSanInput", "SubjectInput")},
    "envoy.type.matcher.v3.HttpRequestHeaderMatchInput": {"header_name": "x"},
}


@pytest.mark.parametrize("name", INPUTS)
def test_both_know_the_same_inputs(name: str) -> None:
    same_verdict(validated(listed((when(name, {"exact": "a"}, **INPUTS[name]), to("a")))))


def test_datagrams_are_not_told_apart_by_patterns_of_names() -> None:
    route = typed("envoy.extensions.filters.udp.udp_proxy.v3.Route", cluster="origin")
    proxy = typed(
        "envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig",
        stat_prefix="udp",
        matcher=custom(
            "SourceIPInput", domains(("a.com", {"action": {"name": "route", "typed_config": route}}))
        ),
    )
    listener = {
        "name": "l",
        "address": {"socket_address": {"protocol": "UDP", "address": "127.0.0.1", "port_value": 1}},
        "listener_filters": [{"name": "udp_proxy", "typed_config": proxy}],
    }
    assert not same_verdict(bootstrap([listener], [cluster("origin", 1)]))[0]


def test_a_change_of_the_matcher_alone_leaves_connections_alone() -> None:
    def chain(name: str) -> Json:
        return {"name": name, "filters": [{"name": "echo", "typed_config": typed(ECHO)}]}

    def told(side_port: int, to_chain: str) -> Any:
        tree = {
            "name": "l",
            "address": address(side_port),
            "filter_chains": [chain("a"), naming_chain("b", {})],
            "filter_chain_matcher": {"on_no_match": to(to_chain)},
        }
        return parsed(listener_pb2.Listener(), tree)

    def story(kind: type[ProxyProcess]) -> Any:
        with XdsServer() as server, kind(mesh_bootstrap(server.port), listeners=["l"], wait=False) as proxy:
            port = proxy.ports["l"]

            def until(counter: str, value: int) -> None:
                name = f"listener_manager.{counter}"
                server.wait_for(lambda: proxy.stats(name).get(name) == value, what=counter)

            server.set(told(port, "a"))
            proxy.wait_ready(20)
            until("total_listeners_active", 1)
            with socket.create_connection(("127.0.0.1", port), 5) as held:
                held.sendall(b"before")
                seen = [held.recv(6)]
                server.set(told(port, "b"))
                until("listener_in_place_updated", 1)
                until("total_filter_chains_draining", 0)
                with socket.create_connection(("127.0.0.1", port), 5) as new:
                    seen.append(new.recv(6))
                held.sendall(b"after")
                return [*seen, held.recv(6), proxy.stats("listener_manager.total_listeners_draining")]

    with ThreadPoolExecutor(2) as pool:
        envoy, outrider = pool.map(story, (Envoy, subject()))
    assert outrider == envoy
    assert outrider[:3] == [b"before", b"b", b"after"]
