"""`envoy.filters.http.fault` without faults, as control planes put it into every chain to be filled by routes.

Source: envoy.extensions.filters.http.fault.v3. Faults themselves are refused by name: see the support ledger.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proxy.base.services import WorkerServices
from proxy.config.context import CompileContext
from proxy.filters.api import HttpFilter, HttpFilterFactory, StreamCallbacks


def _compile(message: Any, path: str, context: CompileContext) -> None:
    del message, path, context


def _create(
    _config: None, _services: WorkerServices, _stat_prefix: str
) -> Callable[[StreamCallbacks], HttpFilter]:
    return HttpFilter


FACTORY = HttpFilterFactory(
    name="envoy.filters.http.fault",
    type_name="envoy.extensions.filters.http.fault.v3.HTTPFault",
    terminal=False,
    compile=_compile,
    create=_create,
    passive=True,
)
