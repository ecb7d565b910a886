"""What a handler of the admin server is given and gives back."""

from __future__ import annotations

import html
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

import re2
from msgspec import Struct, field

from proxy.base.regex import Regex

TEXT: Final = "text/plain; charset=UTF-8"
PLAIN: Final = "text/plain"
JSON: Final = "application/json"
HTML: Final = "text/html; charset=UTF-8"

#: Characters, and pieces even if empty, after which a chunk goes: a long answer neither blocks nor piles up.
CHUNK: Final = 64 * 1024
PIECES: Final = 512


class BadParameterError(Exception):
    """A query parameter is wrong; the text says which and what is allowed. Answered with 400."""

    def __init__(self, text: str, content_type: str = TEXT) -> None:
        self.content_type = content_type
        super().__init__(text)


class AdminRequest(Struct, frozen=True):
    """One request: `path` without query, and the first value of each parameter of query or form body.

    `local` says that the client is on this machine: it came by the loopback interface or a unix socket.
    """

    method: str
    path: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    local: bool = True

    def flag(self, name: str) -> bool:
        """Whether a parameter is there, with whatever value; that is how Envoy reads booleans."""
        return name in self.parameters

    def choice(self, name: str, allowed: tuple[str, ...], default: str, usage: str) -> str:
        """The value of an enumerated parameter; raises `BadParameterError` with `usage` for another."""
        value = self.parameters.get(name)
        if value is None:
            return default
        if value not in allowed:
            raise BadParameterError(usage)
        return value

    def regex(
        self, name: str, refusal: str = "Invalid re2 regex: {error}", content_type: str = TEXT
    ) -> Regex | None:
        """The regex in a parameter, None without one; raises `BadParameterError` if RE2 refuses it."""
        pattern = self.parameters.get(name)
        if not pattern:
            return None
        try:
            return Regex(pattern)
        except re2.error as error:
            # RE2 leaves out the offending part, which its C++ callers see: the pattern stands in for it.
            reason = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
            text = refusal.format(name=name, pattern=pattern, error=reason)
            raise BadParameterError(text, content_type) from error


class AdminResponse(Struct, frozen=True):
    """Status, type and body; a streamed body yields pieces of any size, which the server joins to chunks."""

    body: str | AsyncIterator[str]
    status: int = 200
    content_type: str = TEXT


def parse_target(method: str, target: str, form: str = "", *, local: bool = True) -> AdminRequest:
    """Split a request target; parameters of a form body count where the query has none of that name."""
    path, _, query = target.partition("?")
    parameters: dict[str, str] = {}
    for text in (query, form):
        for name, value in parse_qsl(text, keep_blank_values=True):
            parameters.setdefault(name, value)
    return AdminRequest(method, unquote(path), parameters, local)


def searchable(name: str) -> str:
    """A stat or resource name in the form in which `Regex` takes texts: UTF-8 bytes as latin-1."""
    return name if name.isascii() else name.encode().decode("latin-1")


async def from_pieces(pieces: Iterable[str]) -> AsyncIterator[str]:
    """Join small pieces to chunks; the caller lets others have their turn between two.

    Empty pieces stand for work that selected nothing; an empty chunk means "nothing to send yet".
    """
    gathered: list[str] = []
    size = 0
    for piece in pieces:
        gathered.append(piece)
        size += len(piece)
        if size >= CHUNK or len(gathered) >= PIECES:
            yield "".join(gathered)
            gathered.clear()
            size = 0
    if gathered:
        yield "".join(gathered)


def page(title: str, body: str) -> str:
    """A whole HTML page; `body` is markup, `title` is text."""
    return _PAGE.format(title=html.escape(title), body=body)


def message_dict(message: Any, *, defaults: bool = False) -> Any:
    """A message as Envoy prints it: proto field names; fields at their default only on demand."""
    from google.protobuf.json_format import MessageToDict  # late: the worker never needs it

    return MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=defaults
    )


_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 64rem; padding: 0 1rem;
       color: #1f2430; background: #fafafa; }}
h1 {{ font-size: 1.4rem; }}
table {{ border-collapse: collapse; width: 100%; background: #fff; }}
td {{ padding: .45rem .7rem; border-bottom: 1px solid #e4e6ea; vertical-align: top; }}
a, button.link {{ color: #0a58b5; font: inherit; }}
button.link {{ background: none; border: 0; padding: 0; text-decoration: underline; cursor: pointer; }}
label {{ display: block; padding: .15rem 0 .15rem 1.2rem; color: #565d6d; font-size: .9rem; }}
input, select {{ font: inherit; }}
pre {{ background: #fff; border: 1px solid #e4e6ea; padding: 1rem; overflow-x: auto; font-size: 13px; }}
form {{ margin: 0; }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""
