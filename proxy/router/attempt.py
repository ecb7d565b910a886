"""One of the tries of a request that may have several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.router.upstream_request import UpstreamRequest

if TYPE_CHECKING:
    from proxy.router.retrying_request import RetryingRequest


class Attempt(UpstreamRequest):
    """A try; `owner` is told when it has a connection. Times are those of the loop, 0.0 for none."""

    owner: RetryingRequest | None = None
    request_began = False
    #: When it has taken too long.
    deadline = 0.0
    #: Since when nothing has come, where that is limited.
    idle_since = 0.0
    #: Whether another try has been started because this one is slow.
    hedged = False
    #: Whether outlier detection has heard that it is slow.
    _slow = False

    def on_pool_ready(self, connection: Any) -> None:
        """See `PoolRequest`."""
        self.request_began = True
        UpstreamRequest.on_pool_ready(self, connection)
        owner = self.owner
        if owner is not None and owner.limits_tries and not self.over:
            owner.on_connected(self)

    def on_stale(self) -> bool:
        """See `PoolRequest`: what the policy says comes first."""
        if self.hedged or (self.owner is not None and self.owner.repeats_resets):
            return False
        return super().on_stale()

    def time_out(self) -> None:
        """See `UpstreamRequest`: the host is blamed once."""
        if not self._slow:
            self._slow = True
            super().time_out()

    def due(self, most_idle: float) -> float:
        """When it will have taken too long, or been idle for `most_idle` seconds; 0.0 for never."""
        idle = self.idle_since + most_idle if self.idle_since else 0.0
        return min(self.deadline, idle) if self.deadline and idle else self.deadline or idle

    def stop_clock(self) -> None:
        """It may take as long as it likes."""
        self.deadline = self.idle_since = 0.0
