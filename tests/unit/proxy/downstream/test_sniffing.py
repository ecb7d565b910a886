"""Connections of listeners with listener filters."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.base.address import Address
from proxy.config.extensions import message_class
from proxy.downstream.connection import Acceptor
from proxy.downstream.directory import ListenerDirectory
from proxy.downstream.listener import Listener
from tests.support.client_hellos import BROWSER, records
from tests.support.listeners import (
    accept,
    chain,
    compile_checked,
    compiled,
    connect,
    direct_response,
    listener,
    numbers,
    services,
)

STATS = "listener.10.0.0.1_8000."


def listener_filter(kind: str, **fields: Any) -> dict[str, Any]:
    type_name = f"envoy.extensions.filters.listener.{kind}"
    message_class(type_name)
    disabled = fields.pop("disabled", None)
    made: dict[str, Any] = {
        "name": kind,
        "typed_config": {"@type": f"type.googleapis.com/{type_name}", **fields},
    }
    return {**made, "filter_disabled": disabled} if disabled else made


TLS = listener_filter("tls_inspector.v3.TlsInspector")
HTTP = listener_filter("http_inspector.v3.HttpInspector")
PROXY = listener_filter("proxy_protocol.v3.ProxyProtocol")
HEADER = b"PROXY TCP4 1.2.3.4 5.6.7.8 4096 80\r\n"


def sniffing(*filters: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return listener(listener_filters=list(filters), **fields)


class _Log:
    def __init__(self) -> None:
        self.entries: list[Any] = []

    def log(self, info: Any, access_log_type: str) -> None:
        del access_log_type
        self.entries.append(info)


def test_what_was_read_is_replayed() -> None:
    of = services()
    transport = connect(accept(sniffing(TLS), of))
    assert numbers(of) == {f"{STATS}downstream_pre_cx_active": 1}
    transport.feed(b"he")
    assert not transport.written
    transport.feed(b"llo")
    assert transport.written == b"hello"
    transport.feed(b" more")
    assert transport.written == b"hello more"
    transport.lose()
    assert numbers(of) == {
        "tls_inspector.tls_not_found": 1,
        f"{STATS}downstream_cx_total": 1,
        f"{STATS}downstream_cx_destroy": 1,
        f"{STATS}worker_2.downstream_cx_total": 1,
    }


def test_the_chain_is_chosen_by_what_the_filters_found() -> None:
    config = sniffing(
        PROXY,
        TLS,
        HTTP,
        filter_chains=[
            chain(direct_response("name"), filter_chain_match={"server_names": ["*.example.com"]}),
            chain(direct_response("http"), filter_chain_match={"application_protocols": ["http/1.1"]}),
            chain(direct_response("from"), filter_chain_match={"source_ports": [4096]}),
        ],
    )
    acceptor = accept(config, services())
    hello = HEADER.replace(b"4096", b"1") + records(BROWSER)
    for data, served in (
        (hello, b"name"),
        (HEADER.replace(b"4096", b"1") + b"GET / HTTP/1.1\r\n", b"http"),
        (HEADER + b"plain text\r\n", b"from"),
    ):
        transport = connect(acceptor)
        for byte in data:
            transport.feed(bytes([byte]))
        assert transport.written == served


def test_a_filter_takes_its_own_bytes_away() -> None:
    transport = connect(accept(sniffing(PROXY), services()))
    transport.feed(HEADER + b"rest")
    assert transport.written == b"rest"


def test_a_refused_connection_is_closed_and_logged() -> None:
    of = services()
    acceptor = accept(sniffing(PROXY), of)
    log = acceptor._access_log = _Log()
    transport = connect(acceptor)
    transport.feed(b"x" * 16)
    assert transport.aborted
    transport.lose()
    assert len(log.entries) == 1
    assert numbers(of) == {"downstream_cx_proxy_proto_error": 1, "proxy_proto.not_found_disallowed": 1}


def test_the_client_may_leave_meanwhile() -> None:
    of = services()
    transport = connect(accept(sniffing(TLS), of))
    transport.protocol.eof_received()
    transport.lose()
    assert transport.aborted
    connect(accept(sniffing(TLS), of)).lose(ConnectionResetError())
    assert numbers(of) == {
        f"{STATS}downstream_listener_filter_remote_close": 1,
        f"{STATS}downstream_listener_filter_error": 1,
    }


def test_a_connection_that_says_nothing_is_closed_in_time() -> None:
    of = services()
    transport = connect(accept(sniffing(TLS), of))
    of.timers.advance(14.9)  # type: ignore[attr-defined]
    assert not transport.aborted
    of.timers.advance(0.2)  # type: ignore[attr-defined]
    assert transport.aborted
    assert numbers(of) == {f"{STATS}downstream_pre_cx_timeout": 1}


def test_or_goes_on_with_what_it_has_said() -> None:
    of = services()
    config = sniffing(TLS, listener_filters_timeout="2s", continue_on_listener_filters_timeout=True)
    transport = connect(accept(config, of))
    transport.feed(b"hi")
    of.timers.advance(2.1)  # type: ignore[attr-defined]
    assert transport.written == b"hi"
    assert numbers(of)[f"{STATS}downstream_pre_cx_timeout"] == 1


def test_without_a_timeout_it_waits() -> None:
    of = services()
    transport = connect(accept(sniffing(TLS, listener_filters_timeout="0s"), of))
    of.timers.advance(1000.0)  # type: ignore[attr-defined]
    assert not transport.aborted


def test_connections_that_are_sniffed_end_with_their_listener() -> None:
    acceptor = accept(sniffing(TLS), services())
    transport = connect(acceptor)
    acceptor.close_connections()
    assert transport.aborted


@pytest.mark.parametrize(
    ("predicate", "disabled"),
    [
        ({"any_match": True}, True),
        ({"destination_port_range": {"start": 8000, "end": 8001}}, True),
        ({"destination_port_range": {"start": 7000, "end": 8000}}, False),
        ({"not_match": {"any_match": True}}, False),
        (
            {
                "or_match": {
                    "rules": [
                        {"destination_port_range": {"start": 1, "end": 2}},
                        {"destination_port_range": {"start": 8000, "end": 9000}},
                    ]
                }
            },
            True,
        ),
        (
            {"and_match": {"rules": [{"any_match": True}, {"not_match": {"any_match": True}}]}},
            False,
        ),
    ],
)
def test_a_filter_may_be_off_for_some_ports(predicate: dict[str, Any], disabled: bool) -> None:
    off = listener_filter("tls_inspector.v3.TlsInspector", disabled=predicate)
    acceptor = accept(sniffing(off, filter_chains=[chain(direct_response("hi"))]), services())
    assert bool(connect(acceptor).written) is disabled


ORIGINAL_DST = listener_filter("original_dst.v3.OriginalDst")
OFF = listener_filter("original_dst.v3.OriginalDst", disabled={"any_match": True})


@pytest.mark.parametrize(
    ("filters", "added"),
    [
        ([], True),
        ([TLS], True),
        ([ORIGINAL_DST, TLS, HTTP], False),
        ([ORIGINAL_DST, PROXY, TLS], True),
        ([OFF, TLS], True),
    ],
)
def test_use_original_dst_adds_a_filter_unless_it_would_find_nothing_new(
    filters: list[dict[str, Any]], added: bool
) -> None:
    made = compiled(sniffing(*filters, use_original_dst=True)).filters
    assert [one.factory.name for one in made[len(filters) :]] == [
        "envoy.filters.listener.original_dst"
    ] * added


def test_the_inspector_that_chains_need_is_added() -> None:
    config = listener(
        chain(direct_response("named"), filter_chain_match={"server_names": ["www.example.com"]}),
        chain(direct_response("other")),
    )
    acceptor = accept(config, services())
    transport = connect(acceptor)
    transport.feed(records(BROWSER))
    assert transport.written == b"named"


def test_use_proxy_proto_adds_its_filter() -> None:
    transport = connect(accept(listener(chain(use_proxy_proto=True)), services()))
    transport.feed(HEADER + b"rest")
    assert transport.written == b"rest"


def test_a_filter_without_a_config_is_refused() -> None:
    assert compile_checked(sniffing({"name": "x"}))[1]
    discovery = {"name": "x", "config_discovery": {"type_urls": ["a"]}}
    assert "config_discovery" in compile_checked(sniffing(discovery))[1][0]


# -- hand-over


class Worker:
    """Listeners that know each other."""

    def __init__(self) -> None:
        self.services = services()
        self.directory = ListenerDirectory()

    def add(self, config: dict[str, Any]) -> Acceptor:
        made = compiled(config)
        ids = iter(range(1, 1000))
        live = Listener(made, self.services, ids.__next__, directory=self.directory)
        return live.acceptor(made.addresses[0].address, made.addresses[0])


def redirected(ip: str, port: int) -> Any:
    """The socket of a connection that went to `ip` before netfilter redirected it."""

    class Socket:
        def getsockopt(self, level: int, name: int, length: int = 0) -> bytes:
            del level, name, length
            return b"\2\0" + port.to_bytes(2) + bytes(map(int, ip.split("."))) + bytes(8)

    return Socket()


def at(ip: str, port: int, text: str = "", **fields: Any) -> dict[str, Any]:
    """A listener that nobody binds and that answers with `text`."""
    place = {"socket_address": {"address": ip, "port_value": port}}
    return listener(
        chain(direct_response(text)), **{"name": text, "address": place, "bind_to_port": False, **fields}
    )


VIRTUAL = listener(
    chain(direct_response("virtual")),
    name="virtual",
    address={"socket_address": {"address": "0.0.0.0", "port_value": 15001}},
    use_original_dst=True,
)


@pytest.mark.parametrize(
    ("ip", "port", "served"),
    [
        ("10.9.9.9", 80, b"exact"),
        ("10.9.9.8", 80, b"any"),
        ("10.9.9.8", 81, b"virtual"),
        ("203.0.113.7", 15001, b"virtual"),
    ],
)
def test_a_redirected_connection_goes_to_the_listener_of_its_destination(
    ip: str, port: int, served: bytes
) -> None:
    worker = Worker()
    virtual = worker.add(VIRTUAL)
    worker.add(at("10.9.9.9", 80, "exact"))
    worker.add(at("0.0.0.0", 80, "any"))
    transport = connect(virtual, sockname=("127.0.0.1", 15001), socket=redirected(ip, port))
    assert transport.written == served
    total = "listener.0.0.0.0_15001.downstream_cx_total"
    assert numbers(worker.services).get(total, 0) == (served == b"virtual")


def test_what_was_read_goes_along_and_the_next_listener_s_filters_see_it() -> None:
    worker = Worker()
    virtual = worker.add({**VIRTUAL, "listener_filters": [TLS]})
    worker.add(at("10.9.9.9", 443, "next", listener_filters=[TLS]))
    transport = connect(virtual, sockname=("127.0.0.1", 15001), socket=redirected("10.9.9.9", 443))
    assert not transport.written
    transport.feed(b"plain")
    assert transport.written == b"next"
    assert numbers(worker.services)["tls_inspector.tls_not_found"] == 2


def test_a_listener_that_is_gone_is_handed_nothing() -> None:
    worker = Worker()
    virtual = worker.add(VIRTUAL)
    worker.directory.remove(worker.add(at("10.9.9.9", 80, "gone")))
    transport = connect(virtual, sockname=("127.0.0.1", 15001), socket=redirected("10.9.9.9", 80))
    assert transport.written == b"virtual"


def test_a_connection_to_the_proxy_itself_is_closed_and_logged_as_a_loop() -> None:
    worker = Worker()
    virtual = worker.add(VIRTUAL)
    log = virtual._access_log = _Log()
    transport = connect(virtual, sockname=("127.0.0.1", 15001), socket=redirected("127.0.0.1", 15001))
    assert transport.aborted
    assert not transport.written
    assert numbers(worker.services) == {"listener.0.0.0.0_15001.downstream_cx_loop": 1}
    assert log.entries[0].response_code_details == "loop"


def test_a_filter_that_does_not_hand_over_tells_of_the_loop() -> None:
    worker = Worker()
    original = listener_filter("original_dst.v3.OriginalDst")
    acceptor = worker.add({**VIRTUAL, "use_original_dst": False, "listener_filters": [original]})
    log = acceptor._access_log = _Log()
    connect(acceptor, sockname=("127.0.0.1", 1), socket=redirected("127.0.0.1", 15001)).lose()
    connect(acceptor, sockname=("127.0.0.1", 1), socket=redirected("203.0.113.7", 15001)).lose()
    assert [entry.connection.destination_is_proxy for entry in log.entries] == [True, False]


def test_an_ipv6_listener_may_stand_for_ipv4() -> None:
    worker = Worker()
    place = {"socket_address": {"address": "::", "port_value": 80, "ipv4_compat": True}}
    both = worker.add(at("::", 80, "both", address=place))
    assert worker.directory.find(Address("10.1.1.1", 80)) is both
    assert worker.directory.find(Address("2001:db8::1", 80)) is both
    four = worker.add(at("0.0.0.0", 80, "four"))
    worker.directory.add(both)
    assert worker.directory.find(Address("10.1.1.1", 80)) is four
    worker.directory.remove(four)
    assert worker.directory.find(Address("10.1.1.1", 80)) is None
