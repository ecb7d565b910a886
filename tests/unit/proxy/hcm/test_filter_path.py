"""How heads, data and trailers go past filters that stop, keep, add and inject."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead
from proxy.filters.api import FilterStatus, HttpFilter, StreamCallbacks
from tests.support.filters import FilteredStream

CONTINUE, STOP = FilterStatus.CONTINUE, FilterStatus.STOP


class Played(HttpFilter):
    """Does what the test says on the way that it is about, and notes what it saw."""

    def __init__(
        self,
        callbacks: StreamCallbacks,
        head: FilterStatus = CONTINUE,
        data: FilterStatus = CONTINUE,
        trailers: FilterStatus = CONTINUE,
        act: Callable[[Played, str, bool], None] | None = None,
    ) -> None:
        super().__init__(callbacks)
        self.seen: list[Any] = []
        self.answers = {"head": head, "data": data, "trailers": trailers}
        self.act = act

    def answer(self, what: str, end_stream: bool, note: Any) -> FilterStatus:
        self.seen.append(note)
        if self.act is not None:
            self.act(self, what, end_stream)
        return self.answers[what]


class OnRequest(Played):
    def decode_headers(self, head: RequestHead, end_stream: bool) -> FilterStatus:
        del head
        return self.answer("head", end_stream, ("head", end_stream))

    def decode_data(self, data: bytes, end_stream: bool) -> tuple[FilterStatus, bytes]:
        return self.answer("data", end_stream, (data, end_stream)), data

    def decode_trailers(self, trailers: HeaderMap) -> FilterStatus:
        return self.answer("trailers", True, dict(trailers))


class OnResponse(Played):
    def encode_headers(self, head: ResponseHead, end_stream: bool) -> FilterStatus:
        del head
        return self.answer("head", end_stream, ("head", end_stream))

    def encode_data(self, data: bytes, end_stream: bool) -> tuple[FilterStatus, bytes]:
        return self.answer("data", end_stream, (data, end_stream)), data

    def encode_trailers(self, trailers: HeaderMap) -> FilterStatus:
        return self.answer("trailers", True, dict(trailers))


class Way:
    """The same play for requests and for responses: filters stand in the order of the way."""

    def __init__(self, direction: str, *plays: dict[str, Any], limit: int = 1024) -> None:
        self.filters: list[Played] = []

        def maker(play: dict[str, Any]) -> Callable[[StreamCallbacks], HttpFilter]:
            def make(callbacks: StreamCallbacks) -> HttpFilter:
                one = (OnRequest if self.decodes else OnResponse)(callbacks, **play)
                self.filters.append(one)
                return one

            return make

        self.decodes = direction == "request"
        ordered = plays if self.decodes else plays[::-1]
        self.stream = FilteredStream(*map(maker, ordered), limit=limit)
        if not self.decodes:
            self.filters.reverse()

    def head(self, end_stream: bool = False) -> None:
        if self.decodes:
            self.stream.begin(end_stream=end_stream)
        else:
            self.stream.respond(end_stream=end_stream)

    def data(self, data: bytes, end_stream: bool = False) -> None:
        filters = self.stream.filters
        (filters.decode_data if self.decodes else filters.encode_data)(data, end_stream)

    def trailers(self, **fields: str) -> None:
        filters = self.stream.filters
        (filters.decode_trailers if self.decodes else filters.encode_trailers)(HeaderMap(fields.items()))

    def resume(self, place: int) -> None:
        one = self.filters[place]
        (one.continue_decoding if self.decodes else one.continue_encoding)()

    def inject(self, place: int, data: bytes, end_stream: bool) -> None:
        one = self.filters[place]
        (one.inject_decoded_data if self.decodes else one.inject_encoded_data)(data, end_stream)

    @property
    def out(self) -> list[Any]:
        """What has passed: "head", bytes, a dict of trailers, "end"."""
        passed = self.stream.request if self.decodes else self.stream.response
        return [entry[0] if entry[0] in {"head", "end", "reset"} else entry[1] for entry in passed]


BOTH = pytest.mark.parametrize("direction", ["request", "response"])


def add(data: bytes = b"", *, on: str, **trailers: str) -> Callable[[Played, str, bool], None]:
    """Adds data, trailers or both when the end comes with a head, data or trailers."""

    def act(one: Played, what: str, end_stream: bool) -> None:
        if what != on or not end_stream:
            return
        if data:
            (one.add_decoded_data if isinstance(one, OnRequest) else one.add_encoded_data)(data)
        if trailers:
            (one.add_decoded_trailers if isinstance(one, OnRequest) else one.add_encoded_trailers)().update(
                trailers
            )

    return act


@BOTH
def test_everything_passes_filters_that_do_nothing(direction: str) -> None:
    way = Way(direction, {}, {})
    way.head()
    way.data(b"a")
    way.trailers(t="1")
    assert way.out == ["head", b"a", {"t": "1"}]
    assert way.filters[1].seen == [("head", False), (b"a", False), {"t": "1"}]


@BOTH
def test_the_head_waits_until_data_passes(direction: str) -> None:
    way = Way(direction, {"head": STOP, "data": FilterStatus.STOP_AND_BUFFER}, {})
    way.head()
    way.data(b"a")
    assert way.out == []
    assert way.filters[1].seen == []
    way.filters[0].answers["data"] = CONTINUE
    way.data(b"b", True)
    assert way.out == ["head", b"ab", "end"]
    assert way.filters[1].seen == [("head", False), (b"ab", True)]


@BOTH
def test_the_head_waits_until_trailers_pass(direction: str) -> None:
    way = Way(direction, {"head": STOP, "data": FilterStatus.STOP_AND_BUFFER}, {})
    way.head()
    way.data(b"a")
    way.trailers(t="1")
    assert way.out == ["head", b"a", {"t": "1"}]


@BOTH
def test_a_filter_resumes_later(direction: str) -> None:
    way = Way(direction, {}, {"head": STOP, "data": FilterStatus.STOP_AND_WATERMARK, "trailers": STOP}, {})
    way.head()
    way.data(b"a")
    way.trailers(t="1")
    assert way.out == []
    way.resume(1)
    assert way.out == ["head", b"a", {"t": "1"}]


@BOTH
def test_a_bodiless_message_stays_one(direction: str) -> None:
    way = Way(direction, {"head": STOP}, {})
    way.head(True)
    way.resume(0)
    assert way.out == ["head", "end"]
    assert way.filters[1].seen == [("head", True)]


@BOTH
def test_a_filter_that_stops_all_sees_the_rest_when_it_continues(direction: str) -> None:
    way = Way(direction, {"head": FilterStatus.STOP_ALL_AND_BUFFER}, {})
    way.head()
    way.data(b"a")
    way.trailers(t="1")
    assert way.filters[0].seen == [("head", False)]
    way.resume(0)
    assert way.filters[0].seen == [("head", False), (b"a", False), {"t": "1"}]
    assert way.out == ["head", b"a", {"t": "1"}]


@BOTH
def test_an_end_without_bytes_is_not_lost(direction: str) -> None:
    way = Way(direction, {"data": STOP}, {})
    way.head()
    way.data(b"a", True)
    assert way.out == ["head"]
    way.resume(0)
    assert way.out == ["head", b"", "end"]


@BOTH
def test_trailers_are_added_behind_the_last_data(direction: str) -> None:
    way = Way(direction, {}, {"act": add(on="data", t="1")}, {})
    way.head()
    way.data(b"a", True)
    assert way.out == ["head", b"a", {"t": "1"}]
    assert way.filters[0].seen[-1] == (b"a", True)
    assert way.filters[2].seen == [("head", False), (b"a", False), {"t": "1"}]


@BOTH
def test_trailers_that_were_added_reach_a_filter_that_keeps_the_data(direction: str) -> None:
    way = Way(
        direction,
        {"act": add(on="data", t="1")},
        {"head": STOP, "data": FilterStatus.STOP_AND_BUFFER},
    )
    way.head()
    way.data(b"a", True)
    assert way.out == ["head", b"a", {"t": "1"}]


@BOTH
def test_a_bodiless_message_gets_a_body_and_trailers(direction: str) -> None:
    way = Way(direction, {"act": add(b"new", on="head", t="1")}, {})
    way.head(True)
    assert way.out == ["head", b"new", {"t": "1"}]
    assert way.filters[1].seen == [("head", False), (b"new", False), {"t": "1"}]


@BOTH
def test_a_bodiless_message_gets_a_body(direction: str) -> None:
    way = Way(direction, {"act": add(b"new", on="head")}, {})
    way.head(True)
    assert way.out == ["head", b"new", "end"]
    assert way.filters[1].seen == [("head", False), (b"new", True)]


@BOTH
def test_data_is_added_before_the_trailers(direction: str) -> None:
    way = Way(direction, {"act": add(b"more", on="trailers")}, {})
    way.head()
    way.data(b"a")
    way.trailers(t="1")
    assert way.out == ["head", b"a", b"more", {"t": "1"}]


@BOTH
def test_data_is_added_behind_what_was_kept(direction: str) -> None:
    way = Way(
        direction,
        {"head": STOP, "data": FilterStatus.STOP_AND_BUFFER, "act": add(b"more", on="trailers")},
        {},
    )
    way.head()
    way.data(b"a")
    way.trailers(t="1")
    assert way.out == ["head", b"amore", {"t": "1"}]


@BOTH
def test_injected_data_takes_the_head_along(direction: str) -> None:
    way = Way(direction, {"head": STOP, "data": STOP}, {})
    way.head()
    way.data(b"a", True)
    way.inject(0, b"b", False)
    way.inject(0, b"c", True)
    assert way.out == ["head", b"b", b"c", "end"]
    assert way.filters[1].seen == [("head", False), (b"b", False), (b"c", True)]


@BOTH
def test_a_whole_message_may_get_a_body_later(direction: str) -> None:
    way = Way(direction, {"head": FilterStatus.CONTINUE_AND_DONT_END_STREAM}, {})
    way.head(True)
    assert way.out == ["head"]
    way.inject(0, b"a", True)
    assert way.out == ["head", b"a", "end"]


@BOTH
def test_two_filters_keep_apart_what_they_hold(direction: str) -> None:
    keeping = {"head": STOP, "data": FilterStatus.STOP_AND_BUFFER, "trailers": STOP}
    way = Way(direction, {"data": CONTINUE}, keeping)
    way.head()
    way.data(b"a")
    way.filters[0].answers["data"] = FilterStatus.STOP_AND_BUFFER
    way.data(b"b")
    way.resume(0)
    assert way.filters[1].seen == [("head", False), (b"a", False), (b"b", False)]
    way.resume(1)
    assert way.out == ["head", b"ab"]


@BOTH
def test_what_is_kept_may_be_replaced(direction: str) -> None:
    way = Way(direction, {"head": STOP, "data": FilterStatus.STOP_AND_BUFFER}, {}, limit=5)
    way.head()
    way.data(b"abc")
    one = way.filters[0]
    assert (one.decoding_buffer() if way.decodes else one.encoding_buffer()) == b"abc"
    (one.replace_decoding_buffer if way.decodes else one.replace_encoding_buffer)(b"x")
    way.data(b"defg")
    way.resume(0)
    assert way.out == ["head", b"xdefg"]


def test_a_request_over_the_limit_is_refused() -> None:
    way = Way("request", {"head": STOP, "data": FilterStatus.STOP_AND_BUFFER}, limit=2)
    way.head()
    way.data(b"abc")
    assert way.stream.replies == ["request_payload_too_large"]
    way.data(b"d", True)
    way.resume(0)
    assert way.out == []


def test_a_response_over_the_limit_becomes_an_error() -> None:
    way = Way("response", {"head": STOP, "data": FilterStatus.STOP_AND_BUFFER}, limit=2)
    way.head()
    way.data(b"abc")
    assert way.stream.replies == ["response_payload_too_large"]
    assert way.stream.response_head.status == 500
    assert way.stream.manager.stats.rs_too_large == 1


def test_a_response_over_the_limit_whose_head_has_left_is_cut() -> None:
    way = Way("response", {"data": FilterStatus.STOP_AND_BUFFER}, limit=2)
    way.head()
    way.data(b"abc")
    assert way.out == ["head", "reset"]


@pytest.mark.parametrize(("direction", "peer"), [("request", "client"), ("response", "upstream")])
def test_the_sender_waits_until_what_is_kept_has_gone(direction: str, peer: str) -> None:
    way = Way(direction, {"data": FilterStatus.STOP_AND_WATERMARK}, limit=2)
    way.head()
    way.data(b"abc")
    way.data(b"d")
    assert way.stream.pauses == [peer]
    way.resume(0)
    assert way.stream.pauses == [peer, f"{peer} resumed"]
    assert way.out == ["head", b"abcd"]


def test_a_client_is_read_again_when_the_stream_ends() -> None:
    way = Way("request", {"data": FilterStatus.STOP_AND_WATERMARK}, limit=2)
    way.head()
    way.data(b"abc")
    way.stream.finish()
    assert way.stream.pauses == ["client", "client resumed"]


def test_a_reply_of_a_filter_ends_the_request() -> None:
    def refuse(one: Played, what: str, end_stream: bool) -> None:
        del end_stream
        if what == "data":
            one.callbacks.local_reply(403, "no", "denied")

    way = Way("request", {"act": refuse}, {})
    way.head()
    way.data(b"a")
    way.data(b"b", True)
    assert way.out == ["head"]
    assert way.stream.response_head.status == 403


def test_a_reply_in_place_of_a_response_passes_no_filter() -> None:
    def refuse(one: Played, what: str, end_stream: bool) -> None:
        del end_stream
        if what == "head":
            one.callbacks.local_reply(502, "bad", "refused")

    way = Way("response", {"act": refuse}, {})
    way.head()
    assert way.out == ["head", b"bad", "end"]
    assert way.stream.response_head.status == 502
    assert way.filters[1].seen == []


def test_what_comes_after_the_end_changes_nothing() -> None:
    way = Way("response", {"head": STOP}, {})
    way.head()
    way.stream.finish()
    way.resume(0)
    way.data(b"a", True)
    assert way.out == []
