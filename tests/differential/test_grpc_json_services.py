"""JSON clients of a real gRPC service over HTTP/2: statuses, streams, sizes."""

from __future__ import annotations

import itertools
import json
import time
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc
import pytest

from tests.support.bookstore import SERVICE, message
from tests.support.client import Client
from tests.support.compare import diff_replies
from tests.support.configs import http2_cluster, route
from tests.support.differential import Pair
from tests.support.managers import get, managers, post
from tests.support.transcoder import chain

_ROUTES: Final = [route("grpc", timeout="0s")]


class Bookstore:
    """The service: shelf 0 is missing, shelf -1 fails slowly, others are as asked for."""

    def __init__(self) -> None:
        self._server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        kinds: dict[str, tuple[Any, Any, str]] = {
            "GetShelf": (unary, self._get, "Shelf"),
            "CreateShelf": (unary, lambda shelf, _: shelf, "Shelf"),
            "DeleteShelf": (unary, self._delete, "Shelf"),
            "ListShelves": (stream, self._list, "Empty"),
            "BulkCreate": (grpc.stream_unary_rpc_method_handler, self._bulk, "Shelf"),
            "Chat": (grpc.stream_stream_rpc_method_handler, self._chat, "Shelf"),
            "Page": (unary, self._page, "Shelf"),
            "Pages": (stream, self._pages, "Shelf"),
        }
        handlers = {
            name: make(method, self._reader(kind), lambda made: made.SerializeToString())
            for name, (make, method, kind) in kinds.items()
        }
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    @staticmethod
    def _reader(kind: str) -> Any:
        return lambda data: type(message(kind)).FromString(data)

    def close(self) -> None:
        self._server.stop(0).wait()

    @staticmethod
    def _get(shelf: Any, context: Any) -> Any:
        if not shelf.id:
            context.abort(grpc.StatusCode.NOT_FOUND, "no shelf <0> ä")
        return message("Shelf", id=shelf.id, theme=shelf.theme * max(1, shelf.id))

    @staticmethod
    def _delete(shelf: Any, context: Any) -> Any:
        context.set_trailing_metadata([("x-trail", "1")])
        context.send_initial_metadata([("x-head", "1")])
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "not yours")

    @staticmethod
    def _list(_empty: Any, context: Any) -> Iterator[Any]:
        for number in itertools.count(1):
            yield message("Shelf", id=number)
            if number == 3:
                return
            time.sleep(0.05)

    @staticmethod
    def _bulk(shelves: Iterator[Any], context: Any) -> Any:
        return message("Shelf", tags=[f"{shelf.id} {shelf.theme}" for shelf in shelves])

    @staticmethod
    def _chat(shelves: Iterator[Any], context: Any) -> Iterator[Any]:
        for shelf in shelves:
            yield message("Shelf", id=shelf.id + 1)

    @staticmethod
    def _page(shelf: Any, context: Any) -> Any:
        return message("google.api.HttpBody", contentType="text/html", data=_encoded(b"<p>%d" % shelf.id))

    @staticmethod
    def _pages(shelf: Any, context: Any) -> Iterator[Any]:
        for number in range(shelf.id):
            yield message("google.api.HttpBody", contentType="text/csv", data=_encoded(b"%d\n" % number))


def _encoded(data: bytes) -> str:
    return b64encode(data).decode()


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    service = Bookstore()
    try:
        config = managers(
            {"plain": chain(), "status": chain(convert_grpc_status=True)},
            routes=_ROUTES,
            clusters=[http2_cluster("grpc", service.port)],
        )
        with Pair(config, origins=(), listeners=["plain", "status"]) as started:
            yield started
    finally:
        service.close()


@pytest.mark.parametrize("manager", ["plain", "status"])
@pytest.mark.parametrize(
    "sent",
    [
        get("/shelves/5?theme=x"),
        get("/shelves/0"),
        get("/shelves/100000?theme=0123456789"),
        post("/shelves", json.dumps({"id": 3, "theme": "y" * 500_000}).encode()),
        get("/shelves/5", method="DELETE"),
        get("/shelves"),
        post("/bulk/b", b'[{"id": 1}, {"id": 2}]'),
        post("/chat", b'[{"id": 1}, {"id": 2}]'),
        get("/page/7"),
        get("/pages/3"),
        get("/pages/0"),
    ],
    ids=lambda sent: sent.partition(b" HTTP")[0].decode(),
)
def test_a_real_service(pair: Pair, manager: str, sent: bytes) -> None:
    envoy, outrider = pair.run(sent, listener=manager)
    pair.check(diff_replies(envoy.reply, outrider.reply))


def test_messages_of_a_stream_do_not_wait_for_each_other(pair: Pair) -> None:
    def first(side: Any) -> bytes:
        with Client(side.proxy.ports["plain"]) as client:
            client.send(get("/shelves"))
            deadline = time.monotonic() + 5
            data = b""
            while b'{"id":"1"}' not in data:
                client.socket.settimeout(max(deadline - time.monotonic(), 0.1))
                data += client.socket.recv(1 << 16)
            return data

    for data in pair.both(first):
        assert b'"id":"3"' not in data
