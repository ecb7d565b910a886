from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from proxy.access_log.compile import CompiledAccessLog
from proxy.access_log.logger import AccessLogger
from proxy.base.services import WorkerServices
from proxy.formatter.compile import compile_format
from tests.support.streams import context, stream


class Sinks:
    def __init__(self) -> None:
        self.written: list[tuple[str, str]] = []

    def file(self, path: str) -> Callable[[str], None]:
        return lambda entry: self.written.append((path, entry))


class Services:
    def __init__(self) -> None:
        self.access_logs = Sinks()


def test_each_log_gets_what_its_filter_lets_through() -> None:
    render: Any = compile_format("%ACCESS_LOG_TYPE%", "p", context()).render
    services = Services()
    logger = AccessLogger(
        [
            CompiledAccessLog("all", render, None),
            CompiledAccessLog("errors", render, lambda info: info.response_code >= 500),
        ],
        cast("WorkerServices", services),
    )
    logger.log(stream(response_code=200))
    logger.log(stream(response_code=503), "DownstreamStart")
    assert services.access_logs.written == [
        ("all", "DownstreamEnd"),
        ("all", "DownstreamStart"),
        ("errors", "DownstreamStart"),
    ]
