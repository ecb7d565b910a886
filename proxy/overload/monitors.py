"""How much of a resource is used, as a share: 0.0 is nothing, 1.0 all that may be.

Each is asked by the controller once in `refresh_interval`; it reads small files of the kernel and does not wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Protocol

from proxy.admin.memory import read_memory
from proxy.base.errors import ConfigError

_CGROUP: Final = Path("/sys/fs/cgroup")
# What cgroup v1 says for "no limit" is the largest multiple of a page; nothing real is near it.
_UNLIMITED: Final = 1 << 62
_FILE_BYTES: Final = 1024


class PressureError(Exception):
    """A pressure cannot be told; the message says why."""


class Monitor(Protocol):
    """One resource."""

    def pressure(self) -> float:
        """Its pressure now. Raises `PressureError`."""
        ...


class FixedHeap:
    """`fixed_heap`: the physical memory of all processes, each shared page counted once, against a maximum.

    Envoy takes what its allocator holds. Here each process has one of its own and much is shared between them, so
    it is what the proxy takes from the machine.
    """

    def __init__(self, maximum: int, processes: Callable[[], Iterable[int]]) -> None:
        self._maximum = maximum
        self._processes = processes

    def pressure(self) -> float:
        """See `Monitor`."""
        return read_memory(self._processes()).physical / self._maximum


class InjectedResource:
    """`injected_resource`: a number in a file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def pressure(self) -> float:
        """See `Monitor`."""
        try:
            with open(self._path, "rb") as file:
                text = file.read(_FILE_BYTES).decode("ascii", "replace").strip()
            value = float(text)
        except OSError as error:
            raise PressureError(f"{self._path}: {error.strerror}") from error
        except ValueError:
            raise PressureError("failed to parse injected resource pressure") from None
        if not 0.0 <= value <= 1.0:
            raise PressureError("pressure out of range")
        return value


class Connections:
    """`downstream_connections`: those of all workers against their limit."""

    def __init__(self, maximum: int, count: Callable[[], int]) -> None:
        self._maximum = maximum
        self._count = count

    def pressure(self) -> float:
        """See `Monitor`."""
        return self._count() / self._maximum


class CgroupMemory:
    """`cgroup_memory`: what the control group uses of its limit, or of a lower `maximum` (0 for none).

    Raises `ConfigError` where there is no control group of either version.
    """

    def __init__(self, maximum: int, root: Path = _CGROUP) -> None:
        self._maximum = maximum or _UNLIMITED
        for used, limit in (
            (root / "memory.current", root / "memory.max"),
            (root / "memory" / "memory.usage_in_bytes", root / "memory" / "memory.limit_in_bytes"),
        ):
            if used.exists() and limit.exists():
                self._used, self._limit = used, limit
                return
        raise ConfigError("No supported cgroup memory implementation found")

    def pressure(self) -> float:
        """See `Monitor`."""
        limit = min(self._maximum, _number(self._limit))
        return 0.0 if limit >= _UNLIMITED or limit <= 0 else _number(self._used) / limit


def _number(path: Path) -> int:
    try:
        text = path.read_text().strip()
        return _UNLIMITED if text in {"max", "-1"} else int(text)
    except OSError as error:
        raise PressureError(f"{path}: {error.strerror}") from error
    except ValueError:
        raise PressureError(f"{path} does not hold a number") from None
