"""URI templates: `/users/{id}/**` as a path matcher and as a path rewrite.

Syntax and limits are those of Envoy's `source/extensions/path/uri_template_lib`: a template becomes a regex,
in which `*` is one path segment's text, `**` any text with slashes, `{name}` a captured `*` and
`{name=pattern}` a captured pattern. A segment may be literal text, one variable and literal text. At most
five variables, names of 1 to 16 characters, no glob after `**`.
"""

from __future__ import annotations

import re
from typing import Final

import re2
from msgspec import Struct

from proxy.base.regex import Regex

_MAX_VARIABLES: Final = 5
_MAX_NAME: Final = 16
#: pchar of RFC 3986, appendix A, as the inside of a regex's character class.
_CHARACTERS: Final = r"a-zA-Z0-9\-._~%!$&'()*+,;=:@"
_LITERAL: Final = re.compile(f"[{_CHARACTERS}]+")
_REWRITE_LITERAL: Final = re.compile(f"[{_CHARACTERS}/]+")
_NAME: Final = re.compile("[a-zA-Z][a-zA-Z0-9_]*")
_PATTERN: Final = re.compile("/[!-~]*")
_GLOBS: Final = {"*": f"[{_CHARACTERS}]+", "**": f"[{_CHARACTERS}/]*"}
#: A `*` inside a literal is not escaped, as in Envoy.
_ESCAPES: Final = str.maketrans({character: f"\\{character}" for character in "$()+."})


class TemplateError(ValueError):
    """A template breaks the syntax; the text says how."""


class _Parser:
    """Turns one match template into a regex; `rest` is what is still to be read."""

    def __init__(self, template: str) -> None:
        self.rest = template[1:]
        self.names: list[str] = []
        self.seen_text_glob = False

    def parse(self) -> str:
        regex = ["/"]
        while self.rest:
            regex.append(self._segment())
            if not self.rest:
                break
            if self.rest == "/":
                regex.append("/")
                break
            if self.rest[0] == "/":
                self.rest = self.rest[1:]
                regex.append("/")
                continue
            regex.append(self._literal().translate(_ESCAPES))
            if self.rest:
                raise TemplateError("Prefix match not supported.")
        return "".join(regex)

    def _segment(self) -> str:
        if self.rest[0] == "*":
            return self._glob()
        segment = self.rest.partition("/")[0]
        prefix, opening, inside = segment.partition("{")
        if not opening or (prefix and "}" not in inside):
            return self._literal().translate(_ESCAPES)
        if prefix and not _LITERAL.fullmatch(prefix):
            raise TemplateError(f'Invalid prefix literal: "{prefix}"')
        self.rest = self.rest[len(prefix) :]
        variable = self._variable()
        suffix = self.rest.partition("/")[0]
        if suffix and not _LITERAL.fullmatch(suffix):
            raise TemplateError(f'Invalid suffix literal: "{suffix}"')
        self.rest = self.rest[len(suffix) :]
        return prefix.translate(_ESCAPES) + variable + suffix.translate(_ESCAPES)

    def _glob(self) -> str:
        glob = "**" if self.rest.startswith("**") else "*"
        self.rest = self.rest[len(glob) :]
        if self.seen_text_glob:
            raise TemplateError("Glob after text glob.")
        self.seen_text_glob = glob == "**"
        return _GLOBS[glob]

    def _literal(self) -> str:
        literal = self.rest.partition("/")[0]
        if not _LITERAL.fullmatch(literal):
            raise TemplateError(f'Invalid literal: "{literal}"')
        self.rest = self.rest[len(literal) :]
        return literal

    def _variable(self) -> str:
        inside, closing, after = self.rest[1:].partition("}")
        if not closing:
            raise TemplateError(f'Unmatched variable bracket in "{self.rest}"')
        name, equals, pattern = inside.partition("=")
        if not _NAME.fullmatch(name):
            raise TemplateError(f'Invalid variable name: "{name}"')
        if len(self.names) >= _MAX_VARIABLES:
            raise TemplateError(f"Exceeded variable count limit ({_MAX_VARIABLES})")
        if len(name) > _MAX_NAME:
            raise TemplateError(
                f'Invalid variable name length (length of "{name}" should be at most {_MAX_NAME})'
            )
        if name in self.names:
            raise TemplateError(f'Repeated variable name: "{name}"')
        self.names.append(name)
        if not equals:
            if self.seen_text_glob:
                raise TemplateError("Implicit variable path glob after text glob.")
            self.rest = after
            return f"(?P<{name}>{_GLOBS['*']})"
        if not pattern:
            raise TemplateError("Empty variable match")
        self.rest = pattern
        parts = []
        while self.rest:
            parts.append(self._glob() if self.rest[0] == "*" else self._literal().translate(_ESCAPES))
            if not self.rest:
                break
            if self.rest[0] != "/" or len(self.rest) == 1:
                raise TemplateError("Invalid variable match")
            self.rest = self.rest[1:]
        self.rest = after
        return f"(?P<{name}>{'/'.join(parts)})"


class UriTemplate(Struct, frozen=True):
    """A compiled match template. `names` are its variables in the order of their groups."""

    text: str
    names: tuple[str, ...]
    regex: Regex


def compile_template(text: str) -> UriTemplate:
    """Raises `TemplateError`."""
    if not _PATTERN.fullmatch(text):
        raise TemplateError(f"Invalid pattern: {text}")
    parser = _Parser(text)
    pattern = parser.parse()
    try:
        return UriTemplate(text, tuple(parser.names), Regex(pattern))
    except re2.error:
        raise TemplateError("A star follows a glob") from None


def compile_rewrite(text: str, names: tuple[str, ...]) -> tuple[str | int, ...]:
    """The pieces of a rewrite template: literal text, or the index of a variable in `names`.

    Raises `TemplateError`.
    """
    pieces = parse_rewrite(text)
    missing = [name for name, is_variable in pieces if is_variable and name not in names]
    if missing:
        raise TemplateError(f'Nonexisting variable name: "{missing[0]}"')
    return tuple(names.index(part) if is_variable else part for part, is_variable in pieces)


def parse_rewrite(text: str) -> list[tuple[str, bool]]:
    """The pieces of a rewrite template as (text or name, is a variable); raises `TemplateError`."""
    if not text.startswith("/"):
        raise TemplateError("Invalid rewrite variable placement")
    if "//" in text:
        raise TemplateError("Invalid rewrite literal")
    pieces = []
    while text:
        literal, opening, text = text.partition("{")
        if literal:
            if not _REWRITE_LITERAL.fullmatch(literal):
                raise TemplateError(f'Invalid rewrite literal pattern: "{literal}"')
            pieces.append((literal, False))
        if not opening:
            break
        name, closing, text = text.partition("}")
        if not closing:
            raise TemplateError("Unmatched variable bracket")
        if not _NAME.fullmatch(name):
            raise TemplateError(f'Invalid variable name: "{name}"')
        pieces.append((name, True))
    return pieces


def expand(template: UriTemplate, pieces: tuple[str | int, ...], path: str) -> str | None:
    """The rewritten path, or None if `path` (without query) does not match."""
    groups = template.regex.groups_of(path)
    if groups is None:
        return None
    return "".join(piece if isinstance(piece, str) else groups[piece] for piece in pieces)
