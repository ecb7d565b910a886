"""gRPC to control planes, by grpcio. Imported only when a config asks for gRPC; it loads grpcio, which is big.

A source may name several services, and a cluster several hosts: a connection is tried to each in turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, Protocol

import grpc
from grpc import aio

from proxy.base.errors import ConfigError
from xds_client.api import Surroundings
from xds_client.dial import Relay, dial, keep_alive
from xds_client.errors import ConnectError
from xds_client.google_credentials import call_metadata, channel_credentials
from xds_client.hosts import DEFAULT_CONNECT_TIMEOUT, Host, ServerCluster
from xds_client.messages import seconds

_OPTIONS: Final = (
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.service_config_disable_resolution", 1),
)

_OWN_HEADERS: Final = ("te", "content-type", "user-agent")


class Service(Protocol):
    """One `core.v3.GrpcService`: where its streams are opened."""

    target: str

    async def open(self, method: str, server: int) -> GrpcExchange:
        """Open a stream. Raises `ConnectError`."""
        ...


class GrpcExchange:
    """One stream on a channel of its own, which ends with it."""

    def __init__(self, target: str, server: int, channel: Any, call: Any, relay: Relay | None) -> None:
        self.target = target
        self.server = server
        self._channel = channel
        self._call = call
        self._relay = relay

    async def write(self, message: bytes) -> None:
        """Send one message. Raises `ConnectError`."""
        try:
            await self._call.write(message)
        except aio.AioRpcError as error:
            raise ConnectError(describe(error)) from error
        except asyncio.InvalidStateError as error:
            raise ConnectError("the stream has ended") from error

    async def read(self) -> bytes | None:
        """The next message, None at the orderly end. Raises `ConnectError`."""
        try:
            data = await self._call.read()
        except aio.AioRpcError as error:
            raise ConnectError(describe(error)) from error
        if data is aio.EOF:
            return None
        message: bytes = data
        return message

    async def done_writing(self) -> None:
        """Half-close."""
        await self._call.done_writing()

    async def close(self) -> None:
        """End the stream and its connection."""
        self._call.cancel()
        await self._channel.close()
        if self._relay is not None:
            await self._relay.close()


class GrpcConnector:
    """Streams of one method to the first service that can be reached. Raises `ConfigError` for what is refused."""

    def __init__(self, services: Sequence[Any], method: str, surroundings: Surroundings) -> None:
        self._method = method
        self._services = [
            _service(message, f"grpc_services[{index}]", surroundings)
            for index, message in enumerate(services)
        ]
        if not self._services:
            raise ConfigError("grpc_services: needs a gRPC service")
        self.target = self._services[0].target

    async def open(self) -> GrpcExchange:
        """Open a stream. Raises `ConnectError` with what each service said."""
        errors: list[str] = []
        for index, service in enumerate(self._services):
            try:
                return await service.open(self._method, index)
            except ConnectError as error:
                errors.append(str(error))
        raise ConnectError("; ".join(errors))

    async def close(self) -> None:
        """Nothing is kept between streams."""


def _service(message: Any, path: str, surroundings: Surroundings) -> Service:
    match message.WhichOneof("target_specifier"):
        case "envoy_grpc":
            return EnvoyGrpc(message, surroundings)
        case "google_grpc":
            return GoogleGrpc(message, path)
        case _:
            raise ConfigError(f"{path}: needs envoy_grpc or google_grpc")


class EnvoyGrpc:
    """`envoy_grpc`: the hosts of a cluster of the bootstrap.

    `GrpcService.timeout` is for single calls: a stream of resources has no end, in Envoy neither.
    """

    def __init__(self, message: Any, surroundings: Surroundings) -> None:
        envoy = message.envoy_grpc
        self._cluster = ServerCluster(envoy.cluster_name, surroundings)
        self.target = envoy.cluster_name
        self._metadata = initial_metadata(message)
        limit = envoy.max_receive_message_length.value if envoy.HasField("max_receive_message_length") else -1
        self._options = [
            *_OPTIONS,
            ("grpc.max_receive_message_length", limit),
            ("grpc.default_authority", envoy.authority or envoy.cluster_name),
            *_http2_options(self._cluster.http2()),
        ]

    async def open(self, method: str, server: int) -> GrpcExchange:
        """Open a stream to the first host that answers."""
        errors: list[str] = []
        loop = asyncio.get_running_loop()
        for host in await self._cluster.hosts(loop):
            try:
                return await self._open_to(host, method, server)
            except ConnectError as error:
                errors.append(str(error))
        raise ConnectError("; ".join(dict.fromkeys(errors)))

    async def _open_to(self, host: Host, method: str, server: int) -> GrpcExchange:
        timeout = self._cluster.connect_timeout
        try:
            tls = self._cluster.tls()
        except ConfigError as error:
            raise ConnectError(str(error)) from error
        relay: Relay | None = None
        target = host.target
        keepalive = self._cluster.tcp_keepalive
        if tls is not None or (keepalive is not None and host.port):
            reader, writer = await dial(host, tls, timeout, "h2")
            keep_alive(writer, keepalive)
            relay = Relay(reader, writer)
            target = f"unix:{await relay.start()}"
        channel = aio.insecure_channel(target, options=self._options)
        return await _open_call(
            channel, method, self._metadata, timeout, f"{self.target} ({host})", server, relay
        )


class GoogleGrpc:
    """`google_grpc`: a target and credentials of gRPC's own kind."""

    def __init__(self, message: Any, path: str) -> None:
        google = message.google_grpc
        self._path = f"{path}.google_grpc"
        self._message = google
        self.target = google.target_uri
        self._metadata = initial_metadata(message)
        if google.channel_credentials_plugin or google.call_credentials_plugin:
            raise ConfigError(
                f"{self._path}: channel_credentials_plugin and call_credentials_plugin are not supported; "
                "use channel_credentials and call_credentials"
            )
        self._credentials = channel_credentials(google, self._path)
        self._calls = call_metadata(google, self._path)
        self._options: list[tuple[str, str | int]] = [*_OPTIONS, ("grpc.max_receive_message_length", -1)]
        for key, value in google.channel_args.args.items():
            which = value.WhichOneof("value_specifier")
            self._options.append((key, getattr(value, which) if which else ""))

    async def open(self, method: str, server: int) -> GrpcExchange:
        """Open a stream; gRPC resolves the target and tries its addresses."""
        metadata = list(self._metadata)
        service = method.rpartition("/")[0]
        metadata += [await source(self.target, service) for source in self._calls]
        if self._credentials is None:
            channel = aio.insecure_channel(self.target, options=self._options)
        else:
            channel = aio.secure_channel(self.target, self._credentials, options=self._options)
        return await _open_call(channel, method, metadata, DEFAULT_CONNECT_TIMEOUT, self.target, server, None)


async def _open_call(
    channel: Any,
    method: str,
    metadata: Sequence[tuple[str, str | bytes]],
    connect_timeout: float,
    target: str,
    server: int,
    relay: Relay | None,
) -> GrpcExchange:
    call = channel.stream_stream(method)(metadata=aio.Metadata(*metadata))
    exchange = GrpcExchange(target, server, channel, call, relay)
    try:
        async with asyncio.timeout(connect_timeout):
            await call.wait_for_connection()
    except aio.AioRpcError as error:
        await exchange.close()
        raise ConnectError(f"{target}: {describe(error)}") from error
    except TimeoutError as error:
        await exchange.close()
        raise ConnectError(f"{target}: no connection within {connect_timeout:g} s") from error
    except BaseException:
        await exchange.close()
        raise
    return exchange


def describe(error: Any) -> str:
    """The status of a failed call as Envoy logs it: the number of the code, and what the server said."""
    code = error.code()
    number = code.value[0] if isinstance(code, grpc.StatusCode) else code
    return f"closed: {number}, {error.details() or ''}"


def initial_metadata(message: Any) -> list[tuple[str, str | bytes]]:
    """`core.v3.GrpcService.initial_metadata` as gRPC wants it. Raises `ConfigError`."""
    result: list[tuple[str, str | bytes]] = []
    for header in message.initial_metadata:
        key = header.key.lower()
        if key.startswith((":", "grpc-")) or key in _OWN_HEADERS:
            raise ConfigError(f"initial_metadata: {header.key} is set by gRPC itself")
        if key.endswith("-bin"):
            result.append((key, header.raw_value or header.value.encode()))
        else:
            result.append((key, header.value or header.raw_value.decode("utf-8", "replace")))
    return result


def _http2_options(options: Any) -> list[tuple[str, int]]:
    if options is None:
        return []
    result: list[tuple[str, int]] = []
    if options.HasField("connection_keepalive"):
        keepalive = options.connection_keepalive
        if keepalive.HasField("interval"):
            result.append(("grpc.keepalive_time_ms", int(seconds(keepalive.interval) * 1000)))
            result.append(("grpc.keepalive_timeout_ms", int(seconds(keepalive.timeout) * 1000)))
            result.append(("grpc.http2.max_pings_without_data", 0))
    if options.HasField("initial_stream_window_size"):
        result.append(("grpc.http2.lookahead_bytes", options.initial_stream_window_size.value))
    return result
