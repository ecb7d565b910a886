"""Layers of the runtime that lie in a directory: a file for each value, its path is the key.

Source: `envoy.config.bootstrap.v3.RuntimeLayer.DiskLayer` and Envoy's documentation of the layout. The directory is
reached through a symbolic link that is replaced when values change: `DiskWatch` looks for that every second.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable
from typing import Any, Final

from msgspec import Struct

from proxy.config.context import CompileContext

logger = logging.getLogger("outrider.runtime")

LOOK_SECONDS: Final = 1.0
_MAX_DEPTH: Final = 16
#: A larger file is no value.
_MAX_BYTES: Final = 1 << 20
_WHITESPACE: Final = " \t\f\v\n\r"


class DiskLayer(Struct, frozen=True):
    """`link` is the symbolic link that is watched, `directory` what is read."""

    link: str
    directory: str


class DiskValues(Struct, frozen=True):
    """What a look at the directory found: no values where it is missing, or (`failed`) cannot be read."""

    values: dict[str, str]
    missing: bool = False
    failed: bool = False


def compile_disk_layer(message: Any, service_cluster: str, path: str, context: CompileContext) -> DiskLayer:
    """A `DiskLayer`; the folder that its link lies in must be there, or nobody would see it change."""
    folder = os.path.dirname(message.symlink_root) or "."
    if not os.path.isdir(folder):
        context.problem(
            f"{path}.symlink_root",
            f"unable to add filesystem watch for file {message.symlink_root}: there is no folder {folder}",
        )
    directory = f"{message.symlink_root}/{message.subdirectory}"
    if message.append_service_cluster:
        directory += f"/{service_cluster}"
    return DiskLayer(message.symlink_root, directory)


def read_values(layer: DiskLayer) -> DiskValues:
    """All values of a layer by key; a file that cannot be read costs the layer, as in Envoy."""
    if not os.path.isdir(layer.directory):
        return DiskValues({}, missing=True)
    values: dict[str, str] = {}
    try:
        _walk(layer.directory, "", 1, values)
    except (OSError, ValueError) as error:
        logger.warning("no runtime values are taken from %s: %s", layer.directory, error)
        return DiskValues({}, failed=True)
    return DiskValues(values)


def value_of(text: str) -> str:
    """The value that a file holds: without comments (lines that begin with #), empty lines and what trails."""
    lines = [line for line in text.split("\n") if line]
    kept = [
        line.rstrip(_WHITESPACE) if line == lines[-1] else line + "\n" for line in lines if line[0] != "#"
    ]
    return "".join(kept)


def _walk(directory: str, prefix: str, depth: int, values: dict[str, str]) -> None:
    if depth > _MAX_DEPTH:
        raise ValueError(f"{directory} lies more than {_MAX_DEPTH} folders deep")
    with os.scandir(directory) as entries:
        for entry in entries:
            key = f"{prefix}.{entry.name}" if prefix else entry.name
            if entry.is_dir():
                _walk(entry.path, key, depth + 1, values)
            elif entry.is_file():
                with open(entry.path, encoding="utf-8", errors="replace") as file:
                    text = file.read(_MAX_BYTES + 1)
                if len(text) > _MAX_BYTES:
                    raise ValueError(f"{entry.path} is longer than {_MAX_BYTES} characters")
                values[key] = value_of(text)


class DiskWatch:
    """Calls `on_change` once for each layer whose link was replaced (Envoy loads the runtime as often)."""

    def __init__(self, layers: Iterable[DiskLayer], on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._links = [layer.link for layer in layers]
        self._seen = [_state(link) for link in self._links]
        self._timer: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look every second from now on, if there is anything to look at."""
        if self._links:
            self._timer = loop.call_later(LOOK_SECONDS, self._tick, loop)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self.start(loop)
        self.look()

    def look(self) -> None:
        """Tell what has changed since the last look."""
        before, self._seen = self._seen, [_state(link) for link in self._links]
        for old, new in zip(before, self._seen, strict=True):
            if new != old and new is not None:
                self._on_change()


def _state(link: str) -> tuple[int, int, int] | None:
    """Changes when the link is replaced; None while there is none."""
    try:
        found = os.lstat(link)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_ctime_ns
