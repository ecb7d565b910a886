"""`envoy.filters.network.ext_authz`: asks a gRPC service whether a connection may go on, at its first bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from envoy.service.auth.v3 import external_auth_pb2
from google.protobuf.message import DecodeError
from msgspec import Struct

from proxy.base.metadata import with_values
from proxy.base.response_flags import ResponseFlag
from proxy.base.services import WorkerServices
from proxy.base.stats import StatGroup
from proxy.base.stream_info import ConnectionInfo
from proxy.base.value_matchers import compile_metadata_matcher
from proxy.config.context import CompileContext
from proxy.filters.api import DataGate, ListenerFacts, NetworkFilterFactory, Pending, Undecided
from proxy.filters.check_request import CheckFields, check_request
from proxy.formatter.json_value import plain_value
from proxy.grpc_client.client import GrpcClient
from proxy.grpc_client.config import GrpcServiceConfig, compile_grpc_service
from proxy.grpc_client.unary import UnaryCall

NAMESPACE: Final = "envoy.filters.network.ext_authz"
_METHOD: Final = "/envoy.service.auth.v3.Authorization/Check"
_DEFAULT_TIMEOUT: Final = 0.2
_V3: Final = 2


class ExtAuthzConfig(Struct, frozen=True):
    """`enabled` tells by dynamic metadata whether a connection is asked about; None for all of them."""

    stat_prefix: str
    service: GrpcServiceConfig
    failure_mode_allow: bool
    enabled: Callable[[Mapping[str, Any] | None], bool] | None
    fields: CheckFields


class ExtAuthzStats(StatGroup):
    """`ext_authz.<stat_prefix>.*`."""

    COUNTERS: ClassVar[tuple[str, ...]] = (
        "cx_closed",
        "denied",
        "disabled",
        "error",
        "failure_mode_allowed",
        "ok",
        "total",
    )
    GAUGES: ClassVar[tuple[str, ...]] = ("active",)

    cx_closed: int
    denied: int
    disabled: int
    error: int
    failure_mode_allowed: int
    ok: int
    total: int
    active: int


class ExtAuthzFilter(DataGate):
    """The gate; see `proxy.filters.api.DataGate`."""

    def __init__(
        self, config: ExtAuthzConfig, services: WorkerServices, client: GrpcClient, stats: ExtAuthzStats
    ) -> None:
        self.config = config
        self.stats = stats
        self.now = services.loop.time
        self._node = services.node
        self._client = client

    def on_first_data(self, connection: ConnectionInfo, waiting: Undecided) -> bool | Pending:
        """See `DataGate`."""
        enabled = self.config.enabled
        if enabled is not None and not enabled(connection.dynamic_metadata):
            self.stats.disabled += 1
            return True
        self.stats.total += 1
        self.stats.active += 1
        check = Check(self, connection, waiting)
        message = check_request(connection, self.config.fields, self._node)
        return check.start(self._client, message)


class Check:
    """The question about one connection; it is the user of the call."""

    def __init__(self, owner: ExtAuthzFilter, connection: ConnectionInfo, waiting: Undecided) -> None:
        self._owner = owner
        self._connection = connection
        self._waiting = waiting
        self._started_at = owner.now()
        self._starting = True
        self._passes: bool | None = None
        self._call: UnaryCall | None = None

    def start(self, client: GrpcClient, message: bytes) -> bool | Pending:
        """Ask; gives the answer if it is there at once."""
        self._call = client.call(_METHOD, message, self._connection, self)
        self._starting = False
        return self if self._passes is None else self._passes

    def cancel(self) -> None:
        """See `Pending`."""
        self._owner.stats.active -= 1
        if self._call is not None:
            self._call.cancel()

    def on_grpc_success(self, message: bytes) -> None:
        """See `CallUser`: the answer is OK if the status in it is."""
        try:
            response = external_auth_pb2.CheckResponse.FromString(message)
        except DecodeError:
            self.on_grpc_failure(0, "")
            return
        stats = self._owner.stats
        values = plain_value(response.dynamic_metadata)
        if response.status.code == 0:
            stats.ok += 1
            values = {**values, "ext_authz_duration": int((self._owner.now() - self._started_at) * 1000)}
            self._note(values)
            self._decide(True)
            return
        stats.denied += 1
        self._note(values)
        self._close("ext_authz_denied")

    def on_grpc_failure(self, status: int, message: str) -> None:
        """See `CallUser`."""
        del status, message
        stats = self._owner.stats
        stats.error += 1
        if self._owner.config.failure_mode_allow:
            stats.failure_mode_allowed += 1
            self._decide(True)
        else:
            self._close("ext_authz_error")

    def _note(self, values: Mapping[str, Any]) -> None:
        if values:
            connection = self._connection
            connection.dynamic_metadata = with_values(connection.dynamic_metadata, NAMESPACE, values)

    def _close(self, details: str) -> None:
        self._owner.stats.cx_closed += 1
        connection = self._connection
        connection.response_flags |= ResponseFlag.UNAUTHORIZED_EXTERNAL_SERVICE
        connection.response_code_details = details
        connection.local_close_reason = "ext_authz_close"
        self._decide(False)

    def _decide(self, passes: bool) -> None:
        self._owner.stats.active -= 1
        self._passes = passes
        if not self._starting:
            self._waiting.on_decided(passes)


def _compile(message: Any, path: str, ctx: CompileContext) -> ExtAuthzConfig:
    if not message.stat_prefix:
        ctx.problem(f"{path}.stat_prefix", "value length must be at least 1 characters")
    if message.transport_api_version != _V3:
        ctx.problem(f"{path}.transport_api_version", "only V3 is spoken; set V3")
    if not message.HasField("grpc_service"):
        ctx.problem(f"{path}.grpc_service", "a gRPC service is required")
    enabled = None
    if message.HasField("filter_enabled_metadata"):
        enabled = compile_metadata_matcher(
            message.filter_enabled_metadata, f"{path}.filter_enabled_metadata", ctx
        )
    return ExtAuthzConfig(
        stat_prefix=message.stat_prefix,
        service=compile_grpc_service(
            message.grpc_service, f"{path}.grpc_service", ctx, default_timeout=_DEFAULT_TIMEOUT
        ),
        failure_mode_allow=message.failure_mode_allow,
        enabled=enabled,
        fields=CheckFields(
            include_peer_certificate=message.include_peer_certificate,
            include_tls_session=message.include_tls_session,
            labels_key=message.bootstrap_metadata_labels_key,
            namespaces=tuple(message.metadata_context_namespaces),
        ),
    )


def _create(config: ExtAuthzConfig, services: WorkerServices, listener: ListenerFacts) -> ExtAuthzFilter:
    del listener
    stats = services.stats.shared(ExtAuthzStats, f"ext_authz.{config.stat_prefix}.")
    return ExtAuthzFilter(config, services, GrpcClient(config.service, services), stats)


FACTORY = NetworkFilterFactory(
    name="envoy.filters.network.ext_authz",
    type_name="envoy.extensions.filters.network.ext_authz.v3.ExtAuthz",
    terminal=False,
    compile=_compile,
    create=_create,
    on_data=True,
)
