"""Wire text: `str` in which every character stands for one byte, as header values are held everywhere.

Config text is Unicode. A format mixes both, so literals are turned into wire text when they are compiled, and
whoever writes the result encodes it as latin-1.
"""

from __future__ import annotations

from json.encoder import encode_basestring


def to_wire(text: str) -> str:
    """Unicode text as wire text (its UTF-8 bytes, one character each)."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("latin-1")


def encode_wire(text: str) -> bytes:
    """The bytes of wire text; text that was never wire text goes out as UTF-8."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape")


def quote_json(text: str) -> str:
    """Wire text as a JSON string.

    Bytes that are no UTF-8 become `\\u00xx`, and so do the quotes and backslashes beside them: that is what
    Envoy's sanitizer falls back to.
    """
    if text.isascii():
        return encode_basestring(text)
    try:
        text.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return '"' + "".join(c if _is_plain(c) else f"\\u{ord(c):04x}" for c in text) + '"'
    except UnicodeEncodeError:
        return to_wire(encode_basestring(text))
    return encode_basestring(text)


def _is_plain(character: str) -> bool:
    return " " <= character < "\x7f" and character not in '"\\'
