"""Where compile functions of this package report; `proxy.config.context.CompileContext` implements it."""

from __future__ import annotations

from typing import Protocol

from proxy.base.runtime import Runtime


class Reporter(Protocol):
    """Collects what is wrong with a configuration and hands out the runtime."""

    runtime: Runtime

    def problem(self, path: str, reason: str) -> None:
        """Record that the field at `path` makes the resource unacceptable."""

    def warning(self, path: str, reason: str) -> None:
        """Record something that works, but perhaps not as the operator thinks."""
