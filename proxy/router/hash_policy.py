"""Hash policies: what a hashing load balancer takes a request by. Hashes equal Envoy's (xxHash64, seed 0)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import xxhash

from proxy.base.cookies import cookie_suffix, cookie_value
from proxy.base.matchers import parse_query
from proxy.base.messages import RequestHead
from proxy.base.regex import wire_text
from proxy.base.stream_info import StreamInfo
from proxy.config.context import CompileContext
from proxy.router.rewrite import compile_regex_rewrite

_MASK: Final = (1 << 64) - 1

Rule = Callable[[RequestHead, StreamInfo, "list[str]"], int | None]


def hash_text(text: str) -> int:
    """XX_HASH of Envoy over a text of the data path."""
    return xxhash.xxh64_intdigest(text.encode("latin-1"))


def _rotated(number: int) -> int:
    """By one bit, which keeps two equal rules from cancelling each other out."""
    return (number << 1 | number >> 63) & _MASK


class HashPolicy:
    """The rules of one route, in order."""

    __slots__ = ("_rules",)

    def __init__(self, rules: tuple[tuple[Rule, bool], ...]) -> None:
        self._rules = rules

    def hash(self, head: RequestHead, info: StreamInfo, cookies: list[str]) -> int | None:
        """The hash of a request, None if no rule applies.

        A cookie rule with a ttl makes a cookie for a client that has none: its Set-Cookie value is appended
        to `cookies` and must go out with the response.
        """
        combined: int | None = None
        for rule, terminal in self._rules:
            found = rule(head, info, cookies)
            if found is not None:
                combined = found if combined is None else _rotated(combined) ^ found
            if terminal and combined is not None:
                break
        return combined


def compile_hash_policy(messages: Any, path: str, ctx: CompileContext) -> HashPolicy | None:
    """Repeated `RouteAction.HashPolicy`; None if there is none."""
    rules: list[tuple[Rule, bool]] = []
    for index, message in enumerate(messages):
        rule = _compile_rule(message, f"{path}[{index}]", ctx)
        if rule is not None:
            rules.append((rule, message.terminal))
    return HashPolicy(tuple(rules)) if messages else None


def _compile_rule(message: Any, path: str, ctx: CompileContext) -> Rule | None:
    match message.WhichOneof("policy_specifier"):
        case "header":
            return _header_rule(message.header, f"{path}.header", ctx)
        case "cookie":
            return _cookie_rule(message.cookie)
        case "connection_properties":
            return _source_ip if message.connection_properties.source_ip else None
        case "query_parameter":
            return _query_rule(wire_text(message.query_parameter.name))
        case "filter_state":
            return _filter_state_rule(message.filter_state.key)
        case _:
            ctx.problem(path, "policy_specifier is required")
            return None


def _header_rule(message: Any, path: str, ctx: CompileContext) -> Rule | None:
    name = message.header_name.lower()
    rewrite = (
        compile_regex_rewrite(message.regex_rewrite, f"{path}.regex_rewrite", ctx)
        if message.HasField("regex_rewrite")
        else None
    )

    def rule(head: RequestHead, _info: StreamInfo, _cookies: list[str]) -> int | None:
        values = head.headers.values_of(name)
        if not values:
            single = head.field(name)
            if single is None:
                return None
            values = [single]
        if rewrite is not None:
            regex, substitution = rewrite
            values = [regex.sub(value, substitution) for value in values]
        # Sorted, so that the order of the lines does not matter.
        state = 0
        for value in sorted(values):
            state = xxhash.xxh64_intdigest(value.encode("latin-1"), state)
        return state

    return rule


def _cookie_rule(message: Any) -> Rule:
    name = wire_text(message.name)
    if not message.HasField("ttl"):

        def read(head: RequestHead, _info: StreamInfo, _cookies: list[str]) -> int | None:
            value = cookie_value(head, name)
            return hash_text(value) if value else None

        return read
    suffix = cookie_suffix(message)

    def read_or_make(head: RequestHead, info: StreamInfo, cookies: list[str]) -> int | None:
        value = cookie_value(head, name)
        if not value:
            # From both ends of the connection, so that a client without cookies stays with one host.
            connection = info.connection
            ends = f"{connection.remote_address}{connection.local_address}"
            value = f"{hash_text(wire_text(ends)):016x}"
            cookies.append(f'{name}="{value}"; {suffix}')
        return hash_text(value)

    return read_or_make


def _source_ip(_head: RequestHead, info: StreamInfo, _cookies: list[str]) -> int | None:
    ip = info.downstream_address().ip
    return hash_text(ip) if ip else None


def _query_rule(name: str) -> Rule:
    def rule(head: RequestHead, _info: StreamInfo, _cookies: list[str]) -> int | None:
        value = parse_query(head.path).get(name)
        return None if value is None else hash_text(value)

    return rule


def _filter_state_rule(key: str) -> Rule:
    def rule(_head: RequestHead, info: StreamInfo, _cookies: list[str]) -> int | None:
        value = info.state_object(key)
        return None if value is None else hash_text(wire_text(str(value)))

    return rule
