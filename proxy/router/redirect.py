"""`RedirectAction`: where a request is sent instead of being forwarded."""

from __future__ import annotations

from typing import Any, Final

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.regex import wire_text
from proxy.base.stream_info import StreamInfo
from proxy.config.context import CompileContext
from proxy.router.paths import port_start
from proxy.router.rewrite import (
    PathRewrite,
    compile_regex_rewrite,
    prefix_rewrite,
    regex_rewrite,
    rewrite_path,
)
from proxy.router.route_match import CompiledMatch

#: By the number of `RedirectAction.RedirectResponseCode`.
_STATUS: Final = (301, 302, 303, 307, 308)


class RedirectAction:
    """Answers with a Location. The caller applies the route's response header operations."""

    __slots__ = (
        "_host",
        "_path",
        "_path_has_query",
        "_port",
        "_rewrite",
        "_scheme",
        "_strip_query",
        "status",
    )

    def __init__(
        self,
        status: int = 301,
        scheme: str = "",
        host: str = "",
        port: int = 0,
        path: str = "",
        rewrite: PathRewrite | None = None,
        strip_query: bool = False,
    ) -> None:
        self.status: Final = status
        self._scheme = scheme
        self._host = host
        self._port = f":{port}" if port else ""
        self._path = path
        self._path_has_query = "?" in path
        self._rewrite = rewrite
        self._strip_query = strip_query

    def respond(self, head: RequestHead, info: StreamInfo, keep_original: bool = True) -> ResponseHead:
        """The reply. A rewrite changes the path of `head` too, as in Envoy, so that logs show it."""
        if self._rewrite is not None:
            rewrite_path(head, info, self._rewrite, keep_original)
        response = ResponseHead(self.status, HeaderMap())
        if head.path:
            response.headers["location"] = self.location(head)
        return response

    def location(self, head: RequestHead) -> str:
        """The absolute URI for a request whose path is already rewritten."""
        scheme = self._scheme or head.scheme
        host = self._host or _request_host(head, scheme, bool(self._port))
        path = head.path
        if self._path:
            path = self._path
            if not self._path_has_query and "?" in head.path:
                path += head.path[head.path.index("?") :]
        if not path.startswith("/"):
            path = f"/{path}"
        if self._strip_query and not self._path_has_query:
            path = path.partition("?")[0]
        return f"{scheme}://{host}{self._port}{path}"


def _request_host(head: RequestHead, scheme: str, drop_port: bool) -> str:
    """The authority; its port goes if another is configured or it was the default of the old scheme."""
    authority = head.authority
    start = port_start(authority)
    if start < 0:
        return authority
    port = authority[start:]
    # The scheme that the client used is the one in x-forwarded-proto, whatever this connection is.
    protocol = head.headers.get("x-forwarded-proto", head.scheme)
    if scheme != protocol:
        drop_port = drop_port or (protocol, port) in {("https", ":443"), ("http", ":80")}
    return authority[:start] if drop_port else authority


class TlsRedirectAction(RedirectAction):
    """The redirect of a virtual host that requires TLS: the same URI with https, the port untouched."""

    __slots__ = ()

    def location(self, head: RequestHead) -> str:
        """The same authority and path under https."""
        return f"https://{head.authority}{head.path}"


def compile_redirect(message: Any, match: CompiledMatch, path: str, ctx: CompileContext) -> RedirectAction:
    """`envoy.config.route.v3.RedirectAction`."""
    rewrite: PathRewrite | None = None
    if message.WhichOneof("path_rewrite_specifier") == "prefix_rewrite":
        rewrite = prefix_rewrite(message.prefix_rewrite, match) if message.prefix_rewrite else None
    elif message.HasField("regex_rewrite"):
        compiled = compile_regex_rewrite(message.regex_rewrite, f"{path}.regex_rewrite", ctx)
        rewrite = regex_rewrite(*compiled) if compiled is not None else None
    scheme = message.scheme_redirect
    if message.https_redirect:
        scheme = "https"
    return RedirectAction(
        _STATUS[message.response_code],
        scheme,
        wire_text(message.host_redirect),
        message.port_redirect,
        wire_text(message.path_redirect),
        rewrite,
        message.strip_query,
    )
