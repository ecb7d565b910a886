"""`envoy.config.accesslog.v3.AccessLog` messages compiled: what, of which streams, and where to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from envoy.extensions.access_loggers.stream.v3.stream_pb2 import StderrAccessLog, StdoutAccessLog
from msgspec import Struct

from proxy.access_log.descriptors import check_path
from proxy.access_log.filters import LogFilter, compile_log_filter
from proxy.base.services import WorkerServices
from proxy.base.stream_info import StreamInfo
from proxy.config.context import CompileContext
from proxy.formatter.body_format import compile_substitution
from proxy.formatter.compile import Format, compile_format
from proxy.formatter.json_format import JsonFormat, compile_json_format
from proxy.formatter.spec import Facts

#: Envoy's format where the config gives none.
DEFAULT_FORMAT: Final = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE%'
    " %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"
    ' "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%"'
    ' "%UPSTREAM_HOST%"\n'
)
_HTTP_GRPC: Final = "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig"
_GRPC: Final = (_HTTP_GRPC, "envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig")


class CompiledAccessLog(Struct, frozen=True):
    """One log: `path` is a file, `/dev/stdout` or `/dev/stderr`; `matches` is None for all streams.

    `facts` are those that `render` reads. Where entries do not go to a file, `open_sink` gives what takes them.
    """

    path: str
    render: Callable[[StreamInfo], Any]
    matches: LogFilter | None
    facts: Facts = Facts.ALL
    open_sink: Callable[[WorkerServices], Callable[[Any], None]] | None = None


def compile_access_logs(
    messages: Sequence[Any], path: str, context: CompileContext
) -> tuple[CompiledAccessLog, ...]:
    """Compile every log of a list; `path` is that of the list. A file that cannot be opened is a problem."""
    logs = []
    for index, message in enumerate(messages):
        log = _compile_access_log(message, f"{path}[{index}]", context)
        if log is not None:
            logs.append(log)
    return tuple(logs)


def _compile_access_log(message: Any, path: str, context: CompileContext) -> CompiledAccessLog | None:
    matches = None
    if message.HasField("filter"):
        matches = compile_log_filter(message.filter, f"{path}.filter", context)
    where = f"{path}.typed_config"
    type_name = message.typed_config.type_url.rpartition("/")[2]
    if type_name == FileAccessLog.DESCRIPTOR.full_name:
        config: Any = FileAccessLog.FromString(message.typed_config.value)
        reason = check_path(config.path)
        if reason is not None:
            context.problem(f"{where}.path", f"unable to open file {config.path!r}: {reason}")
        return _log(config.path, _file_format(config, where, context), matches)
    for stream, target in ((StdoutAccessLog, "/dev/stdout"), (StderrAccessLog, "/dev/stderr")):
        if type_name == stream.DESCRIPTOR.full_name:
            config = stream.FromString(message.typed_config.value)
            return _log(target, _log_format(config, where, context), matches)
    if type_name in _GRPC:
        from proxy.access_log.grpc_config import compile_http_grpc, compile_tcp_grpc  # few logs are of these

        compile_grpc = compile_http_grpc if type_name == _HTTP_GRPC else compile_tcp_grpc
        render, open_sink, facts = compile_grpc(message.typed_config.value, where, context)
        return CompiledAccessLog("", render, matches, facts, open_sink)
    context.problem(
        where,
        f"access logger {type_name or message.name!r} is not supported;"
        " supported: FileAccessLog, StdoutAccessLog, StderrAccessLog, HttpGrpcAccessLogConfig,"
        " TcpGrpcAccessLogConfig",
    )
    return None


def _log(path: str, compiled: Format | JsonFormat, matches: LogFilter | None) -> CompiledAccessLog:
    return CompiledAccessLog(path, compiled.render, matches, compiled.facts)


def _file_format(config: Any, path: str, context: CompileContext) -> Format | JsonFormat:
    match config.WhichOneof("access_log_format"):
        case "format" if config.format:
            return compile_format(config.format, f"{path}.format", context)
        case "json_format":
            return compile_json_format(config.json_format, f"{path}.json_format", context)
        case "typed_json_format":
            where = f"{path}.typed_json_format"
            return compile_json_format(config.typed_json_format, where, context)
        case _:
            return _log_format(config, path, context)


def _log_format(config: Any, path: str, context: CompileContext) -> Format | JsonFormat:
    if config.HasField("log_format"):
        return compile_substitution(config.log_format, f"{path}.log_format", context)
    return compile_format(DEFAULT_FORMAT, path, context)
