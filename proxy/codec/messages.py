"""Parsed heads, whatever the version of HTTP that they came in.

One is shared between equal messages, so nobody may change it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from proxy.base.messages import RequestHead, ResponseHead


#: Fields of requests that proxies read, change or take out; besides them, all that begin with x-envoy-.
SPOKEN_FOR: Final = frozenset(
    {
        "connection",
        "expect",
        "keep-alive",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "upgrade",
        "via",
        "x-forwarded-client-cert",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-request-id",
    }
)


class ParsedRequest:
    """A request head as the codec understood it.

    `content_length` is -1 if none was declared; `chunked` is HTTP/1's. `close` tells that the client wants the
    connection closed after the response. `upgrade` is the lower-case protocol that the client asks to change to
    (by Upgrade and Connection, or by extended CONNECT), else "". `header_bytes` is the size of the fields as
    Envoy counts it. `original_names` is kept for `preserve_case` only. `fields` is shared with the requests
    that differ in their target only. `owned` tells that this one is not shared: who has it may change its head.
    `ordinary` tells that it has no field of `SPOKEN_FOR` or of Envoy's own (x-envoy-*), and none twice.
    """

    # Defaults on the class: a request is made for every head, and most fields keep them.
    header_bytes = 0
    content_length = -1
    chunked = False
    close = False
    upgrade = ""
    expect_continue = False
    has_host = False
    dropped_underscores = 0
    original_names: dict[str, str] | None = None
    fields: SharedFields | None = None
    #: The client's x-request-id where `head` does not have it, because it shares its fields.
    given_id = ""
    owned = False
    ordinary = False

    def __init__(self, head: RequestHead, wire_bytes: int) -> None:
        self.head = head
        self.wire_bytes = wire_bytes
        #: What the connection manager derived from this very head, by client address.
        self.plans: dict[str, Any] = {}

    @property
    def has_body(self) -> bool:
        """Whether body bytes follow the head (or an upgraded stream does); HTTP/1 alone can tell from the head."""
        return self.chunked or self.content_length > 0


class SharedFields:
    """Stands for the fields of requests that differ in their target only.

    `prepared` is what the connection manager derived from the fields, by client address.
    """

    __slots__ = ("prepared",)

    def __init__(self) -> None:
        self.prepared: dict[str, Any] = {}


class ParsedResponse:
    """A response head as the codec understood it.

    `content_length` is -1 if none was declared; `chunked` and `keep_alive` (whether the connection may serve
    another request) are HTTP/1's. `bodyless` holds for statuses that never have a body (1xx, 204, 304).
    """

    content_length = -1
    header_bytes = 0
    chunked = False
    keep_alive = True
    bodyless = False
    upgrade = ""
    original_names: dict[str, str] | None = None

    def __init__(self, head: ResponseHead, wire_bytes: int) -> None:
        self.head = head
        self.wire_bytes = wire_bytes
        #: After how many seconds without a request HTTP/1 had better not use the connection again.
        self.idle_limit = float("inf")
        #: What the connection manager derived from this very head, by how the route treats responses; None on the
        #: first sight.
        self.plans: dict[int, Any] = {}
