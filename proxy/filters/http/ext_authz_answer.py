"""What an authorization service wants done to a request, from its `CheckResponse`.

Its texts become wire text. An answer with what cannot stand in a head makes no answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from envoy.config.core.v3.base_pb2 import HeaderValueOption
from envoy.service.auth.v3 import external_auth_pb2
from google.protobuf.message import DecodeError
from msgspec import Struct

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.formatter.json_value import plain_value
from proxy.formatter.wire import to_wire

_APPEND: Final = HeaderValueOption.APPEND_IF_EXISTS_OR_ADD
_ADD_IF_ABSENT: Final = HeaderValueOption.ADD_IF_ABSENT
_OVERWRITE: Final = HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
_OVERWRITE_IF_EXISTS: Final = HeaderValueOption.OVERWRITE_IF_EXISTS
_ORDER: Final = (_APPEND, _OVERWRITE, _ADD_IF_ABSENT, _OVERWRITE_IF_EXISTS)
#: Fields of a reply that its own body decides.
_FRAMING: Final = frozenset({"content-length", "transfer-encoding"})
_NAME: Final = re.compile(r":?[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FORBIDDEN: Final = 403
_LEAST_STATUS: Final = 200
_MOST_STATUS: Final = 599
_TARGET: Final = re.compile(r"[!-~]*")
_NOT_IN_VALUES: Final = re.compile(r"[\0\r\n]")
#: Pseudo-fields of requests, and what they are of a head; `Host` is one.
_PSEUDO: Final = {
    ":path": "path",
    ":method": "method",
    ":authority": "authority",
    "host": "authority",
    ":scheme": "scheme",
}


class Mutation(Struct, frozen=True):
    """One field to write; `appends`: the deprecated `append`."""

    name: str
    value: str
    action: int
    appends: bool = False


def change_response(fields: Iterable[Mutation], headers: HeaderMap) -> None:
    """What is to be done to the response to a request that passes: by actions, in Envoy's order of them."""
    for field in sorted(fields, key=lambda one: _ORDER.index(one.action)):
        name, present = field.name, field.name in headers
        if field.action == _APPEND or (field.action == _ADD_IF_ABSENT and not present):
            headers.add(name, field.value)
        elif field.action == _OVERWRITE or (field.action == _OVERWRITE_IF_EXISTS and present):
            headers.set(name, field.value)


def add_to_reply(fields: Iterable[Mutation], headers: HeaderMap) -> None:
    """What a refusal is to tell, in place of what is there; as in Envoy, what is to be appended is not told."""
    kept = [one for one in fields if not one.appends and one.name[:1] != ":" and one.name not in _FRAMING]
    for field in kept:
        headers.remove(field.name)
    for field in kept:
        headers.add(field.name, field.value)


class Answer(Struct, frozen=True):
    """`verdict` is "ok", "denied" or "error"; `status` 0 leaves the choice to the filter."""

    verdict: str
    status: int = 0
    body: str = ""
    fields: tuple[Mutation, ...] = ()
    response_fields: tuple[Mutation, ...] = ()
    #: Fields to add to those of the request, whether there are such or not.
    added: tuple[tuple[str, str], ...] = ()
    removals: tuple[str, ...] = ()
    queries_set: tuple[tuple[str, str], ...] = ()
    queries_removed: tuple[str, ...] = ()
    metadata: Any = None

    @property
    def changes_request(self) -> bool:
        """Whether a route may have to be chosen anew."""
        return bool(self.fields or self.added or self.removals or self.queries_set or self.queries_removed)

    def change(self, head: RequestHead) -> None:
        """Do to a request what is wanted."""
        # As in Envoy: whatever the action, a field is set, unless it is appended to one that is there.
        for field in sorted(self.fields, key=lambda one: one.appends):
            attribute = _PSEUDO.get(field.name)
            if attribute is not None:
                if not field.appends:
                    setattr(head, attribute, field.value)
            elif field.name[:1] == ":":
                continue
            elif not field.appends:
                head.headers.set(field.name, field.value)
            elif field.name in head.headers:
                head.headers.set(field.name, f"{head.headers[field.name]},{field.value}")
        for name, value in self.added:
            head.headers.add(name, value)
        for name in self.removals:
            if name[:1] != ":" and name != "host":
                head.headers.remove(name)
        if self.queries_set or self.queries_removed:
            head.path = _with_query(head.path, self.queries_set, self.queries_removed)


ERROR: Final = Answer("error")


def read_answer(message: bytes) -> Answer:
    """Read a serialised `CheckResponse`; `ERROR` for what is none."""
    try:
        response = external_auth_pb2.CheckResponse.FromString(message)
        return _answer(response)
    except (DecodeError, _UnfitError):
        return ERROR


class _UnfitError(ValueError):
    """Something cannot stand in a head."""


def _answer(response: Any) -> Answer:
    kind = response.WhichOneof("http_response")
    metadata = response.dynamic_metadata
    if kind == "ok_response" and response.ok_response.HasField("dynamic_metadata"):
        metadata = response.ok_response.dynamic_metadata
    told = plain_value(metadata)
    if response.status.code == 0:
        ok = response.ok_response
        return Answer(
            "ok",
            fields=_mutations(ok.headers),
            response_fields=_mutations(ok.response_headers_to_add),
            removals=tuple(_name(name) for name in ok.headers_to_remove),
            queries_set=tuple((_target(one.key), _target(one.value)) for one in ok.query_parameters_to_set),
            queries_removed=tuple(to_wire(name) for name in ok.query_parameters_to_remove),
            metadata=told,
        )
    verdict = "error" if kind == "error_response" else "denied"
    reply = response.error_response if kind == "error_response" else response.denied_response
    status = reply.status.code or (0 if verdict == "error" else _FORBIDDEN)
    if status and not _LEAST_STATUS <= status <= _MOST_STATUS:
        raise _UnfitError
    return Answer(verdict, status, to_wire(reply.body), _mutations(reply.headers), metadata=told)


def _mutations(options: Iterable[Any]) -> tuple[Mutation, ...]:
    made = []
    for option in options:
        action, appends = option.append_action, False
        if option.HasField("append"):
            appends = option.append.value
            action = _APPEND if appends else _OVERWRITE
        if action not in _ORDER:
            raise _UnfitError
        name, value = _name(option.header.key), option.header.value
        made.append(Mutation(name, _target(value) if name in _PSEUDO else _value(value), action, appends))
    return tuple(made)


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise _UnfitError
    return text.lower()


def _target(text: str) -> str:
    """Part of a request line, which blanks would split."""
    if not _TARGET.fullmatch(text):
        raise _UnfitError
    return text


def _value(text: str) -> str:
    if _NOT_IN_VALUES.search(text):
        raise _UnfitError
    return to_wire(text)


def _with_query(path: str, added: Iterable[tuple[str, str]], removed: Iterable[str]) -> str:
    """A path whose query has been written anew: by name, as Envoy keeps it."""
    before, _, query = path.partition("?")
    values: dict[str, list[str]] = {}
    for pair in query.split("&") if query else ():
        name, _, value = pair.partition("=")
        values.setdefault(name, []).append(value)
    values.update((name, [value]) for name, value in added)
    for name in removed:
        values.pop(name, None)
    text = "&".join(f"{name}={value}" for name in sorted(values) for value in values[name])
    return f"{before}?{text}" if text else before
