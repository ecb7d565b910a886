"""Connections of bytes whose halves end one by one, where one side or both speak TLS."""

from __future__ import annotations

import queue
import socket
import ssl
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.certs import Authority, Issued
from tests.support.configs import Json, bootstrap, cluster, file_log, listener, typed
from tests.support.differential import Pair, Side
from tests.support.origin import Origin, OriginConnection
from tests.support.tls_end import PlainEnd, TlsEnd

DOWNSTREAM = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
UPSTREAM = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
TCP_PROXY = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
RBAC = "envoy.extensions.filters.network.rbac.v3.RBAC"
LOG = "%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DOWNSTREAM_TRANSPORT_FAILURE_REASON%"
PATIENCE = 10.0
MUCH = 4 << 20
#: Whether the client's side and the origin's speak TLS, and whether a filter stands before.
LISTENERS = {
    "client": (True, False, False),
    "origin": (False, True, False),
    "both": (True, True, False),
    "gated": (True, False, True),
}
End = PlainEnd | TlsEnd
#: What each end has seen.
Seen = list[str]


class Peer(Origin):
    """An origin that plays the part of a story that the client's first word names."""

    def __init__(self, tls: ssl.SSLContext | None, parts: dict[str, Callable[[End, Seen], None]]) -> None:
        self.seen: queue.Queue[Seen] = queue.Queue()
        self._context = tls
        self._parts = parts
        super().__init__(take_over=self._play)

    def _play(self, connection: OriginConnection) -> None:
        raw = connection.socket
        raw.settimeout(PATIENCE)
        seen: Seen = []
        try:
            end = PlainEnd(raw) if self._context is None else TlsEnd(raw, self._context)
            name = end.receive(b"!")
            seen.append(name)
            self._parts[name.rstrip("!")](end, seen)
        except OSError as error:
            seen.append(type(error).__name__)
        self.seen.put(seen)


def cut(end: End) -> None:
    """The bytes of this half end, without a word."""
    end.raw.shutdown(socket.SHUT_WR)


def answer_the_end(end: End, seen: Seen) -> None:
    seen.append(end.receive())
    time.sleep(0.1)
    end.send(b"late")
    end.finish()


def answer_much(end: End, seen: Seen) -> None:
    seen.append(end.receive())
    end.send(b"m" * MUCH)
    end.finish()


def end_first(end: End, seen: Seen) -> None:
    end.send(b"early")
    end.finish()
    seen.append(end.receive())


def cut_first(end: End, seen: Seen) -> None:
    end.send(b"early")
    cut(end)
    seen.append(end.receive())


def end_after_much(end: End, seen: Seen) -> None:
    end.send(b"early")
    end.finish()
    time.sleep(0.3)
    seen.append(str(len(end.receive())))


PARTS = {
    "finishing": answer_the_end,
    "cutting": answer_the_end,
    "asking": answer_much,
    "hearing": end_first,
    "hearing_a_cut": cut_first,
    "telling": end_after_much,
}


def play(end: End, story: str, seen: Seen) -> None:
    """The client's part."""
    end.send(f"{story}!".encode())
    if story == "finishing":
        end.finish()
        seen.append(end.receive())
    elif story == "cutting":
        time.sleep(0.1)  # or what was said is still on its way into the handshake of the other side
        cut(end)
        seen.append(end.receive())
    elif story == "asking":
        end.finish()
        time.sleep(0.3)
        seen.append(str(len(end.receive())))
    else:
        seen.append(end.receive())
        end.send(b"m" * MUCH if story == "telling" else b"more")
        end.finish()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Issued:
    return authority.issue("server.test")


@pytest.fixture(scope="module")
def server_context(server: Issued) -> ssl.SSLContext:
    return server.server_context()


def made(name: str, server: Issued) -> Json:
    client_tls, origin_tls, gated = LISTENERS[name]
    proxy = typed(
        TCP_PROXY, stat_prefix=name, cluster="tls" if origin_tls else "plain", access_log=[file_log(LOG)]
    )
    filters = [{"name": "tcp", "typed_config": proxy}]
    if gated:
        rules = {"policies": {"all": {"permissions": [{"any": True}], "principals": [{"any": True}]}}}
        filters.insert(
            0,
            {
                "name": "rbac",
                "typed_config": typed(RBAC, stat_prefix="r", rules={"action": "ALLOW", **rules}),
            },
        )
    one = listener(filters, name)
    if client_tls:
        pem = {
            "certificate_chain": {"filename": str(server.certificate)},
            "private_key": {"filename": str(server.key)},
        }
        context = typed(DOWNSTREAM, common_tls_context={"tls_certificates": [pem]})
        one["filter_chains"][0]["transport_socket"] = {"name": "tls", "typed_config": context}
    return one


@pytest.fixture(scope="module")
def pair(
    server: Issued, server_context: ssl.SSLContext, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    parameters = {"tls_maximum_protocol_version": "TLSv1_3"}
    context = typed(UPSTREAM, sni="server.test", common_tls_context={"tls_params": parameters})
    clusters = [
        cluster("plain", "{{plain_port}}"),
        cluster("tls", "{{tls_port}}", transport_socket={"name": "tls", "typed_config": context}),
    ]
    origins = {"plain": lambda: Peer(None, PARTS), "tls": lambda: Peer(server_context, PARTS)}
    listeners = [made(name, server) for name in LISTENERS]
    with Pair(bootstrap(listeners, clusters), listeners=tuple(LISTENERS), origins=origins) as started:
        yield started


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("name", LISTENERS)
@pytest.mark.parametrize("story", PARTS)
def test_a_half_that_has_ended_leaves_the_other(
    pair: Pair,
    authority: Authority,
    server_context: ssl.SSLContext,
    story: str,
    name: str,
    version: ssl.TLSVersion,
) -> None:
    client_tls, origin_tls, _ = LISTENERS[name]
    server_context.maximum_version = version
    context = authority.client_context()
    context.maximum_version = version

    def run(side: Side) -> tuple[Seen, Seen]:
        seen: Seen = []
        with socket.create_connection(("127.0.0.1", side.proxy.ports[name]), PATIENCE) as raw:
            try:
                end = TlsEnd(raw, context, "server.test") if client_tls else PlainEnd(raw)
                play(end, story, seen)
            except OSError as error:
                seen.append(type(error).__name__)
            return seen, side.origins["tls" if origin_tls else "plain"].seen.get(timeout=PATIENCE)

    before = pair.lines_logged()
    seen = pair.same_value("seen", run, settle=0)
    assert not {"cut", "OSError", "ConnectionResetError"}.intersection(" ".join(seen[0] + seen[1]).split())
    envoy, outrider = pair.logged_since(before, 1)
    assert outrider == envoy
    pair.same_value("active", lambda side: side.proxy.stats()[f"tcp.{name}.downstream_cx_total"])
    pair.same_value(
        "active",
        lambda side: sum(v for k, v in side.proxy.stats().items() if k.endswith(".upstream_cx_active")),
    )
