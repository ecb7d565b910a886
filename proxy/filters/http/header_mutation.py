"""`envoy.filters.http.header_mutation`: change request and response fields, per listener and per route.

Source: envoy.extensions.filters.http.header_mutation.v3. Mutations of the route run after the filter's own:
first the most specific ones, so that the least specific have the last word, unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.services import WorkerServices
from proxy.config.context import CompileContext
from proxy.filters.api import FilterStatus, HttpFilter, HttpFilterFactory, StreamCallbacks
from proxy.formatter.header_ops import HeaderOps, compile_header_mutations


class Mutations(Struct, frozen=True):
    """Compiled `Mutations`; None where nothing is to be done."""

    request: HeaderOps | None
    response: HeaderOps | None
    most_specific_wins: bool = False


def _compile(message: Any, path: str, context: CompileContext, most_specific_wins: bool = False) -> Mutations:
    mutations = message.mutations
    where = f"{path}.mutations"
    return Mutations(
        compile_header_mutations(
            mutations.request_mutations, f"{where}.request_mutations", context, request=True
        ),
        compile_header_mutations(
            mutations.response_mutations, f"{where}.response_mutations", context, request=False
        ),
        most_specific_wins,
    )


def _compile_filter(message: Any, path: str, context: CompileContext) -> Mutations:
    return _compile(message, path, context, message.most_specific_header_mutations_wins)


class HeaderMutationFilter(HttpFilter):
    """Applies its own mutations, then those of the route's levels."""

    def __init__(self, callbacks: StreamCallbacks, own: Mutations) -> None:
        super().__init__(callbacks)
        self._own = own

    def _all(self) -> tuple[Mutations, ...]:
        levels: tuple[Mutations, ...] = self.callbacks.route_configs(self.name)
        return (self._own, *(reversed(levels) if self._own.most_specific_wins else levels))

    def decode_headers(self, head: RequestHead, end_stream: bool) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        for mutations in self._all():
            if mutations.request is not None:
                mutations.request.apply(head, self.callbacks.info)
        return FilterStatus.CONTINUE

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        for mutations in self._all():
            if mutations.response is not None:
                mutations.response.apply(head, self.callbacks.info)
        return FilterStatus.CONTINUE


def _create(
    config: Mutations,
    services: WorkerServices,  # noqa: ARG001
    stat_prefix: str,  # noqa: ARG001
) -> Callable[[StreamCallbacks], HttpFilter]:
    return lambda callbacks: HeaderMutationFilter(callbacks, config)


FACTORY = HttpFilterFactory(
    name="envoy.filters.http.header_mutation",
    type_name="envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
    terminal=False,
    compile=_compile_filter,
    create=_create,
    compile_route=_compile,
)
