"""What both directions of HPACK share: the static table, the sizes and the errors (RFC 7541)."""

from __future__ import annotations

from typing import Final

from proxy.base.errors import ProtocolError

#: A header field, name and value as latin-1 text. The same object for each use of one table entry.
Field = tuple[str, str]

#: Table size in bytes that both sides start with (RFC 9113 section 6.5.2).
DEFAULT_TABLE_SIZE: Final = 4096
#: Bytes that an entry counts beyond its name and value (RFC 7541 section 4.1).
ENTRY_OVERHEAD: Final = 32

#: Appendix A; entry `n` has the index `n + 1`.
STATIC_TABLE: Final[tuple[Field, ...]] = (
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
)
#: Index of the newest entry of the dynamic table.
FIRST_DYNAMIC_INDEX: Final = len(STATIC_TABLE) + 1

#: Field to its index. An empty value is in the table only as the place of its name.
STATIC_INDEX: Final[dict[Field, int]] = {field: index for index, field in enumerate(STATIC_TABLE, 1)}
#: Name to the lowest index that has it.
STATIC_NAME_INDEX: Final[dict[str, int]] = {
    field[0]: index for index, field in reversed(list(enumerate(STATIC_TABLE, 1)))
}


class HpackError(ProtocolError):
    """A block that does not decode. The connection ends with COMPRESSION_ERROR: the tables may differ now."""


class HeaderListTooLarge(ProtocolError):  # noqa: N818 - as the status it stands for is called
    """The decoded fields exceed a limit. The tables still agree, so only the stream ends."""
