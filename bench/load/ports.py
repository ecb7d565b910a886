"""Free TCP ports on loopback for processes that cannot bind port 0 and report it."""

from __future__ import annotations

import random
import socket

# Below the kernel's range of ephemeral ports, so that no outgoing connection takes one in between.
_FIRST, _LAST = 12000, 32000
_given: set[int] = set()


def free_port() -> int:
    """A port that nobody listens on now and that this process has not handed out before."""
    for _ in range(1000):
        port = random.randint(_FIRST, _LAST)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
    raise RuntimeError("no free port found on 127.0.0.1")
