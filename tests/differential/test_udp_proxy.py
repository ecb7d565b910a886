"""The UDP proxy of real Envoy and ours: datagrams, sessions, routes, failures, statistics, access logs."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.configs import Json, bootstrap, cluster, file_log, typed
from tests.support.differential import Pair, Side, same_verdict
from tests.support.udp import UdpClient, UdpOrigin, echo, udp_address

PACKAGE = "envoy.extensions.filters.udp.udp_proxy.v3"
INPUTS = "envoy.extensions.matching.common_inputs.network.v3"
SESSION = "udp.proxy.session"
LOG = (
    f"%DYNAMIC_METADATA({SESSION})% %DYNAMIC_METADATA({SESSION}:datagrams_sent)% %BYTES_RECEIVED% %BYTES_SENT% "
    "%UPSTREAM_HOST% %UPSTREAM_CLUSTER% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% "
    "%DOWNSTREAM_LOCAL_ADDRESS% %RESPONSE_FLAGS% %ACCESS_LOG_TYPE% %PROTOCOL% %UPSTREAM_WIRE_BYTES_SENT% "
    "%CONNECTION_TERMINATION_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%"
)


def to(name: str) -> Json:
    return {"action": {"name": "route", "typed_config": typed(f"{PACKAGE}.Route", cluster=name)}}


def reads(kind: str) -> Json:
    return {"name": "input", "typed_config": typed(f"{INPUTS}.{kind}")}


def by_predicates() -> Json:
    """From 127.0.0.2 to `second`; from 127.0.0.3 to nowhere; else to `origin`."""

    def source(ip: str) -> Json:
        return {"single_predicate": {"input": reads("SourceIPInput"), "value_match": {"exact": ip}}}

    three = {"or_matcher": {"predicate": [source("127.0.0.2"), source("127.0.0.3")]}}
    not_three = {"not_matcher": source("127.0.0.3")}
    both = {"and_matcher": {"predicate": [three, not_three]}}
    return {
        "matcher_list": {
            "matchers": [
                {"predicate": both, "on_match": to("second")},
                {"predicate": not_three, "on_match": to("origin")},
            ]
        }
    }


def by_range() -> Json:
    ranges = [
        {"ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}], "on_match": to("origin")},
        {"ranges": [{"address_prefix": "127.0.0.2", "prefix_len": 32}], "on_match": to("second")},
    ]
    custom = {"name": "ip", "typed_config": typed("xds.type.matcher.v3.IPMatcher", range_matchers=ranges)}
    return {"matcher_tree": {"input": reads("SourceIPInput"), "custom_match": custom}}


def by_prefix() -> Json:
    prefixes = {"127.": to("origin"), "127.0.0.2": to("second")}
    return {"matcher_tree": {"input": reads("SourceIPInput"), "prefix_match_map": {"map": prefixes}}}


PROXIES: dict[str, Json] = {
    "plain": {},
    "idle": {"idle_timeout": "1s"},
    "logged": {"idle_timeout": "1s", "access_log": [file_log(LOG)]},
    "flushed": {
        "idle_timeout": "1.2s",
        "access_log": [file_log(LOG)],
        "access_log_options": {"access_log_flush_interval": "0.8s"},
    },
    "per_packet": {"cluster": "both", "use_per_packet_load_balancing": True},
    "sticky": {"cluster": "both"},
    "hashed": {"cluster": "both", "hash_policies": [{"source_ip": True}]},
    "keyed": {"cluster": "both", "hash_policies": [{"key": "k"}]},
    "predicates": {"matcher": by_predicates()},
    "range": {"matcher": by_range()},
    "prefix": {"matcher": by_prefix()},
    "unknown": {"cluster": "nowhere"},
    "full": {"cluster": "full", "idle_timeout": "1s", "access_log": [file_log(LOG)]},
    "dead": {"cluster": "dead"},
    "empty": {"cluster": "empty"},
    "sick": {"cluster": "sick"},
    "chatty": {"cluster": "talkative"},
    "large": {},
    "small_answers": {"upstream_socket_config": {"max_rx_datagram_size": 100, "prefer_gro": False}},
    "many_addresses": {},
    "both_families": {"matcher": by_prefix(), "idle_timeout": "1s", "access_log": [file_log(LOG)]},
}


def listener(name: str, **fields: Any) -> Json:
    config: Json = {"stat_prefix": name, **fields}
    if "matcher" not in fields:
        config.setdefault("cluster", "origin")
    made: Json = {
        "name": name,
        "stat_prefix": name,
        "address": udp_address(
            f"{{{{{name}_port}}}}", "0.0.0.0" if name == "many_addresses" else "127.0.0.1"
        ),
        "listener_filters": [
            {
                "name": "envoy.filters.udp_listener.udp_proxy",
                "typed_config": typed(f"{PACKAGE}.UdpProxyConfig", **config),
            }
        ],
    }
    if name == "both_families":
        made["address"] = udp_address("{{both_families_port}}", "::")
        made["address"]["socket_address"]["ipv4_compat"] = True
    if name == "large":
        made["udp_listener_config"] = {"downstream_socket_config": {"max_rx_datagram_size": 9000}}
    return made


def sick() -> Json:
    """A host that is known to be unhealthy, and one that is not."""
    made = cluster("sick", "{{deaf_port}}", "{{origin_port}}")
    made["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["health_status"] = "UNHEALTHY"
    return made


def config() -> Json:
    full = {"circuit_breakers": {"thresholds": [{"max_connections": 1}]}}
    return bootstrap(
        [listener(name, **fields) for name, fields in PROXIES.items()],
        [
            cluster("origin"),
            cluster("second"),
            cluster("talkative"),
            cluster("both", "{{origin_port}}", "{{second_port}}"),
            cluster("full", "{{origin_port}}", **full),
            cluster("dead", "{{deaf_port}}"),
            {"name": "empty", "type": "STATIC", "connect_timeout": "1s"},
            sick(),
        ],
    )


def talk(data: bytes) -> list[bytes]:
    """As many answers as the first byte says, of as many bytes as the rest says."""
    return [bytes(int(data[1:]))] * int(data[:1])


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    origins: Any = {
        "origin": UdpOrigin,
        "second": lambda: UdpOrigin(lambda data: (data.upper(),)),
        "talkative": lambda: UdpOrigin(talk),
    }
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.connect(("127.0.0.1", 9))  # nobody else gets the port, and what others send there is refused
        values = {"deaf_port": deaf.getsockname()[1]}
        with Pair(config(), origins=origins, listeners=tuple(PROXIES), values=values) as started:
            yield started


def client_of(side: Side, name: str, **options: Any) -> UdpClient:
    return UdpClient(side.proxy.ports[name], **options)


def same(pair: Pair, name: str, play: Callable[[UdpClient], Any], *clusters: str, **options: Any) -> Any:
    """`play` with a client of both proxies: same outcome, same statistics."""

    def run(side: Side) -> Any:
        with client_of(side, name, **options) as client:
            return play(client)

    groups = [f"udp.{name}.", f"listener.{name}."]
    for one in clusters or ("origin",):
        groups += [f"cluster.{one}.udp.", f"cluster.{one}.upstream_cx_"]
    with pair.same_stats(*groups):
        envoy, outrider = pair.both(run)
        assert outrider == envoy
    return outrider


def mask(line: str) -> str:
    return re.sub(r"127\.0\.0\.1:\d+", "ADDRESS", line)


def test_datagrams_both_ways(pair: Pair) -> None:
    def play(client: UdpClient) -> Any:
        return [client.ask(data) for data in (b"one", b"two", b"", b"x" * 1500)]

    assert same(pair, "plain", play) == [b"one", b"two", b"", b"x" * 1500]


def test_what_is_larger_than_the_limit_is_dropped_and_counted(pair: Pair) -> None:
    def play(client: UdpClient) -> Any:
        client.send(b"x" * 1501)
        client.send(b"x" * 9000)
        return client.ask(b"after")

    assert same(pair, "plain", play) == b"after"


def test_the_limit_may_be_raised(pair: Pair) -> None:
    def play(client: UdpClient) -> Any:
        client.send(b"x" * 9001)
        answer = client.ask(b"y" * 9000)
        return len(answer or b"")

    assert same(pair, "large", play) == 9000


@pytest.mark.parametrize("size", [0, 1, 1501, 9000])
def test_answers_may_be_many_and_large(pair: Pair, size: int) -> None:
    def play(client: UdpClient) -> Any:
        client.send(b"3%d" % size)
        return [len(client.receive() or b"") for _ in range(3)]

    assert same(pair, "chatty", play, "talkative") == [size] * 3


def test_answers_above_their_limit_are_dropped_and_counted(pair: Pair) -> None:
    def play(client: UdpClient) -> Any:
        client.send(b"x" * 101)
        return client.ask(b"y" * 100)

    assert same(pair, "small_answers", play) == b"y" * 100


def test_each_client_has_a_session(pair: Pair) -> None:
    def run(side: Side) -> Any:
        before = len(side.origin.received)
        with client_of(side, "plain") as first, client_of(side, "plain") as second:
            for client in (first, second, first, second):
                client.ask(b"hello")
        return len({sender for _, sender in side.origin.received[before:]})

    with pair.same_stats("udp.plain."):
        assert pair.both(run) == (2, 2)


def test_what_the_host_says_late_still_arrives(pair: Pair) -> None:
    def run(side: Side) -> Any:
        with client_of(side, "plain") as client:
            client.ask(b"hello")
            sender = side.origin.received[-1][1]
            side.origin.send(b"late", sender)
            return client.receive()

    assert pair.both(run) == (b"late", b"late")


def test_others_cannot_answer_in_place_of_the_host(pair: Pair) -> None:
    def run(side: Side) -> Any:
        with client_of(side, "plain") as client, UdpOrigin() as stranger:
            client.ask(b"hello")
            stranger.send(b"forged", side.origin.received[-1][1])
            return client.ask(b"again")

    assert pair.both(run) == (b"again", b"again")


def test_an_idle_session_ends_and_the_next_datagram_begins_another(pair: Pair) -> None:
    def play(client: UdpClient) -> Any:
        first = client.ask(b"one")
        time.sleep(2)
        return first, client.ask(b"two")

    def senders(side: Side) -> int:
        return len({sender for data, sender in side.origin.received if data in {b"idle one", b"idle two"}})

    with pair.same_stats("udp.idle."):
        same(pair, "idle", lambda client: client.ask(b"idle one"))
        time.sleep(2)
        same(pair, "idle", lambda client: client.ask(b"idle two"))
    assert pair.both(senders) == (2, 2)
    assert same(pair, "idle", play) == (b"one", b"two")


def test_a_session_is_logged_when_it_ends(pair: Pair) -> None:
    before = pair.lines_logged()

    def play(client: UdpClient) -> Any:
        return client.ask(b"hello"), client.ask(b"you")

    same(pair, "logged", play)
    envoy, outrider = pair.logged_since(before, 1)
    assert [mask(line) for line in outrider] == [mask(line) for line in envoy]
    assert '"datagrams_received":2' in outrider[0]
    assert " UdpSessionEnd " in outrider[0]


def test_a_long_session_is_logged_now_and_then(pair: Pair) -> None:
    before = pair.lines_logged()
    same(pair, "flushed", lambda client: client.ask(b"hello"))
    envoy, outrider = pair.logged_since(before, 2)
    assert [mask(line) for line in outrider] == [mask(line) for line in envoy]
    assert len(outrider) == 2


def test_a_session_stays_with_its_host(pair: Pair) -> None:
    def play(client: UdpClient) -> Any:
        return len({client.ask(b"hello") for _ in range(6)})

    assert same(pair, "sticky", play, "both") == 1


def test_each_datagram_may_go_to_another_host(pair: Pair) -> None:
    def play(client: UdpClient) -> Any:
        return sorted(str(client.ask(b"hello")) for _ in range(6))

    assert len(set(same(pair, "per_packet", play, "both"))) == 2


@pytest.mark.parametrize("name", ["hashed", "keyed"])
def test_a_hash_policy_is_accepted_by_a_balancer_that_does_not_hash(pair: Pair, name: str) -> None:
    same(pair, name, lambda client: client.ask(b"hello") is not None, "both")


@pytest.mark.parametrize("name", ["predicates", "range", "prefix"])
def test_a_matcher_chooses_the_cluster(pair: Pair, name: str) -> None:
    def play(client: UdpClient) -> Any:
        return client.ask(b"hello", timeout=0.5)

    assert same(pair, name, play, "origin", "second") == b"hello"
    assert same(pair, name, play, "origin", "second", source="127.0.0.2") == b"HELLO"
    expected = None if name == "predicates" else b"hello"
    assert same(pair, name, play, "origin", "second", source="127.0.0.3") == expected


def test_a_cluster_that_does_not_exist_is_no_route(pair: Pair) -> None:
    assert same(pair, "unknown", lambda client: client.ask(b"hello", timeout=0.3)) is None


def test_the_circuit_breaker_bounds_the_sessions(pair: Pair) -> None:
    def run(side: Side) -> Any:
        with client_of(side, "full") as first, client_of(side, "full") as second:
            answers = first.ask(b"one"), second.ask(b"two", timeout=0.3), first.ask(b"three")
            _, stats = side.proxy.admin("/stats?filter=cluster.full.circuit_breakers.default.cx_open")
            time.sleep(2)
            return answers, stats, second.ask(b"four")

    before = pair.lines_logged()
    with pair.same_stats("udp.full.", "cluster.full.udp.", "cluster.full.upstream_cx_"):
        envoy, outrider = pair.both(run)
        assert outrider == envoy
    logged = pair.logged_since(before, 2)
    assert [mask(line) for line in logged[1]] == [mask(line) for line in logged[0]]
    assert " UO UdpSessionEnd " in logged[1][0]
    assert outrider[0] == (b"one", None, b"three")
    assert outrider[2] == b"four"


def test_a_host_that_is_not_there_is_an_error_of_the_session(pair: Pair) -> None:
    def play(client: UdpClient) -> Any:
        return [client.ask(b"hello", timeout=0.2) for _ in range(3)]

    assert same(pair, "dead", play, "dead") == [None] * 3


def test_a_cluster_without_hosts_drops(pair: Pair) -> None:
    assert same(pair, "empty", lambda client: client.ask(b"hello", timeout=0.3), "empty") is None


def test_unhealthy_hosts_get_no_sessions(pair: Pair) -> None:
    assert (
        same(pair, "sick", lambda client: [client.ask(b"hello") for _ in range(3)], "sick") == [b"hello"] * 3
    )


def test_a_wildcard_listener_answers_from_the_address_that_was_asked(pair: Pair) -> None:
    def play(client: UdpClient) -> Any:
        return client.ask(b"hello"), client.ask(b"x" * 1501, timeout=0.3)

    assert same(pair, "many_addresses", play, host="127.0.0.9") == (b"hello", None)


def test_ipv4_clients_of_an_ipv6_socket_have_ipv4_addresses(pair: Pair) -> None:
    before = pair.lines_logged()
    ends = {"host": "127.0.0.9", "source": "127.0.0.2"}
    answer = same(pair, "both_families", lambda client: client.ask(b"hello"), "second", **ends)
    assert answer == b"HELLO"

    def without_ports(line: str) -> str:
        return re.sub(r"(127[.]0[.]0[.]\d+):\d+", r"\1", line)

    envoy, outrider = pair.logged_since(before, 1)
    assert [without_ports(line) for line in outrider] == [without_ports(line) for line in envoy]
    assert " 127.0.0.2 127.0.0.9 " in without_ports(outrider[0])


def test_listeners_and_clusters_are_listed(pair: Pair) -> None:
    def listed(side: Side) -> list[str]:
        text = side.proxy.admin("/listeners")[1]
        ports = {str(port): name for name, port in side.proxy.ports.items()}
        return [re.sub(r"\d+$", lambda found: ports[found.group()], line) for line in text.splitlines()]

    assert len(pair.same_value("listeners", listed)) == len(PROXIES)

    def kind(side: Side) -> bool:
        return '"protocol": "UDP"' in side.proxy.admin("/config_dump?resource=static_listeners")[1]

    assert pair.same_value("config_dump", kind)


def test_a_listener_that_stops_ends_its_sessions_and_logs_them_and_itself() -> None:
    total = "%DYNAMIC_METADATA(udp.proxy.proxy)% %BYTES_SENT% %DOWNSTREAM_REMOTE_ADDRESS% %ACCESS_LOG_TYPE%"
    made = listener("udp", access_log=[file_log(LOG)], proxy_access_log=[file_log(total)])
    tcp = {
        "name": "tcp",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": "{{udp_port}}"}},
        "filter_chains": [{"filters": [{"name": "e", "typed_config": typed(ECHO)}]}],
    }
    origins: Any = {"origin": lambda: UdpOrigin(echo)}
    with Pair(bootstrap([made, tcp], [cluster()]), origins=origins, listeners=("udp",)) as pair:

        def run(side: Side) -> Any:
            with client_of(side, "udp") as client:
                answer = client.ask(b"hello")
                side.proxy.admin("/drain_listeners", method="POST")
                lines = sorted(mask(line) for line in side.proxy.access_log(2))
                return answer, client.ask(b"too late", timeout=0.5), lines

        envoy, outrider = pair.both(run)
    assert outrider == envoy
    assert outrider[:2] == (b"hello", None)


ECHO = "envoy.extensions.filters.network.echo.v3.Echo"
CHAIN = [{"filters": [{"name": "e", "typed_config": typed(ECHO)}]}]


def test_what_a_listener_may_be() -> None:
    for accepted, fields in (
        (True, {}),
        (True, {"udp_listener_config": {"downstream_socket_config": {"prefer_gro": True}}}),
        (True, {"listener_filters": []}),
        (True, {"additional_addresses": [{"address": udp_address(0)}]}),
        (
            False,
            {"additional_addresses": [{"address": {"socket_address": {"address": "::1", "port_value": 1}}}]},
        ),
        (False, {"filter_chains": CHAIN}),
        (False, {"bind_to_port": False}),
        (False, {"udp_listener_config": {"downstream_socket_config": {"max_rx_datagram_size": 0}}}),
        (False, {"udp_listener_config": {"quic_options": {}}}),
    ):
        assert verdict(**fields) is accepted, fields


def test_what_a_filter_may_be() -> None:
    for accepted, fields in (
        (True, {"cluster": "nowhere"}),
        (True, {"cluster": "origin", "idle_timeout": "0s"}),
        (True, {"matcher": {}}),
        (True, {"matcher": {"on_no_match": to("nowhere")}}),
        (False, {}),
        (False, {"cluster": "origin", "stat_prefix": ""}),
        (False, {"cluster": "origin", "hash_policies": [{}]}),
        (False, {"cluster": "origin", "hash_policies": [{"source_ip": False}]}),
        (False, {"cluster": "origin", "hash_policies": [{"source_ip": True}, {"key": "x"}]}),
        (False, {"cluster": "origin", "access_log_options": {"access_log_flush_interval": "0s"}}),
        (False, {"matcher": {"matcher_list": {}}}),
        (False, {"matcher": {"on_no_match": to("")}}),
        (False, {"matcher": {"matcher_tree": {"input": reads("ServerNameInput"), "exact_match_map": {}}}}),
    ):
        proxy = typed(f"{PACKAGE}.UdpProxyConfig", **{"stat_prefix": "x", **fields})
        assert verdict(listener_filters=[{"name": "x", "typed_config": proxy}]) is accepted, fields


def verdict(**fields: Any) -> bool:
    made = {**listener("udp"), "address": udp_address(0), **fields}
    return same_verdict(bootstrap([made], [cluster("origin", 1)]), {"admin_port": 0})[0]
