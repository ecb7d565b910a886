"""Where a call goes, and what stands at its head. That calls work on real pools is tested beside Envoy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from proxy.base.address import Address
from proxy.base.stream_info import ConnectionInfo, DrainState
from proxy.codec.grpc import GrpcStatus
from proxy.config.context import CompileContext
from proxy.formatter.compile import compile_format
from proxy.grpc_client.client import GrpcClient
from proxy.grpc_client.config import GrpcServiceConfig
from tests.support.cluster_messages import compiled, endpoint
from tests.support.listeners import services
from tests.support.upstream_pool import Cluster, Runtime


class User:
    def __init__(self) -> None:
        self.outcomes: list[Any] = []

    def on_grpc_success(self, message: bytes) -> None:
        self.outcomes.append(message)

    def on_grpc_failure(self, status: int, message: str) -> None:
        self.outcomes.append((status, message))


class Pool:
    """Keeps the requests that wait."""

    def __init__(self, now: Any) -> None:
        self.now = now
        self.waiting: list[Any] = []

    def take(self, request: Any) -> None:
        del request

    def wait(self, request: Any) -> None:
        self.waiting.append(request)

    def cancel(self, request: Any) -> None:
        self.waiting.remove(request)


def connection() -> ConnectionInfo:
    address = Address("192.0.2.9", 1)
    return ConnectionInfo(1, address, address, 0.0, DrainState())


def call(config: GrpcServiceConfig, cluster: Cluster | None, user: User) -> Any:
    of = services()
    of.clusters = SimpleNamespace(get={config.cluster: cluster}.get)  # type: ignore[assignment]
    return GrpcClient(config, of).call("/pkg.Service/Method", b"x", connection(), user)


def test_without_a_cluster_or_a_host_a_call_fails_at_once() -> None:
    user = User()
    config = GrpcServiceConfig("c", "c", 1.0)
    assert call(config, None, user) is None
    empty = Cluster(compiled(), Runtime(), lambda: 0)
    assert call(config, empty, user) is None
    assert [status for status, _ in user.outcomes] == [GrpcStatus.UNAVAILABLE] * 2
    assert empty.stats.codes[503] == 1


def test_the_head_says_what_envoys_says() -> None:
    context = CompileContext()
    metadata = (("x-client", compile_format("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "", context)),)
    cluster = Cluster(compiled(endpoint()), Runtime(), lambda: 0)
    (host,) = cluster.hosts
    pool = host.pools[0] = host.pools[2] = Pool(lambda: 0.0)
    user = User()
    made = call(GrpcServiceConfig("c", "a.b", 0.2, metadata), cluster, user)
    (request,) = pool.waiting
    head = request.head.head
    assert (head.method, head.path, head.authority) == ("POST", "/pkg.Service/Method", "a.b")
    assert list(head.headers.items()) == [
        ("te", "trailers"),
        ("grpc-timeout", "200m"),
        ("content-type", "application/grpc"),
        ("x-client", "192.0.2.9"),
        ("x-envoy-internal", "true"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-envoy-expected-rq-timeout-ms", "200"),
    ]
    made.cancel()
    assert not pool.waiting
    assert not user.outcomes


def test_envoys_own_fields_may_be_left_out() -> None:
    cluster = Cluster(compiled(endpoint()), Runtime(), lambda: 0)
    pool = cluster.hosts[0].pools[0] = cluster.hosts[0].pools[2] = Pool(lambda: 0.0)
    call(GrpcServiceConfig("c", "c", 0.0, skip_envoy_headers=True), cluster, User())
    names = [name for name, _ in pool.waiting[0].head.head.headers.items()]
    assert names == ["te", "content-type"]
