"""An engine that is a matcher tree: `xds.type.matcher.v3.Matcher` with `envoy.config.rbac.v3.Action`.

What leads to no action is denied.
"""

from __future__ import annotations

from typing import Any, Final

from proxy.base.stream_info import StreamInfo
from proxy.config.context import CompileContext
from proxy.filters.rbac.inputs import CONNECTION_INPUTS, REQUEST_INPUTS, REQUEST_VALUES
from proxy.filters.rbac.verdict import LOG, Judge, Verdict, verdict_of
from proxy.matching.tree import MatcherKind, UnavailableInputError, compile_matcher

_ACTION: Final = "envoy.config.rbac.v3.Action"
_UNMATCHED: Final = Verdict(False, "")


def compile_matcher_engine(message: Any, path: str, ctx: CompileContext, *, http: bool) -> Judge:
    """An engine for requests (`http`) or for connections."""
    actions: list[tuple[int, str]] = []

    def compile_action(action: Any, at: str, context: CompileContext) -> int | None:
        if action.DESCRIPTOR.full_name != _ACTION:
            context.problem(at, f"{action.DESCRIPTOR.full_name} is not supported here, expected {_ACTION}")
            return None
        actions.append((action.action, action.name))
        return len(actions) - 1

    kind: MatcherKind[StreamInfo, int] = MatcherKind(
        REQUEST_INPUTS if http else CONNECTION_INPUTS, compile_action, REQUEST_VALUES if http else {}
    )
    find = compile_matcher(message, path, ctx, kind)
    # Where some action logs, each says whether it is one.
    logs = any(action == LOG for action, _ in actions)
    verdicts = [verdict_of(action, name, logs=logs) for action, name in actions]

    def judge(info: StreamInfo) -> Verdict:
        try:
            found = find(info)
        except UnavailableInputError:
            return _UNMATCHED
        return _UNMATCHED if found is None else verdicts[found]

    return judge
