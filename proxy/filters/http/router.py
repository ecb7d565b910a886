"""`envoy.filters.http.router`: the end of every chain. The connection manager runs it itself.

What it does lives in `proxy.router`; this entry makes its config type known.
"""

from __future__ import annotations

from typing import Any

from proxy.config.context import CompileContext
from proxy.filters.api import HttpFilterFactory


def _compile(message: Any, path: str, context: CompileContext) -> Any:
    """Only checked here: the connection manager compiles it."""
    if message.upstream_log:
        from proxy.access_log.compile import compile_access_logs  # few routers have one

        compile_access_logs(message.upstream_log, f"{path}.upstream_log", context)
    if message.upstream_http_filters:
        from proxy.router.upstream_filters import compile_upstream_filters  # the same

        compile_upstream_filters(message.upstream_http_filters, f"{path}.upstream_http_filters", context)
    return message


FACTORY = HttpFilterFactory(
    name="envoy.filters.http.router",
    type_name="envoy.extensions.filters.http.router.v3.Router",
    terminal=True,
    compile=_compile,
    create=None,
)
