"""`envoy.config.route.v3.RateLimit` compiled: how descriptors are made out of a request.

Source: Envoy's `router_ratelimit.cc` and `RateLimitPolicy`. Each rate limit is a list of actions, each of which
gives an entry of the descriptor, or passes, or says that there is to be no descriptor.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from proxy.base.matchers import (
    compile_header_matchers,
    compile_query_parameter_matcher,
    parse_query,
)
from proxy.base.messages import RequestHead
from proxy.base.stream_info import StreamInfo
from proxy.config.context import CompileContext
from proxy.formatter.compile import compile_format
from proxy.formatter.data_operators import lookup
from proxy.formatter.wire import to_wire
from proxy.ratelimit.descriptors import Descriptor

if TYPE_CHECKING:
    from proxy.router.route import Route

#: The most that a computed `hits_addend` may be, as in Envoy.
_MOST_HITS: Final = 1_000_000_000
_ONE_COMMAND: Final = re.compile(r"%[^%]+%")
_NUMBER: Final = re.compile(r"\+?(?:\d{1,40}\.?\d{0,40}|\.\d{1,40})(?:[eE][+-]?\d{1,3})?")
_OVERRIDE: Final = 0  # VhRateLimitsOptions
_INCLUDE: Final = 1
_ROUTE_ENTRY: Final = 1  # RateLimit.Action.MetaData.Source


class Subject(Protocol):
    """The stream whose request is counted; see `proxy.filters.api.StreamCallbacks`."""

    info: StreamInfo

    @property
    def route(self) -> Route | None:
        """The matched route, or None."""

    def route_cluster_name(self) -> str:
        """The name of the cluster that it leads to, "" for none."""


Entry = tuple[str, str]
#: Gives an entry; `PASS` adds none, None means that there is to be no descriptor.
Action = Callable[[RequestHead, Subject], Entry | None]
PASS: Final[Entry] = ("", "")


class RateLimit(Struct, frozen=True):
    """One compiled rate limit. `hits` None means one; it gives None where there is to be no descriptor.

    `disable_key` is the runtime key by which the filter `ratelimit` may be told to leave it out.
    """

    stage: int
    disable_key: str
    actions: tuple[Action, ...]
    hits: Callable[[RequestHead, Subject], int | None] | None = None

    def descriptor(self, head: RequestHead, subject: Subject) -> Descriptor | None:
        """What a request is counted as, None if not at all."""
        entries = []
        for action in self.actions:
            entry = action(head, subject)
            if entry is None:
                return None
            if entry[0]:
                entries.append(entry)
        if self.hits is None:
            return Descriptor(tuple(entries))
        hits = self.hits(head, subject)
        return None if hits is None else Descriptor(tuple(entries), hits)


class Selection(Struct, frozen=True):
    """Which rate limits count for a filter: `own` ones in place of those of route and virtual host.

    Of these, those of `stage`; `virtual_host` is a `VhRateLimitsOptions`: 0 for routes that have none of their own,
    1 beside those of the route, 2 never. A route may say that it includes them.
    """

    own: tuple[RateLimit, ...]
    stage: int
    virtual_host: int

    def descriptors(self, head: RequestHead, subject: Subject) -> list[Descriptor]:
        """What a request is counted as. Rate limits with a `disable_key` are for rate limit services only."""
        limits = self.own or self._of_route(subject.route)
        return [found for one in limits if (found := one.descriptor(head, subject)) is not None]

    def _of_route(self, route: Route | None) -> list[RateLimit]:
        if route is None or not route.forwards:
            return []
        limits = route.rate_limits
        includes = route.include_vh_rate_limits or self.virtual_host == _INCLUDE
        if includes or (self.virtual_host == _OVERRIDE and not limits):
            limits += route.virtual_host.rate_limits
        return [one for one in limits if one.stage == self.stage and not one.disable_key]


def compile_rate_limits(messages: Sequence[Any], path: str, ctx: CompileContext) -> tuple[RateLimit, ...]:
    """Those of a route or virtual host; `path` is that of the repeated field."""
    compiled = []
    for index, message in enumerate(messages):
        where = f"{path}[{index}]"
        if message.HasField("hits_addend"):
            ctx.warning(f"{where}.hits_addend", "not used here, as in Envoy; it is in a filter's rate_limits")
        compiled.append(RateLimit(message.stage.value, message.disable_key, _actions(message, where, ctx)))
    return tuple(compiled)


def compile_filter_rate_limits(
    messages: Sequence[Any], path: str, ctx: CompileContext
) -> tuple[RateLimit, ...]:
    """Those in the config of a filter, which know no stages."""
    compiled = []
    for index, message in enumerate(messages):
        where = f"{path}[{index}]"
        if message.HasField("stage") or message.disable_key:
            ctx.problem(where, "'stage' field and 'disable_key' field are not supported")
        compiled.append(RateLimit(0, "", _actions(message, where, ctx), _hits(message, where, ctx)))
    return tuple(compiled)


def _hits(
    message: Any, path: str, ctx: CompileContext
) -> Callable[[RequestHead, Subject], int | None] | None:
    if not message.HasField("hits_addend"):
        return None
    addend, where = message.hits_addend, f"{path}.hits_addend"
    if bool(addend.format) == addend.HasField("number"):
        ctx.problem(where, "hits_addend must contain either a format or a number")
        return None
    if not addend.format:
        number = int(addend.number.value)
        return lambda _head, _subject: number
    if _ONE_COMMAND.fullmatch(addend.format) is None:
        ctx.problem(f"{where}.format", "hits_addend format must contain exactly one substitution")
        return None
    rendered = compile_format(addend.format, f"{where}.format", ctx, omit_empty=True).render

    def computed(_head: RequestHead, subject: Subject) -> int | None:
        text = rendered(subject.info).strip()
        if _NUMBER.fullmatch(text) is None:
            return None
        hits = float(text)
        return int(hits) if hits <= _MOST_HITS else None

    return computed


def _actions(message: Any, path: str, ctx: CompileContext) -> tuple[Action, ...]:
    return tuple(
        _COMPILERS[kind](getattr(action, kind), f"{path}.actions[{index}].{kind}", ctx)
        for index, action in enumerate(message.actions)
        if (kind := action.WhichOneof("action_specifier")) in _COMPILERS
    )


def _source_cluster(_message: Any, _path: str, ctx: CompileContext) -> Action:
    entry = ("source_cluster", to_wire(getattr(ctx.node, "cluster", "")))
    return lambda _head, _subject: entry


def _destination_cluster(_message: Any, _path: str, _ctx: CompileContext) -> Action:
    def entry(_head: RequestHead, subject: Subject) -> Entry | None:
        route = subject.route
        if route is None or not route.forwards:
            return None
        return "destination_cluster", to_wire(subject.route_cluster_name())

    return entry


def _request_headers(message: Any, _path: str, _ctx: CompileContext) -> Action:
    name, key = message.header_name.lower(), to_wire(message.descriptor_key)
    absent = PASS if message.skip_if_absent else None

    def entry(head: RequestHead, _subject: Subject) -> Entry | None:
        values = head.headers.values_of(name)
        value = values[0] if values else head.field(name)
        return absent if value is None else (key, value)

    return entry


def _query_parameters(message: Any, _path: str, _ctx: CompileContext) -> Action:
    name, key = to_wire(message.query_parameter_name), to_wire(message.descriptor_key)
    absent = PASS if message.skip_if_absent else None

    def entry(head: RequestHead, _subject: Subject) -> Entry | None:
        value = _decoded_query(head).get(name)
        return absent if value is None else (key, value)

    return entry


def _query_parameter_value_match(message: Any, path: str, ctx: CompileContext) -> Action:
    tests = [
        compile_query_parameter_matcher(matcher, f"{path}.query_parameters[{index}]", ctx)
        for index, matcher in enumerate(message.query_parameters)
    ]
    matched = (to_wire(message.descriptor_key) or "query_match", to_wire(message.descriptor_value))
    expected = message.expect_match.value if message.HasField("expect_match") else True

    def entry(head: RequestHead, _subject: Subject) -> Entry | None:
        parameters = _decoded_query(head)
        return matched if all(test(parameters) for test in tests) is expected else None

    return entry


def _header_value_match(message: Any, path: str, ctx: CompileContext) -> Action:
    tests = compile_header_matchers(message.headers, f"{path}.headers", ctx)
    matched = (to_wire(message.descriptor_key) or "header_match", to_wire(message.descriptor_value))
    expected = message.expect_match.value if message.HasField("expect_match") else True
    return lambda head, _subject: matched if all(test(head) for test in tests) is expected else None


def _generic_key(message: Any, _path: str, _ctx: CompileContext) -> Action:
    entry = (to_wire(message.descriptor_key) or "generic_key", to_wire(message.descriptor_value))
    return lambda _head, _subject: entry


def _remote_address(_message: Any, _path: str, _ctx: CompileContext) -> Action:
    def entry(_head: RequestHead, subject: Subject) -> Entry | None:
        ip = subject.info.downstream_address().ip
        return ("remote_address", ip) if ip else None

    return entry


def _masked_remote_address(message: Any, _path: str, _ctx: CompileContext) -> Action:
    v4 = message.v4_prefix_mask_len.value if message.HasField("v4_prefix_mask_len") else 32
    v6 = message.v6_prefix_mask_len.value if message.HasField("v6_prefix_mask_len") else 128

    def entry(_head: RequestHead, subject: Subject) -> Entry | None:
        ip = subject.info.downstream_address().ip.partition("%")[0]
        if not ip:
            return None
        network = ipaddress.ip_network(f"{ip}/{v6 if ':' in ip else v4}", strict=False)
        return "masked_remote_address", str(network)

    return entry


def _metadata(message: Any, _path: str, _ctx: CompileContext) -> Action:
    source = _metadata_of_route if message.source == _ROUTE_ENTRY else _dynamic_metadata
    namespace = to_wire(message.metadata_key.key)
    keys = [to_wire(segment.key) for segment in message.metadata_key.path]
    key, default = to_wire(message.descriptor_key), to_wire(message.default_value)
    absent = PASS if message.skip_if_absent else None

    def entry(_head: RequestHead, subject: Subject) -> Entry | None:
        value = lookup(source(subject), namespace, keys)
        if isinstance(value, str) and value:
            return key, value
        return (key, default) if default else absent

    return entry


def _metadata_of_route(subject: Subject) -> Any:
    return None if subject.route is None else subject.route.metadata


def _dynamic_metadata(subject: Subject) -> Any:
    return subject.info.own_metadata


def _decoded_query(head: RequestHead) -> dict[str, str]:
    return {_decoded(name): _decoded(value) for name, value in reversed(parse_query(head.path).items())}


def _decoded(text: str) -> str:
    return unquote_to_bytes(text.encode("latin-1")).decode("latin-1") if "%" in text else text


_COMPILERS: Final[dict[str | None, Callable[[Any, str, CompileContext], Action]]] = {
    "source_cluster": _source_cluster,
    "destination_cluster": _destination_cluster,
    "request_headers": _request_headers,
    "query_parameters": _query_parameters,
    "query_parameter_value_match": _query_parameter_value_match,
    "remote_address": _remote_address,
    "masked_remote_address": _masked_remote_address,
    "generic_key": _generic_key,
    "header_value_match": _header_value_match,
    "metadata": _metadata,
}
