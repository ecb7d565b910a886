"""Twenty hosts die, hang, reset and come back under steady load, the same ones at the same times beside Envoy."""

from __future__ import annotations

import asyncio
import math
import os
from collections import Counter
from typing import Any

from tests.support.chaos import Clients, Host, schedule, trouble
from tests.support.configs import Json, cluster, http_proxy, route, typed
from tests.support.envoy import Envoy
from tests.support.outrider import subject

#: 60 with OUTRIDER_TEST_LOAD=1.
SECONDS = 60.0 if os.environ.get("OUTRIDER_TEST_LOAD") else 10.0
HOSTS, MOST_IN_TROUBLE = 20, 5
#: Requests a second to each proxy.
RATE = 120.0
#: Path and method; each has a route of its own.
KINDS = {"retried": "GET", "plain": "GET", "order": "POST"}


def _config(ports: list[int]) -> Json:
    elsewhere: Json = {
        "retry_host_predicate": [
            {
                "name": "previous_hosts",
                "typed_config": typed("envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"),
            }
        ],
        "host_selection_retry_max_attempts": 20,
    }
    retried = {
        "retry_on": "5xx,reset,connect-failure",
        "num_retries": 8,
        "per_try_timeout": "0.4s",
        **elsewhere,
    }
    order = {"retry_on": "connect-failure,refused-stream", "num_retries": 8, **elsewhere}
    breakers = {"thresholds": [{"max_retries": 1000}]}
    return http_proxy(
        routes=[
            route("hosts", "/retried", timeout="15s", retry_policy=retried),
            route("hosts", "/order", timeout="1s", retry_policy=order),
            route("hosts", "/plain", timeout="1s"),
        ],
        clusters=[cluster("hosts", *ports, connect_timeout="0.5s", circuit_breakers=breakers)],
    )


async def _run() -> tuple[dict[str, Clients], dict[str, Counter[str]], dict[str, dict[str, int]]]:
    changes = schedule("chaos", HOSTS, SECONDS, most=MOST_IN_TROUBLE)
    seen: dict[str, Counter[str]] = {"envoy": Counter(), "outrider": Counter()}
    fleets = {name: [Host(count) for _ in range(HOSTS)] for name, count in seen.items()}
    proxies: dict[str, Any] = {}
    clients: dict[str, Clients] = {}
    try:
        for name, kind in (("envoy", Envoy), ("outrider", subject())):
            for host in fleets[name]:
                await host.listen()
            proxies[name] = await asyncio.to_thread(kind, _config([host.port for host in fleets[name]]))
            clients[name] = Clients(proxies[name].port)
        await asyncio.gather(
            trouble(changes, list(fleets.values())),
            *(one.play(KINDS, RATE, SECONDS) for one in clients.values()),
        )
        stats = {name: await asyncio.to_thread(one.stats, "cluster.hosts.") for name, one in proxies.items()}
    finally:
        for one in clients.values():
            one.close()
        for proxy in proxies.values():
            await asyncio.to_thread(proxy.close)
        for fleet in fleets.values():
            for host in fleet:
                await host.close()
    return clients, seen, stats


def test_what_fails_is_retried_or_told_and_nothing_is_made_twice() -> None:
    clients, seen, stats = asyncio.run(_run())
    failed = {
        name: {kind: one.failed.get(kind, Counter()).total() for kind in KINDS}
        for name, one in clients.items()
    }
    told = {name: one.failed for name, one in clients.items()}
    assert clients["outrider"].sent.total() == int(RATE * SECONDS)
    assert failed["outrider"]["retried"] == 0, told
    # The script does hurt: without retries requests fail, and with them there is something to retry.
    assert failed["envoy"]["plain"], told
    assert stats["outrider"]["cluster.hosts.upstream_rq_retry"] > 10
    twice = [path for path, times in seen["outrider"].items() if path.startswith("/order") and times > 1]
    assert twice == []
    for kind in ("plain", "order"):
        # Which host a request comes to is chance: 4 standard deviations of the difference.
        most = failed["envoy"][kind] + 4 * math.sqrt(2 * failed["envoy"][kind])
        assert failed["outrider"][kind] <= most, told
