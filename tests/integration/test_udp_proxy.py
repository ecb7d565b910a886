"""What an operator relies on where datagrams are proxied: workers share clients, and one that dies is replaced."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.configs import bootstrap, cluster, typed
from tests.support.outrider import Outrider
from tests.support.udp import UdpClient, UdpOrigin, udp_address

PROXY = "envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig"
LISTENER = {
    "name": "listener",
    "address": udp_address("{{listener_port}}"),
    "listener_filters": [
        {"name": "udp_proxy", "typed_config": typed(PROXY, stat_prefix="u", cluster="origin")},
    ],
}


@pytest.fixture
def origin() -> Iterator[UdpOrigin]:
    with UdpOrigin() as made:
        yield made


class TwoWorkers(Outrider):
    @classmethod
    def default_arguments(cls) -> list[str]:
        return ["--concurrency", "2", "-l", "info"]


def outrider(origin: UdpOrigin, kind: type[Outrider] = Outrider, **cluster_fields: object) -> Outrider:
    config = bootstrap([LISTENER], [cluster("origin", **cluster_fields)])
    return kind(config, values={"origin_port": origin.port})


def workers(proxy: Outrider) -> list[int]:
    def children(pid: int) -> list[int]:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    (fork_server,) = children(proxy.pid)
    return children(fork_server)


def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_a_client_stays_with_its_worker_and_limits_count_over_all(origin: UdpOrigin) -> None:
    limit = {"thresholds": [{"max_connections": 20}]}
    with outrider(origin, TwoWorkers, circuit_breakers=limit) as proxy:
        clients = [UdpClient(proxy.port) for _ in range(30)]
        try:
            answers = [client.ask(b"hello", timeout=1.0) for client in clients[:20]]
            assert answers == [b"hello"] * 20
            for client in clients[:20] * 2:
                assert client.ask(b"again") == b"again"
            assert len({sender for _, sender in origin.received}) == 20
            for client in clients[20:]:
                client.send(b"too many")
            assert eventually(lambda: proxy.stats("cluster.origin.upstream_cx_overflow").popitem()[1] == 10)
            assert proxy.stats("udp.u.")["udp.u.downstream_sess_active"] == 20
        finally:
            for client in clients:
                client.close()


def test_a_killed_worker_is_replaced_and_what_came_meanwhile_is_served(origin: UdpOrigin) -> None:
    with outrider(origin) as proxy, UdpClient(proxy.port) as client:
        assert client.ask(b"before") == b"before"
        (worker,) = workers(proxy)
        os.kill(worker, signal.SIGKILL)
        # Nobody reads now, but the controller keeps the socket open.
        assert client.ask(b"meanwhile", timeout=10.0) == b"meanwhile"
        assert workers(proxy) != [worker]
        assert client.ask(b"after") == b"after"


def test_sigterm_ends_at_once_because_no_connection_is_waited_for(origin: UdpOrigin) -> None:
    with outrider(origin) as proxy, UdpClient(proxy.port) as client:
        stop = threading.Event()

        def talk() -> None:
            while not stop.is_set():
                client.ask(b"hello", timeout=0.05)

        talking = threading.Thread(target=talk)
        talking.start()
        try:
            assert eventually(lambda: bool(origin.received))
            proxy.process.send_signal(signal.SIGTERM)
            assert proxy.process.wait(10) == 0
        finally:
            stop.set()
            talking.join()
