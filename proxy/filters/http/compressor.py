"""`envoy.filters.http.compressor`: compress responses for clients that want it, and requests if told to.

Source: envoy.extensions.filters.http.compressor.v3. Several compressors in one chain agree on the encoding: the
one that sees the response first decides for all. With `status_header_enabled` the response is judged in another
order, and each skipped response says why.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.services import WorkerServices
from proxy.base.stats import StatRegistry
from proxy.compression.api import Compressor, CompressorLibrary
from proxy.filters.api import FilterStatus, HttpFilter, HttpFilterFactory, StreamCallbacks
from proxy.filters.http.accept_encoding import Decision, Reason, choose_encoding
from proxy.filters.http.coding import forbids_transforming, is_upgrade
from proxy.filters.http.compressor_config import (
    CompressorConfig,
    CompressorRouteConfig,
    DirectionStats,
    NegotiationStats,
    compile_filter,
    compile_route,
)

_NO_OVERRIDE = CompressorRouteConfig(None, None, None)


class CompressorStats:
    """The three groups of one filter."""

    __slots__ = ("negotiation", "request", "response")

    def __init__(self, registry: StatRegistry, prefix: str, response_prefix: str) -> None:
        self.negotiation = registry.shared(NegotiationStats, prefix)
        self.request = registry.shared(DirectionStats, f"{prefix}request.")
        self.response = registry.shared(DirectionStats, f"{prefix}{response_prefix}")


class ChainState:
    """What the compressors of one stream share."""

    __slots__ = ("decision", "filters")

    def __init__(self) -> None:
        self.filters: list[CompressorFilter] = []
        self.decision: Decision | None = None


class CompressorFilter(HttpFilter):
    """One stream. `library` is the filter's own, or that of the route once the request was seen."""

    def __init__(self, callbacks: StreamCallbacks, config: CompressorConfig, stats: CompressorStats) -> None:
        super().__init__(callbacks)
        self.config = config
        self._stats = stats
        self._override = _NO_OVERRIDE
        self._accept_encoding: str | None = None
        self._request: Compressor | None = None
        self._response: Compressor | None = None
        info = callbacks.info
        if info.compressors is None:
            info.compressors = ChainState()
        self._chain: ChainState = info.compressors
        self._chain.filters.append(self)

    @property
    def _library(self) -> CompressorLibrary:
        library = self._override.library or self.config.library
        assert library is not None
        return library

    # -- request

    def decode_headers(self, head: RequestHead, end_stream: bool) -> FilterStatus:
        """See `HttpFilter`."""
        headers = head.headers
        self._accept_encoding = headers.get("accept-encoding")
        self._override = self.callbacks.route_config(self.name) or _NO_OVERRIDE
        response = self.config.response
        remove = self._override.remove_accept_encoding
        if self._compresses_responses() and (response.remove_accept_encoding if remove is None else remove):
            headers.remove("accept-encoding")
        direction, stats = self.config.request, self._stats.request
        if (
            not end_stream
            and direction is not None
            and direction.enabled()
            and not is_upgrade(headers)
            and direction.long_enough(headers, stats)
            and direction.takes_type(headers.get("content-type"))
            and "content-encoding" not in headers
        ):
            headers.remove("content-length")
            headers.set("content-encoding", self._library.encoding)
            stats.compressed += 1
            self._request = self._library.create()
        else:
            stats.not_compressed += 1
        return FilterStatus.CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> tuple[FilterStatus, bytes]:
        """See `HttpFilter`."""
        if self._request is not None:
            data = _compress(self._request, self._stats.request, data, end_stream)
        return FilterStatus.CONTINUE, data

    def decode_trailers(self, trailers: HeaderMap) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        if self._request is not None:
            self.add_decoded_data(_compress(self._request, self._stats.request, b"", True))
        return FilterStatus.CONTINUE

    # -- response

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> FilterStatus:
        """See `HttpFilter`."""
        headers = head.headers
        judge = self._judge_telling if self.config.response.status_header else self._judge
        compressible, chosen = judge(head, end_stream)
        if compressible and chosen:
            self._start(headers)
        else:
            self._stats.response.not_compressed += 1
        if compressible:
            # Also where this client gets it plain: a cache must know that others would not.
            _vary_by_accept_encoding(headers)
        return FilterStatus.CONTINUE

    def _judge(self, head: ResponseHead, end_stream: bool) -> tuple[bool, bool]:
        """(could be compressed, and is to be for this client)."""
        response, headers = self.config.response, head.headers
        fits = self._compresses_responses() and response.common.long_enough(headers, self._stats.response)
        chosen = fits and not end_stream and self._is_chosen(headers)
        compressible = (
            fits
            and not is_upgrade(headers)
            and response.common.takes_type(headers.get("content-type"))
            and not forbids_transforming(headers)
            and self._etag_allows(headers)
            and "content-encoding" not in headers
            and head.status not in response.uncompressible_codes
        )
        return compressible, chosen

    def _judge_telling(self, head: ResponseHead, end_stream: bool) -> tuple[bool, bool]:
        """As `_judge`; notes in a response with a body why it is not compressed."""
        headers = head.headers
        if (
            not self._compresses_responses()
            or is_upgrade(headers)
            or forbids_transforming(headers)
            or "content-encoding" in headers
        ):
            return False, False
        reason = self._skipped_because(head, telling=not end_stream)
        if not reason:
            return True, not end_stream and self._is_chosen(headers)
        if not end_stream:
            headers.add("x-envoy-compression-status", f"{self._library.encoding};{reason}")
        return False, False

    def _skipped_because(self, head: ResponseHead, *, telling: bool) -> str:
        response, headers = self.config.response, head.headers
        long_enough = response.common.long_enough(headers, self._stats.response)
        if telling and not long_enough:
            # Envoy looks at the length, and counts a short one, a second time to tell of it.
            response.common.long_enough(headers, self._stats.response)
        if not long_enough:
            return "ContentLengthTooSmall"
        if not response.common.takes_type(headers.get("content-type")):
            return "ContentTypeNotAllowed"
        if response.disable_on_etag and "etag" in headers:
            self._stats.negotiation.not_compressed_etag += telling
            return "EtagNotAllowed"
        if head.status in response.uncompressible_codes:
            return "StatusCodeNotAllowed"
        return ""

    def _start(self, headers: HeaderMap) -> None:
        library = self._library
        if self.config.response.status_header:
            status = f"{library.encoding};Compressed;OriginalLength={headers.get('content-length', '')}"
            headers.add("x-envoy-compression-status", status)
        etag = headers.get("etag")
        if etag is not None and not etag.startswith(("W/", "w/")):
            # A strong validator would promise bytes that are no longer those.
            headers.remove("etag")
        headers.remove("content-length")
        headers.set("content-encoding", library.encoding)
        self._stats.response.compressed += 1
        self._response = library.create()

    def _compresses_responses(self) -> bool:
        enabled = self._override.enabled
        return self.config.response.common.enabled() if enabled is None else enabled

    def _etag_allows(self, headers: HeaderMap) -> bool:
        if self.config.response.disable_on_etag and "etag" in headers:
            self._stats.negotiation.not_compressed_etag += 1
            return False
        return True

    def _is_chosen(self, headers: HeaderMap) -> bool:
        """Whether this filter is the one whose encoding the client wants most."""
        stats = self._stats.negotiation
        if self._accept_encoding is None:
            stats.no_accept_header += 1
            return False
        decision = self._chain.decision
        if decision is None:
            decision = self._chain.decision = self._decide(self._accept_encoding, headers.get("content-type"))
        chosen = self._library.encoding == decision.encoding
        if decision.reason is Reason.VALID and not chosen:
            stats.header_compressor_overshadowed += 1
        else:
            name = decision.reason.value
            setattr(stats, name, getattr(stats, name) + 1)
        return chosen

    def _decide(self, accept_encoding: str, content_type: str | None) -> Decision:
        # As in Envoy, libraries that the route gives to other filters are not looked at.
        offers = [
            ((self._library if one is self else one.own_library).encoding, one.config.choose_first)
            for one in self._chain.filters
            if one.config.response.common.offers_for(content_type)
        ]
        return choose_encoding(accept_encoding, offers)

    @property
    def own_library(self) -> CompressorLibrary:
        """The library of the filter's own config."""
        assert self.config.library is not None
        return self.config.library

    def encode_data(self, data: bytes, end_stream: bool) -> tuple[FilterStatus, bytes]:
        """See `HttpFilter`."""
        if self._response is not None:
            data = _compress(self._response, self._stats.response, data, end_stream)
        return FilterStatus.CONTINUE, data

    def encode_trailers(self, trailers: HeaderMap) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        if self._response is not None:
            self.add_encoded_data(_compress(self._response, self._stats.response, b"", True))
        return FilterStatus.CONTINUE

    def on_destroy(self) -> None:
        """See `HttpFilter`."""
        # The chain's state refers to the filters, and they to it.
        self._chain.filters.clear()
        self._request = self._response = None


def _compress(compressor: Compressor, stats: DirectionStats, data: bytes, end_stream: bool) -> bytes:
    stats.total_uncompressed_bytes += len(data)
    if not data and not end_stream:
        return b""
    made = compressor.finish(data) if end_stream else compressor.compress(data)
    stats.total_compressed_bytes += len(made)
    return made


def _vary_by_accept_encoding(headers: HeaderMap) -> None:
    vary = headers.get("vary")
    if vary is None:
        headers["vary"] = "Accept-Encoding"
    elif all(token.strip() != "Accept-Encoding" for token in vary.split(",")):
        headers.set("vary", f"{vary}, Accept-Encoding")


def _create(
    config: CompressorConfig, services: WorkerServices, stat_prefix: str
) -> Callable[[StreamCallbacks], HttpFilter]:
    prefix = f"{stat_prefix}compressor.{config.stat_name}"
    stats = CompressorStats(services.stats, prefix, config.response_stat_prefix)
    return lambda callbacks: CompressorFilter(callbacks, config, stats)


FACTORY = HttpFilterFactory(
    name="envoy.filters.http.compressor",
    type_name="envoy.extensions.filters.http.compressor.v3.Compressor",
    terminal=False,
    compile=compile_filter,
    create=_create,
    compile_route=compile_route,
)
