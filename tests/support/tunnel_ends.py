"""How a tunnel through a proxy may end: who goes how, and what the ends see of it."""

from __future__ import annotations

import time
from typing import Any, Protocol


class Tunnel(Protocol):
    """An open tunnel; its ends are each a `tests.support.tunnels.End`."""

    near: Any
    far: Any

    def views(self, *, near: bool = True, far: bool = True) -> tuple[Any, Any]:
        """What both ends have seen; `near` and `far` tell which of them sees an end."""


def near_closes(tunnel: Tunnel) -> Any:
    tunnel.near.close()
    return tunnel.far.view()


def near_resets(tunnel: Tunnel) -> Any:
    tunnel.near.reset()
    return tunnel.far.view()


def near_finishes(tunnel: Tunnel) -> Any:
    tunnel.near.finish()
    time.sleep(0.1)
    tunnel.far.send(b"more")
    return tunnel.views(near=False, far=False)


def near_finishes_then_far(tunnel: Tunnel) -> Any:
    tunnel.near.finish()
    time.sleep(0.1)
    tunnel.far.finish()
    return tunnel.views()


def far_closes(tunnel: Tunnel) -> Any:
    tunnel.far.close()
    return tunnel.near.view()


def far_resets(tunnel: Tunnel) -> Any:
    tunnel.far.reset()
    return tunnel.near.view()


def far_finishes(tunnel: Tunnel) -> Any:
    tunnel.far.finish()
    return tunnel.views(far=False)
