"""The access logs of one owner, live in a worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from proxy.access_log.compile import CompiledAccessLog
from proxy.base.services import WorkerServices
from proxy.base.stream_info import StreamInfo
from proxy.formatter.spec import all_facts


class AccessLogger:
    """Filters, renders and hands to the sinks. `facts` are those that must have been noted of the streams."""

    __slots__ = ("_logs", "facts")

    def __init__(self, compiled: Sequence[CompiledAccessLog], services: WorkerServices) -> None:
        self._logs = tuple((log.matches, log.render, _sink(log, services)) for log in compiled)
        self.facts = all_facts(compiled)

    def log(self, info: StreamInfo, log_type: str = "DownstreamEnd") -> None:
        """Write the entries of one stream; `log_type` is a name of `envoy.data.accesslog.v3.AccessLogType`."""
        info.access_log_type = log_type
        for matches, render, write in self._logs:
            if matches is None or matches(info):
                write(render(info))


def _sink(log: CompiledAccessLog, services: WorkerServices) -> Callable[[Any], None]:
    return services.access_logs.file(log.path) if log.open_sink is None else log.open_sink(services)
