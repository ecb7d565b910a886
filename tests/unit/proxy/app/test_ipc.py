from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from proxy.app import ipc
from proxy.app.ipc import Channel, FrameReader, encode, send_blocking, slices


class Pipe(asyncio.WriteTransport):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high == ipc.HIGH_WATER_BYTES

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.closed = True


def channel() -> tuple[Channel, Pipe, list[ipc.Message], list[str]]:
    messages: list[ipc.Message] = []
    lost: list[str] = []
    return Channel(messages.append, lambda: lost.append("lost")), Pipe(), messages, lost


def test_messages_survive_any_cutting_of_the_stream() -> None:
    sent = [("a", 1, [b"x", "y"]), ("b", {"k": None}), ("c",)]
    stream = b"".join(map(encode, sent))
    for size in (1, 3, 7, len(stream)):
        reader = FrameReader()
        received: list[ipc.Message] = []
        for start in range(0, len(stream), size):
            received += reader.feed(stream[start : start + size])
        assert received == sent


def test_a_length_that_cannot_be_ours_is_an_error() -> None:
    with pytest.raises(ValueError, match="frame of 4294967295 bytes"):
        list(FrameReader().feed(b"\xff\xff\xff\xff"))


def test_what_is_sent_before_the_connection_exists_is_not_lost() -> None:
    end, pipe, _messages, _lost = channel()
    end.send(("early",))
    end.connection_made(pipe)
    end.send(("late",))
    assert pipe.written == [encode(("early",)), encode(("late",))]


def test_a_reader_that_lags_gets_its_messages_in_order_when_it_catches_up() -> None:
    end, pipe, _messages, _lost = channel()
    end.connection_made(pipe)
    end.pause_writing()
    end.send(("one",))
    end.send(("two",))
    assert end.lagging
    assert pipe.written == []
    end.resume_writing()
    assert pipe.written == [encode(("one",)), encode(("two",))]
    assert not end.lagging


def test_a_reader_that_never_reads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipc, "MAX_QUEUED_BYTES", 100)
    end, pipe, _messages, _lost = channel()
    end.connection_made(pipe)
    end.pause_writing()
    end.send(("x", b"y" * 50))
    assert not end.hopeless
    end.send(("x", b"y" * 50))
    assert end.hopeless


def test_the_owner_learns_of_messages_and_of_the_end() -> None:
    end, pipe, messages, lost = channel()
    end.connection_made(pipe)
    end.data_received(encode(("hello", 1)))
    end.connection_lost(None)
    end.send(("nobody hears this",))
    assert messages == [("hello", 1)]
    assert lost == ["lost"]
    assert pipe.written == []


def test_closing_closes_the_transport() -> None:
    end, pipe, _messages, _lost = channel()
    end.close()
    end.connection_made(pipe)
    end.close()
    assert pipe.closed


def test_config_is_cut_into_slices_that_keep_the_order() -> None:
    items = [(str(number), b"x" * 10) for number in range(10)]
    groups = list(slices(items, limit=30))
    assert [item for group in groups for item in group] == items
    assert all(len(group) <= 3 for group in groups)


def test_descriptors_travel_with_a_message_of_any_size() -> None:
    left, right = socket.socketpair()
    with left, right, socket.socket() as passed:
        message = ("fork", b"x" * 10_000)
        send_blocking(left, message, [passed.fileno()])
        data, descriptors, _flags, _address = socket.recv_fds(right, 100_000, 4)
        received = list(FrameReader().feed(data))
        assert received == [message]
        assert len(descriptors) == 1
        socket.socket(fileno=descriptors[0]).close()
