"""`*_headers_to_add` and `*_headers_to_remove`, and the mutation lists of filters, compiled.

The rules are Envoy's `HeaderParser`: removals first; then every value is rendered from the fields that are
left; then what overwrites is written, then what is added. So a value sees none of its neighbours' changes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from envoy.config.core.v3.base_pb2 import HeaderValueOption
from msgspec import Struct

from proxy.base.matchers import compile_string_matcher
from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.stream_info import StreamInfo
from proxy.config.context import CompileContext
from proxy.formatter.coalesced import COALESCED_IN_REQUEST, COALESCED_IN_RESPONSE
from proxy.formatter.compile import Format, compile_format

_APPEND: Final = HeaderValueOption.APPEND_IF_EXISTS_OR_ADD
_ADD_IF_ABSENT: Final = HeaderValueOption.ADD_IF_ABSENT
_OVERWRITE: Final = HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
_OVERWRITE_IF_EXISTS: Final = HeaderValueOption.OVERWRITE_IF_EXISTS

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_OLD_METADATA = re.compile(r"%(DYNAMIC_METADATA|UPSTREAM_METADATA|CLUSTER_METADATA)\(\s*\[(.*?)\]\s*\)")
_OLD_STATE = re.compile(r"%PER_REQUEST_STATE\((.*?)\)")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')

Head = RequestHead | ResponseHead


class _Addition(Struct, frozen=True):
    name: str
    value: Format
    action: int
    keep_empty: bool
    coalesced: bool

    def add(self, head: Head, value: str) -> None:
        """Append a value the way Envoy does: fields kept in one slot grow, others get a further line."""
        headers = head.headers
        present = headers.get(self.name) if self.coalesced else None
        if present is None:
            headers.add(self.name, value)
        else:
            headers.set(self.name, f"{present},{value}" if present else value)


class HeaderOps(Protocol):
    """What one route, virtual host, route table, weighted cluster or filter does to the fields of a head.

    `static`: the effect depends only on the request's fields (`x-request-id` excepted) and the client's IP.
    """

    static: bool

    def apply(self, head: Head, info: StreamInfo) -> None:
        """Change the fields of `head`; `info` is what the values are rendered from."""


class _Listed:
    __slots__ = ("_additions", "_constants", "_removals", "static")

    def __init__(self, removals: tuple[str, ...], additions: tuple[_Addition, ...]) -> None:
        self._removals = removals
        self._additions = additions
        self.static = all(addition.value.static for addition in additions)
        self._constants = _plain_overwrites(additions)

    def apply(self, head: Head, info: StreamInfo) -> None:
        headers = head.headers
        for name in self._removals:
            if name in headers:
                headers.remove(name)
        if self._constants is not None:
            for name, text in self._constants:
                headers.set(name, text)
            return
        if not self._additions:
            return
        rendered = self._rendered(head, info)
        for addition, value in rendered:
            if addition.action >= _OVERWRITE:
                headers.set(addition.name, value)
        for addition, value in rendered:
            if addition.action < _OVERWRITE:
                addition.add(head, value)

    def _rendered(self, head: Head, info: StreamInfo) -> list[tuple[_Addition, str]]:
        """What to write; commands read the head that is being changed, whichever `info` held before."""
        held = info.request, info.upstream_request_head, info.response
        if isinstance(head, RequestHead):
            info.request, info.upstream_request_head = head, None
        else:
            info.response = head
        rendered: list[tuple[_Addition, str]] = []
        for addition in self._additions:
            value = addition.value.constant
            if value is None:
                value = addition.value.render(info)
            if (value or addition.keep_empty) and _applies(addition.action, addition.name in head.headers):
                rendered.append((addition, value))
        info.request, info.upstream_request_head, info.response = held
        return rendered


def _applies(action: int, present: bool) -> bool:
    if action == _ADD_IF_ABSENT:
        return not present
    return present or action != _OVERWRITE_IF_EXISTS


def _plain_overwrites(additions: tuple[_Addition, ...]) -> tuple[tuple[str, str], ...] | None:
    """(name, text) pairs if all that is to be done is to set constants: the commonest and fastest case."""
    pairs: list[tuple[str, str]] = []
    for addition in additions:
        text = addition.value.constant
        if addition.action != _OVERWRITE or text is None or not (text or addition.keep_empty):
            return None
        pairs.append((addition.name, text))
    return tuple(pairs) or None


def compile_header_ops(
    add: Sequence[Any],
    remove: Sequence[str],
    path: str,
    context: CompileContext,
    *,
    request: bool,
    added: str = "",
) -> HeaderOps | None:
    """Compile `HeaderValueOption`s and names; None if there is nothing to do.

    `path` is that of the message that holds both lists, which are named after `request` (the first, unless it is
    called `added`).
    """
    if not add and not remove:
        return None
    side = "request" if request else "response"
    removals: list[str] = []
    for index, name in enumerate(remove):
        lowered = name.lower()
        where = _join(path, f"{side}_headers_to_remove[{index}]")
        if lowered.startswith(":") or lowered == "host":
            context.problem(where, f"{name!r}: :-prefixed or host headers may not be removed")
        removals.append(lowered)
    additions: list[_Addition] = []
    for index, option in enumerate(add):
        where = _join(path, f"{added or f'{side}_headers_to_add'}[{index}]")
        addition = _compile_addition(option, where, context, request=request)
        if addition is not None:
            additions.append(addition)
    return _Listed(tuple(dict.fromkeys(removals)), tuple(additions))


def _join(path: str, field: str) -> str:
    return f"{path}.{field}" if path else field


def _compile_addition(option: Any, path: str, context: CompileContext, *, request: bool) -> _Addition | None:
    name: str = option.header.key.lower()
    if name.startswith(":") or name == "host":
        context.problem(f"{path}.header.key", f"{name!r}: :-prefixed or host headers may not be modified")
        return None
    if not _TOKEN.fullmatch(name):
        context.problem(f"{path}.header.key", f"{name!r} is not a valid header name")
        return None
    if option.header.raw_value:
        context.warning(f"{path}.header.raw_value", "not used here, as in Envoy; only `value` is")
    action: int = option.append_action
    if option.HasField("append"):
        if action != _APPEND:
            context.problem(f"{path}.append", "append and append_action must not both be set")
        elif not option.append.value:
            action = _OVERWRITE
    value = compile_format(_modern(option.header.value), f"{path}.header.value", context, omit_empty=True)
    coalesced = name in (COALESCED_IN_REQUEST if request else COALESCED_IN_RESPONSE)
    return _Addition(name, value, action, option.keep_empty_value, coalesced)


def _modern(text: str) -> str:
    """`%X_METADATA(["a", "b"])%` and `%PER_REQUEST_STATE(a)%`, which only header values know, modernised."""
    if "%" not in text:
        return text
    text = _OLD_METADATA.sub(lambda match: f"%{match[1]}({':'.join(_QUOTED.findall(match[2]))})", text)
    return _OLD_STATE.sub(r"%FILTER_STATE(\1:PLAIN)", text)


_Mutation = Callable[[Head, StreamInfo], None]


class _Mutations:
    __slots__ = ("_mutations", "static")

    def __init__(self, mutations: tuple[_Mutation, ...], *, static: bool) -> None:
        self._mutations = mutations
        self.static = static

    def apply(self, head: Head, info: StreamInfo) -> None:
        for mutation in self._mutations:
            mutation(head, info)


def compile_header_mutations(
    messages: Sequence[Any], path: str, context: CompileContext, *, request: bool
) -> HeaderOps | None:
    """Compile `envoy.config.common.mutation_rules.v3.HeaderMutation`s; None if there are none.

    Each mutation sees the effect of those before it. `path` is that of the list.
    """
    mutations: list[_Mutation] = []
    static = True
    for index, message in enumerate(messages):
        where = f"{path}[{index}]"
        match message.WhichOneof("action"):
            case "remove":
                mutations.append(_removal(message.remove, f"{where}.remove", context))
            case "append":
                addition = _compile_addition(message.append, f"{where}.append", context, request=request)
                if addition is not None:
                    static = static and addition.value.static
                    mutations.append(_Listed((), (addition,)).apply)
            case "remove_on_match":
                key = message.remove_on_match.key_matcher
                mutations.append(_removal_on_match(key, f"{where}.remove_on_match.key_matcher", context))
            case _:
                context.problem(where, "one of remove, append and remove_on_match must be set")
    return _Mutations(tuple(mutations), static=static) if mutations else None


def _removal(name: str, path: str, context: CompileContext) -> _Mutation:
    lowered = name.lower()
    if lowered.startswith(":") or lowered == "host":
        context.problem(path, f"{name!r}: :-prefixed or host headers may not be removed")

    def remove(head: Head, _info: StreamInfo) -> None:
        head.headers.remove(lowered)

    return remove


def _removal_on_match(message: Any, path: str, context: CompileContext) -> _Mutation:
    matches = compile_string_matcher(message, path, context)

    def remove(head: Head, _info: StreamInfo) -> None:
        for name in [name for name in head.headers if matches(name)]:
            head.headers.remove(name)

    return remove
