"""Secrets, filters and streams as they must not be: Envoy and Outrider answer, count, show and serve alike."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.config.core.v3 import extension_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.runtime.v3 import rtds_pb2

from tests.support.certs import Authority
from tests.support.configs import typed
from tests.support.hostile_mesh import (
    ECDS,
    EDS,
    GARBAGE,
    RDS,
    RTDS,
    SDS,
    Entry,
    Play,
    Plays,
    Side,
    entry,
    hostile_sides,
    in_one_protocol,
    of_type,
    same_ends,
)
from tests.support.mesh import ADS, cluster, endpoints, listener, parsed

BUFFER = "envoy.extensions.filters.http.buffer.v3.Buffer"
PLAYS: Plays = {}


def play(work: Any) -> Any:
    """One story, of which both sides must tell the same."""
    PLAYS[work.__name__] = work
    return work


def undecodable_endpoints(side: Side) -> None:
    side.send(EDS, Entry("c", of_type(EDS.type_url, GARBAGE)))


def broken_stream(side: Side) -> None:
    before = side.server.streams_opened
    side.server.cut()
    side.server.wait_for(lambda: side.server.streams_opened > before)
    side.settle()


@cache
def certificate(name: str) -> tuple[bytes, bytes]:
    """A chain and its key, the same for both sides."""
    with tempfile.TemporaryDirectory() as directory:
        made = Authority(Path(directory)).issue(name)
        return made.certificate.read_bytes(), made.key.read_bytes()


def secret(name: str, chain: bytes, key: bytes) -> Any:
    """A certificate with a key, whether they belong together or not."""
    tree = {
        "certificate_chain": {"inline_bytes": base64.b64encode(chain).decode()},
        "private_key": {"inline_bytes": base64.b64encode(key).decode()},
    }
    return parsed(secret_pb2.Secret(), {"name": name, "tls_certificate": tree})


def good_secret() -> Any:
    return secret("cert", *certificate("a.test"))


def with_secret(side: Side) -> None:
    """A second listener, with a certificate that the control plane brings."""
    tls = "envoy.extensions.transport_sockets.tls.v3"
    context = {
        "common_tls_context": {"tls_certificate_sds_secret_configs": [{"name": "cert", "sds_config": ADS}]}
    }
    socket = {"name": "tls", "typed_config": typed(f"{tls}.DownstreamTlsContext", **context)}
    message = listener("t", side.proxy.ports["second"], "r")
    chain = parsed(listener_pb2.Listener(), {"filter_chains": [{"transport_socket": socket}]}).filter_chains[
        0
    ]
    message.filter_chains[0].transport_socket.CopyFrom(chain.transport_socket)
    side.server.set(good_secret(), message)
    side.server.wait_for(lambda: side.server.acked(SDS))
    side.settle()


@play
def secrets_that_are_garbage(side: Side) -> None:
    with_secret(side)
    side.send(SDS, secret("cert", b"garbage", certificate("a.test")[1]))
    side.send(SDS, secret("cert", certificate("a.test")[0], b"garbage"), version="y")


@play
def a_key_of_another_certificate(side: Side) -> None:
    with_secret(side)
    side.send(SDS, secret("cert", certificate("a.test")[0], certificate("b.test")[1]))


@play
def a_secret_that_is_empty(side: Side) -> None:
    with_secret(side)
    side.send(SDS, secret_pb2.Secret(name="cert"))


@play
def a_secret_of_another_name(side: Side) -> None:
    with_secret(side)
    side.send(SDS, entry(secret("u", *certificate("a.test")), "cert"))


@play
def a_secret_of_another_kind(side: Side) -> None:
    with_secret(side)
    side.send(
        SDS,
        parsed(secret_pb2.Secret(), {"name": "cert", "generic_secret": {"secret": {"inline_string": "x"}}}),
    )


@play
def an_identical_secret(side: Side) -> None:
    with_secret(side)
    side.send(SDS, good_secret(), version="again")


@play
def a_secret_that_is_removed(side: Side) -> None:
    with_secret(side)
    side.send(SDS, removed=["cert"])


@play
def an_undecodable_secret(side: Side) -> None:
    with_secret(side)
    side.send(SDS, Entry("cert", of_type(SDS.type_url, GARBAGE)))


@play
def the_first_secret_is_garbage(side: Side) -> None:
    side.server.hold(SDS)
    tls = "envoy.extensions.transport_sockets.tls.v3"
    context = {
        "common_tls_context": {"tls_certificate_sds_secret_configs": [{"name": "cert", "sds_config": ADS}]}
    }
    socket = {"name": "tls", "typed_config": typed(f"{tls}.DownstreamTlsContext", **context)}
    message = listener("t", side.proxy.ports["second"], "r")
    chain = parsed(listener_pb2.Listener(), {"filter_chains": [{"transport_socket": socket}]}).filter_chains[
        0
    ]
    message.filter_chains[0].transport_socket.CopyFrom(chain.transport_socket)
    side.server.set(message)
    side.server.wait_for(lambda: "cert" in side.server.subscribed(SDS))
    side.send(SDS, secret("cert", b"garbage", certificate("a.test")[1]))


def filtered(side: Side, **discovery: Any) -> None:
    """A second listener, with a filter whose config the control plane brings."""
    router = {"name": "router", "typed_config": typed("envoy.extensions.filters.http.router.v3.Router")}
    found = {"config_source": ADS, "type_urls": [f"type.googleapis.com/{BUFFER}"], **discovery}
    filters = [{"name": "e", "config_discovery": found}, router]
    side.server.set(buffering("e", 9), listener("m", side.proxy.ports["second"], "r", http_filters=filters))
    side.server.wait_for(lambda: side.server.acked(ECDS))
    side.settle()


def buffering(name: str, size: int, **fields: Any) -> Any:
    tree = {"name": name, "typed_config": typed(BUFFER, max_request_bytes=size, **fields)}
    return parsed(extension_pb2.TypedExtensionConfig(), tree)


@play
def a_filter_of_another_type(side: Side) -> None:
    filtered(side)
    tree = {"name": "e", "typed_config": typed("envoy.extensions.filters.http.cors.v3.Cors")}
    side.send(ECDS, parsed(extension_pb2.TypedExtensionConfig(), tree))


@play
def a_filter_that_breaks_a_rule(side: Side) -> None:
    filtered(side)
    side.send(ECDS, buffering("e", 0))


@play
def a_filter_of_no_known_type(side: Side) -> None:
    filtered(side)
    odd = extension_pb2.TypedExtensionConfig(
        name="e", typed_config=of_type("type.googleapis.com/no.such.Filter")
    )
    side.send(ECDS, odd)


@play
def a_filter_of_another_name(side: Side) -> None:
    filtered(side)
    side.send(ECDS, entry(buffering("u", 3), "e"))


@play
def an_identical_filter(side: Side) -> None:
    filtered(side)
    side.send(ECDS, buffering("e", 9), version="again")


@play
def an_undecodable_filter(side: Side) -> None:
    filtered(side)
    side.send(ECDS, Entry("e", of_type(ECDS.type_url, GARBAGE)))


@play
def endpoints_that_nothing_came_of_in_time(side: Side) -> None:
    side.server.hold(EDS)
    late = {**ADS, "initial_fetch_timeout": "0.5s"}
    side.server.set(cluster("e", eds_cluster_config={"eds_config": late}))
    side.settle()
    side.settle()
    side.settle()


@play
def routes_that_do_not_come_in_time(side: Side) -> None:
    side.server.hold(RDS)
    odd = listener("m", side.proxy.ports["second"], "late")
    manager = odd.filter_chains[0].filters[0].typed_config
    message = http_connection_manager_pb2.HttpConnectionManager.FromString(manager.value)
    message.rds.config_source.initial_fetch_timeout.FromMilliseconds(500)
    manager.value = message.SerializeToString()
    side.server.set(odd)
    side.settle()
    side.settle()
    side.settle()


@play
def a_response_of_ten_megabytes(side: Side) -> None:
    odd = endpoints("u", 1)
    odd.endpoints[0].lb_endpoints[0].metadata.filter_metadata["x"]["y"] = "z" * 10_000_000
    side.send(EDS, endpoints("c", side.origin.port), odd)


@play
def streams_cut_again_and_again(side: Side) -> None:
    for _ in range(3):
        broken_stream(side)


@play
def a_cut_with_an_error_status(side: Side) -> None:
    before = side.server.streams_opened
    side.server.cut(grpc.StatusCode.INVALID_ARGUMENT, "no")
    side.server.wait_for(lambda: side.server.streams_opened > before)
    side.settle()


@play
def a_nack_before_the_stream_breaks(side: Side) -> None:
    undecodable_endpoints(side)
    broken_stream(side)


@pytest.fixture
def both(request: pytest.FixtureRequest) -> Iterator[tuple[Side, Side]]:
    with hostile_sides(delta=request.param) as sides:
        yield sides


@in_one_protocol(PLAYS)
def test_play(both: tuple[Side, Side], name: str) -> None:
    same_ends(both, PLAYS[name])


LAYERS: Plays = {}


def layer_play(work: Play) -> Play:
    """The same, with a layer of the runtime that the control plane brings."""
    LAYERS[work.__name__] = work
    return work


def layer(**fields: Any) -> Any:
    return parsed(rtds_pb2.Runtime(), {"name": "layer", "layer": fields})


@layer_play
def a_layer_that_is_no_struct(side: Side) -> None:
    body = rtds_pb2.Runtime(name="layer").SerializeToString() + b"\x12\x03\xff\xff\xff"
    side.send(RTDS, Entry("layer", of_type(RTDS.type_url, body)))


@layer_play
def a_layer_of_strange_values(side: Side) -> None:
    side.send(
        RTDS, layer(a=[1, {"b": None}], c={"numerator": -1, "denominator": "HUNDRED"}, d={"e": {"f": 1e300}})
    )


@layer_play
def a_layer_of_another_name(side: Side) -> None:
    side.send(RTDS, entry(rtds_pb2.Runtime(name="u"), "layer"))


@layer_play
def an_empty_layer(side: Side) -> None:
    side.send(RTDS, rtds_pb2.Runtime(name="layer"))


@layer_play
def an_identical_layer(side: Side) -> None:
    side.send(RTDS, layer(a=1), version="again")


@layer_play
def a_layer_that_is_removed(side: Side) -> None:
    side.send(RTDS, removed=["layer"])


@layer_play
def a_layer_twice(side: Side) -> None:
    side.send(RTDS, layer(a=2), layer(a=3))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
def test_layer(name: str, delta: bool) -> None:
    runtime = {"layers": [{"name": "layer", "rtds_layer": {"name": "layer", "rtds_config": ADS}}]}
    with hostile_sides(delta=delta, layered_runtime=runtime) as sides:
        same_ends(sides, LAYERS[name])
