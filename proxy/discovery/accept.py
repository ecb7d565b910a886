"""From the bytes of a discovered resource to a checked message."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from proxy.base.errors import ConfigError, Problem
from proxy.config.check import check_message


@dataclass(slots=True)
class UpdateError:
    """Why the newest version of a resource was refused. `at` is in Unix seconds."""

    version: str
    reason: str
    at: float
    serialized: bytes = b""


def read_message(message_type: Any, body: bytes) -> Any:
    """Parse and check against the rules of its fields and the support ledger; raises `ConfigError`."""
    try:
        message = message_type.FromString(body)
    except DecodeError as error:
        raise ConfigError(f"the bytes are no {message_type.DESCRIPTOR.full_name}") from error
    refuse(check_message(message).problems)
    return message


def refuse(problems: Iterable[Problem]) -> None:
    """Raise `ConfigError` if there is any problem; the paths begin at the resource."""
    found = [Problem(one.path.lstrip("."), one.reason) for one in problems]
    if found:
        raise ConfigError(found)


def reason_of(error: ConfigError) -> str:
    """Every problem in one line."""
    return "; ".join(map(str, error.problems))


#: Sends a message to every worker.
Broadcast = Callable[[tuple[Any, ...]], None]
