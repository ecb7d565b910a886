"""What a control plane must not send: Envoy and Outrider answer, count, show and serve alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.configs import typed
from tests.support.hostile_mesh import (
    CDS,
    EDS,
    GARBAGE,
    LDS,
    RDS,
    Entry,
    Play,
    Plays,
    Side,
    entry,
    hostile_sides,
    in_one_protocol,
    of_type,
    packed,
    same_ends,
)
from tests.support.mesh import cluster, endpoints, listener, parsed, route_config

PLAYS: Plays = {}


def play(work: Play) -> Play:
    """One story, of which both sides must tell the same."""
    PLAYS[work.__name__] = work
    return work


def kept() -> tuple[Any, Any]:
    """The clusters as they are."""
    return cluster("c"), cluster("d")


def fixed(name: str, seconds: int = 1) -> Any:
    """A cluster that waits for nothing, since an update of one with discovered endpoints asks for these anew."""
    return cluster(name, type="STATIC", connect_timeout=f"{seconds}s")


@play
def nothing(side: Side) -> None:
    """Only the start."""


@play
def undecodable_endpoints(side: Side) -> None:
    side.send(EDS, Entry("c", of_type(EDS.type_url, GARBAGE)))


@play
def undecodable_routes(side: Side) -> None:
    side.send(RDS, Entry("r", of_type(RDS.type_url, GARBAGE)))


@play
def undecodable_cluster(side: Side) -> None:
    side.send(CDS, cluster("c"), cluster("d"), Entry("e", of_type(CDS.type_url, GARBAGE)))


@play
def undecodable_listener(side: Side) -> None:
    side.send(LDS, Entry("x", of_type(LDS.type_url, GARBAGE)))


@play
def wrong_type_inside_endpoints(side: Side) -> None:
    side.send(EDS, Entry("c", packed(cluster("c"))))


@play
def wrong_type_inside_routes(side: Side) -> None:
    side.send(RDS, Entry("r", packed(cluster("r"))))


@play
def wrong_type_inside_clusters(side: Side) -> None:
    side.send(CDS, cluster("c"), Entry("d", packed(endpoints("d", 1))))


@play
def wrong_type_inside_listeners(side: Side) -> None:
    side.send(LDS, Entry("l", packed(cluster("l"))))


@play
def endpoints_that_break_a_rule(side: Side) -> None:
    bad = endpoints("c", side.origin.port)
    bad.endpoints[0].priority = 1000
    side.send(EDS, bad, endpoints("d", side.origin.port))


@play
def endpoints_of_which_one_breaks_a_rule(side: Side) -> None:
    bad = endpoints("d", side.origin.port)
    bad.endpoints[0].priority = 1000
    side.send(EDS, endpoints("c", 1), bad)


@play
def weights_and_health_that_change_quickly(side: Side) -> None:
    """Envoy merges what health checks find, and no changes of endpoints."""
    changing = endpoints("c", side.origin.port)
    host = changing.endpoints[0].lb_endpoints[0]
    for weight, status in ((2, 1), (3, 1), (3, 5), (3, 1)):
        host.load_balancing_weight.value, host.health_status = weight, status
        side.send(EDS, changing, endpoints("d", side.origin.port))


@play
def routes_that_break_a_rule(side: Side) -> None:
    bad = route_config("r", "c")
    bad.virtual_hosts[0].name = ""
    side.send(RDS, bad)


@play
def routes_without_domains(side: Side) -> None:
    bad = route_config("r", "c")
    del bad.virtual_hosts[0].domains[:]
    side.send(RDS, bad)


@play
def routes_with_one_domain_twice(side: Side) -> None:
    bad = route_config("r", "c")
    bad.virtual_hosts[0].domains.append("*")
    side.send(RDS, bad)


@play
def identical_endpoints(side: Side) -> None:
    side.send(EDS, endpoints("c", side.origin.port), endpoints("d", side.origin.port), version="again")


@play
def identical_endpoints_of_one(side: Side) -> None:
    side.send(EDS, endpoints("c", side.origin.port), version="again")


@play
def identical_routes(side: Side) -> None:
    side.send(RDS, route_config("r", {"/d": "d", "/": "c"}), version="again")


@play
def identical_clusters(side: Side) -> None:
    side.send(CDS, cluster("c"), cluster("d"), version="again")


@play
def identical_listener(side: Side) -> None:
    side.send(LDS, listener("l", side.proxy.ports["first"], "r"), version="again")


@play
def broken_stream(side: Side) -> None:
    before = side.server.streams_opened
    side.server.cut()
    side.server.wait_for(lambda: side.server.streams_opened > before)
    side.settle()


@play
def empty_endpoints(side: Side) -> None:
    side.send(EDS)


@play
def removed_endpoints(side: Side) -> None:
    side.send(EDS, removed=["c"])


@play
def endpoints_without_hosts(side: Side) -> None:
    side.send(EDS, endpoints("c"))


@play
def removed_routes(side: Side) -> None:
    side.send(RDS, removed=["r"])


@play
def empty_routes(side: Side) -> None:
    side.send(RDS)


@play
def changed_endpoints(side: Side) -> None:
    side.balances = True
    side.send(EDS, endpoints("c", side.origin.port, 1), endpoints("d", 1))


@play
def foreign_prefix_of_a_cluster(side: Side) -> None:
    odd = of_type(f"x.y/{CDS.value}", cluster("d", connect_timeout="3s").SerializeToString())
    side.send(CDS, cluster("c"), Entry("d", odd))


@play
def foreign_prefix_of_endpoints(side: Side) -> None:
    side.send(EDS, Entry("c", of_type(f"x.y/{EDS.value}", endpoints("c", 1).SerializeToString())))


@play
def foreign_prefix_of_a_response(side: Side) -> None:
    side.send(EDS, endpoints("c", 1), type_url=f"x.y/{EDS.value}")


@play
def foreign_prefix_of_all(side: Side) -> None:
    odd = of_type(f"x.y/{EDS.value}", endpoints("c", 1).SerializeToString())
    side.send(EDS, Entry("c", odd), type_url=f"x.y/{EDS.value}")


@play
def heartbeat_of_an_unknown_cluster(side: Side) -> None:
    side.send(CDS, Entry("u", ttl=60))


@play
def heartbeat_of_an_unknown_listener(side: Side) -> None:
    side.send(LDS, Entry("u", ttl=60))


@play
def heartbeat_of_another_version(side: Side) -> None:
    side.send(EDS, Entry("c", ttl=60, version="other"))


@play
def heartbeat_of_routes_of_another_version(side: Side) -> None:
    side.send(RDS, Entry("r", ttl=60, version="other"))


@play
def heartbeat_of_endpoints_not_asked_for(side: Side) -> None:
    side.send(EDS, Entry("u", ttl=60))


@play
def no_body_and_no_ttl(side: Side) -> None:
    side.send(EDS, Entry("c"))


@play
def listeners_of_one_address(side: Side) -> None:
    port = side.proxy.ports["first"]
    side.send(LDS, listener("l", port, "r"), listener("m", port, "r"))


@play
def listeners_that_swap_addresses(side: Side) -> None:
    first, second = side.proxy.ports["first"], side.proxy.ports["second"]
    side.send(LDS, listener("l", first, "r"), listener("m", second, "r"))
    side.send(LDS, listener("l", second, "r"), listener("m", first, "r"), version="y")


@play
def filter_chains_that_come_and_go(side: Side) -> None:
    """At last the default chain becomes the only other one, which ends it."""
    one = listener("l", side.proxy.ports["first"], "r")
    more = listener("l", side.proxy.ports["first"], "r")
    for port in (1, 2):
        added = more.filter_chains.add(name=str(port))
        added.CopyFrom(one.filter_chains[0])
        added.filter_chain_match.destination_port.value = port
    more.default_filter_chain.CopyFrom(one.filter_chains[0])
    less = listener("l", side.proxy.ports["first"], "r")
    less.default_filter_chain.CopyFrom(one.filter_chains[0])
    less.filter_chains[0].filter_chain_match.destination_port.value = 2
    for version, message in enumerate((more, less, one)):
        side.send(LDS, message, version=str(version))


@play
def listener_whose_port_is_taken(side: Side) -> None:
    side.send(LDS, listener("l", side.proxy.ports["first"], "r"), listener("m", side.origin.port, "r"))


@play
def listener_without_an_address(side: Side) -> None:
    bad = listener("m", 0, "r")
    bad.ClearField("address")
    side.send(LDS, listener("l", side.proxy.ports["first"], "r"), bad)


@play
def listener_that_breaks_a_rule(side: Side) -> None:
    bad = listener("m", side.proxy.ports["second"], "r")
    bad.filter_chains[0].filters[0].name = ""
    side.send(LDS, listener("l", side.proxy.ports["first"], "r"), bad)


@play
def endpoints_twice_in_a_response(side: Side) -> None:
    side.send(EDS, endpoints("c", side.origin.port), endpoints("c", 1))


@play
def routes_twice_in_a_response(side: Side) -> None:
    side.send(RDS, route_config("r", "c"), route_config("r", "d"))


@play
def resources_nobody_asked_for(side: Side) -> None:
    side.send(EDS, endpoints("u", 1))
    side.send(RDS, route_config("u", "c"))


@play
def hosts_twice(side: Side) -> None:
    side.send(EDS, endpoints("c", side.origin.port, side.origin.port))


@play
def priorities_with_a_gap(side: Side) -> None:
    odd = endpoints("c", side.origin.port)
    odd.endpoints[0].priority = 3
    side.send(EDS, odd)


@play
def weights_of_localities_that_overflow(side: Side) -> None:
    side.balances = True
    odd = endpoints("c", side.origin.port)
    odd.endpoints.append(endpoints("c", 1).endpoints[0])
    for group in odd.endpoints:
        group.load_balancing_weight.value = 2**32 - 1
    side.send(EDS, odd)


@play
def weights_of_hosts_that_overflow(side: Side) -> None:
    side.balances = True
    odd = endpoints("c", side.origin.port, 1)
    for host in odd.endpoints[0].lb_endpoints:
        host.load_balancing_weight.value = 2**32 - 1
    side.send(EDS, odd)


@play
def host_of_the_greatest_weight(side: Side) -> None:
    odd = endpoints("c", side.origin.port)
    odd.endpoints[0].lb_endpoints[0].load_balancing_weight.value = 2**32 - 1
    side.send(EDS, odd)


@play
def host_of_no_weight(side: Side) -> None:
    odd = endpoints("c", side.origin.port)
    odd.endpoints[0].lb_endpoints[0].load_balancing_weight.value = 0
    side.send(EDS, odd)


@play
def weight_that_changes(side: Side) -> None:
    odd = endpoints("c", side.origin.port)
    odd.endpoints[0].lb_endpoints[0].load_balancing_weight.value = 3
    side.send(EDS, odd)


@play
def endpoints_that_are_a_name(side: Side) -> None:
    odd = endpoints("c", side.origin.port)
    odd.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address = "localhost"
    side.send(EDS, odd)


@play
def endpoints_of_another_cluster(side: Side) -> None:
    side.send(EDS, entry(endpoints("d", 1), "c"))


@play
def routes_of_another_name(side: Side) -> None:
    side.send(RDS, entry(route_config("u", "d"), "r"))


@play
def routes_to_no_cluster(side: Side) -> None:
    side.send(RDS, route_config("r", "nowhere"))


def aggregate(name: str, *members: str) -> Any:
    config = typed("envoy.extensions.clusters.aggregate.v3.ClusterConfig", clusters=list(members))
    found = fixed(name)
    found.ClearField("type")
    tree = {
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": {"name": "envoy.clusters.aggregate", "typed_config": config},
    }
    found.MergeFrom(parsed(found, tree))
    return found


@play
def aggregates_in_a_circle(side: Side) -> None:
    side.send(CDS, *kept(), aggregate("e", "f"), aggregate("f", "e"))
    side.send(RDS, route_config("r", {"/d": "d", "/": "e"}))


@play
def aggregate_of_nothing(side: Side) -> None:
    side.send(CDS, *kept(), aggregate("e", "nowhere"))
    side.send(RDS, route_config("r", {"/d": "d", "/": "e"}))


@play
def aggregate_of_itself(side: Side) -> None:
    side.send(CDS, *kept(), aggregate("e", "e", "c"))
    side.send(RDS, route_config("r", {"/d": "d", "/": "e"}))


@play
def response_without_a_nonce(side: Side) -> None:
    side.send(EDS, endpoints("c", 1), nonce="")


@play
def one_nonce_twice(side: Side) -> None:
    side.send(EDS, endpoints("c", 1), nonce="raw")
    side.send(EDS, endpoints("c", side.origin.port), nonce="raw", version="y")


@play
def type_nobody_asked_for(side: Side) -> None:
    side.send(CDS, cluster("c"), type_url="type.googleapis.com/no.such.Type")
    side.send(EDS, type_url="type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret")


@play
def clusters_under_the_type_of_endpoints(side: Side) -> None:
    side.send(CDS, cluster("c"), type_url=EDS.type_url)


@play
def removed_though_never_here(side: Side) -> None:
    for kind in (CDS, EDS, LDS, RDS):
        kept = {CDS: [cluster("c"), cluster("d")], LDS: [listener("l", side.proxy.ports["first"], "r")]}
        side.send(kind, *kept.get(kind, []), removed=["u"])


@play
def added_and_removed_at_once(side: Side) -> None:
    side.send(EDS, endpoints("c", 1), removed=["c"])
    side.send(CDS, cluster("c"), cluster("d"), removed=["d"])


@play
def filter_chains_with_one_match(side: Side) -> None:
    odd = listener("l", side.proxy.ports["first"], "r")
    odd.filter_chains.append(odd.filter_chains[0])
    side.send(LDS, odd)


@play
def cluster_without_a_name(side: Side) -> None:
    side.send(CDS, cluster("c"), cluster("d"), Entry("u", packed(cluster("", type="STATIC"))))


@play
def cluster_of_eds_without_a_config(side: Side) -> None:
    odd = cluster("f", connect_timeout="3s")
    odd.ClearField("eds_cluster_config")
    side.send(CDS, *kept(), fixed("e"), odd, fixed("g"))


@play
def cluster_that_is_one_of_the_bootstrap(side: Side) -> None:
    side.send(CDS, cluster("c"), cluster("d"), cluster("xds", type="STATIC"))


@play
def cluster_under_another_name(side: Side) -> None:
    side.send(CDS, *kept(), entry(fixed("e"), "u"))
    side.send(CDS, *kept(), version="y", removed=["u"])


@play
def wrapped_resources(side: Side) -> None:
    side.send(CDS, *kept(), fixed("e"), wrapped=True)
    side.send(EDS, endpoints("c", side.origin.port), wrapped=True)


@play
def wrapped_under_another_name(side: Side) -> None:
    side.send(EDS, entry(endpoints("c", 1), "d"), wrapped=True)


@play
def a_refusal_that_is_taken_back(side: Side) -> None:
    undecodable_endpoints(side)
    side.send(EDS, endpoints("c", side.origin.port), version="y")


@play
def a_large_response(side: Side) -> None:
    side.send(EDS, endpoints("c", side.origin.port), endpoints("u", *range(1, 40000)))


def in_priorities(name: str, *groups: tuple[int, int]) -> Any:
    """Endpoints by port and priority."""
    found = endpoints(name)
    del found.endpoints[:]
    for port, priority in groups:
        group = found.endpoints.add()
        group.CopyFrom(endpoints(name, port).endpoints[0])
        group.priority = priority
    return found


@play
def hosts_of_two_priorities(side: Side) -> None:
    side.balances = True
    side.send(EDS, in_priorities("c", (side.origin.port, 0), (1, 1)))
    side.send(EDS, in_priorities("c", (side.origin.port, 0), (2, 0), (3, 1)), version="y")


@play
def host_that_changes_its_priority(side: Side) -> None:
    side.balances = True
    side.send(EDS, in_priorities("c", (side.origin.port, 0), (1, 0), (2, 1)))
    side.send(EDS, in_priorities("c", (side.origin.port, 0), (1, 1), (2, 1)), version="y")


@play
def host_in_two_priorities(side: Side) -> None:
    side.send(EDS, in_priorities("c", (side.origin.port, 0), (side.origin.port, 1)))


@play
def listener_without_a_name(side: Side) -> None:
    odd = listener("", side.proxy.ports["second"], "r")
    kept = listener("l", side.proxy.ports["first"], "r")
    side.send(LDS, kept, odd)


@play
def two_listeners_without_a_name(side: Side) -> None:
    odd = listener("", side.proxy.ports["second"], "r")
    odd.stat_prefix = "a"
    other = listener("", side.proxy.ports["second"], "r")
    side.send(
        LDS, listener("l", side.proxy.ports["first"], "r"), Entry("a", packed(odd)), Entry("b", packed(other))
    )


@play
def listener_twice_in_a_response(side: Side) -> None:
    port = side.proxy.ports["second"]
    kept = listener("l", side.proxy.ports["first"], "r")
    first, second = listener("m", port, "r"), listener("m", port, "r", server_name="other")
    side.send(LDS, kept, first, second)


@play
def listener_twice_and_then_gone(side: Side) -> None:
    listener_twice_in_a_response(side)
    side.send(LDS, listener("l", side.proxy.ports["first"], "r"), version="y", removed=["m"])


@play
def cluster_twice_in_a_response(side: Side) -> None:
    side.send(CDS, *kept(), fixed("e", 2), fixed("e", 3))


@play
def response_without_a_version(side: Side) -> None:
    side.send(CDS, *kept(), fixed("e"), version="")
    side.send(EDS, endpoints("c", side.origin.port), version="")
    side.send(RDS, route_config("r", "c"), version="")
    side.send(LDS, listener("l", side.proxy.ports["first"], "r", server_name="other"), version="")


@play
def resources_without_versions(side: Side) -> None:
    side.send(CDS, *kept(), Entry("e", packed(fixed("e")), version=""))
    side.send(RDS, Entry("r", packed(route_config("r", "c")), version=""))
    odd = listener("l", side.proxy.ports["first"], "r", server_name="other")
    side.send(LDS, Entry("l", packed(odd), version=""))


@play
def all_removed(side: Side) -> None:
    side.send(CDS, removed=["c", "d"])
    side.send(LDS, removed=["l"])


@play
def address_that_changes(side: Side) -> None:
    side.send(LDS, listener("l", side.proxy.ports["second"], "r"))


@play
def filter_chains_of_one_name(side: Side) -> None:
    odd = listener("l", side.proxy.ports["first"], "r")
    odd.filter_chains.append(odd.filter_chains[0])
    odd.filter_chains[0].filter_chain_match.source_prefix_ranges.add(address_prefix="127.9.9.9")
    for chain in odd.filter_chains:
        chain.name = "same"
    side.send(LDS, odd)


@play
def a_refused_listener_that_is_taken_back(side: Side) -> None:
    listeners_of_one_address(side)
    side.send(LDS, listener("l", side.proxy.ports["first"], "r"), version="y", removed=["m"])


@play
def a_refused_change_that_is_taken_back(side: Side) -> None:
    bad = listener("l", side.proxy.ports["first"], "r")
    bad.ClearField("address")
    side.send(LDS, bad)
    side.send(LDS, listener("l", side.proxy.ports["first"], "r"), version="y")


@play
def a_refused_listener_that_stays_away(side: Side) -> None:
    listeners_of_one_address(side)
    side.send(LDS, listener("l", side.proxy.ports["first"], "r"), version="y")


@pytest.fixture
def both(request: pytest.FixtureRequest) -> Iterator[tuple[Side, Side]]:
    with hostile_sides(delta=request.param) as sides:
        yield sides


@in_one_protocol(PLAYS)
def test_play(both: tuple[Side, Side], name: str) -> None:
    same_ends(both, PLAYS[name])


def a_response_on_the_stream_of_another_type(side: Side) -> None:
    side.send(EDS, endpoints("c", 1), on=RDS)
    side.send(RDS, route_config("r", "d"), on=EDS)


APART = (
    nothing,
    undecodable_endpoints,
    undecodable_routes,
    wrong_type_inside_endpoints,
    wrong_type_inside_clusters,
    endpoints_that_break_a_rule,
    routes_with_one_domain_twice,
    identical_endpoints,
    identical_routes,
    broken_stream,
    removed_endpoints,
    removed_routes,
    foreign_prefix_of_a_response,
    heartbeat_of_another_version,
    endpoints_of_another_cluster,
    a_response_on_the_stream_of_another_type,
)


@pytest.mark.parametrize("story", APART, ids=lambda story: story.__name__)
@pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
def test_play_on_streams_of_their_own(story: Play, delta: bool) -> None:
    with hostile_sides(delta=delta, apart=True) as sides:
        same_ends(sides, story)
