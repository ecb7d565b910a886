"""`outrider iptables`: rules that capture real connections and datagrams, and leave alone what they should."""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from tests.support.capture import Capture
from tests.support.namespaces import Host, Network, Version, default_route
from tests.support.origin import Origin

VERSIONS: list[Version] = [4, 6]
OUTBOUND, INBOUND, EXCLUDED, DNS = 15001, 15006, 8443, 15053
UID, GID = 4321, 4322
FLAGS = [
    *("-b", "*", "-d", "15090", "-o", str(EXCLUDED), "-i", "*", "-u", str(UID), "-g", str(GID)),
    "--ipv6=true",
]
ANY: dict[Version, str] = {4: "0.0.0.0", 6: "::"}
KINDS = {"iptables": [], "nft": ["--native-nftables"]}
QUERY = struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + b"\x04name\x04test\0\0\1\0\1"
ACCEPT_FIRST = "for tables in iptables ip6tables; do $tables -t nat -I OUTPUT 1 -j ACCEPT; done"

GET = """
import socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
connection.sendall(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
print(connection.recv(1000).rpartition(b"\\r\\n")[2].decode())
"""


def said(text: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-length: {len(text)}\r\n\r\n{text}".encode()


def answer(host: Host, ip: str, port: int) -> bytes:
    with host.connect(ip, port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        return connection.recv(1000).rpartition(b"\r\n")[2]


def answer_to(host: Host, who: str, ip: str, port: int) -> str:
    """As `answer`, for a program of another user or group: `uid=...` or `gid=...`."""
    kind, _, number = who.partition("=")
    change = ["--reuid", number] if kind == "uid" else ["--regid", number]
    return host.run(
        "setpriv", *change, "--clear-groups", sys.executable, "-c", GET, ip, str(port)
    ).stdout.strip()


class Server:
    """A thread in a host that answers what comes to sockets. Use as a context manager."""

    def __init__(self, *sockets: socket.socket, reply: Callable[[socket.socket], None]) -> None:
        self._sockets = sockets
        self._reply = reply
        self._threads = [threading.Thread(target=self._serve, args=(one,), daemon=True) for one in sockets]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(5)

    def _serve(self, one: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                if one.type == socket.SOCK_DGRAM:
                    self._reply(one)
                else:
                    accepted, _ = one.accept()
                    with accepted:
                        self._reply(accepted)


def dns_reply(one: socket.socket) -> None:
    """The query comes back marked as answered by this port."""
    if one.type == socket.SOCK_DGRAM:
        query, peer = one.recvfrom(512)
        if query:
            one.sendto(query + b"15053", peer)
    else:
        one.sendall(one.recv(512) + b"15053")


def ends(one: socket.socket) -> None:
    peer, local = one.getpeername(), one.getsockname()
    one.sendall(f"{peer[0]} {local[0]} {local[1]}".encode())


def listening(
    kind: socket.SocketKind, version: Version, ip: str, port: int, transparent: bool = False
) -> socket.socket:
    libc = ctypes.CDLL(None)
    # Rules on owners ask for the user that made the socket; this changes the user of one thread alone.
    libc.setfsuid(UID)
    made = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, kind)
    libc.setfsuid(0)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if version == 6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if transparent:
        level, option = (socket.SOL_IP, 19) if version == 4 else (socket.IPPROTO_IPV6, 75)
        made.setsockopt(level, option, 1)
    made.bind((ip, port))
    if kind == socket.SOCK_STREAM:
        made.listen()
    return made


@dataclass
class World:
    workload: Host
    other: Host
    capture: Capture


@pytest.fixture(scope="module")
def hosts() -> Iterator[World]:
    """On each port of interest somebody answers who he is."""
    with Network() as network:
        workload, other = network.hosts("workload", "other")
        network.lan(workload, other)
        default_route(workload, other)
        with Capture(workload) as capture, contextlib.ExitStack() as stack:
            for host, port, text in (
                (workload, OUTBOUND, "outbound"),
                (workload, INBOUND, "inbound"),
                (workload, 8080, "app"),
                (other, 80, "plain"),
                (other, EXCLUDED, "excluded"),
            ):
                stack.callback(host.call(Origin, said(text), host="::", port=port).close)
            yield World(workload, other, capture)


@pytest.fixture
def world(hosts: World) -> Iterator[World]:
    """A host whose rules are as before, afterwards too."""
    before = hosts.capture.state()
    yield hosts
    hosts.capture("remove", *FLAGS, "-m", "TPROXY")
    assert hosts.capture.state() == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", VERSIONS)
def test_connections_come_to_the_proxy_except_those_left_out(
    world: World, version: Version, kind: str
) -> None:
    workload, other, capture = world.workload, world.other, world.capture
    there, here = other.ip(version), workload.ip(version)
    assert answer(workload, there, 80) == b"plain"
    capture("apply", *FLAGS, *KINDS[kind])
    assert answer(workload, there, 80) == b"outbound"
    assert answer(workload, there, EXCLUDED) == b"excluded"
    assert answer_to(workload, f"uid={UID}", there, 80) == "plain"
    assert answer_to(workload, f"gid={GID}", there, 80) == "plain"
    assert answer_to(workload, "uid=1000", there, 80) == "outbound"
    assert answer(other, here, 9999) == b"inbound"
    # The workload's calls to itself stay its own; those of the proxy to it come in as if from outside.
    assert answer(workload, "127.0.0.1" if version == 4 else "::1", 8080) == b"app"
    if version == 4:
        assert answer_to(workload, f"uid={UID}", here, 8080) == "inbound"
    capture("apply", *FLAGS, *KINDS[kind], "-x", f"{there}/{32 if version == 4 else 128}", "--reconcile")
    assert answer(workload, there, 80) == b"plain"
    capture("remove", *FLAGS)
    assert answer(workload, there, 80) == b"plain"
    assert answer(other, here, 8080) == b"app"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", VERSIONS)
def test_queries_come_to_the_dns_listener(world: World, version: Version, kind: str) -> None:
    server = world.other.ip(version)
    flags = [*FLAGS, *KINDS[kind], "--redirect-dns", f"--dns-servers={server}"]
    world.capture("apply", *flags)
    kinds = (socket.SOCK_DGRAM, socket.SOCK_STREAM)
    # On loopback, where the proxy's is: an answer from another address of the host is not the listener's.
    loopback = "127.0.0.1" if version == 4 else "::1"
    sockets = [world.workload.call(listening, kind, version, loopback, DNS) for kind in kinds]
    with Server(*sockets, reply=dns_reply):
        for protocol in kinds:
            family = socket.AF_INET if version == 4 else socket.AF_INET6
            with world.workload.call(socket.socket, family, protocol) as client:
                client.settimeout(10)
                # Connected: an answer from another address than the one asked would not be taken.
                client.connect((server, 53))
                client.sendall(QUERY)
                assert client.recv(512) == QUERY + b"15053"
        assert f"DNS to {server} comes to port 15053: answered" in world.capture("verify", *flags)


@pytest.mark.parametrize("kind", KINDS)
def test_tproxy_keeps_the_clients_address(world: World, kind: str) -> None:
    world.capture("apply", *FLAGS, *KINDS[kind], "-m", "TPROXY", "-z", "15016")
    sockets = [
        world.workload.call(listening, socket.SOCK_STREAM, version, ANY[version], 15016, True)
        for version in VERSIONS
    ]
    with Server(*sockets, reply=ends):
        for version in VERSIONS:
            here = world.workload.ip(version)
            with world.other.connect(here, 7777) as client:
                assert client.recv(200).decode() == f"{world.other.ip(version)} {here} 7777"


def test_rules_without_effect_are_told_loudly(world: World) -> None:
    flags = [*FLAGS, "--redirect-dns", "--capture-all-dns"]
    done = world.capture.attempt("verify", *flags)
    assert done.status == 126
    assert "rules are missing or differ" in done.errors
    world.capture("apply", *flags)
    good = world.capture("verify", *flags)
    assert good.count("ok ") == 8
    assert "failed" not in good
    assert "skipped" not in good
    world.capture.shell(ACCEPT_FIRST)
    flags.append("--probe-timeout=100ms")
    done = world.capture.attempt("verify", *flags)
    assert done.status == 126
    assert done.output.count("failed") == 8
    assert "installed and not effective" in done.errors
    found = world.capture("doctor", *flags, "--to", "198.51.100.1:80", "--uid", "1000")
    assert "OUTPUT rule 1: -j ACCEPT" in found
    assert "not captured" in found
    done = world.capture.attempt("apply", *flags, "--run-validation")
    assert done.status == 126
    world.capture.shell("for tables in iptables ip6tables; do $tables -t nat -D OUTPUT -j ACCEPT; done")


@pytest.mark.parametrize("kind", KINDS)
def test_the_doctor_says_what_happens(world: World, kind: str) -> None:
    world.capture("apply", *FLAGS, *KINDS[kind], "-x", "10.0.0.0/8")

    def ends_with(*words: str) -> str:
        return world.capture("doctor", *FLAGS, *words).partition("=> ")[2].partition("\n")[0]

    assert ends_with("--to", "198.51.100.1:80", "--uid", "1000") == "redirected to port 15001 of this machine"
    assert (
        ends_with("--to", "[2001:db8::5]:80", "--uid", "1000") == "redirected to port 15001 of this machine"
    )
    assert "not captured" in ends_with("--to", "198.51.100.1:80", "--uid", str(UID))
    assert "not captured" in ends_with("--to", "10.1.2.3:80", "--uid", "1000")
    assert "not captured" in ends_with("--to", f"198.51.100.1:{EXCLUDED}", "--uid", "1000")
    inbound = ends_with("--to", "10.1.0.1:9999", "--direction", "in")
    assert inbound == "redirected to port 15006 of this machine"


def test_the_doctor_warns_of_each_trap(world: World) -> None:
    capture = world.capture
    assert "no rules of ours are installed" in capture("doctor", *FLAGS)
    capture("apply", *[flag for flag in FLAGS if flag != "--ipv6=true"], "--ipv6=false")
    assert "connections by IPv6 bypass" in capture("doctor", *FLAGS)
    stranger = world.workload.spawn("setpriv", "--reuid", str(UID), "--clear-groups", "sleep", "60")
    try:
        deadline = time.monotonic() + 20
        while Path(f"/proc/{stranger.pid}").stat().st_uid != UID:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert f"uid {UID} is the proxy's, and " in capture("doctor", *FLAGS)
    finally:
        stranger.kill()
    assert "--proxy-uid is root" in capture("doctor", "-u", "0")
    capture.shell("iptables -t nat -N PROXY_INIT_OUTPUT")
    try:
        assert "PROXY_INIT_OUTPUT in nat is of Linkerd" in capture("doctor", *FLAGS)
    finally:
        capture.shell("iptables -t nat -X PROXY_INIT_OUTPUT")


def test_rules_in_the_way_are_not_touched(world: World) -> None:
    capture = world.capture
    capture.shell("iptables -t nat -N PROXY_INIT_OUTPUT")
    try:
        before = capture.state()
        done = capture.attempt("apply", *FLAGS)
        assert (done.status, done.errors.count("\n")) == (1, 1)
        assert "is of Linkerd; remove that mesh's rules first" in done.errors
        assert capture.state() == before
        capture("apply", *FLAGS, "--force-apply")
        capture("remove", *FLAGS)
        assert capture.state() == before
    finally:
        capture.shell("iptables -t nat -X PROXY_INIT_OUTPUT; nft delete table ip nat")


@pytest.mark.parametrize("kind", KINDS)
def test_rules_of_another_configuration_are_replaced_only_if_asked(world: World, kind: str) -> None:
    capture = world.capture
    before = capture.state()
    capture("apply", *FLAGS, *KINDS[kind])
    once = capture.state()
    other = [*FLAGS, *KINDS[kind], "-p", "15101"]
    done = capture.attempt("apply", *other)
    assert (done.status, done.errors.count("\n")) == (1, 1)
    assert "use --reconcile to replace them" in done.errors
    assert capture.state() == once
    capture("apply", *other, "--reconcile")
    assert "15101" in capture.state()
    assert "15001" not in capture.state()
    mixed = capture.attempt("apply", *FLAGS, *KINDS["iptables" if kind == "nft" else "nft"])
    assert mixed.status == 1
    assert "use `outrider iptables remove` first" in mixed.errors
    capture("--cleanup-only", *other)
    assert capture.state() == before


def test_a_plan_changes_nothing(world: World) -> None:
    before = world.capture.state()
    planned = world.capture("plan", *FLAGS)
    assert "+ iptables -t nat -A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001" in planned
    assert world.capture("apply", *FLAGS, "--dry-run") == planned
    assert world.capture.state() == before
    world.capture("apply", *FLAGS)
    assert world.capture("plan", *FLAGS) == "nothing to change\n"


def test_another_namespace_by_its_path(world: World) -> None:
    with Network() as network:
        elsewhere = network.host("elsewhere")
        with Capture(elsewhere) as outside:
            outside("apply", *FLAGS, f"--network-namespace={world.workload.path}")
            assert "ISTIO" not in outside.state()
            assert answer(world.workload, world.other.ip(), 80) == b"outbound"
            outside("remove", *FLAGS, f"--network-namespace={world.workload.path}")
            done = outside.attempt("apply", *FLAGS, "--network-namespace=nobody")
            assert done.status == 1
            assert done.errors == (
                "error: --network-namespace: /run/netns/nobody: No such file or directory\n"
            )


def test_without_the_privilege_nothing_happens(world: World) -> None:
    before = world.capture.state()
    command = f"{sys.executable} -m iptables apply -b '*'"
    for drop in ("--reuid 1000 --clear-groups", "--bounding-set -net_admin --inh-caps -net_admin"):
        done = world.capture.attempt(f"!setpriv {drop} {command}")
        assert done.status == 1
        assert done.errors == (
            "error: changing rules needs the capability NET_ADMIN: run as root, or grant it\n"
        )
    assert world.capture.state() == before


def test_a_full_disk_does_not_leave_half_a_change(world: World) -> None:
    command = f"{sys.executable} -m iptables"
    flags = " ".join(f"'{flag}'" for flag in FLAGS)
    done = world.capture.attempt(f"!{command} plan {flags} > /dev/full")
    assert done.status == 1
    assert done.errors == (
        "error: cannot write the output: No space left on device; make room, or send it elsewhere\n"
    )
    world.capture.shell(f"TMPDIR=/dev/full {command} apply {flags} > /dev/full 2> /dev/full")
    assert world.capture("plan", *FLAGS) == "nothing to change\n"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_host_of_one_ip_version(version: Version) -> None:
    """It gets rules of that version, unless told otherwise, and every probe that it can send passes."""
    with Network() as network:
        workload, other = network.hosts("workload", "other")
        network.lan(workload, other)
        default_route(workload, other)
        if version == 4:
            workload.set("ipv6/conf/all/disable_ipv6", 1)
        else:
            workload.run("ip", "-4", "address", "flush", "dev", "eth0")
        with Capture(workload) as capture:
            before = capture.state()
            flags = [flag for flag in FLAGS if flag != "--ipv6=true"]
            capture("apply", *flags)
            checked = capture("verify", *flags, "--probe-timeout=2s")
            assert f"IPv{version} TCP" in checked
            assert "failed" not in checked
            tables = capture.shell(f"ip{'' if version == 4 else '6'}tables-save -t nat")
            assert "ISTIO_OUTPUT" in tables
            capture("remove", *flags)
            assert capture.state() == before
