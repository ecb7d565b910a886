"""A message as indented JSON, piece by piece: a bootstrap with thousands of clusters never blocks long."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor

from proxy.admin.http import message_dict

#: What is written as lists of pieces rather than in one go; deeper parts are small.
_OPENED: Final = frozenset(
    {
        "envoy.admin.v3.BootstrapConfigDump",
        "envoy.config.bootstrap.v3.Bootstrap",
        "envoy.config.bootstrap.v3.Bootstrap.StaticResources",
    }
)


def indented(value: Any, depth: int = 0) -> str:
    """JSON with one space per level, as Envoy writes it; lines after the first are moved in by `depth`."""
    text = json.dumps(value, indent=1, ensure_ascii=False)
    return text.replace("\n", "\n" + " " * depth) if depth else text


def list_pieces(values: Iterable[Iterable[str]], depth: int) -> Iterator[str]:
    """A JSON list of values, each given in pieces that were indented for `depth + 1`."""
    before = "[\n"
    for pieces in values:
        yield before + " " * (depth + 1)
        yield from pieces
        before = ",\n"
    yield "[]" if before == "[\n" else "\n" + " " * depth + "]"


def object_pieces(fields: Iterable[tuple[str, Iterable[str]]], depth: int) -> Iterator[str]:
    """A JSON object of named values, each given in pieces that were indented for `depth + 1`."""
    before = "{\n"
    for name, pieces in fields:
        yield f'{before}{" " * (depth + 1)}"{name}": '
        yield from pieces
        before = ",\n"
    yield "{}" if before == "{\n" else "\n" + " " * depth + "}"


def message_pieces(
    message: Any, depth: int, prepare: Callable[[Any], None], type_url: str = ""
) -> Iterator[str]:
    """A message at `depth`; `prepare` sees and may change each part just before it is written."""
    if message.DESCRIPTOR.full_name not in _OPENED:
        prepare(message)
        value = message_dict(message)
        yield indented({"@type": type_url, **value} if type_url else value, depth)
        return
    yield from object_pieces(_fields(message, depth, prepare, type_url), depth)


def _fields(
    message: Any, depth: int, prepare: Callable[[Any], None], type_url: str
) -> Iterator[tuple[str, Iterable[str]]]:
    if type_url:
        yield "@type", [json.dumps(type_url)]
    rest = type(message)()
    rest.CopyFrom(message)
    opened = []
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE and (
            field.is_repeated or field.message_type.full_name in _OPENED
        ):
            if field.message_type.GetOptions().map_entry:
                continue
            opened.append((field, value))
            rest.ClearField(field.name)
    prepare(rest)
    for name, value in message_dict(rest).items():
        yield name, [indented(value, depth + 1)]
    for field, value in opened:
        if field.is_repeated:
            items = (message_pieces(item, depth + 2, prepare) for item in value)
            yield field.name, list_pieces(items, depth + 1)
        else:
            yield field.name, message_pieces(value, depth + 1, prepare)
