"""The client: finds or makes the source that a config asks for, and the subscriptions on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

from proxy.base.errors import ConfigError
from xds_client.api import (
    INITIAL_FETCH_TIMEOUT,
    Consumer,
    Status,
    StreamCounters,
    StreamStatus,
    Subscription,
    Surroundings,
    TypeStatus,
)
from xds_client.backoff import BASE_INTERVAL, MAX_INTERVAL, Backoff, RequestBucket
from xds_client.files import FileRunner
from xds_client.hosts import ServerCluster
from xds_client.messages import seconds
from xds_client.mux import Mux
from xds_client.names import is_structured, parse
from xds_client.resource_types import ResourceType
from xds_client.rest import DEFAULT_REQUEST_TIMEOUT, RestRunner
from xds_client.services import ads_method, rest_path, stream_method
from xds_client.stream import Connector, StreamRunner

ADS: Final = "ads"
AUTHORITIES: Final = "xdstp"
_AGGREGATED: Final = {"AGGREGATED_GRPC": False, "AGGREGATED_DELTA_GRPC": True}
"""The kinds of source that carry every type, and whether they are delta."""
_API_V2: Final = 1  # core.v3.ApiVersion

Connect = Callable[[Sequence[Any], str, Surroundings], Connector]
"""Makes the connector of some `core.v3.GrpcService`s and a method."""


class Runner(Protocol):
    """What feeds a mux."""

    mux: Mux

    def start(self) -> None:
        """Begin; idempotent."""
        ...

    def status(self) -> StreamStatus:
        """The snapshot for admin pages."""
        ...

    async def close(self) -> None:
        """End."""
        ...


def grpc_connector(services: Sequence[Any], method: str, surroundings: Surroundings) -> Connector:
    """The connector by grpcio."""
    # grpcio is as big as everything else together; a proxy without a control plane does not load it.
    from xds_client.grpc_transport import GrpcConnector

    return GrpcConnector(services, method, surroundings)


class XdsClient:
    """See `api.Client`. Streams are opened in the turn of the loop after the first subscription to them."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        surroundings: Surroundings,
        connect: Connect = grpc_connector,
    ) -> None:
        self._loop = loop
        self._surroundings = surroundings
        self._connect = connect
        self._runners: dict[tuple[str, bytes], Runner] = {}
        self._pauses: dict[ResourceType, int] = {}
        self._closed = False

    def subscribe(
        self,
        type: ResourceType,  # noqa: A002 - the word of the protocol
        source: Any,
        names: Iterable[str],
        consumer: Consumer,
    ) -> Subscription:
        """See `api.Client.subscribe`."""
        wanted = list(names)
        for name in wanted:
            _check_name(name)
        runner = self._runner(type, source)
        group = runner.mux.group(type, self._pauses.get(type, 0))
        timeout = (
            seconds(source.initial_fetch_timeout)
            if source.HasField("initial_fetch_timeout")
            else INITIAL_FETCH_TIMEOUT
        )
        watch = group.subscribe(consumer, wanted, timeout)
        self._loop.call_soon(self._start, runner)
        return watch

    def _start(self, runner: Runner) -> None:
        if not self._closed:
            runner.start()

    def _runner(self, kind: ResourceType, source: Any) -> Runner:
        which = source.WhichOneof("config_source_specifier")
        match which:
            case "ads":
                key = (ADS, b"")
            case "api_config_source":
                key = (kind.name, source.api_config_source.SerializeToString(deterministic=True))
                if _api_type(source.api_config_source) in _AGGREGATED:
                    # One stream for each source of the bootstrap, whatever the type.
                    key = (AUTHORITIES, source.SerializeToString(deterministic=True))
            case "path" | "path_config_source":
                file = source.path_config_source
                path = source.path or file.path
                key = (kind.name, f"{path}\n{file.watched_directory.path}".encode())
            case None:
                raise ConfigError("needs ads, api_config_source or path_config_source")
            case _:
                raise ConfigError(f"{which}: not supported; use ads, api_config_source or path_config_source")
        runner = self._runners.get(key)
        if runner is None:
            match which:
                case "ads":
                    runner = self._make_ads()
                case "api_config_source" if key[0] == AUTHORITIES:
                    runner = self._make_authorities(source)
                case "api_config_source":
                    runner = self._make_api(kind, source.api_config_source)
                case _:
                    runner = FileRunner(
                        self._mux(path, delta=False, asks=False),
                        path,
                        file.watched_directory.path,
                        self._surroundings.read_response,
                    )
            self._runners[key] = runner
        return runner

    def _mux(self, source: str, *, delta: bool, asks: bool = True) -> Mux:
        return Mux(source, self._loop, self._surroundings.clock, delta=delta, asks=asks)

    def _make_ads(self) -> Runner:
        api = self._surroundings.ads_config
        if api is None:
            raise ConfigError("ads: the bootstrap has no dynamic_resources.ads_config")
        kind = _api_type(api)
        if kind not in {"GRPC", "DELTA_GRPC"}:
            raise ConfigError(f"ads_config.api_type: {kind} cannot carry ADS; use GRPC or DELTA_GRPC")
        delta = kind == "DELTA_GRPC"
        return self._stream(ADS, api, ads_method(delta=delta), delta=delta)

    def _make_authorities(self, source: Any) -> Runner:
        """The stream of a source of `Bootstrap.config_sources`, or of the default one."""
        api = source.api_config_source
        delta = _AGGREGATED[_api_type(api)]
        names = ",".join(authority.name for authority in source.authorities)
        return self._stream(f"{AUTHORITIES} {names or 'default'}", api, ads_method(delta=delta), delta=delta)

    def _make_api(self, resource: ResourceType, api: Any) -> Runner:
        kind = _api_type(api)
        if api.transport_api_version == _API_V2:
            raise ConfigError("api_config_source.transport_api_version: V2 is no longer spoken; set V3")
        if kind == "REST":
            return self._make_rest(resource, api)
        if kind not in {"GRPC", "DELTA_GRPC"}:
            raise ConfigError(
                f"api_config_source.api_type: {kind} is not for a single resource type; use GRPC or DELTA_GRPC"
            )
        delta = kind == "DELTA_GRPC"
        method = stream_method(resource, delta=delta)
        if not method:
            raise ConfigError(f"api_config_source.api_type: {resource.name} is served by DELTA_GRPC alone")
        return self._stream(f"{resource.name.lower()}", api, method, delta=delta)

    def _stream(self, source: str, api: Any, method: str, *, delta: bool) -> Runner:
        connector = self._connect(api.grpc_services, method, self._surroundings)
        base, maximum = retry_intervals(api.grpc_services)
        name = source if source == ADS else f"{source} {connector.target}"
        mux = self._mux(name, delta=delta)
        mux.own_stream = source != ADS
        return StreamRunner(
            mux,
            connector,
            self._surroundings.node,
            Backoff(self._surroundings.draw, base, maximum),
            RequestBucket(api.rate_limit_settings, self._loop.time())
            if api.HasField("rate_limit_settings")
            else None,
            node_on_first_only=api.set_node_on_first_message_only,
        )

    def _make_rest(self, resource: ResourceType, api: Any) -> Runner:
        if len(api.cluster_names) != 1:
            raise ConfigError("api_config_source.cluster_names: REST needs exactly one cluster")
        if not api.HasField("refresh_delay"):
            raise ConfigError("refresh_delay is required for REST API configuration sources")
        path = rest_path(resource)
        if not path:
            raise ConfigError(f"api_config_source.api_type: {resource.name} is not served by REST")
        cluster = ServerCluster(api.cluster_names[0], self._surroundings)
        return RestRunner(
            self._mux(f"{resource.name.lower()} {cluster.name}", delta=False),
            cluster,
            path,
            self._surroundings.node,
            seconds(api.refresh_delay),
            seconds(api.request_timeout) if api.HasField("request_timeout") else DEFAULT_REQUEST_TIMEOUT,
            self._surroundings.read_response,
            self._surroundings.draw,
        )

    @contextmanager
    def pause(self, *types: ResourceType) -> Iterator[None]:
        """See `api.Client.pause`."""
        for kind in types:
            self._pauses[kind] = self._pauses.get(kind, 0) + 1
            for runner in self._runners.values():
                if (group := runner.mux.groups.get(kind)) is not None:
                    group.pause()
        try:
            yield
        finally:
            for kind in types:
                self._pauses[kind] -= 1
                for runner in self._runners.values():
                    if (group := runner.mux.groups.get(kind)) is not None:
                        group.resume()

    def status(self) -> Status:
        """See `api.Client.status`."""
        runners = self._runners.values()
        return Status(
            self.streams(),
            tuple(group.status() for runner in runners for group in runner.mux.groups.values()),
        )

    def streams(self) -> tuple[StreamStatus, ...]:
        """See `api.Client.streams`."""
        return tuple(runner.status() for runner in self._runners.values())

    def types(self) -> tuple[TypeStatus, ...]:
        """See `api.Client.types`."""
        return tuple(
            TypeStatus(
                group.kind,
                runner.mux.source,
                group.state.version,
                group.state.rejected_version,
                group.state.rejected_reason,
                group.pauses > 0,
                (),
            )
            for runner in self._runners.values()
            for group in runner.mux.groups.values()
        )

    def stream_status(
        self,
        type: ResourceType,  # noqa: A002 - the word of the protocol
        source: Any,
    ) -> StreamStatus:
        """See `api.Client.stream_status`. Raises `ConfigError` for a source that can never work."""
        return self._runner(type, source).status()

    def stream_counters(self) -> dict[str, StreamCounters]:
        """See `api.Client.stream_counters`."""
        return {runner.mux.source: runner.mux.counters for runner in self._runners.values()}

    async def close(self) -> None:
        """See `api.Client.close`."""
        self._closed = True
        runners = list(self._runners.values())
        self._runners.clear()
        await asyncio.gather(*(runner.close() for runner in runners))


def _api_type(api: Any) -> str:
    name: str = api.DESCRIPTOR.fields_by_name["api_type"].enum_type.values_by_number[api.api_type].name
    return name


def _check_name(name: str) -> None:
    """Raises `ConfigError` for a malformed `xdstp://` name."""
    if is_structured(name):
        try:
            parse(name)
        except ValueError as error:
            raise ConfigError(str(error)) from error


def retry_intervals(services: Sequence[Any]) -> tuple[float, float]:
    """The back-off of the first service in seconds: its `retry_policy`, else Envoy's own."""
    for service in services:
        for policy in (service.envoy_grpc.retry_policy, service.retry_policy):
            back_off = policy.retry_back_off
            if back_off.HasField("base_interval"):
                base = seconds(back_off.base_interval)
                return base, seconds(back_off.max_interval) if back_off.HasField(
                    "max_interval"
                ) else base * 10
        break
    return BASE_INTERVAL, MAX_INTERVAL
