"""A run: who may send when, and what becomes of it."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import ssl
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from bench.client.http1 import Http1Lane
from bench.client.http2 import Http2Lane, Place, http2_state
from bench.client.lane import Lane
from bench.client.observed import Observer
from bench.client.options import Options
from bench.client.requests import in_turn
from bench.client.schedule import Schedule
from bench.client.tally import Interval, Tally
from bench.client.tcp import TcpLane
from bench.client.timer import FineTimer
from proxy.base.errors import UsageError
from proxy.codec.http1_response import Http1Response, ResponseParser

_TICK: Final = 0.05
#: A lane of a closed loop rests so long after a connection that failed, or it would do nothing but connect.
_PAUSE: Final = 0.05
#: Requests that are sent in one turn of the loop before replies are read again.
_BURST: Final = 256


class Load:
    """`progress` is called with each closed interval."""

    def __init__(self, options: Options, progress: Callable[[Tally, Interval], None]) -> None:
        self.options = options
        self.parser = ResponseParser()
        self.heads: dict[bytes, Http1Response] = {}
        self.address: tuple[Any, ...] = ()
        self.tally = Tally(math.inf)
        self.interrupted = False
        #: Replies within the measured time; those that came later count in everything but the rate.
        self.in_time = 0
        self.seconds = 0.0
        self._progress = progress
        self._observer: Observer | None = None
        if options.pid is not None or options.proxy_admin is not None:
            self._observer = Observer(options.pid, options.proxy_admin)
        #: See `Observer.compare`; empty without it.
        self.observed: dict[str, Any] = {}
        self._requests = in_turn(options.requests)
        self.http2_stats, self.http2_parser = http2_state()
        self._lanes = self._make_lanes()
        self._free: deque[Lane] = deque(self._lanes)
        self._running = False
        self._schedule: Schedule | None = None
        self._origin = 0.0
        #: Requests started in this part of the run, and how many may be.
        self._started = 0
        self._most = math.inf
        self._next_due = 0.0
        self._timer: FineTimer | None = None
        self._changed = asyncio.Event()

    def _make_lanes(self) -> list[Lane]:
        count = self.options.connections
        if self.options.target.http2:
            places = [Place(self) for _ in range(count)]
            # The first streams of all connections come before the second of any.
            return [Http2Lane(self, place) for _ in range(self.options.streams) for place in places]
        if self.options.target.http:
            return [Http1Lane(self) for _ in range(count)]
        return [TcpLane(self) for _ in range(count)]

    async def connect(self, protocol: Callable[[], asyncio.Protocol]) -> tuple[asyncio.Transport, Any]:
        """A connection to the target."""
        host = self.options.target.host if self.options.tls else None
        return await asyncio.get_running_loop().create_connection(
            protocol, self.address[0], self.address[1], ssl=self.options.tls, server_hostname=host
        )

    async def run(self) -> None:
        """From the first connection to the last reply; raises `UsageError` where the target cannot be reached."""
        self.address = self.options.target.resolve()
        await self._reach()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._interrupt)
        loop.add_signal_handler(signal.SIGTERM, self._interrupt)
        schedule = self.options.schedule()
        self._timer = FineTimer(self._dispatch) if schedule else None
        try:
            if self.options.warm_up:
                slow = Schedule(schedule.start, schedule.start) if schedule else None
                await self._part(slow, self.options.warm_up, math.inf)
            before = await asyncio.to_thread(self._observer.look) if self._observer else None
            self.tally = Tally(monotonic())
            await self._part(schedule, self.options.duration or math.inf, self.options.count or math.inf)
            self.seconds = max(monotonic() - self.tally.begin, 1e-9)
            self._leave_over()
            self.in_time = self.tally.succeeded + self.tally.error_count
            if self._observer is not None and before is not None:
                after = await asyncio.to_thread(self._observer.look)
                self.observed = self._observer.compare(before, after, self.in_time)
            await self._drain()
        finally:
            loop.remove_signal_handler(signal.SIGINT)
            loop.remove_signal_handler(signal.SIGTERM)
            if self._timer is not None:
                self._timer.close()
            for lane in self._lanes:
                lane.sent = 0.0
                lane.drop()
            for lane in self._lanes:
                lane.close()
            self.tally.close_interval(monotonic())

    async def _reach(self) -> None:
        """One connection, before the run: who cannot be reached at all is told in one line."""
        target = self.options.target
        try:
            async with asyncio.timeout(self.options.timeout):
                transport, _ = await self.connect(asyncio.Protocol)
        except ssl.SSLCertVerificationError as error:
            reason = f"{error.verify_message}; --cacert FILE names its authority, --insecure takes any"
        except ssl.SSLError as error:
            reason = f"no TLS there ({error.reason or error})"
        except TimeoutError:
            reason = f"no connection within {self.options.timeout:g} s"
        except OSError as error:
            reason = "connection refused" if isinstance(error, ConnectionRefusedError) else str(error)
        else:
            tls = transport.get_extra_info("ssl_object")
            transport.close()
            if tls is None or not target.http2 or tls.selected_alpn_protocol() == "h2":
                return
            reason = "it does not speak HTTP/2 (ALPN chose nothing)"
        raise UsageError(f"outrider bench: {target.host}:{target.port}: {reason}")

    async def _part(self, schedule: Schedule | None, duration: float, count: float) -> None:
        """Start requests for so long, or so many."""
        if self.interrupted:
            return
        self._schedule = schedule
        self._origin = begin = monotonic()
        self._started, self._most = 0, count
        self._running = True
        if schedule is not None:
            self._next_due = begin + schedule.due(0)
            self._dispatch()
        else:
            while self._free and self._started < self._most:
                self._send(self._free.popleft(), monotonic())
        closed = begin
        while (now := monotonic()) < begin + duration and not self.interrupted and not self._finished():
            if now - closed >= 1.0:
                self._progress(self.tally, self.tally.close_interval(now))
                closed = now
            self._check_timeouts(now)
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), min(_TICK, begin + duration - now))
        self._running = False

    def _finished(self) -> bool:
        return self._started >= self._most and not any(lane.sent for lane in self._lanes)

    async def _drain(self) -> None:
        """Wait for replies under way: to leave them out would leave out the slowest."""
        while not self.interrupted and any(lane.sent for lane in self._lanes):
            self._check_timeouts(monotonic())
            await asyncio.sleep(_TICK / 5)

    def _leave_over(self) -> None:
        if self._schedule is None or self.interrupted:
            return
        now = self._origin + min(self.seconds, self.options.duration or math.inf)
        while self._started < self._most and (due := self._origin + self._schedule.due(self._started)) < now:
            self.tally.left_over(due, now)
            self._started += 1

    def _check_timeouts(self, now: float) -> None:
        for lane in self._lanes:
            if lane.sent and now - lane.sent > self.options.timeout:
                lane.fail("timeout")

    def _interrupt(self) -> None:
        self.interrupted = True
        self._changed.set()

    def _send(self, lane: Lane, due: float) -> None:
        self._started += 1
        lane.start(next(self._requests), due)

    def _take_due(self) -> float:
        """When the next request is due, which it is now."""
        due = self._next_due
        assert self._schedule is not None
        self._next_due = self._origin + self._schedule.due(self._started + 1)
        return due

    def _dispatch(self) -> None:
        """Open loop: send what is due on free lanes, and ring when the next will be."""
        if not self._running or self._timer is None:
            return
        now = monotonic()
        burst = _BURST
        while self._free and self._next_due <= now and self._started < self._most and burst:
            self._send(self._free.popleft(), self._take_due())
            burst -= 1
        # Without a free lane the next reply dispatches.
        if self._free and self._started < self._most and self._next_due < math.inf:
            self._timer.set(self._next_due - now)

    def freed(self, lane: Lane, now: float) -> None:
        """A reply has come: the lane may have the next request."""
        if not self._running or self._started >= self._most:
            self._free.append(lane)
            self._changed.set()
        elif self._schedule is None:
            self._send(lane, now)
        elif self._next_due <= now:
            self._send(lane, self._take_due())
        else:
            self._free.append(lane)
            if self._timer is not None and len(self._free) == 1:
                self._timer.set(self._next_due - now)

    def failed(self, lane: Lane, now: float, kind: str) -> None:
        """A request is lost: as `freed`, but nobody connects without pause to who does not answer."""
        if self._running and self._schedule is None and kind != "timeout":
            asyncio.get_running_loop().call_later(_PAUSE, self._resume, lane)
        else:
            self.freed(lane, now)

    def _resume(self, lane: Lane) -> None:
        self.freed(lane, monotonic())
