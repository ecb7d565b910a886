"""`envoy.filters.http.grpc_json_transcoder`: lets HTTP clients with JSON call gRPC services.

Source: envoy.extensions.filters.http.grpc_json_transcoder.v3 and Envoy's filter. A request that no rule matches
passes as it came.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from proxy.base.services import WorkerServices
from proxy.config.context import CompileContext
from proxy.filters.api import HttpFilter, HttpFilterFactory, StreamCallbacks

_TYPE_NAME: Final = "envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder"


def _compile(message: Any, path: str, context: CompileContext) -> Any:
    # Imported for those who use it: descriptors and the JSON of protobuf take memory.
    from proxy.filters.http.grpc_json_config import compile_transcoder

    return compile_transcoder(message, path, context)


def _create(
    config: Any, services: WorkerServices, stat_prefix: str
) -> Callable[[StreamCallbacks], HttpFilter]:
    from proxy.filters.http.grpc_json_request import TranscoderStats
    from proxy.filters.http.grpc_json_response import GrpcJsonTranscoderFilter

    stats = services.stats.shared(TranscoderStats, stat_prefix)
    return lambda callbacks: GrpcJsonTranscoderFilter(callbacks, config, stats)


FACTORY = HttpFilterFactory(
    name="envoy.filters.http.grpc_json_transcoder",
    type_name=_TYPE_NAME,
    terminal=False,
    compile=_compile,
    create=_create,
    compile_route=_compile,
)
