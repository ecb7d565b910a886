"""What requests ask a control plane for, by way of the controller: the worker's side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class DemandUser(Protocol):
    """Who waits for an answer."""

    def on_demanded(self) -> None:
        """It is here, or will not come; whoever asked looks for himself."""


class Demands:
    """Asks once for each thing, however many wait for it. `send` gives the controller a message."""

    def __init__(self, send: Callable[[tuple[Any, ...]], object]) -> None:
        self._send = send
        self._waiting: dict[tuple[str, str], dict[DemandUser, None]] = {}

    def ask(self, key: str, name: str, user: DemandUser, source: bytes = b"") -> None:
        """Ask for the part `name` of the resource with that key, see `ResourceWant`.

        For a cluster the key is `CLUSTER`, and `source` the serialised `core.v3.ConfigSource` to ask.
        """
        waiting = self._waiting.get((key, name))
        if waiting is None:
            waiting = self._waiting[key, name] = {}
            self._send(("demand", key, name, source))
        waiting[user] = None

    def forget(self, key: str, name: str, user: DemandUser) -> None:
        """That user waits no longer."""
        waiting = self._waiting.get((key, name))
        if waiting is not None:
            waiting.pop(user, None)

    def answer(self, key: str, name: str) -> None:
        """The controller has what it could get, and everybody knows it by now."""
        for user in self._waiting.pop((key, name), ()):
            user.on_demanded()
