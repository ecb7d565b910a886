"""One DNS cache for all workers: what one has asked for all know, also those that come later."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.differential.test_dynamic_forward_proxy import proxy
from tests.support.client import exchange
from tests.support.dns_server import DnsServer
from tests.support.origin import Origin
from tests.support.outrider import Outrider

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class ThreeWorkers(Outrider):
    """Outrider with three workers."""

    @classmethod
    def default_arguments(cls) -> list[str]:
        return ["--concurrency", "3", "-l", "info"]


def workers(proxy: Outrider) -> list[int]:
    def children(pid: int) -> list[int]:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    (fork_server,) = children(proxy.pid)
    return children(fork_server)


def test_one_query_serves_all_workers_and_their_successors() -> None:
    with DnsServer({"a.test": {"A": ["127.0.0.1"]}}, ttl=600) as server, Origin() as origin:
        origin.script(OK)
        values = {"dns_port": server.port, "origin_port": origin.port}
        with ThreeWorkers(proxy(), values=values) as outrider:
            request = f"GET / HTTP/1.1\r\nHost: a.test:{origin.port}\r\n\r\n".encode()
            before = workers(outrider)
            assert len(before) == 3
            for _ in range(20):
                assert exchange(outrider.port, request).status == 200
            for worker in before:
                os.kill(worker, signal.SIGKILL)
            deadline = time.monotonic() + 10
            while (
                len(now := workers(outrider)) < 3 or set(now) & set(before)
            ) and time.monotonic() < deadline:
                time.sleep(0.05)
            for _ in range(20):
                assert exchange(outrider.port, request).status == 200
            assert len(server.asked) == 1
            stats = outrider.stats("dns_cache.names.")
            assert stats["dns_cache.names.num_hosts"] == 1
            assert stats["dns_cache.names.dns_query_attempt"] == 1
            assert stats["dns_cache.names.circuit_breakers.rq_pending_remaining"] == 1026
