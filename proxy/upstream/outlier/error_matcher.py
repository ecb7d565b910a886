"""What counts as an error of a host beside its status: `HttpProtocolOptions.OutlierDetection.error_matcher`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proxy.base.matchers import compile_header_matchers, never
from proxy.base.messages import ResponseHead
from proxy.config.context import CompileContext

#: Whether a response is an error.
ErrorMatcher = Callable[[ResponseHead], bool]


def compile_error_matcher(message: Any, path: str, ctx: CompileContext) -> ErrorMatcher:
    """A `config.common.matcher.v3.MatchPredicate`, which looks at the fields of responses only."""
    kind = message.WhichOneof("rule")
    match kind:
        case "any_match":
            return _any
        case "not_match":
            inner = compile_error_matcher(message.not_match, f"{path}.not_match", ctx)
            return lambda head: not inner(head)
        case "or_match" | "and_match":
            together = any if kind == "or_match" else all
            rules = [
                compile_error_matcher(one, f"{path}.{kind}.rules[{index}]", ctx)
                for index, one in enumerate(getattr(message, kind).rules)
            ]
            return lambda head: together(rule(head) for rule in rules)
        case "http_response_headers_match":
            matchers = compile_header_matchers(
                message.http_response_headers_match.headers, f"{path}.{kind}.headers", ctx
            )
            return lambda head: all(matches(head) for matches in matchers)
        case None:
            ctx.problem(path, "rule is required")
    # What else there is of a request and its response is not looked at, as in Envoy; the ledger warns of it.
    return never


def judged_by(is_error: ErrorMatcher, response: ResponseHead) -> int:
    """The status that stands for a response: an error has one of 5xx, and what is none has not."""
    if not is_error(response):
        return 200
    status = response.status
    return status if 500 <= status < 600 else 500


def _any(_head: ResponseHead) -> bool:
    return True
