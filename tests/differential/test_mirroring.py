"""Mirroring beside Envoy: which copies are made, of what, and that the main request never waits for them."""

from __future__ import annotations

import time
from mmap import PAGESIZE
from pathlib import Path
from threading import Event
from typing import Any, Final

import pytest

from tests.support.client import Client, exchange
from tests.support.compare import diff_lists
from tests.support.configs import Json, cluster, http_proxy, route, virtual_host
from tests.support.differential import Pair, Side, pair_fixture
from tests.support.origin import HELLO, Origin, OriginConnection
from tests.support.stories import TRUST

ORIGINS: Final = ("origin", "shadow", "second")


def to(name: str, **fields: Any) -> Json:
    return {"cluster": name, **fields}


def fraction(numerator: int, key: str = "", denominator: str = "HUNDRED") -> Json:
    value = {"default_value": {"numerator": numerator, "denominator": denominator}}
    return {"runtime_fraction": {**value, **({"runtime_key": key} if key else {})}}


def add(name: str, value: str) -> Json:
    return {
        "append": {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    }


#: Host name → policies of the route.
POLICIES: Final[dict[str, list[Json]]] = {
    "plain": [to("shadow")],
    "two": [to("shadow"), to("second", disable_shadow_host_suffix_append=True)],
    "same": [to("shadow"), to("shadow")],
    "all": [to("shadow", **fraction(10000, denominator="TEN_THOUSAND"))],
    "never": [to("shadow", **fraction(0)), to("second")],
    "by-key": [to("shadow", **fraction(100, "mirror.off")), to("second", **fraction(0, "mirror.on"))],
    "sampled": [to("shadow", trace_sampled=False)],
    "rewritten": [to("shadow", host_rewrite_literal="else.test:81")],
    "changed": [
        to(
            "shadow",
            request_headers_mutations=[add("x-copy", "%REQ(x-given)%"), {"remove": "x-given"}],
        )
    ],
    "header": [{"cluster_header": "x-to"}],
    "dead": [to("dead"), to("shadow")],
    "empty": [to("empty"), to("shadow")],
    "main-dead": [to("shadow")],
    "half": [to("shadow", **fraction(50))],
    "stuck": [to("stuck")],
    "absent": [to("dead")],
}


def main_route(name: str) -> Json:
    main = {"main-dead": "dead", "stuck": "swallow", "absent": "swallow"}.get(name, "origin")
    return route(main, request_mirror_policies=POLICIES[name])


#: Lets the origin go that reads nothing.
STOP: Final = Event()
#: Bytes.
BIG: Final = 48 << 20
END: Final = b"%"


def swallow(connection: OriginConnection) -> None:
    """Answer requests when the last bytes of their bodies have come, without looking at the others."""
    while data := connection.socket.recv(1 << 20):
        if data.endswith(END):
            connection.send(HELLO)


pair = pair_fixture(
    http_proxy(
        virtual_hosts=[
            *(virtual_host([main_route(name)], [f"{name}.test"]) for name in POLICIES),
            virtual_host(
                [
                    route(prefix="/own", request_mirror_policies=[to("second")]),
                    route(),
                ],
                ["inherited.test"],
                request_mirror_policies=[to("shadow")],
            ),
            virtual_host([route()], ["table.test"]),
        ],
        route_config={"request_mirror_policies": [to("second")], "validate_clusters": False},
        clusters=[
            cluster(),
            cluster("shadow"),
            cluster("second"),
            cluster("stuck"),
            cluster("swallow"),
            cluster("dead", "{{dead_port}}"),
            {"name": "empty", "type": "STATIC", "connect_timeout": "1s"},
        ],
        hcm=TRUST,
        layered_runtime={"layers": [{"name": "static", "static_layer": {"mirror.off": 0, "mirror.on": 100}}]},
    ),
    origins={
        **dict.fromkeys(ORIGINS, Origin),
        "stuck": lambda: Origin(take_over=lambda _: STOP.wait(30)),
        "swallow": lambda: Origin(take_over=swallow),
    },
    values={"dead_port": 1},
)


def get(host: str, *fields: str, path: str = "/", method: str = "GET", body: bytes | None = None) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"host: {host}.test", *fields]
    if body is not None:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


CASES: Final[dict[str, tuple[bytes, dict[str, int]]]] = {
    "plain": (get("plain"), {"shadow": 1}),
    "a body": (get("plain", method="POST", body=b"abc"), {"shadow": 1}),
    "a chunked body": (
        get("plain", "transfer-encoding: chunked", method="POST") + b"3\r\nabc\r\n0\r\n\r\n",
        {"shadow": 1},
    ),
    "to two": (get("two", path="/a?b=c"), {"shadow": 1, "second": 1}),
    "twice to one": (get("same"), {"shadow": 2}),
    "all of ten thousand": (get("all"), {"shadow": 1}),
    "the second only": (get("never"), {"second": 1}),
    "the runtime says whether": (get("by-key"), {"second": 1}),
    "not traced": (get("sampled"), {"shadow": 1}),
    "another host": (get("rewritten"), {"shadow": 1}),
    "other fields": (get("changed", "x-given: 1"), {"shadow": 1}),
    "to whom the request says": (get("header", "x-to: second"), {"second": 1}),
    "to nobody the request says": (get("header"), {}),
    "to one that is not there": (get("header", "x-to: nonesuch"), {}),
    "nobody there": (get("dead"), {"shadow": 1}),
    "nobody there, with a body": (get("dead", method="POST", body=b"abc"), {"shadow": 1}),
    "no hosts": (get("empty"), {"shadow": 1}),
    "the main request fails": (get("main-dead"), {"shadow": 1}),
    "of the virtual host": (get("inherited"), {"shadow": 1}),
    "the route's own": (get("inherited", path="/own"), {"second": 1}),
    "of the table": (get("table"), {"second": 1}),
    "timeouts and retries are for the main request": (
        get("plain", "x-envoy-upstream-rq-timeout-ms: 900", "x-envoy-retry-on: 5xx"),
        {"shadow": 1},
    ),
    "HEAD": (get("plain", method="HEAD"), {"shadow": 1}),
}
STATS: Final = [
    f"cluster.{name}.{one}"
    for name in ("shadow", "second", "dead", "empty")
    for one in (
        "upstream_rq_total",
        "upstream_rq_completed",
        "upstream_rq_active",
        "upstream_rq_200",
        "upstream_rq_503",
        "upstream_rq_5xx",
        "upstream_rq_timeout",
        "upstream_rq_pending_failure_eject",
        "internal.upstream_rq_200",
        "internal.upstream_rq_503",
    )
]


@pytest.mark.parametrize("title", CASES)
def test_copies(pair: Pair, title: str) -> None:
    sent, copies = CASES[title]

    def run(side: Side) -> tuple[int, bytes]:
        for origin in side.origins.values():
            origin.script(HELLO)
        reply = exchange(side.proxy.port, sent, timeout=5.0)
        for name, count in copies.items():
            side.origins[name].wait_for_requests(count)
        return reply.status, reply.response.body

    with pair.same_stats(*STATS):
        pair.same_value("reply", run, settle=0)
    for name in ORIGINS:
        envoy, outrider = pair.both(lambda side, name=name: side.origins[name].requests)
        pair.check(diff_lists(f"upstream.{name}", envoy, outrider))


def test_a_part_of_the_requests_is_copied(pair: Pair) -> None:
    def copied(side: Side) -> int:
        for origin in side.origins.values():
            origin.script(HELLO)
        with Client(side.proxy.port, timeout=20.0) as client:
            client.send(get("half") * 400)
            assert len(client.read(["GET"] * 400).responses) == 400
        before = -1
        while (seen := len(side.origins["shadow"].requests)) != before:
            before = seen
            time.sleep(0.2)
        return seen

    for count in pair.both(copied):
        assert abs(count - 200) < 5 * 10


def test_a_copy_that_nobody_answers_ends_with_the_time_of_the_request(pair: Pair) -> None:
    sent = get("plain", "x-envoy-upstream-rq-timeout-ms: 300")
    names = [
        f"cluster.shadow.{one}" for one in ("upstream_rq_timeout", "upstream_rq_504", "upstream_rq_active")
    ]

    def run(side: Side) -> int:
        side.origins["origin"].script(HELLO)
        side.origins["shadow"].script(lambda *_: None)
        status = exchange(side.proxy.port, sent, timeout=5.0).status
        side.origins["shadow"].wait_for_requests(1)
        return status

    with pair.same_stats(*names, "cluster.shadow.upstream_rq_total", "cluster.origin.upstream_rq_timeout"):
        assert pair.same_value("status", run, settle=0) == 200
        # Until then nothing has changed on either side.
        pair.both(lambda side: wait_for(lambda: not side.proxy.stats(names[2])[names[2]]))


def test_the_copy_of_a_request_that_breaks_off_breaks_off(pair: Pair) -> None:
    def run(side: Side) -> bool:
        for origin in side.origins.values():
            origin.script(HELLO)
        shadow = side.origins["shadow"]
        with Client(side.proxy.port, timeout=5.0) as client:
            client.send(get("plain", "content-length: 100", method="POST") + b"x" * 50)
            wait_for(lambda: any(one.received.endswith(b"x" * 50) for one in shadow.connections))
        name = "cluster.shadow.upstream_rq_active"
        wait_for(lambda: not side.proxy.stats(name)[name])
        return bool(shadow.requests)

    assert pair.same_value("a whole request", run, settle=0) is False


def test_a_copy_that_nobody_reads_holds_up_nothing(pair: Pair) -> None:
    """Envoy would have the main request wait for such a copy."""
    side = pair.outrider
    body = b"x" * BIG + END
    before = resident(side.proxy.pid)
    most = before
    for host in ("stuck", "absent"):
        with Client(side.proxy.port, timeout=20.0) as client:
            client.send(get(host, method="POST", body=body))
            most = max(most, resident(side.proxy.pid))
            assert client.read(["POST"]).status == 200
    assert most - before < BIG / 2
    name = "cluster.stuck.upstream_rq_active"
    wait_for(lambda: not side.proxy.stats(name)[name])
    STOP.set()


def resident(pid: int) -> int:
    """Bytes of memory of a process and its children."""
    pids = [str(pid)]
    for one in pids:
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            pids += children.read_text().split()
    pages = sum(int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in pids)
    return pages * PAGESIZE


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
