"""`outrider iptables`: rules that capture real connections, may be applied twice, and leave nothing behind."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.support.namespaces import Host, Network, Version
from tests.support.origin import Origin
from tests.support.outrider import ROOT

VERSIONS: list[Version] = [4, 6]
OUTBOUND, INBOUND, EXCLUDED = 15001, 15006, 8443
FLAGS = [
    *("-b", "*", "-d", "15090", "-o", str(EXCLUDED), "-i", "*"),
    "--dual-stack",
]
ROUNDS = 3


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    with Network() as network:
        workload, other = network.hosts("workload", "other")
        network.lan(workload, other)
        yield workload, other


def capture(host: Host, *words: str) -> str:
    """Run the command as `host`; what it says."""
    done = host.run("env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "iptables", *words)
    return done.stdout + done.stderr


def rules(host: Host) -> list[str]:
    """Everything that could be left behind, without the comments, which tell the time."""
    listings = [host.saved(version) for version in VERSIONS]
    listings += [host.run("ip", f"-{version}", "rule").stdout for version in VERSIONS]
    listings.append(host.run("ip", "addr", "show", "lo").stdout)
    return [line for text in listings for line in text.splitlines() if not line.startswith("#")]


def answer(host: Host, ip: str, port: int) -> bytes:
    with host.connect(ip, port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        return connection.recv(1000).rpartition(b"\r\n")[2]


def said(text: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-length: {len(text)}\r\n\r\n{text}".encode()


@pytest.mark.parametrize("version", VERSIONS)
def test_connections_come_to_the_proxy_and_excluded_ports_do_not(
    hosts: tuple[Host, Host], version: Version
) -> None:
    workload, other = hosts
    outbound = workload.call(Origin, said("outbound"), host="::", port=OUTBOUND)
    inbound = workload.call(Origin, said("inbound"), host="::", port=INBOUND)
    plain = other.call(Origin, said("plain"), host="::", port=80)
    secret = other.call(Origin, said("excluded"), host="::", port=EXCLUDED)
    try:
        there = other.ip(version)
        assert answer(workload, there, 80) == b"plain"
        capture(workload, "apply", *FLAGS)
        assert answer(workload, there, 80) == b"outbound"
        assert answer(workload, there, EXCLUDED) == b"excluded"
        assert answer(other, workload.ip(version), 9999) == b"inbound"
        capture(workload, "remove", *FLAGS)
        assert answer(workload, there, 80) == b"plain"
    finally:
        for origin in (outbound, inbound, plain, secret):
            origin.close()


@pytest.mark.parametrize("mode", ["REDIRECT", "TPROXY"])
def test_rules_may_be_applied_twice_and_leave_nothing_behind(hosts: tuple[Host, Host], mode: str) -> None:
    workload, _other = hosts
    flags = [*FLAGS, "-m", mode]
    before = rules(workload)
    for _ in range(ROUNDS):
        capture(workload, "apply", *flags)
        once = rules(workload)
        assert once != before
        capture(workload, "apply", *flags)
        assert rules(workload) == once
        capture(workload, "remove", *flags)
        assert rules(workload) == before
