"""Tries of requests that pass upstream HTTP filters.

A kind of request becomes one that does by `filtered`; the kinds themselves know nothing of it. As in Envoy, a
further try begins with the head that the filters have made of the last one, and they read the facts of the stream.
"""

from __future__ import annotations

from copy import copy
from functools import cache
from typing import Any

from msgspec.structs import replace

from proxy.codec.head_template import REQUEST_ID_HOLE
from proxy.codec.messages import ParsedResponse
from proxy.router.upstream_plan import UpstreamPlan
from proxy.router.upstream_request import PoolLookup, UpstreamRequest


class _Filtered(UpstreamRequest):
    """`mutations` are those of `upstream_filters.mutations_for`, set before it starts."""

    mutations: tuple[Any, ...] = ()

    def take_after(self, former: UpstreamRequest) -> None:
        """See `UpstreamRequest`."""
        super().take_after(former)
        if isinstance(former, _Filtered):
            self.mutations = former.mutations

    def start(self, pools: PoolLookup, *, end_stream: bool) -> None:
        """See `UpstreamRequest`."""
        info = self._stream.info
        info.upstream_host = self.host
        if info.upstream_cluster is None:
            # The stream is that of a copy.
            info.upstream_cluster = self.cluster
            info.attempt_count = 1
        if isinstance(self.head, UpstreamPlan):
            self.head = _own(self.head, self.request_id)
        outgoing: Any = self.head
        for one in self.mutations:
            if one.request is not None:
                one.request.apply(outgoing.head, info)
        info.upstream_request_head = outgoing.head
        super().start(pools, end_stream=end_stream)

    def on_response(self, response: ParsedResponse, body: bytes, end_stream: bool) -> None:
        """See `PoolRequest`."""
        # It may be shared with other requests, and so is what was decided for it.
        response = copy(response)
        response.head = response.head.copy()
        response.plans = {}
        for one in self.mutations:
            if one.response is not None:
                one.response.apply(response.head, self._stream.info)
        super().on_response(response, body, end_stream)


def _own(plan: UpstreamPlan, request_id: bytes) -> UpstreamPlan:
    """The plan of one request, whose head may be changed."""
    head = plan.head.copy()
    if head.headers.get("x-request-id") == REQUEST_ID_HOLE:
        head.headers.set("x-request-id", request_id.decode("latin-1"))
    # Responses are like no other's either.
    return replace(plan, head=head, kept=False, response_key=0, _like=None, _http1=None, _http2=None)


@cache
def filtered(kind: type[UpstreamRequest]) -> type[UpstreamRequest]:
    """The kind of request that is as `kind` and passes filters."""
    return type(f"Filtered{kind.__name__}", (_Filtered, kind), {})
