"""Fills a protobuf message from JSON values, as liberal as Envoy: unknown fields are skipped, nulls too.

An error does not stop the work; the last one is what the client hears, as in Envoy. Well-known types with a JSON
form of their own go through `google.protobuf.json_format`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool

from proxy.transcoding import scalars
from proxy.transcoding.fields import Field, Kind, fields_of, kind_of
from proxy.transcoding.json_reader import JsonObject
from proxy.transcoding.scalars import ScalarError
from proxy.transcoding.status import TranscodeError
from proxy.transcoding.well_known import explain


class MessageWriter:
    """Writes messages of one descriptor pool."""

    def __init__(self, pool: DescriptorPool, *, any_case_enums: bool) -> None:
        self._pool = pool
        self._any_case_enums = any_case_enums
        self._fields: dict[str, dict[str, Field]] = {}

    def write(self, message: Any, value: Any) -> None:
        """Fill an empty message. Raises `TranscodeError`."""
        if not isinstance(value, JsonObject):
            raise TranscodeError(": Root element must be a message.")
        run = _Run(self._pool)
        descriptor = message.DESCRIPTOR
        name = descriptor.full_name
        if kind_of(name) is Kind.FREE:
            run.special(message, value, "")
        else:
            fields = self._fields.get(name)
            if fields is None:
                fields = self._fields[name] = fields_of(descriptor, self._any_case_enums)
            run.entries(message, fields, value, "")
        if run.error:
            raise TranscodeError(run.error)


class _Run:
    """One message being written; `error` is the last one."""

    __slots__ = ("_pool", "error")

    def __init__(self, pool: DescriptorPool) -> None:
        self._pool = pool
        self.error = ""

    def entries(self, message: Any, fields: dict[str, Field], entries: JsonObject, path: str) -> None:
        taken: set[str] = set()
        for name, value in entries.entries:
            field = fields.get(name)
            if field is None or (value is None and not field.nullable):
                continue
            if field.oneof:
                if field.oneof in taken:
                    reason = f"oneof field '{field.oneof}' is already set. Cannot set '{name}'"
                    self._invalid(path, "oneof", reason)
                    continue
                taken.add(field.oneof)
            where = f"{path}.{field.name}" if path else field.name
            if field.kind is Kind.MAP:
                self._map(message, field, value, path, where)
            elif field.repeated:
                self._list(getattr(message, field.name), field, value, where)
            elif isinstance(value, list) and not field.takes_lists:
                self.error = f"{path}: Proto field is not repeating, cannot start list."
            elif field.convert is not None:
                made = self._scalar(field, value, where)
                if made is not None:
                    setattr(message, field.name, made)
            else:
                inner = getattr(message, field.name)
                inner.SetInParent()
                self._message(inner, field, value, where)

    def _list(self, target: Any, field: Field, value: Any, path: str) -> None:
        if not isinstance(value, list):
            self._item(target, field, value, path)
            return
        # Envoy's places count objects, and scalars in which something is wrong.
        place = 0
        for one in value if field.takes_lists else _flat(value):
            before = self.error
            self._item(target, field, one, f"{path}[{place}]")
            if isinstance(one, JsonObject) or self.error != before:
                place += 1

    def _item(self, target: Any, field: Field, value: Any, path: str) -> None:
        if value is None and not field.nullable:
            return
        if field.convert is None:
            self._message(target.add(), field, value, path)
        else:
            made = self._scalar(field, value, path)
            if made is not None:
                target.append(made)

    def _message(self, message: Any, field: Field, value: Any, path: str) -> None:
        kind = field.kind
        if kind is Kind.FREE:
            self.special(message, value, path)
        elif isinstance(value, JsonObject):
            self.entries(message, field.fields, value, path)
        elif kind is Kind.WRAPPER:
            made = self._scalar(field.value, value, f"{path}.value")
            if made is not None:
                message.value = made
        elif kind is Kind.WELL_KNOWN:
            self.special(message, value, path)
        else:
            self._invalid(path, field.type_name, "" if isinstance(value, list) else scalars.shown(value))

    def special(self, message: Any, value: Any, path: str) -> None:
        """Fill a well-known type with a JSON form of its own."""
        try:
            json_format.ParseDict(
                _plain(value), message, ignore_unknown_fields=True, descriptor_pool=self._pool
            )
        except (json_format.ParseError, ValueError, TypeError, RecursionError, OverflowError):
            field = "" if path.endswith("]") else path.rpartition(".")[2]
            type_name, text = explain(message.DESCRIPTOR.full_name, value, field)
            self._invalid(path, type_name, text)

    def _map(self, message: Any, field: Field, value: Any, path: str, where: str) -> None:
        if isinstance(value, list):
            self._invalid(path, "Map", f"Cannot bind a list to map for field '{field.name}'.")
            return
        if not isinstance(value, JsonObject):
            self._invalid(where, field.type_name, scalars.shown(value))
            return
        target = getattr(message, field.name)
        seen: set[str] = set()
        for name, one in value.entries:
            if name in seen:
                self.error = f"{where}[{len(seen) - 1}]: Repeated map key: '{name}' is already set."
                continue
            self._map_entry(target, field, name, one, f"{where}[{len(seen)}]")
            seen.add(name)

    def _map_entry(self, target: Any, field: Field, name: str, value: Any, path: str) -> None:
        key = self._scalar(field.key, name, f"{path}.key")
        if key is None:
            return
        path = f"{path}.value"
        inner = field.value
        if inner.convert is None:
            if value is not None or inner.nullable:
                self._message(target[key], inner, value, path)
            return
        made = None if value is None else self._scalar(inner, value, path)
        if made is not None:
            target[key] = made
        elif value is None:
            _ = target[key]  # looking makes an entry

    def _scalar(self, field: Field, value: Any, path: str) -> Any:
        """A value as the field takes it, None if it does not."""
        convert: Callable[[Any], Any] | None = field.convert
        assert convert is not None
        if isinstance(value, JsonObject):
            parent = path.rpartition("[" if path.endswith("]") else ".")[0]
            self._invalid(parent, field.name, "Starting an object on a scalar field")
            return None
        if isinstance(value, list):
            self._invalid(path, field.type_name, "")
            return None
        try:
            return convert(0 if value is None else value)
        except ScalarError as error:
            self._invalid(path, field.type_name, str(error))
            return None

    def _invalid(self, path: str, type_name: str, value: str) -> None:
        self.error = f"{path}: invalid value {value} for type {type_name}"


def _flat(values: list[Any]) -> list[Any]:
    """Lists in a list count as their items, as in Envoy."""
    if not any(isinstance(value, list) for value in values):
        return values
    return [item for value in values for item in (_flat(value) if isinstance(value, list) else [value])]


def _plain(value: Any) -> Any:
    """What `json_format` takes: dictionaries for objects."""
    if isinstance(value, JsonObject):
        return {name: _plain(one) for name, one in value.entries}
    return [_plain(one) for one in value] if isinstance(value, list) else value
