"""One direction through the HTTP filters of a stream: a head, its data and its trailers, past one after the other.

The rules are those of Envoy's filter manager. A filter that stops the head still sees the data that follows; when
it lets data pass, the head goes on first. What a filter keeps back is held for it here, up to a limit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

from proxy.base.headers import HeaderMap
from proxy.filters.api import FilterStatus, HttpFilter

_STOPPED: Final = 1
_STOPPED_ALL: Final = 2

_IDLE: Final = 0
_HEAD: Final = 1
_DATA: Final = 2
_TRAILERS: Final = 3

_STOP_ALL: Final = frozenset({FilterStatus.STOP_ALL_AND_BUFFER, FilterStatus.STOP_ALL_AND_WATERMARK})
_STREAMING: Final = frozenset({FilterStatus.STOP_AND_WATERMARK, FilterStatus.STOP_ALL_AND_WATERMARK})
_KEEPING: Final = frozenset({FilterStatus.STOP_AND_BUFFER, FilterStatus.STOP_AND_WATERMARK})


class FilterPath(ABC):
    """See module. `filters` stand in the order of the way.

    `complete` tells that the whole message has come in, `begun` that its head has. `limit` is how many bytes may
    be held, 0 for any number.
    """

    # Defaults on the class: most messages pass without changing them.
    begun = False
    complete = False
    trailers: HeaderMap | None = None
    _passed = 0
    _held: dict[int, list[bytes]] = {}  # noqa: RUF012 - replaced before anything is put into it
    _held_bytes = 0
    _call = _IDLE
    #: Until a filter asks for a whole message, too much of it waits without being refused.
    _streaming = True
    _paused = False

    def __init__(self, filters: Sequence[HttpFilter], limit: int) -> None:
        self._filters = filters
        self._stopped = bytearray(len(filters))
        # The filters that have seen the end: what comes for them after that was meant for others.
        self._ended = bytearray(len(filters))
        self.limit = limit

    def clear(self) -> None:
        """The stream is over: let go of the filters, which refer to this."""
        self._filters = ()
        if self._held:
            self._held.clear()

    # -- what comes in

    def head(self, end_stream: bool) -> None:
        """The head has come."""
        self.begun = True
        self.complete = end_stream
        self._run_head(0, end_stream)

    def data(self, data: bytes, end_stream: bool) -> None:
        """Body bytes have come."""
        self.complete = end_stream
        if not self._given_up():
            self._run_data(0, data, end_stream)

    def end(self, trailers: HeaderMap) -> None:
        """Trailers have come."""
        self.complete = True
        if not self._given_up():
            self.trailers = trailers
            self._run_trailers(0)

    # -- what filters ask for; see `FilterDirection`

    def resume(self, place: int) -> None:
        """See `FilterDirection`."""
        self._resume(self._on_the_way(place))

    def _resume(self, place: int) -> None:
        if self._given_up():
            return
        first = place + 1 if self._stopped[place] != _STOPPED_ALL else place
        self._stopped[place] = 0
        if self._passed <= place:
            self._passed = place + 1
            bodiless = self.complete and place not in self._held and self.trailers is None
            self._run_head(place + 1, bodiless)
        has_trailers = self.trailers is not None
        if place in self._held:
            self._run_data(first, self._release(place), self.complete and not has_trailers)
        if has_trailers:
            self._run_trailers(first)

    def add_data(self, place: int, data: bytes, streaming: bool) -> None:
        """See `FilterDirection`."""
        place = self._on_the_way(place)
        if self._call == _TRAILERS and not self._stopped[place]:
            self._run_data(place + 1, data, False)
            self._call = _TRAILERS
            return
        self._streaming = streaming
        self._hold(place, data)

    def add_trailers(self) -> HeaderMap:
        """See `FilterDirection`."""
        if self.trailers is None:
            self.trailers = HeaderMap()
            self._note_trailers(self.trailers)
        return self.trailers

    def inject_data(self, place: int, data: bytes, end_stream: bool) -> None:
        """See `FilterDirection`."""
        if self._given_up():
            return
        place = self._on_the_way(place)
        if self._passed <= place:
            self._passed = place + 1
            self._run_head(place + 1, False)
        self._run_data(place + 1, data, end_stream)

    def held(self, place: int) -> bytes | None:
        """See `FilterDirection`."""
        pieces = self._held.get(self._on_the_way(place))
        return None if pieces is None else b"".join(pieces)

    def replace_held(self, place: int, data: bytes) -> None:
        """See `FilterDirection`."""
        place = self._on_the_way(place)
        self._release(place)
        self._hold(place, data)

    def pause_sender(self) -> None:
        """See `FilterDirection`."""
        self._pause()

    def resume_sender(self) -> None:
        """See `FilterDirection`."""
        if not self._given_up():
            self._unpause()

    # -- past the filters

    def _run_head(self, place: int, end_stream: bool) -> None:
        filters = self._filters
        adder = -1
        while place < len(filters):
            ends = end_stream and adder < 0
            self._ended[place] = ends
            self._call = _HEAD
            status = self._show_head(filters[place], ends)
            self._call = _IDLE
            if self._given_up():
                return
            if status is FilterStatus.CONTINUE_AND_DONT_END_STREAM:
                end_stream = False
            elif status is not FilterStatus.CONTINUE:
                self._stopped[place] = _STOPPED
                if status in _STOP_ALL:
                    self._stopped[place] = _STOPPED_ALL
                    self._streaming = status in _STREAMING
                self._continue_data(adder)
                return
            place += 1
            self._passed = place
            if end_stream and adder < 0 and place - 1 in self._held:
                adder = place - 1
        self._send_head(end_stream and adder < 0)
        self._continue_data(adder)

    def _continue_data(self, adder: int) -> None:
        """Send on the body that a filter has added to a message without one."""
        if adder >= 0:
            self._stopped[adder] = _STOPPED
            self._resume(adder)

    def _run_data(self, place: int, data: bytes, end_stream: bool) -> None:
        filters = self._filters
        had_trailers = self.trailers is not None
        adder = -1
        while place < len(filters):
            if self._stopped[place] == _STOPPED_ALL:
                self._hold(place, data)
                break
            if self._ended[place]:
                break
            ends = end_stream and self.trailers is None
            self._ended[place] = ends
            self._call = _DATA
            status, data = self._show_data(filters[place], data, ends)
            self._call = _IDLE
            if self._given_up():
                return
            if not had_trailers and adder < 0 and self.trailers is not None:
                adder = place
            if not self._after_data(place, status, data):
                break
            place += 1
        else:
            self._send_data(data, end_stream and adder < 0)
        if adder >= 0 and not self._given_up():
            self._run_trailers(adder + 1)

    def _after_data(self, place: int, status: FilterStatus, data: bytes) -> bool:
        """Tells whether the data goes on to the next filter."""
        if status is FilterStatus.CONTINUE:
            if not self._stopped[place]:
                return True
            self._hold(place, data)
            self._resume(place)
            return False
        self._stopped[place] = _STOPPED
        if status in _KEEPING:
            self._streaming = status in _STREAMING
            self._hold(place, data)
        elif self.complete and self.trailers is None and place not in self._held:
            # So that the later filters hear of the end when this one lets go.
            self._held = {**self._held, place: []}
        return False

    def _run_trailers(self, place: int) -> None:
        filters = self._filters
        trailers = self.trailers
        assert trailers is not None
        while place < len(filters):
            if self._stopped[place] == _STOPPED_ALL:
                return
            self._call = _TRAILERS
            status = self._show_trailers(filters[place], trailers)
            self._call = _IDLE
            self._ended[place] = 1
            if self._given_up():
                return
            if status is not FilterStatus.CONTINUE:
                self._stopped[place] = _STOPPED
                return
            if self._stopped[place]:
                self._resume(place)
                return
            place += 1
        self._send_trailers(trailers)

    # -- what is held back

    def _hold(self, place: int, data: bytes) -> None:
        if not self._held:
            self._held = {}
        self._held.setdefault(place, []).append(data)
        self._held_bytes += len(data)
        if not self.limit or self._held_bytes <= self.limit:
            return
        if not self._streaming:
            self._refuse()
        elif not self._paused:
            self._paused = True
            self._pause()

    def _release(self, place: int) -> bytes:
        data = b"".join(self._held.pop(place, ()))
        self._held_bytes -= len(data)
        if self._paused and self._held_bytes <= self.limit // 2:
            self._paused = False
            self._unpause()
        return data

    # -- what the two directions do in their own way

    @abstractmethod
    def _on_the_way(self, place: int) -> int:
        """Counted along the way instead of from the client."""

    @abstractmethod
    def _given_up(self) -> bool:
        """Whether nobody waits for this message any longer."""

    @abstractmethod
    def _show_head(self, one: HttpFilter, end_stream: bool) -> FilterStatus: ...

    @abstractmethod
    def _show_data(self, one: HttpFilter, data: bytes, end_stream: bool) -> tuple[FilterStatus, bytes]: ...

    @abstractmethod
    def _show_trailers(self, one: HttpFilter, trailers: HeaderMap) -> FilterStatus: ...

    @abstractmethod
    def _send_head(self, end_stream: bool) -> None:
        """The head has passed all filters."""

    @abstractmethod
    def _send_data(self, data: bytes, end_stream: bool) -> None:
        """Data has passed all filters."""

    @abstractmethod
    def _send_trailers(self, trailers: HeaderMap) -> None:
        """Trailers have passed all filters."""

    @abstractmethod
    def _note_trailers(self, trailers: HeaderMap) -> None:
        """A filter adds trailers."""

    @abstractmethod
    def _refuse(self) -> None:
        """More is held than may be."""

    @abstractmethod
    def _pause(self) -> None:
        """The sender must wait."""

    @abstractmethod
    def _unpause(self) -> None:
        """The sender may go on."""
