"""Every file in examples/ is accepted by both proxies as written and behaves alike."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Client, Reply
from tests.support.differential import Pair, Side
from tests.support.envoy import Envoy
from tests.support.http_text import Message
from tests.support.origin import OriginConnection
from tests.support.outrider import ROOT, subject
from tests.support.udp import UdpClient, UdpOrigin

EXAMPLES = ROOT / "examples"
FILES = sorted(EXAMPLES.glob("*.yaml")) + sorted((EXAMPLES / "front-proxy").glob("*.yaml"))
PLACEHOLDERS = {"9901": "admin_port", "10000": "listener_port", "9001": "first_port", "9002": "second_port"}

# Requests that show what each example is about: (target, further header lines).
CASES: dict[str, list[tuple[str, str]]] = {
    "static_http": [("/", ""), ("/a?b=c", "")],
    "redirects": [
        ("/home", ""),
        ("/old/page?x=1", ""),
        ("/user/42", ""),
        ("/user/42/more", ""),
        ("/search?q=a", ""),
        ("/other", ""),
        ("/x", "Host: www.example.com\r\n"),
        ("/x", "Host: secure.example.com\r\n"),
    ],
    "weighted_clusters": [("/", "x-version: canary\r\n")],
    "header_manipulation": [
        ("/api/x", "X-Internal: 1\r\nAccept-Encoding: gzip\r\nx-api-path: forged\r\n"),
        ("/api/", ""),
        ("/plain", "X-Internal: 1\r\n"),
    ],
    "access_log": [("/", ""), ("/missing", "")],
    "forward_proxy": [("/", "Host: 127.0.0.1:1\r\n"), ("/", "Host: [::1]\r\n")],
    "tcp_proxy": [("/", "")],
    "websocket": [("/ws", ""), ("/other", "Connection: Upgrade\r\nUpgrade: websocket\r\n")],
}
ORIGIN_ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-powered-by: origin\r\ncache-control: max-age=1\r\n\r\nok"
)


def template(name: str) -> str:
    text = (EXAMPLES / f"{name}.yaml").read_text()
    return re.sub(r"port_value: (\d+)", lambda match: "port_value: {{" + PLACEHOLDERS[match[1]] + "}}", text)


@pytest.fixture(scope="module", params=sorted(CASES))
def example(request: pytest.FixtureRequest) -> Iterator[tuple[str, Pair]]:
    with Pair(template(request.param), origins=("first", "second")) as pair:
        yield request.param, pair


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_each_file_is_valid_for_both_as_written(path: Path) -> None:
    for kind in (Envoy, subject()):
        accepted, text = kind.validate_file(path)
        assert accepted, text
        # Of the two ways to name a UDP proxy's cluster Envoy calls one deprecated and one unfinished.
        if kind is not Envoy or path.stem != "udp_proxy":
            assert "warn" not in text.lower(), text


def test_every_example_is_exercised() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.yaml")} == {*CASES, "udp_proxy"}


def test_both_answer_alike(example: tuple[str, Pair]) -> None:
    name, pair = example
    for target, fields in CASES[name]:
        host = "" if "Host:" in fields else "Host: example.com\r\n"
        send = f"GET {target} HTTP/1.1\r\n{host}{fields}\r\n".encode()
        # Envoy starts its round over two hosts anywhere.
        pair.same(send, ORIGIN_ANSWER, any_origin=name in {"static_http", "tcp_proxy"})


def websocket(side: Side) -> tuple[Reply, bytes]:
    """An upgrade, then bytes both ways until the origin closes."""

    def echo(_: Message, connection: OriginConnection) -> None:
        connection.send(
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"
        )
        connection.send(b"echo:" + connection.receive())
        connection.close()

    side.origins["first"].script(echo)
    with Client(side.proxy.port) as client:
        reply = client.request(
            b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        client.send(b"frames")
        return reply, client.read(until="close").raw


def test_a_websocket_passes_bytes_both_ways() -> None:
    with Pair(template("websocket"), origins=("first", "second")) as pair:
        for reply, received in pair.both(websocket):
            assert reply.status == 101
            assert received == b"echo:frames"


def test_datagrams_go_where_their_sender_says() -> None:
    def answers(side: Side) -> list[bytes | None]:
        found = []
        for source in ("127.0.0.1", "127.0.0.200", "127.0.1.1"):
            with UdpClient(side.proxy.port, source=source) as client:
                found.append(client.ask(b"hello"))
        return found

    origins: Any = {"first": UdpOrigin, "second": lambda: UdpOrigin(lambda data: (data.upper(),))}
    with Pair(template("udp_proxy"), origins=origins) as pair:
        assert pair.both(answers) == ([b"hello", b"hello", b"HELLO"],) * 2


def test_about_a_tenth_goes_to_the_canary() -> None:
    def canaries(side: Side) -> int:
        with Client(side.proxy.port) as client:
            replies = [client.request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") for _ in range(400)]
        return sum(reply.response.get("x-version") == "canary" for reply in replies)

    with Pair(template("weighted_clusters"), origins=("first", "second")) as pair:
        # Five standard deviations around 40.
        assert all(10 <= count <= 70 for count in pair.both(canaries))
