"""Makes the calls of one user of a gRPC service: finds the host, renders the head, keeps the pools."""

from __future__ import annotations

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.base.services import WorkerServices
from proxy.base.stream_info import ConnectionInfo, StreamInfo
from proxy.codec.grpc import CONTENT_TYPE, GrpcStatus
from proxy.grpc_client.config import GrpcServiceConfig
from proxy.grpc_client.streaming import StreamingCall, StreamUser
from proxy.grpc_client.unary import CallUser, UnaryCall
from proxy.router.grpc_timeout import format_grpc_timeout
from proxy.router.response_stats import INTERNAL_CHARGES
from proxy.router.upstream_head import SingleHead
from proxy.router.upstream_request import UpstreamRequest
from proxy.upstream.cluster import Cluster
from proxy.upstream.host import Host
from proxy.upstream.pool.own import OwnPools


class GrpcClient:
    """See module."""

    def __init__(self, config: GrpcServiceConfig, services: WorkerServices) -> None:
        self.config = config
        self._services = services
        self._pools = OwnPools(services)

    def call(self, path: str, message: bytes, connection: ConnectionInfo, user: CallUser) -> UnaryCall | None:
        """Call the method `path` ("/package.Service/Method") for a client's `connection`.

        `user` hears of exactly one outcome, perhaps before this returns; then there is no call to give back.
        """
        services = self._services
        found = self._find(connection)
        if isinstance(found, str):
            user.on_grpc_failure(GrpcStatus.UNAVAILABLE, found)
            return None
        cluster, host, info = found
        call = UnaryCall(user, info, self.config, services.timers)
        call.request = self._request(call, path, cluster, host)
        call.send(message, self._pools)
        return None if call.over else call

    def stream(self, path: str, connection: ConnectionInfo, user: StreamUser) -> StreamingCall | None:
        """Open a stream of messages to the method `path`; None if that failed, of which `user` has heard then."""
        found = self._find(connection)
        if isinstance(found, str):
            user.on_grpc_closed(GrpcStatus.UNAVAILABLE, found)
            return None
        cluster, host, info = found
        call = StreamingCall(user, info)
        call.request = self._request(call, path, cluster, host)
        call.start(self._pools)
        return None if call.over else call

    def _find(self, connection: ConnectionInfo) -> tuple[Cluster, Host, StreamInfo] | str:
        """Where a call goes, or why it cannot."""
        services = self._services
        cluster = services.clusters.get(self.config.cluster)
        if cluster is None:
            return "Cluster not available"
        info = StreamInfo(connection, services.loop.time())
        host = cluster.host_for(info)
        if host is None:
            cluster.stats.codes[503] += 1
            INTERNAL_CHARGES.count(cluster.stats, 503)
            return "no healthy upstream"
        return cluster, host, info

    def _request(
        self, call: UnaryCall | StreamingCall, path: str, cluster: Cluster, host: Host
    ) -> UpstreamRequest:
        head = SingleHead(self._head(path, call.info), end_stream=False)
        request = UpstreamRequest(call, cluster, host, 0, "POST", head, b"")
        request.charges = INTERNAL_CHARGES
        request.client_speaks_http2 = True
        return request

    def _head(self, path: str, info: StreamInfo) -> RequestHead:
        config = self.config
        headers = HeaderMap()
        headers.add("te", "trailers")
        if config.timeout:
            headers.add("grpc-timeout", format_grpc_timeout(config.timeout))
        headers.add("content-type", CONTENT_TYPE)
        for name, value in config.metadata:
            text = value.render(info)
            if text:
                headers.set(name, text)
        if not config.skip_envoy_headers:
            headers.set("x-envoy-internal", "true")
            headers.set("x-forwarded-for", self._services.local_address)
        if config.timeout:
            headers.set("x-envoy-expected-rq-timeout-ms", str(round(config.timeout * 1000)))
        return RequestHead("POST", path, config.authority, headers, protocol="HTTP/2")
