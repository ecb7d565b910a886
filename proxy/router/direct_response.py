"""`DirectResponseAction` and `NonForwardingAction`: replies made by the route itself."""

from __future__ import annotations

from typing import Any, Final

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.stream_info import StreamInfo
from proxy.config.context import CompileContext
from proxy.config.data_source import read_data_source
from proxy.router.redirect import RedirectAction

#: Envoy's default of `max_direct_response_body_size_bytes`.
DEFAULT_MAX_BODY: Final = 4096

_OWN_URI: Final = RedirectAction()


class DirectResponseAction:
    """Answers with a fixed or formatted body.

    The caller adds content-length, the default content-type and the route's response header operations.
    """

    __slots__ = ("_body", "_format", "status")

    def __init__(self, status: int, body: bytes = b"", body_format: Any = None) -> None:
        self.status: Final = status
        self._body = body
        self._format = body_format

    def respond(self, head: RequestHead, info: StreamInfo) -> tuple[ResponseHead, bytes]:
        """The reply. A status of 201 or 3xx gets the request's own URI as Location, as in Envoy."""
        response = ResponseHead(self.status, HeaderMap())
        if head.path and (self.status == 201 or 300 <= self.status < 400):
            response.headers["location"] = _OWN_URI.location(head)
        if self._format is None:
            return response, self._body
        info.local_reply_body = self._body.decode("utf-8", "replace")
        response.headers["content-type"] = self._format.content_type
        return response, self._format.render(info).encode()


def compile_direct_response(
    message: Any, path: str, ctx: CompileContext, max_body: int = DEFAULT_MAX_BODY
) -> DirectResponseAction:
    """`envoy.config.route.v3.DirectResponseAction`; a body over `max_body` bytes is refused."""
    body = b""
    if message.HasField("body"):
        body = read_data_source(message.body, f"{path}.body", ctx, max_body)
    body_format = None
    if message.HasField("body_format"):
        from proxy.formatter.body_format import compile_substitution_format  # few routes need formats

        body_format = compile_substitution_format(message.body_format, f"{path}.body_format", ctx)
    return DirectResponseAction(message.status, body, body_format)
