"""`/stats` and `/stats/prometheus`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from proxy.admin.histograms import BucketsOf, default_buckets
from proxy.admin.http import (
    HTML,
    JSON,
    AdminRequest,
    AdminResponse,
    BadParameterError,
    from_pieces,
    page,
)
from proxy.admin.state import AdminState
from proxy.admin.stats_query import BUCKET_MODES, StatsView, format_of, parse_query
from proxy.admin.stats_render import as_html, as_json, as_text
from proxy.admin.tags import TagExtractor

_PROMETHEUS_BUCKETS: Final = ("cumulative", "summary")


class StatsHandlers:
    """The stats commands, under the operator's tag rules and histogram buckets.

    `exists` judges full names: what it refuses is never shown, whatever a request asks for.
    """

    def __init__(
        self,
        tags: TagExtractor | None = None,
        buckets_of: BucketsOf = default_buckets,
        exists: Callable[[str], bool] | None = None,
    ) -> None:
        self._tags = tags or TagExtractor()
        self._buckets_of = buckets_of
        self._exists = exists

    async def stats(self, request: AdminRequest, state: AdminState) -> AdminResponse:
        """Text by default."""
        chosen = format_of(request)
        if chosen == "prometheus":
            return await self.prometheus(request, state)
        view = await self._view(request, state)
        match chosen:
            case "json":
                return AdminResponse(from_pieces(as_json(view, self._buckets_of)), content_type=JSON)
            case "html":
                before, after = page("Stats", "\0").split("\0")
                pieces = (
                    piece for part in ((before,), as_html(view, self._buckets_of), (after,)) for piece in part
                )
                return AdminResponse(from_pieces(pieces), content_type=HTML)
            case _:
                return AdminResponse(from_pieces(as_text(view, self._buckets_of)))

    async def prometheus(self, request: AdminRequest, state: AdminState) -> AdminResponse:
        """The Prometheus text format, version 0.0.4."""
        mode = request.parameters.get("histogram_buckets", "cumulative")
        if mode in BUCKET_MODES and mode not in _PROMETHEUS_BUCKETS:
            raise BadParameterError(
                "unsupported prometheus histogram bucket mode\n\n"
                f"usage: /stats/prometheus?histogram_buckets=({'|'.join(_PROMETHEUS_BUCKETS)})\n"
            )
        from proxy.admin.prometheus import PrometheusRenderer  # its library costs memory and a start's time

        view = await self._view(request, state)
        renderer = PrometheusRenderer(
            view,
            self._tags,
            self._buckets_of,
            summaries=mode == "summary",
            text_readouts=request.flag("text_readouts"),
        )
        return AdminResponse(from_pieces(renderer.render()))

    async def _view(self, request: AdminRequest, state: AdminState) -> StatsView:
        query = parse_query(request)
        exists, keep = self._exists, query.keep
        if exists is not None:
            both = exists if keep is None else lambda name: exists(name) and keep(name)
            query = replace(query, keep=both)
        total = await state.refresh_stats()
        return StatsView(total, state.zero_groups(), query)
