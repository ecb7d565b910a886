"""Makes the requests of one user of a cluster: finds the host, marks them as the proxy's own, keeps the pools."""

from __future__ import annotations

from proxy.base.messages import RequestHead
from proxy.base.services import WorkerServices
from proxy.base.stream_info import ConnectionInfo, StreamInfo
from proxy.http_client.exchange import Exchange, ExchangeUser
from proxy.router.response_stats import INTERNAL_CHARGES
from proxy.router.upstream_head import SingleHead
from proxy.router.upstream_request import UpstreamRequest
from proxy.upstream.pool.own import OwnPools


class HttpClient:
    """See module. `timeout` is in seconds, 0.0 for none; see `Exchange` for the bound of a response.

    `tells_address`: hosts learn whose request it is, by x-forwarded-for.
    """

    def __init__(
        self,
        cluster: str,
        timeout: float,
        services: WorkerServices,
        *,
        max_body_bytes: int = 1 << 20,
        tells_address: bool = True,
    ) -> None:
        self.cluster = cluster
        self._timeout = timeout
        self._max_body_bytes = max_body_bytes
        self._tells_address = tells_address
        self._services = services
        self._pools = OwnPools(services)

    def send(
        self, head: RequestHead, body: bytes, connection: ConnectionInfo, user: ExchangeUser
    ) -> Exchange | None:
        """Send a request on behalf of a client's `connection`; `head` becomes the client's to change.

        `user` hears of exactly one outcome, perhaps before this returns; then there is no exchange to give back.

        Raises LookupError if there is no such cluster; then `user` hears nothing.
        """
        services = self._services
        cluster = services.clusters.get(self.cluster)
        if cluster is None:
            raise LookupError(self.cluster)
        headers = head.headers
        headers.set("x-envoy-internal", "true")
        if self._tells_address:
            headers.set("x-forwarded-for", services.local_address)
        if self._timeout:
            headers.set("x-envoy-expected-rq-timeout-ms", str(round(self._timeout * 1000)))
        info = StreamInfo(connection, services.loop.time())
        info.request = head
        clock = services.loop.time
        exchange = Exchange(user, info, self._timeout, self._max_body_bytes, services.timers, clock)
        host = cluster.host_for(info)
        if host is None:
            cluster.stats.codes[503] += 1
            INTERNAL_CHARGES.count(cluster.stats, 503)
            exchange.stand_in(503, "no healthy upstream")
            return None
        outgoing = SingleHead(head, end_stream=not body)
        request = UpstreamRequest(exchange, cluster, host, 0, head.method, outgoing, b"")
        request.charges = INTERNAL_CHARGES
        exchange.request = request
        exchange.send(body, self._pools)
        return None if exchange.over else exchange
