"""Listeners for unit tests: short forms of config, and a worker's services without an event loop."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from envoy.config.listener.v3 import listener_pb2
from google.protobuf import json_format

from proxy.base.runtime import Runtime
from proxy.base.services import WorkerServices
from proxy.base.stats import StatRegistry, collect
from proxy.base.stream_info import DrainState, WallClock
from proxy.config.context import CompileContext
from proxy.config.extensions import message_class
from proxy.downstream.connection import Acceptor
from proxy.downstream.listener import Listener, ListenerConfig, compile_listener
from tests.support.fake_clock import FakeClock
from tests.support.memory_transport import MemoryTransport

NETWORK = "envoy.extensions.filters.network"


def network_filter(kind: str, **fields: Any) -> dict[str, Any]:
    """A network filter such as `network_filter("echo.v3.Echo")`."""
    type_name = f"{NETWORK}.{kind}"
    message_class(type_name)  # json_format finds only what has been imported
    return {
        "name": kind.partition(".")[0],
        "typed_config": {"@type": f"type.googleapis.com/{type_name}", **fields},
    }


def echo() -> dict[str, Any]:
    return network_filter("echo.v3.Echo")


def direct_response(text: str) -> dict[str, Any]:
    return network_filter("direct_response.v3.Config", response={"inline_string": text})


def chain(*filters: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"filters": list(filters or (echo(),)), **fields}


def address(ip: str = "10.0.0.1", port: int = 8000, **fields: Any) -> dict[str, Any]:
    return {"socket_address": {"address": ip, "port_value": port, **fields}}


def listener(*chains: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"name": "ingress", "address": address(), "filter_chains": list(chains or (chain(),)), **fields}


def compile_checked(config: dict[str, Any]) -> tuple[ListenerConfig, list[str]]:
    """The compiled listener, and its problems as `path: reason`."""
    ctx = CompileContext()
    message = json_format.ParseDict(config, listener_pb2.Listener())
    return compile_listener(message, "listener", ctx), [str(problem) for problem in ctx.problems]


def compiled(config: dict[str, Any]) -> ListenerConfig:
    result, problems = compile_checked(config)
    assert not problems
    return result


class FakeLoop:
    """Time, and what was to be called soon."""

    def __init__(self, clock: FakeClock) -> None:
        self.time = clock
        self.soon: list[tuple[Any, tuple[Any, ...]]] = []

    def call_soon(self, function: Any, *args: Any) -> None:
        self.soon.append((function, args))

    def get_debug(self) -> bool:
        return False


def services(runtime: dict[str, str] | None = None, loop: Any = None) -> WorkerServices:
    """A worker's services; `services.timers` is the `FakeClock`."""
    clock = FakeClock()
    nothing = cast("Any", SimpleNamespace())
    return WorkerServices(
        loop=loop or cast("Any", FakeLoop(clock)),
        clusters=nothing,
        runtime=Runtime(runtime),
        stats=StatRegistry(),
        wall_clock=WallClock(),
        timers=clock,
        access_logs=nothing,
        random=lambda: 0,
        drain=DrainState(),
        worker_index=2,
    )


def numbers(of: WorkerServices) -> dict[str, int]:
    """Counters and gauges that are not 0."""
    collected = collect(of.stats)
    return {
        name: value for kind in ("counters", "gauges") for name, value in collected[kind].items() if value
    }


def accept(config: dict[str, Any], of: WorkerServices, **options: Any) -> Acceptor:
    """The acceptor of the listener's first address."""
    made = compiled(config)
    ids = iter(range(1, 1000))
    live = Listener(made, of, ids.__next__, options.get("own"), options.get("total"))
    return live.acceptor(made.addresses[0].address, made.addresses[0])


def connect(acceptor: Acceptor, **names: Any) -> MemoryTransport:
    """A new connection, with `peername` and `sockname` if given."""
    transport = MemoryTransport(**names)
    factory: Callable[[], Any] = acceptor.factory
    transport.set_protocol(factory())
    transport.protocol.connection_made(transport)
    return transport
