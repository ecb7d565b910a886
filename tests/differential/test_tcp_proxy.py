"""The TCP proxy of real Envoy and ours: bytes, ends, failures, statistics, access logs."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.configs import Json, address, bootstrap, cluster, file_log, typed
from tests.support.differential import Pair, Side
from tests.support.origin import Origin, OriginConnection

TCP_PROXY = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
LOG = (
    "%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_CLUSTER% %UPSTREAM_HOST% %PROTOCOL% "
    "%RESPONSE_CODE% %UPSTREAM_TRANSPORT_FAILURE_REASON% %CONNECTION_TERMINATION_DETAILS% %RESPONSE_CODE_DETAILS% "
    "%ACCESS_LOG_TYPE% %UPSTREAM_WIRE_BYTES_SENT% %UPSTREAM_WIRE_BYTES_RECEIVED% %UPSTREAM_REQUEST_ATTEMPT_COUNT% "
    "%DOWNSTREAM_DETECTED_CLOSE_TYPE% %DOWNSTREAM_LOCAL_CLOSE_REASON%"
)
PROXIES: dict[str, Json] = {
    "plain": {},
    "idle": {"idle_timeout": "1s"},
    "short": {"max_downstream_connection_duration": "1s"},
    "dead": {"cluster": "dead"},
    "persistent": {"cluster": "dead", "max_connect_attempts": 3},
    "luckier": {"cluster": "half_dead", "max_connect_attempts": 2},
    "stuck": {"cluster": "stuck"},
    "empty": {"cluster": "empty"},
    "unknown": {"cluster": "nowhere"},
    "full": {"cluster": "full"},
    "unqueued": {"cluster": "unqueued"},
    "weighted": {
        "weighted_clusters": {"clusters": [{"name": "origin", "weight": 1}, {"name": "second", "weight": 3}]}
    },
    "second_only": {"weighted_clusters": {"clusters": [{"name": "second", "weight": 1}]}},
    "logged": {"access_log_options": {"flush_access_log_on_connected": True}},
    "flushed": {"access_log_options": {"access_log_flush_interval": "0.4s"}},
    "hashed": {"hash_policy": [{"source_ip": {}}]},
    "small": {},
    "early": {"max_early_data_bytes": 100},
    "on_data": {"upstream_connect_mode": "ON_DOWNSTREAM_DATA", "max_early_data_bytes": 100},
    "unbuffered": {"upstream_connect_mode": "ON_DOWNSTREAM_DATA", "max_early_data_bytes": 0},
    "patient": {
        "cluster": "half_dead",
        "max_connect_attempts": 2,
        "backoff_options": {"base_interval": "0.01s", "max_interval": "0.1s"},
    },
    "criteria": {"metadata_match": {"filter_metadata": {"envoy.lb": {"stage": "canary"}}}},
}


def listener(name: str, **fields: Any) -> Json:
    config: Json = {"stat_prefix": name, "access_log": [file_log(LOG)], **fields}
    if "weighted_clusters" not in fields:
        config.setdefault("cluster", "origin")
    return {
        "name": name,
        "stat_prefix": name,
        "address": address(f"{{{{{name}_port}}}}"),
        "filter_chains": [{"filters": [{"name": "tcp", "typed_config": typed(TCP_PROXY, **config)}]}],
        **({"per_connection_buffer_limit_bytes": 1000} if name == "small" else {}),
    }


def overriding(made: Json) -> Json:
    """The same listener, whose connections bring a cluster of their own."""
    value = {
        "object_key": "envoy.tcp_proxy.cluster",
        "format_string": {"text_format_source": {"inline_string": "origin"}},
    }
    made["filter_chains"][0]["filters"].insert(
        0,
        {
            "name": "state",
            "typed_config": typed(
                "envoy.extensions.filters.network.set_filter_state.v3.Config", on_new_connection=[value]
            ),
        },
    )
    return made


FLOW = ("paused_reading", "resumed_reading", "backed_up", "drained")


def answer(connection: OriginConnection) -> None:
    """What the origins do: the first byte says what."""
    first = connection.receive()
    if first[:1] == b"e":  # echo to the end, then close
        connection.send(first)
        while data := connection.receive():
            connection.send(data)
        connection.send(b"<end>")
    elif first[:1] == b"c":  # answer, close
        connection.send(b"bye")
    elif first[:1] == b"h":  # answer, half-close, and listen on
        connection.send(b"half")
        connection.half_close()
        while connection.receive():
            pass
    elif first[:1] == b"r":
        connection.send(b"reset")
        time.sleep(0.1)
        connection.reset()
    elif first[:1] == b"w":  # wait for the end
        connection.send(b"waiting")
        while connection.receive():
            pass
    elif first[:1] == b"x":  # much, then a reset
        connection.send(b"z" * 3_000_000)
        connection.receive()
        connection.reset()
    elif first[:1] == b"b":
        connection.send(b"z" * 5_000_000)


def speak_first(connection: OriginConnection) -> None:
    connection.send(b"220 hello\n")
    while connection.receive():
        pass


def config() -> Json:
    full = {"circuit_breakers": {"thresholds": [{"max_connections": 1}]}}
    unqueued = {"circuit_breakers": {"thresholds": [{"max_pending_requests": 0}]}}
    return bootstrap(
        [
            *(listener(name, **fields) for name, fields in PROXIES.items()),
            listener("server_first", cluster="first"),
            overriding(listener("overridden", cluster="dead")),
            overriding(listener("not_overridden", **PROXIES["second_only"])),
        ],
        [
            cluster("origin"),
            cluster("second"),
            cluster("first"),
            cluster("dead", "{{deaf_port}}"),
            cluster("half_dead", "{{deaf_port}}", "{{origin_port}}"),
            cluster("stuck", "{{crowded_port}}", connect_timeout="1s"),
            {"name": "empty", "type": "STATIC", "connect_timeout": "1s"},
            cluster("full", "{{origin_port}}", **full),
            cluster("unqueued", "{{origin_port}}", **unqueued),
        ],
    )


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    origins = {
        "origin": lambda: Origin(take_over=answer),
        "second": lambda: Origin(take_over=answer),
        "first": lambda: Origin(take_over=speak_first),
    }
    with socket.socket() as deaf, socket.socket() as full, contextlib.ExitStack() as waiting:
        deaf.bind(("127.0.0.1", 0))  # so that nobody else listens there
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):  # more than the kernel keeps: it does not answer further clients
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        with Pair(
            config(),
            origins=origins,
            listeners=(*PROXIES, "server_first", "overridden", "not_overridden"),
            values={"deaf_port": deaf.getsockname()[1], "crowded_port": full.getsockname()[1]},
        ) as started:
            yield started


class Client:
    """A connection to one proxy; `end` tells how it ended."""

    def __init__(self, side: Side, name: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", side.proxy.ports[name]), 5)

    def send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self.socket.sendall(data)

    def receive(self, size: int) -> bytes:
        data = b""
        with contextlib.suppress(OSError):
            while len(data) < size and (more := self.socket.recv(size - len(data))):
                data += more
        return data

    def rest(self) -> tuple[bytes, str]:
        data = b""
        try:
            while more := self.socket.recv(1 << 16):
                data += more
        except TimeoutError:
            return data, "open"
        except ConnectionResetError:
            return data, "reset"
        return data, "closed"

    def reset(self) -> None:
        OriginConnection(self.socket).reset()

    def close(self) -> None:
        self.socket.close()


def mask(line: str) -> str:
    """Ports of hosts differ between the two sides."""
    return re.sub(r"127\.0\.0\.1:\d+", "HOST", line)


class Played:
    """The outcome of `play` and the log lines."""

    def __init__(self, outcome: Any, lines: list[str]) -> None:
        self.outcome = outcome
        self.lines = lines


def same(
    pair: Pair,
    name: str,
    play: Callable[[Client], Any],
    clusters: tuple[str, ...] = ("origin",),
    lines: int = 1,
    ignore: tuple[str, ...] = (),
) -> Played:
    """`play` with a client of both proxies: same outcome, same log, same statistics."""

    def run(side: Side) -> Any:
        client = Client(side, name)
        try:
            return play(client)
        finally:
            client.close()

    before = pair.lines_logged()
    groups = [f"tcp.{name}.", f"listener.{name}.", *(f"cluster.{one}.upstream_" for one in clusters)]
    with pair.same_stats(*groups, ignore=ignore):
        envoy, outrider = pair.both(run)
        assert outrider == envoy
        logged = pair.logged_since(before, lines)
    assert [mask(line) for line in logged[1]] == [mask(line) for line in logged[0]]
    return Played(outrider, [mask(line) for line in logged[1]])


def echo_to_the_end(client: Client) -> Any:
    client.send(b"echo")
    assert client.receive(4) == b"echo"
    client.socket.shutdown(socket.SHUT_WR)
    return client.rest()


def test_bytes_both_ways_and_the_client_half_closes_first(pair: Pair) -> None:
    played = same(pair, "plain", echo_to_the_end)
    assert played.outcome == (b"<end>", "closed")
    assert played.lines[0].startswith("- 4 9 origin HOST - 0 ")


def test_the_host_closes_first(pair: Pair) -> None:
    def play(client: Client) -> Any:
        client.send(b"c")
        return client.rest()

    assert same(pair, "plain", play).outcome == (b"bye", "closed")


def test_the_host_half_closes_and_still_hears(pair: Pair) -> None:
    def play(client: Client) -> Any:
        client.send(b"h")
        half = client.rest()
        client.send(b"more")
        time.sleep(0.1)
        client.socket.shutdown(socket.SHUT_WR)
        return half

    assert same(pair, "plain", play).lines[0].startswith("- 5 4 origin HOST")


def test_the_host_resets(pair: Pair) -> None:
    def play(client: Client) -> Any:
        client.send(b"r")
        return client.rest()

    same(pair, "plain", play)


def test_the_client_resets(pair: Pair) -> None:
    def play(client: Client) -> Any:
        client.send(b"w")
        waiting = client.receive(7)
        client.reset()
        return waiting

    same(pair, "plain", play)


def test_the_client_closes_without_half_closing(pair: Pair) -> None:
    def play(client: Client) -> Any:
        client.send(b"w")
        return client.receive(7)

    same(pair, "plain", play)


def test_a_host_that_speaks_first(pair: Pair) -> None:
    def play(client: Client) -> Any:
        return client.receive(10)

    assert same(pair, "server_first", play, ("first",)).outcome == b"220 hello\n"


def test_much_to_a_client_that_reads_late(pair: Pair) -> None:
    def play(client: Client) -> Any:
        client.send(b"b")
        time.sleep(0.3)
        data, end = client.rest()
        return len(data), end

    ignore = tuple(
        f"cluster.origin.upstream_flow_control_{what}_reading_total" for what in ("paused", "resumed")
    )
    assert same(pair, "plain", play, ignore=ignore).outcome == (5_000_000, "closed")


def test_much_both_ways_and_then_a_half_close(pair: Pair) -> None:
    data = b"echo" + bytes(range(256)) * (6_000_000 // 256)

    def play(client: Client) -> Any:
        def send() -> None:
            client.send(data)
            client.socket.shutdown(socket.SHUT_WR)

        sending = threading.Thread(target=send)
        sending.start()
        back, end = client.rest()
        sending.join()
        return back == data + b"<end>", end

    ignore = tuple(
        f"{scope}_flow_control_{what}_total"
        for scope in ("tcp.plain.downstream", "cluster.origin.upstream")
        for what in FLOW
    )
    assert same(pair, "plain", play, ignore=ignore).outcome == (True, "closed")


def test_the_host_resets_after_much(pair: Pair) -> None:
    def play(client: Client) -> Any:
        client.send(b"x")
        much = client.receive(3_000_000)
        client.send(b"now")
        return len(much), client.rest()

    ignore = tuple(f"cluster.origin.upstream_flow_control_{what}_total" for what in FLOW)
    played = same(pair, "plain", play, ignore=ignore)
    assert played.outcome == (3_000_000, (b"", "reset"))
    assert played.lines[0].startswith("UR 4 3000000 ")


def test_the_client_resets_amid_much(pair: Pair) -> None:
    def play(client: Client) -> Any:
        client.send(b"x")
        much = client.receive(3_000_000)
        client.reset()
        return len(much)

    ignore = tuple(f"cluster.origin.upstream_flow_control_{what}_total" for what in FLOW)
    assert same(pair, "plain", play, ignore=ignore).outcome == 3_000_000


def test_a_small_buffer(pair: Pair) -> None:
    def play(client: Client) -> Any:
        client.send(b"e" * 300_000)
        echoed = client.receive(300_000)
        client.socket.shutdown(socket.SHUT_WR)
        return len(echoed), client.rest()

    ignore = tuple(
        f"{group}_flow_control_{what}"
        for group in ("cluster.origin.upstream", "tcp.small.downstream")
        for what in ("paused_reading_total", "resumed_reading_total", "backed_up_total", "drained_total")
    )
    assert same(pair, "small", play, ignore=ignore).outcome[0] == 300_000


@pytest.mark.parametrize(
    ("name", "clusters"),
    [
        ("dead", ("dead",)),
        ("persistent", ("dead",)),
        ("stuck", ("stuck",)),
        ("empty", ("empty",)),
        ("unknown", ()),
        ("unqueued", ("unqueued",)),
    ],
)
@pytest.mark.parametrize("early", [b"", b"early"])
def test_no_connection_to_a_host(pair: Pair, name: str, clusters: tuple[str, ...], early: bytes) -> None:
    def play(client: Client) -> Any:
        if early:
            client.send(early)
            return client.rest()[0]  # whether it was reset depends on when the bytes came
        return client.rest()

    same(pair, name, play, clusters)


def test_a_second_attempt_finds_the_living_host(pair: Pair) -> None:
    def run(side: Side) -> list[Any]:
        outcomes = []
        for _ in range(4):
            client = Client(side, "luckier")
            outcomes.append(echo_to_the_end(client))
            client.close()
        return outcomes

    before = pair.lines_logged()
    envoy, outrider = pair.both(run)
    assert envoy == outrider == [(b"<end>", "closed")] * 4
    lines = pair.logged_since(before, 4)
    # Either may begin its round at the living host, but after that each client meets the dead one first.
    retried = [{mask(line) for line in side if line.startswith("UF ")} for side in lines]
    assert retried[0] == retried[1]
    assert len(retried[0]) == 1


def test_over_the_connection_limit(pair: Pair) -> None:
    def play(client: Client) -> Any:
        client.send(b"e")
        assert client.receive(1) == b"e"
        with contextlib.closing(socket.create_connection(client.socket.getpeername(), 5)) as second:
            refused = second.recv(10)
        client.socket.shutdown(socket.SHUT_WR)
        return refused, client.rest()

    played = same(pair, "full", play, ("full",), lines=2)
    assert played.outcome == (b"", (b"<end>", "closed"))
    assert played.lines[0].startswith("UO 0 0 full ")


def test_an_idle_connection_is_closed(pair: Pair) -> None:
    def play(client: Client) -> Any:
        started = time.monotonic()
        client.send(b"w")
        time.sleep(0.3)
        client.send(b"x")
        rest = client.rest()
        return rest, 1.2 < time.monotonic() - started < 2.2

    assert same(pair, "idle", play).outcome == ((b"waiting", "closed"), True)


def test_an_old_connection_is_closed(pair: Pair) -> None:
    def play(client: Client) -> Any:
        client.send(b"w")
        return client.rest()

    assert same(pair, "short", play).outcome == (b"waiting", "closed")


def test_a_weighted_split(pair: Pair) -> None:
    def run(side: Side) -> tuple[int, int]:
        for _ in range(200):
            client = Client(side, "weighted")
            client.send(b"c")
            assert client.rest() == (b"bye", "closed")
            client.close()
        stats = side.proxy.stats("cluster.")
        return stats["cluster.origin.upstream_cx_total"], stats["cluster.second.upstream_cx_total"]

    for _first, second in pair.both(run):
        assert 110 < second < 190  # 150 expected; 40 is more than six standard deviations


def test_an_entry_when_connected(pair: Pair) -> None:
    played = same(pair, "logged", echo_to_the_end, lines=2)
    assert "TcpUpstreamConnected" in played.lines[0]
    assert "TcpConnectionEnd" in played.lines[1]


def test_entries_from_time_to_time(pair: Pair) -> None:
    def play(client: Client) -> Any:
        client.send(b"e")
        client.receive(1)
        time.sleep(0.6)
        client.socket.shutdown(socket.SHUT_WR)
        return client.rest()

    assert "TcpPeriodic" in same(pair, "flushed", play, lines=2).lines[0]


def test_a_hash_policy_is_accepted(pair: Pair) -> None:
    same(pair, "hashed", echo_to_the_end)


@pytest.mark.parametrize(("name", "chosen"), [("overridden", "origin"), ("not_overridden", "second")])
def test_a_cluster_of_the_connection_s_own(pair: Pair, name: str, chosen: str) -> None:
    played = same(pair, name, echo_to_the_end, (chosen,))
    assert played.outcome == (b"<end>", "closed")
    assert f" {chosen} HOST " in played.lines[0]


@pytest.mark.parametrize("name", ["early", "criteria"])
def test_bytes_that_come_early(pair: Pair, name: str) -> None:
    # Whether there is a host by then depends on the machine.
    counted = f"tcp.{name}.early_data_received_count_total"
    assert same(pair, name, echo_to_the_end, ignore=(counted,)).outcome == (b"<end>", "closed")


@pytest.mark.parametrize("name", ["on_data", "unbuffered"])
def test_no_host_before_the_first_bytes(pair: Pair, name: str) -> None:
    def play(client: Client) -> Any:
        time.sleep(0.1)
        return echo_to_the_end(client)

    assert same(pair, name, play).outcome == (b"<end>", "closed")


@pytest.mark.parametrize("name", ["on_data"])
def test_a_client_without_a_word_needs_no_host(pair: Pair, name: str) -> None:
    def play(client: Client) -> Any:
        time.sleep(0.1)
        return None

    same(pair, name, play)


def test_a_second_attempt_after_a_wait(pair: Pair) -> None:
    assert same(pair, "patient", echo_to_the_end, clusters=("half_dead",)).outcome == (b"<end>", "closed")
