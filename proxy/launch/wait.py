"""`outrider wait`: blocks until a proxy is ready, so that what depends on it can be started next."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

from proxy.launch.admin_client import DEFAULT_PORT, AdminPlace, ask, parse_place, what_is_missing
from proxy.launch.own_flags import Parser, seconds

#: As `pilot-agent wait`, which stands at this place in pods of Istio.
DEFAULT_TIMEOUT: Final = 60.0
_PERIOD: Final = 0.1


def main(arguments: Sequence[str]) -> int:
    """0 when `/ready` is 200, 1 with one line on stderr if that takes too long; raises `UsageError`."""
    parser = Parser("outrider wait", "Block until a proxy's /ready is 200.")
    parser.add_argument(
        "--timeout", type=seconds, default=DEFAULT_TIMEOUT, help="seconds to wait at most (default 60)"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--admin", metavar="ADDRESS", help="ADDRESS:PORT, or the path of a unix socket")
    where.add_argument(
        "--port", type=int, choices=range(1, 65536), metavar="PORT", help="127.0.0.1:PORT (default 15000)"
    )
    options = parser.parse_args(arguments)
    place = parse_place(options.admin) if options.admin else AdminPlace(port=options.port or DEFAULT_PORT)
    reason = until_ready(place, options.timeout)
    if reason:
        sys.stderr.write(f"outrider wait: {place} is not ready after {options.timeout:g} s: {reason}\n")
    return 1 if reason else 0


def until_ready(
    place: AdminPlace,
    timeout: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Wait at most `timeout` seconds; "" or why it is not ready."""
    deadline = clock() + timeout
    while True:
        left = deadline - clock()
        try:
            if ask(place, "/ready", timeout=min(max(left, 0.05), 1.0))[0] == 200:
                return ""
        except OSError:
            pass
        left = deadline - clock()
        if left <= 0:
            return what_is_missing(place)
        sleep(min(_PERIOD, left))
