"""What a command compiles to, and what a command may be given."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum, Flag, auto
from typing import Any, Protocol

from msgspec import Struct

from proxy.base.stream_info import StreamInfo
from proxy.config.context import CompileContext
from proxy.formatter.parse import Command, FormatError

#: A fact of the stream: `str` (wire text), `int`, `bool`, `float`, `dict`, `list`, or None if there is none.
Getter = Callable[[StreamInfo], Any]


class Facts(Flag):
    """What is noted of a stream only where something will read it."""

    NONE = 0
    #: The route, the virtual host and the client's address.
    REQUEST = auto()
    #: The upstream connection.
    UPSTREAM = auto()
    #: Bytes of heads and on the wire, of both sides.
    BYTES = auto()
    #: All fields of a response's head as they were sent. Without it the date of a kept head is missing.
    RESPONSE = auto()
    ALL = REQUEST | UPSTREAM | BYTES | RESPONSE


class Argument(Enum):
    """Whether a command takes `(...)`."""

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"


class Operator(Struct, frozen=True):
    """A compiled command.

    `value` is for typed JSON. `text` is for everything else and yields `str`, `int` or None; it is `value`
    itself unless the two differ. `static`: depends only on fields of the request head and the client's IP.
    `kept`: equal for all streams with one `StreamInfo.kept_key`, as what is static is. `facts` are those
    that it reads.
    """

    value: Getter
    text: Getter
    static: bool = False
    kept: bool = False
    facts: Facts = Facts.NONE


def operator(
    value: Getter,
    *,
    text: Getter | None = None,
    static: bool = False,
    kept: bool = False,
    facts: Facts = Facts.NONE,
) -> Operator:
    """An operator whose text is its value unless told otherwise."""
    return Operator(value, text or value, static, static or kept, facts)


class Reader(Protocol):
    """An operator, a format or a log."""

    @property
    def facts(self) -> Facts:
        """What it reads."""


def all_facts(readers: Iterable[Reader]) -> Facts:
    """What any of them reads."""
    facts = Facts.NONE
    for one in readers:
        facts |= one.facts
    return facts


def constant(value: Any) -> Operator:
    """An operator that yields the same for every stream."""
    return operator(lambda _info: value, static=True)


class OperatorSpec(Struct, frozen=True):
    """One row of the registry: what the command may be given and how it is compiled.

    `build` raises `FormatError` for an argument that it cannot use.
    """

    build: Callable[[Command, CompileContext], Operator]
    argument: Argument = Argument.NONE
    length: bool = False

    def check(self, command: Command) -> None:
        """Raise `FormatError` unless the command has the form that Envoy takes."""
        name = command.name
        if self.argument is Argument.REQUIRED and not command.argument:
            raise FormatError(f"{name} requires parameters")
        if self.argument is Argument.NONE and not self.length:
            if command.argument or command.max_length is not None:
                raise FormatError(f"{name} does not take any parameters or length")
        elif command.max_length is not None and not self.length:
            raise FormatError(f"{name} does not allow length to be specified")


def fact(
    getter: Getter, *, static: bool = False, kept: bool = False, facts: Facts = Facts.NONE
) -> OperatorSpec:
    """A command without arguments."""
    made = operator(getter, static=static, kept=kept, facts=facts)
    return OperatorSpec(lambda _command, _context: made)


def limited(getter: Getter, max_length: int | None) -> Getter:
    """`getter` with its text cut to `max_length` bytes."""
    if max_length is None:
        return getter

    def cut(info: StreamInfo) -> Any:
        value = getter(info)
        return value[:max_length] if isinstance(value, str) else value

    return cut
