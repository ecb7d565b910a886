"""The error tree. Every error that the product raises on purpose descends from `OutriderError`.

Three branches by who must act: `ConfigError` (the operator mends a config), `UsageError` (the operator mends
a command line or the environment), `ProtocolError` (a peer broke a protocol; handled inside the connection).
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct


class OutriderError(Exception):
    """Root of the tree."""


class Problem(Struct, frozen=True):
    """One thing wrong with a config.

    `path` is the field path from the root of the resource, with proto (snake_case) names and indexes:
    `static_resources.clusters[3].lb_policy`. `line` and `column` count from 1; 0 means unknown.
    `origin` names the source that they count in (a file name, `--config-yaml`); empty means unknown.
    """

    path: str
    reason: str
    line: int = 0
    column: int = 0
    origin: str = ""

    def __str__(self) -> str:
        text = f"{self.path}: {self.reason}" if self.path else self.reason
        if not self.origin:
            return text
        return f"{self.origin}:{self.line}:{self.column}: {text}" if self.line else f"{self.origin}: {text}"


class ConfigError(OutriderError):
    """A configuration is refused; carries every problem found, not only the first."""

    def __init__(self, problems: Sequence[Problem] | str) -> None:
        self.problems: tuple[Problem, ...] = (
            (Problem("", problems),) if isinstance(problems, str) else tuple(problems)
        )
        super().__init__("\n".join(str(problem) for problem in self.problems))


class UsageError(OutriderError):
    """The command line or the machine does not allow what was asked; the text names the remedy."""


class HotRestartError(OutriderError):
    """The other process of a hot restart has gone, or has said what it may not say."""


class ProtocolError(OutriderError):
    """A peer broke a wire protocol.

    `status` is the HTTP status for a downstream peer; `details` the `%RESPONSE_CODE_DETAILS%` of Envoy.
    """

    def __init__(self, details: str, status: int = 400) -> None:
        self.details = details
        self.status = status
        super().__init__(details)
