"""`START_TIME`, `EMIT_TIME` and their local-time kin."""

from __future__ import annotations

import time

from proxy.base.stream_info import StreamInfo
from proxy.config.context import CompileContext
from proxy.formatter.date_format import DateFormat
from proxy.formatter.parse import Command
from proxy.formatter.spec import Argument, Operator, OperatorSpec, operator


def _start_time(*, local: bool) -> OperatorSpec:
    def build(command: Command, context: CompileContext) -> Operator:
        render = DateFormat(command.argument, local=local).render
        at = context.wall_clock.at
        shown, text = -1.0, ""

        def start_time(info: StreamInfo) -> str:
            # The loop's clock stands still for a turn, so many streams begin at the same moment.
            nonlocal shown, text
            moment = info.start_time
            if moment != shown:
                shown, text = moment, render(at(moment))
            return text

        return operator(start_time)

    return OperatorSpec(build, Argument.OPTIONAL)


def _emit_time(*, local: bool) -> OperatorSpec:
    def build(command: Command, _context: CompileContext) -> Operator:
        render = DateFormat(command.argument, local=local).render

        def now(_info: StreamInfo) -> str:
            return render(time.time())

        return operator(now)

    return OperatorSpec(build, Argument.OPTIONAL)


OPERATORS: dict[str, OperatorSpec] = {
    "START_TIME": _start_time(local=False),
    "START_TIME_LOCAL": _start_time(local=True),
    "EMIT_TIME": _emit_time(local=False),
    "EMIT_TIME_LOCAL": _emit_time(local=True),
}
