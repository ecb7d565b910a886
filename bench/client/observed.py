"""`--pid`, `--proxy-admin`: what the proxy under load costs, and what it says of itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from bench.load.processes import cpu_by_process, memory, tree
from proxy.base.errors import UsageError
from proxy.launch.admin_client import AdminPlace, ask, parse_place

#: Stats of Envoy and Outrider that tell of breakers and of how workers share connections.
_FILTER: Final = r"circuit_breakers\..*_open$|_overflow$|worker_[0-9]+\.downstream_cx_total$"
_LINE: Final = re.compile(r"(\S+): (\d+)")


@dataclass(frozen=True, slots=True)
class Observation:
    """At one moment: seconds of CPU since the start of each process of the tree; stats by name."""

    by_process: dict[int, float]
    stats: dict[str, int]


class Observer:
    """Of process `pid` with all below it, and of an admin server; either may be left out. Blocking."""

    def __init__(self, pid: int | None, admin: str | None) -> None:
        self._pid = pid
        self._admin: AdminPlace | None = None
        if admin is not None:
            self._admin = parse_place(admin.removeprefix("http://").rstrip("/"))
        if pid is not None and not Path(f"/proc/{pid}").exists():
            raise UsageError(f"outrider bench: --pid {pid}: there is no such process")
        if self._admin is not None:
            self._stats()

    def look(self) -> Observation:
        """What is there now; raises `UsageError` if the admin server is gone."""
        by_process = {} if self._pid is None else cpu_by_process(tree(self._pid))
        return Observation(by_process, self._stats())

    def _stats(self) -> dict[str, int]:
        if self._admin is None:
            return {}
        try:
            status, text = ask(self._admin, f"/stats?filter={quote(_FILTER)}", timeout=5.0)
        except OSError as error:
            raise UsageError(f"outrider bench: --proxy-admin {self._admin}: {error}") from error
        if status != 200:
            raise UsageError(f"outrider bench: --proxy-admin {self._admin}: /stats answers {status}")
        return {name: int(value) for name, value in _LINE.findall(text)}

    def compare(self, before: Observation, after: Observation, requests: int) -> dict[str, Any]:
        """Figures of what happened between; CPU in seconds, memory in MiB."""
        found: dict[str, Any] = {}
        if self._pid is not None:
            size = memory(self._pid)
            cpu = sum(after.by_process.values()) - sum(before.by_process.values())
            found["cpu_seconds"] = cpu
            found["cpu_per_request"] = cpu / requests if requests else 0.0
            found["rss_mib"], found["pss_mib"] = size.rss, size.pss
            found["cpu_by_process"] = {
                str(pid): seconds - before.by_process.get(pid, 0.0)
                for pid, seconds in after.by_process.items()
            }
        if self._admin is not None:
            changed = {name: value - before.stats.get(name, 0) for name, value in after.stats.items()}
            found["connections_by_worker"] = {
                name: changed[name] for name in changed if name.endswith("downstream_cx_total")
            }
            found["breakers_open"] = [
                name for name, value in after.stats.items() if name.endswith("_open") and value
            ]
            found["overflows"] = {
                name: value for name, value in changed.items() if name.endswith("_overflow") and value > 0
            }
        return found


def observed_rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Label and text, as in `summary.rows`."""
    shown = []
    if "cpu_seconds" in found:
        shown.append(
            (
                "proxy CPU",
                f"{found['cpu_per_request'] * 1e6:.1f} us/request ({found['cpu_seconds']:.2f} s, whole tree)",
            )
        )
        shares = ", ".join(
            f"{pid}: {seconds:.2f} s" for pid, seconds in found["cpu_by_process"].items() if seconds
        )
        shown.append(("by process", shares or "none"))
        shown.append(("proxy memory", f"RSS {found['rss_mib']:.1f} MiB, PSS {found['pss_mib']:.1f} MiB"))
    if "breakers_open" in found:
        shown += [("new conns", f"{name}: {count}") for name, count in found["connections_by_worker"].items()]
        shown.append(("breakers", ", ".join(found["breakers_open"]) or "none open"))
        shown += [("overflow", f"{name}: {count}") for name, count in found["overflows"].items()]
    return shown
