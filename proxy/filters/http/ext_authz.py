"""`envoy.filters.http.ext_authz`: asks a service, by gRPC or HTTP, whether a request may go on.

Source: envoy.extensions.filters.http.ext_authz.v3 and Envoy's documentation of the filter. The most specific level
of the route tells whether a request is asked about; context extensions of all levels are told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.response_flags import ResponseFlag
from proxy.base.services import WorkerServices
from proxy.base.stats import StatGroup
from proxy.filters.api import FilterStatus, HttpFilter, HttpFilterFactory, StreamCallbacks
from proxy.filters.check_request import RequestFacts, http_check_request
from proxy.filters.http.ext_authz_answer import ERROR, Answer, add_to_reply, change_response, read_answer
from proxy.filters.http.ext_authz_config import (
    ExtAuthzConfig,
    ExtAuthzRoute,
    compile_ext_authz,
    compile_ext_authz_route,
)
from proxy.filters.http.ext_authz_http import HttpServiceConfig, check_head, read_http_answer
from proxy.grpc_client.client import GrpcClient
from proxy.grpc_client.unary import UnaryCall
from proxy.http_client.client import HttpClient
from proxy.http_client.exchange import Exchange
from proxy.router.response_stats import INTERNAL_CHARGES

NAMESPACE: Final = "envoy.filters.http.ext_authz"
_METHOD: Final = "/envoy.service.auth.v3.Authorization/Check"


class ExtAuthzStats(StatGroup):
    """`http.<stat_prefix>.ext_authz.[<stat_prefix>.]*`."""

    COUNTERS: ClassVar[tuple[str, ...]] = (
        "denied",
        "disabled",
        "error",
        "failure_mode_allowed",
        "ignored_dynamic_metadata",
        "ok",
    )

    denied: int
    disabled: int
    error: int
    failure_mode_allowed: int
    ignored_dynamic_metadata: int
    ok: int


class ClusterStats(StatGroup):
    """`cluster.<name>.ext_authz.[<stat_prefix>.]*`, of the cluster that a request is for."""

    COUNTERS: ClassVar[tuple[str, ...]] = ("denied", "error", "failure_mode_allowed", "ok")

    denied: int
    error: int
    failure_mode_allowed: int
    ok: int


class ExtAuthz:
    """What the filters of one configuration have together; makes them."""

    def __init__(self, config: ExtAuthzConfig, services: WorkerServices, stat_prefix: str) -> None:
        self.config = config
        self.services = services
        service = config.service
        self.grpc: GrpcClient | None = None
        self.http: HttpClient | None = None
        if isinstance(service, HttpServiceConfig):
            self.http = HttpClient(service.cluster, service.timeout, services, tells_address=False)
        else:
            self.grpc = GrpcClient(service, services)
        self._suffix = f"ext_authz.{config.stat_prefix}." if config.stat_prefix else "ext_authz."
        self.stats = services.stats.shared(ExtAuthzStats, f"{stat_prefix}{self._suffix}")

    def __call__(self, callbacks: StreamCallbacks) -> HttpFilter:
        """The filter of one stream."""
        return ExtAuthzFilter(callbacks, self)

    def cluster_stats(self, cluster: Any) -> ClusterStats:
        """The numbers of a cluster that requests are for."""
        prefix = f"{cluster.stats.prefix}{self._suffix}"
        return self.services.stats.shared(ClusterStats, prefix)


class ExtAuthzFilter(HttpFilter):
    """One request; it is the user of the call."""

    def __init__(self, callbacks: StreamCallbacks, owner: ExtAuthz) -> None:
        super().__init__(callbacks)
        self._owner = owner
        self._head: RequestHead | None = None
        self._call: UnaryCall | Exchange | None = None
        self._cluster: Any = None
        self._started_at = 0.0
        self._asking = False
        self._waiting = False
        self._passes = False
        self._answer = ERROR

    def decode_headers(self, head: RequestHead, end_stream: bool) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        owner, callbacks = self._owner, self.callbacks
        routes: tuple[ExtAuthzRoute, ...] = callbacks.route_configs(self.name)
        if routes and routes[0].disabled:
            return FilterStatus.CONTINUE
        if not self._enabled():
            owner.stats.disabled += 1
            if not owner.config.deny_at_disable():
                return FilterStatus.CONTINUE
            self._refuse(owner.config.status_on_error, "ext_authz_error")
            return FilterStatus.STOP
        self._head = head
        self._cluster = callbacks.route_cluster()
        extensions: dict[str, str] = {}
        for route in reversed(routes):
            extensions.update(route.extensions)
        self._ask(head, extensions)
        if self._waiting:
            return FilterStatus.STOP_ALL_AND_WATERMARK
        return FilterStatus.CONTINUE if self._passes else FilterStatus.STOP

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        if self._passes:
            change_response(self._answer.response_fields, head.headers)
        return FilterStatus.CONTINUE

    def on_destroy(self) -> None:
        """See `HttpFilter`."""
        self._waiting = False
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    # -- the question

    def _enabled(self) -> bool:
        config = self._owner.config
        if config.enabled is not None and not config.enabled(self._owner.services.random):
            return False
        matches = config.enabled_metadata
        return matches is None or matches(self.callbacks.info.dynamic_metadata)

    def _ask(self, head: RequestHead, extensions: dict[str, str]) -> None:
        self._started_at = self._owner.services.loop.time()
        self._asking = self._waiting = True
        if self._owner.http is not None:
            self._ask_by_http(self._owner.http, head)
        elif self._owner.grpc is not None:
            self._ask_by_grpc(self._owner.grpc, head, extensions)
        self._asking = False

    def _ask_by_http(self, client: HttpClient, head: RequestHead) -> None:
        info, service = self.callbacks.info, self._owner.config.service
        assert isinstance(service, HttpServiceConfig)
        try:
            self._call = client.send(check_head(head, info, service), b"", info.connection, self)
        except LookupError:
            self._decide(ERROR)

    def on_http_response(self, status: int, headers: HeaderMap, body: bytes) -> None:
        """See `ExchangeUser`."""
        service = self._owner.config.service
        assert isinstance(service, HttpServiceConfig)
        self._decide(read_http_answer(status, headers, body, service))

    def on_http_failure(self, reason: str) -> None:
        """See `ExchangeUser`."""
        del reason
        self._decide(ERROR)

    def _ask_by_grpc(self, client: GrpcClient, head: RequestHead, extensions: dict[str, str]) -> None:
        owner, info = self._owner, self.callbacks.info
        config, services = owner.config, owner.services
        facts = RequestFacts(
            id=services.random(),
            time=services.wall_clock.at(info.start_time),
            tells=config.tells,
            extensions=extensions,
            route_namespaces=config.route_namespaces,
        )
        message = http_check_request(head, info, config.fields, facts, services.node)
        self._call = client.call(_METHOD, message, info.connection, self)

    def on_grpc_success(self, message: bytes) -> None:
        """See `CallUser`."""
        self._decide(read_answer(message))

    def on_grpc_failure(self, status: int, message: str) -> None:
        """See `CallUser`."""
        del status, message
        self._decide(ERROR)

    # -- the answer

    def _decide(self, answer: Answer) -> None:
        self._waiting = False
        self._call = None
        self._answer = answer
        self._note(answer)
        match answer.verdict:
            case "ok":
                self._count("ok")
                self._accept(answer)
            case "denied":
                self._count("denied")
                self._charge(answer.status)
                self._refuse(answer.status, "ext_authz_denied")
            case _:
                self._count("error")
                self._fail(answer)

    def _accept(self, answer: Answer) -> None:
        head = self._head
        assert head is not None
        answer.change(head)
        if answer.changes_request and self._owner.config.clear_route_cache:
            self.callbacks.clear_route_cache()
        self._go_on()

    def _fail(self, answer: Answer) -> None:
        config, head = self._owner.config, self._head
        assert head is not None
        if not config.failure_mode_allow:
            self._refuse(answer.status or config.status_on_error, "ext_authz_error")
            return
        self._count("failure_mode_allowed")
        if config.failure_mode_allow_header_add:
            head.headers.add("x-envoy-auth-failure-mode-allowed", "true")
        self._go_on()

    def _go_on(self) -> None:
        self._passes = True
        if not self._asking:
            self.continue_decoding()

    def _refuse(self, status: int, details: str) -> None:
        answer = self._answer
        self.callbacks.local_reply(
            status,
            answer.body,
            details,
            ResponseFlag.UNAUTHORIZED_EXTERNAL_SERVICE,
            modify=self._add_fields if answer.fields else None,
        )

    def _add_fields(self, headers: HeaderMap) -> None:
        add_to_reply(self._answer.fields, headers)

    def _count(self, name: str) -> None:
        stats = self._owner.stats
        setattr(stats, name, getattr(stats, name) + 1)
        if self._cluster is not None:
            of_cluster = self._owner.cluster_stats(self._cluster)
            setattr(of_cluster, name, getattr(of_cluster, name) + 1)

    def _charge(self, status: int) -> None:
        if self._cluster is not None and self._owner.config.charges_responses:
            stats = self._cluster.stats
            stats.codes[status] += 1
            INTERNAL_CHARGES.count(stats, status)

    def _note(self, answer: Answer) -> None:
        values = answer.metadata
        if not values:
            return
        if not self._owner.config.notes_metadata:
            self._owner.stats.ignored_dynamic_metadata += 1
            return
        if answer.verdict == "ok":
            taken = self._owner.services.loop.time() - self._started_at
            values = {**values, "ext_authz_duration": int(taken * 1000)}
        info = self.callbacks.info
        known = info.dynamic_metadata or {}
        info.dynamic_metadata = {**known, NAMESPACE: {**known.get(NAMESPACE, {}), **values}}


def _create(
    config: ExtAuthzConfig, services: WorkerServices, stat_prefix: str
) -> Callable[[StreamCallbacks], HttpFilter]:
    return ExtAuthz(config, services, stat_prefix)


FACTORY = HttpFilterFactory(
    name="envoy.filters.http.ext_authz",
    type_name="envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
    terminal=False,
    compile=compile_ext_authz,
    create=_create,
    compile_route=compile_ext_authz_route,
)
