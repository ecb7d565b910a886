"""What is done to path and host before anybody matches on them. Pure functions.

Path normalisation follows Envoy's (googleurl canonicalisation, seen in differential tests): unreserved
characters are decoded, unsafe ones encoded, a backslash is a slash, dot segments are resolved, with parameters too
(`..;a`); `%2f` and `%5c` stay, a malformed escape stays, NUL is refused.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.base.digits import UINT32, whole_number

_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_MADE_ESCAPE = re.compile(r"\0(?=[0-9A-Fa-f]{2})")
#: `..;a=b` is a dot segment for servers that know parameters of path segments.
_DOTS_WITH_PARAMETERS = re.compile(r"(/\.{1,2});[^/]*")
#: Characters that leave as %XX although a codec lets them in; HTTP/2 does beyond ASCII.
_UNSAFE = re.compile(r"[\"<>`{}|^\t\f\x80-\xff]")
_SLASHES = re.compile(r"/{2,}")
_ESCAPED_SLASH = re.compile(r"%(?:2[fF]|5[cC])")


def split_path(target: str) -> tuple[str, str]:
    """(path, rest) where the rest starts with `?` or is empty."""
    mark = target.find("?")
    return (target, "") if mark < 0 else (target[:mark], target[mark:])


def normalize_path(target: str) -> str | None:
    """The normalised form of an origin-form target; None if it must be refused (400)."""
    path, query = split_path(target)
    if "%" not in path and "/." not in path and "\\" not in path and not _UNSAFE.search(path):
        return target
    if "%00" in path:
        return None
    if ";" in path:
        path = _DOTS_WITH_PARAMETERS.sub(r"\1", path)
    path = path.replace("\\", "/")
    if "%" in path:
        path = _decode(path)
    path = _UNSAFE.sub(lambda match: f"%{ord(match[0]):02X}", path)
    return _resolve_dots(path) + query


def _decode(path: str) -> str:
    """Decode what is unreserved. A percent sign that would begin an escape only because of it is escaped itself."""
    stray = _STRAY_PERCENT.search(path) is not None
    if stray:
        # The codecs let no NUL in.
        path = _STRAY_PERCENT.sub("\0", path)
    path = _ESCAPE.sub(_decode_unreserved, path)
    return _MADE_ESCAPE.sub("%25", path).replace("\0", "%") if stray else path


def _decode_unreserved(match: re.Match[str]) -> str:
    code = int(match[1], 16)
    return chr(code) if code in _UNRESERVED else match[0]


def _resolve_dots(path: str) -> str:
    if "/." not in path:
        return path
    kept: list[str] = []
    segments = path.split("/")
    last = len(segments) - 1
    for index, segment in enumerate(segments):
        if segment == ".":
            if index == last:
                kept.append("")
        elif segment == "..":
            if len(kept) > 1:
                kept.pop()
            if index == last:
                kept.append("")
        else:
            kept.append(segment)
    return "/".join(kept) or "/"


def merge_slashes(target: str) -> str:
    """`//a///b?x//y` → `/a/b?x//y`; a path of nothing but slashes keeps two, as in Envoy."""
    path, query = split_path(target)
    if "//" not in path:
        return target
    merged = _SLASHES.sub("/", path)
    return ("//" if merged == "/" else merged) + query


def has_escaped_slash(target: str) -> bool:
    """Whether the path holds `%2F` or `%5C` in any case."""
    return _ESCAPED_SLASH.search(split_path(target)[0]) is not None


def unescape_slashes(target: str) -> str:
    """`%2F` becomes `/` and `%5C` a backslash, in the path only."""
    path, query = split_path(target)
    return _ESCAPED_SLASH.sub(lambda match: "/" if match[0][1] == "2" else "\\", path) + query


def split_port(authority: str) -> tuple[str, str]:
    """(host, port text or ""). As in Envoy, an IPv6 address without brackets ends in a port."""
    colon = authority.rfind(":")
    if colon < 0 or authority.endswith("]"):
        return authority, ""
    return authority[:colon], authority[colon + 1 :]


def strip_port(authority: str, only: int | None) -> str:
    """`authority` without its port; with `only` given, just that port is taken off."""
    host, port = split_port(authority)
    # Envoy reads a port as a number of 32 bits; one that does not fit is none.
    number = whole_number(port.removeprefix("+"), UINT32)
    return authority if number is None or (only is not None and number != only) else host


def strip_trailing_dot(authority: str) -> str:
    """`example.com.:80` → `example.com:80`."""
    host, port = split_port(authority)
    if not host.endswith("."):
        return authority
    return f"{host[:-1]}:{port}" if port else host[:-1]
