"""Operators on metadata and filter state, and `COALESCE`, which tries several operators in turn."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from proxy.base.stream_info import StreamInfo
from proxy.config.context import CompileContext
from proxy.formatter.json_value import json_text, plain_value
from proxy.formatter.parse import Command, FormatError
from proxy.formatter.spec import Argument, Facts, Getter, Operator, OperatorSpec, all_facts, limited, operator

_Metadata = Callable[[StreamInfo], Any]


def cluster_metadata(info: StreamInfo) -> Any:
    """That of the cluster that the request went to; see `lookup`."""
    return None if info.upstream_cluster is None else info.upstream_cluster.config.metadata


def host_metadata(info: StreamInfo) -> Any:
    """That of the host."""
    return None if info.upstream_host is None else info.upstream_host.metadata


def route_metadata(info: StreamInfo) -> Any:
    """That of the matched route."""
    return info.route_metadata


def dynamic_metadata(info: StreamInfo) -> Any:
    """What filters have noted of the stream."""
    return info.own_metadata


_METADATA_TYPES: dict[str, _Metadata] = {
    "DYNAMIC": dynamic_metadata,
    "CLUSTER": cluster_metadata,
    "ROUTE": route_metadata,
    "UPSTREAM_HOST": host_metadata,
    "LISTENER": lambda info: info.connection.listener_metadata,
    "LISTENER_FILTER_CHAIN": lambda info: info.connection.filter_chain_metadata,
    "VIRTUAL_HOST": lambda info: info.virtual_host_metadata,
}
_OF_REQUEST = frozenset({"ROUTE", "VIRTUAL_HOST"})


def lookup(metadata: Any, namespace: str, keys: list[str]) -> Any:
    """The value under a path of keys, as plain Python data; None if there is none.

    `metadata` is a `core.v3.Metadata` message, a dict of namespaces, or None.
    """
    if metadata is None:
        return None
    value: Any = metadata if isinstance(metadata, dict) else metadata.filter_metadata
    for key in [namespace, *keys]:
        if not isinstance(value, dict):
            value = plain_value(value, key)
        elif key in value:
            value = value[key]
        else:
            return None
        if value is None:
            return None
    return plain_value(value)


def _metadata_operator(
    source: _Metadata, argument: str, max_length: int | None, facts: Facts = Facts.NONE
) -> Operator:
    namespace, *keys = argument.split(":")

    def value(info: StreamInfo) -> Any:
        return lookup(source(info), namespace, keys)

    def cut(info: StreamInfo) -> Any:
        found = value(info)
        return found[:max_length] if isinstance(found, str) else found

    return operator(cut, text=limited(_as_text(value), max_length), facts=facts)


def _as_text(value: Getter) -> Getter:
    """Plain text as it is, anything else as JSON."""

    def text(info: StreamInfo) -> str | None:
        found = value(info)
        return found if found is None or isinstance(found, str) else json_text(found)

    return text


def _metadata_of(source: _Metadata, *, length: bool = False) -> OperatorSpec:
    def build(command: Command, _context: CompileContext) -> Operator:
        return _metadata_operator(source, command.argument, command.max_length)

    return OperatorSpec(build, Argument.REQUIRED, length)


def _metadata(command: Command, _context: CompileContext) -> Operator:
    kind, _, rest = command.argument.partition(":")
    source = _METADATA_TYPES.get(kind)
    if source is None:
        raise FormatError(
            f"{kind!r} is not supported type of metadata; supported: {', '.join(_METADATA_TYPES)}"
        )
    facts = Facts.REQUEST if kind in _OF_REQUEST else Facts.NONE
    return _metadata_operator(source, rest, command.max_length, facts)


def _shared_object(info: StreamInfo, key: str) -> Any:
    """What the connection to the host has got of the client's: nothing else has a state there."""
    connection = info.connection
    shared = connection.shared_state() if connection.state_sharing and info.upstream_local_address else {}
    return shared.get(key)


def _filter_state(stored_under: Callable[[StreamInfo, str], Any]) -> OperatorSpec:
    def build(command: Command, _context: CompileContext) -> Operator:
        key, _, rest = command.argument.partition(":")
        kind, _, field = rest.partition(":")
        if not key:
            raise FormatError("invalid filter state configuration, key cannot be empty")
        if kind not in {"", "PLAIN", "TYPED", "FIELD"}:
            raise FormatError("invalid filter state serialize type, only PLAIN/TYPED/FIELD are supported")
        if (kind == "FIELD") != bool(field):
            raise FormatError(
                "invalid filter state serialize type, FIELD should be used with the field name, and only it"
            )

        def stored(info: StreamInfo) -> Any:
            return stored_under(info, key)

        def typed_text(info: StreamInfo) -> str | None:
            found = stored(info)
            return None if found is None else json_text(found)

        def plain(info: StreamInfo) -> str | None:
            found = stored(info)
            return None if found is None else str(found)

        def one_field(info: StreamInfo) -> str | None:
            found = stored(info)
            found = found.get(field) if isinstance(found, dict) else getattr(found, field, None)
            return None if found is None else str(found)

        if kind == "PLAIN":
            return operator(limited(plain, command.max_length))
        if kind == "FIELD":
            return operator(limited(one_field, command.max_length))
        return operator(stored, text=limited(typed_text, command.max_length))

    return OperatorSpec(build, Argument.OPTIONAL, length=True)


def compile_coalesce(
    command: Command, context: CompileContext, find: Callable[[Command, CompileContext], Operator]
) -> Operator:
    """`COALESCE({"operators": [...]})`; `find` compiles one of them or raises `FormatError`."""
    try:
        config = json.loads(command.argument)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"COALESCE: failed to parse JSON configuration: {error}") from None
    listed = config.get("operators") if isinstance(config, dict) else None
    if not isinstance(listed, list):
        raise FormatError("COALESCE: JSON configuration must contain 'operators' array")
    if not listed:
        raise FormatError("COALESCE: 'operators' array must not be empty")
    made: list[Operator] = []
    for index, entry in enumerate(listed):
        try:
            made.append(find(_coalesced(entry), context))
        except FormatError as error:
            raise FormatError(f"COALESCE: failed to parse operator at index {index}: {error}") from None
    return operator(
        limited(_first_of([one.value for one in made]), command.max_length),
        text=limited(_first_of([one.text for one in made]), command.max_length),
        static=all(one.static for one in made),
        kept=all(one.kept for one in made),
        facts=all_facts(made),
    )


def _coalesced(entry: Any) -> Command:
    if isinstance(entry, str):
        return Command(entry, "", None)
    if not isinstance(entry, dict):
        raise FormatError(
            "operator entry must be either a string (command name) or an object with 'command' field"
        )
    name, argument, length = entry.get("command"), entry.get("param", ""), entry.get("max_length")
    if not isinstance(name, str):
        raise FormatError("operator object must have 'command' field")
    if not isinstance(argument, str):
        raise FormatError("'param' must be a string")
    if length is not None and (not isinstance(length, int) or isinstance(length, bool) or length < 0):
        raise FormatError("'max_length' must be a non-negative integer")
    return Command(name, argument, length)


def _first_of(getters: list[Getter]) -> Getter:
    *others, last = getters

    def pick(info: StreamInfo) -> Any:
        for getter in others:
            value = getter(info)
            if value is not None and value != "":
                return value
        return last(info)

    return pick


OPERATORS: dict[str, OperatorSpec] = {
    "DYNAMIC_METADATA": _metadata_of(_METADATA_TYPES["DYNAMIC"], length=True),
    "CLUSTER_METADATA": _metadata_of(cluster_metadata),
    "UPSTREAM_METADATA": _metadata_of(host_metadata),
    "METADATA": OperatorSpec(_metadata, Argument.OPTIONAL, length=True),
    "FILTER_STATE": _filter_state(StreamInfo.state_object),
    "UPSTREAM_FILTER_STATE": _filter_state(_shared_object),
}
