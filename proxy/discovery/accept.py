"""From the bytes of a discovered resource to a checked message."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import DecodeError
from msgspec import Struct

from proxy.base.errors import ConfigError, Problem
from proxy.discovery.turns import Turns
from xds_client.api import Rejection, Resource

if TYPE_CHECKING:
    from proxy.config.check import Findings

logger = logging.getLogger("proxy.config")

_MOST_WARNINGS: Final = 500
_INDEX: Final = re.compile(r"\[[^\]]*\]")
_told: set[tuple[str, str]] = set()


class UpdateError(Struct):
    """Why the newest version of a resource was refused. `at` is in Unix seconds."""

    version: str
    reason: str
    at: float
    serialized: bytes = b""


class InvalidError(ConfigError):
    """The bytes are no message of their type, or break a rule of its proto: what came with it is refused, too."""


def examine(message: Any) -> Findings:
    """What the rules of its fields and the support ledger say; see `proxy.config.check.check_message`."""
    # Imported late: it brings the ledger and YAML, which the controller of a static config does without.
    from proxy.config.check import check_message

    return check_message(message)


def read_message(message_type: Any, body: bytes) -> Any:
    """Parse and check against the rules of its fields and the support ledger; raises `ConfigError`."""
    message = parse(message_type, body)
    findings = examine(message)
    tell(message.DESCRIPTOR.name, findings.warnings)
    if findings.invalid:
        raise InvalidError(_from_the_resource(findings.problems))
    refuse(findings.problems)
    return message


class Reading:
    """The first look at all resources of an update of one type.

    Envoy reads a response whole: if one resource cannot be read, or breaks a rule of its proto, none is applied.
    What else is wrong with a resource concerns that one only, and is told when it is read again with `message`.
    With `shape_of`, of all sound resources of one shape only the first is looked at; `shapes` are those of sound
    resources by their places.
    """

    def __init__(self, message_type: Any, shape_of: Callable[[Any], Any] | None = None) -> None:
        self._type = message_type
        self._shape_of = shape_of
        self._sound: set[bytes] = set()
        self.shapes: dict[int, Any] = {}
        self._problems: dict[int, list[Problem]] = {}
        self.rejections: list[Rejection] = []

    async def look(self, resources: Sequence[Resource]) -> None:
        """Read all; `rejections` are the reasons to refuse the update."""
        turns = Turns()
        for number, resource in enumerate(resources):
            self._look_at(number, resource)
            if turns.over:
                await turns.next()

    def _look_at(self, number: int, resource: Resource) -> None:
        try:
            shape = None if self._shape_of is None else self._shape_of(parse(self._type, resource.body))
            if shape is not None and shape.key in self._sound:
                self.shapes[number] = shape
                return
            findings = examine(parse(self._type, resource.body))
        except ConfigError as error:
            self.rejections.append(Rejection(resource.name, reason_of(error)))
            return
        tell(f"{self._type.DESCRIPTOR.name} {resource.name}", findings.warnings)
        if findings.invalid:
            self.rejections.append(Rejection(resource.name, "; ".join(map(str, findings.problems))))
        elif findings.problems:
            self._problems[number] = findings.problems
        elif shape is not None:
            self._sound.add(shape.key)
            self.shapes[number] = shape

    def message(self, number: int, resource: Resource) -> Any:
        """The message of the resource at that place; raises `ConfigError`."""
        refuse(self._problems.get(number, ()))
        return parse(self._type, resource.body)


def parse(message_type: Any, body: bytes) -> Any:
    """Parse only; raises `ConfigError`."""
    try:
        return message_type.FromString(body)
    except DecodeError as error:
        raise InvalidError(f"the bytes are no {message_type.DESCRIPTOR.full_name}") from error


def tell(what: str, warnings: Iterable[Problem]) -> None:
    """Log what works otherwise than the control plane may think: once, however many resources it is about."""
    for one in warnings:
        path = one.path.lstrip(".")
        key = (_INDEX.sub("", path), one.reason)
        if key not in _told and len(_told) < _MOST_WARNINGS:
            _told.add(key)
            logger.warning("%s: %s: %s", what, path, one.reason)


def refuse(problems: Iterable[Problem]) -> None:
    """Raise `ConfigError` if there is any problem; the paths begin at the resource."""
    found = _from_the_resource(problems)
    if found:
        raise ConfigError(found)


def _from_the_resource(problems: Iterable[Problem]) -> list[Problem]:
    return [Problem(one.path.lstrip("."), one.reason) for one in problems]


def reason_of(error: ConfigError) -> str:
    """Every problem in one line."""
    return "; ".join(map(str, error.problems))


#: Sends a message to every worker.
Broadcast = Callable[[tuple[Any, ...]], None]
