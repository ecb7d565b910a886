"""Filters of a live listener whose configs come, change and go."""

from __future__ import annotations

from typing import Any

from envoy.config.core.v3 import extension_pb2
from google.protobuf import json_format

from proxy.config.extensions import message_class
from proxy.downstream.listener import Listener
from tests.support.listeners import (
    NETWORK,
    chain,
    compiled,
    connect,
    listener,
    network_filter,
    numbers,
    services,
)

LISTENER = "envoy.extensions.filters.listener"
LIMIT = "connection_limit.v3.ConnectionLimit"
DIRECT = "direct_response.v3.Config"


def discovered(name: str, *types: str, **fields: Any) -> dict[str, Any]:
    discovery = {
        "config_source": {"ads": {}},
        "type_urls": [f"type.googleapis.com/{one}" for one in types],
        **fields,
    }
    return {"name": name, "config_discovery": discovery}


def brought(type_name: str, **fields: Any) -> bytes:
    message_class(type_name)
    tree = {"name": "f", "typed_config": {"@type": f"type.googleapis.com/{type_name}", **fields}}
    message = json_format.ParseDict(tree, extension_pb2.TypedExtensionConfig())
    serialized: bytes = message.SerializeToString()
    return serialized


class Live:
    """A listener in a worker, and the sources of what it is to discover."""

    def __init__(self, *filters: dict[str, Any], **fields: Any) -> None:
        self.services = services()
        config = compiled(listener(chain(*filters), stat_prefix="l", **fields))
        one = next(
            one if hasattr(one, "source") else one.found
            for one in (*config.filters, *config.chains[0].filters)
            if hasattr(one, "source") or hasattr(one, "found")
        )
        self.source = one.source
        ids = iter(range(1, 1000))
        live = Listener(config, self.services, ids.__next__)
        self.acceptor = live.acceptor(config.addresses[0].address, config.addresses[0])

    def bring(self, type_name: str, **fields: Any) -> None:
        self.source.set(brought(type_name, **fields))

    def hears(self, said: bytes = b"") -> bytes | None:
        """What a new connection hears; None if it is cut."""
        transport = connect(self.acceptor)
        if said and not transport.aborted:
            transport.feed(said)
        return None if transport.aborted else bytes(transport.written)

    def count(self, name: str) -> int:
        return numbers(self.services).get(f"listener.l.{name}", 0)


def says(text: str) -> dict[str, Any]:
    return {"response": {"inline_string": text}}


def test_connections_are_cut_as_long_as_a_filter_has_no_config() -> None:
    live = Live(discovered("f", f"{NETWORK}.{DIRECT}"))
    assert live.hears() is None
    assert live.count("network_extension_config_missing") == 1
    live.bring(f"{NETWORK}.{DIRECT}", **says("one"))
    assert live.hears() == b"one"
    live.bring(f"{NETWORK}.{DIRECT}", **says("two"))
    assert live.hears() == b"two"
    live.source.set(None)
    assert live.hears() is None
    assert live.count("network_extension_config_missing") == 2


def test_a_filter_that_does_not_change_keeps_its_state() -> None:
    limit = network_filter(LIMIT, stat_prefix="x", max_connections=1)
    live = Live(limit, discovered("f", f"{NETWORK}.{DIRECT}"))
    live.bring(f"{NETWORK}.{DIRECT}", **says("one"))
    assert live.hears() == b"one"
    live.bring(f"{NETWORK}.{DIRECT}", **says("two"))
    # The first connection is still open: the limit has not forgotten it.
    assert live.hears() is None


def test_a_passive_filter_that_comes_does_nothing() -> None:
    metadata = "envoy.tcp.metadataexchange.config.MetadataExchange"
    live = Live(discovered("f", metadata), network_filter(DIRECT, **says("here")))
    assert live.hears() is None
    live.bring(metadata, protocol="x")
    assert live.hears() == b"here"


def test_a_listener_filter_that_comes() -> None:
    proxy_protocol, inspector = (
        f"{LISTENER}.proxy_protocol.v3.ProxyProtocol",
        f"{LISTENER}.http_inspector.v3.HttpInspector",
    )
    live = Live(
        network_filter(DIRECT, **says("here")),
        listener_filters=[discovered("f", proxy_protocol, inspector)],
    )
    assert live.hears() is None
    assert live.count("extension_config_missing") == 1
    assert live.count("downstream_pre_cx_active") == 0
    live.bring(proxy_protocol)
    assert live.hears(b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n") == b"here"
    # One that waits for its line keeps the filter that it began with.
    waiting = connect(live.acceptor)
    waiting.feed(b"PROXY TCP4 1.2.")
    live.bring(inspector)
    assert live.hears(b"GET / HTTP/1.1\r\n\r\n") == b"here"
    waiting.feed(b"3.4 5.6.7.8 9 10\r\n")
    assert bytes(waiting.written) == b"here"


def test_a_config_of_another_type_is_not_used() -> None:
    live = Live(
        discovered("f", f"{NETWORK}.{LIMIT}"),
        network_filter(DIRECT, **says("here")),
    )
    live.bring(f"{NETWORK}.{DIRECT}", **says("wrong"))
    assert live.hears() is None
