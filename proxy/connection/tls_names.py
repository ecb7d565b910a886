"""Subject alternative names: which a peer's certificate must have, and whether it has one of them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from proxy.base.matchers import compile_string_matcher
from proxy.config.context import CompileContext

#: (kind, name) of one name in a certificate, as `ssl.SSLSocket.getpeercert` has it.
_KINDS: Final = {1: "email", 2: "DNS", 3: "URI", 4: "IP Address"}

#: Before the object identifier, the kind of a name of a type of its own.
OTHER_NAME: Final = "othername:"
_OID: Final = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+", re.ASCII)
#: ASN.1 types of one byte a character, or UTF-8, and those that are shown as they are.
_TEXT_TAGS: Final = frozenset({0x03, 0x04, 0x0C, 0x12, 0x13, 0x14, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x1B})
_BOOLEAN, _INTEGER, _NULL, _BMP = 0x01, 0x02, 0x05, 0x1E
_LONG_LENGTH: Final = 0x80

NameTest = tuple[str, Callable[[str], bool]]


def compile_name_tests(message: Any, path: str, ctx: CompileContext) -> tuple[NameTest, ...]:
    """`match_typed_subject_alt_names` of a validation context, or the older untyped list."""
    tests: list[NameTest] = []
    for i, typed in enumerate(message.match_typed_subject_alt_names):
        tests.append(compile_name_test(typed, f"{path}.match_typed_subject_alt_names[{i}]", ctx))
    if not tests:
        for i, matcher in enumerate(message.match_subject_alt_names):
            at = f"{path}.match_subject_alt_names[{i}]"
            tests.extend((kind, _compile_test(matcher, kind, at, ctx)) for kind in _KINDS.values())
    return tuple(tests)


def compile_name_test(message: Any, path: str, ctx: CompileContext) -> NameTest:
    """A `SubjectAltNameMatcher`."""
    kind = _KINDS.get(message.san_type)
    if kind is None:
        # The rules of the proto leave no other type.
        kind = f"{OTHER_NAME}{message.oid}"
        if not _OID.fullmatch(message.oid):
            ctx.problem(f"{path}.oid", "OTHER_NAME needs an object identifier such as 1.3.6.1.4.1.311.20.2.3")
    return kind, _compile_test(message.matcher, kind, f"{path}.matcher", ctx)


def names_of(certificate: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Every (kind, name) of a certificate as `getpeercert` describes it."""
    if not certificate:
        return []
    return [
        (kind, _normal_ip(name) if kind == "IP Address" else name)
        for kind, name in certificate.get("subjectAltName", ())
    ]


def all_names_of(der: bytes) -> list[tuple[str, str]]:
    """Every (kind, name) of a certificate, those with a type of their own (`OTHER_NAME`) among them.

    Names that have no text are left out, and all of them where one cannot be read.
    """
    from cryptography import x509  # few peers are known by such names

    from proxy.formatter.certificate_facts import MALFORMED

    try:
        extensions = x509.load_der_x509_certificate(der).extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, *MALFORMED):
        return []
    kinds: dict[type, str] = {
        x509.RFC822Name: "email",
        x509.DNSName: "DNS",
        x509.UniformResourceIdentifier: "URI",
        x509.IPAddress: "IP Address",
    }
    found = []
    for name in names:
        if isinstance(name, x509.OtherName):
            value = _asn1_text(name.value)
            if value is not None:
                found.append((f"{OTHER_NAME}{name.type_id.dotted_string}", value))
        elif (kind := kinds.get(type(name))) is not None:
            found.append((kind, str(name.value)))
    return found


def _asn1_text(der: bytes) -> str | None:
    """The text of one ASN.1 value as Envoy matches it; None if it is of a type that has none."""
    if len(der) < 2:
        return None
    tag, start = der[0], 2
    if der[1] & _LONG_LENGTH:
        start += der[1] & ~_LONG_LENGTH
    content = der[start:]
    if tag in _TEXT_TAGS:
        return content.decode("latin-1")
    if tag == _BMP:
        return content.decode("utf-16-be", "replace").encode().decode("latin-1")
    if tag == _INTEGER:
        return str(int.from_bytes(content, signed=True))
    if tag == _BOOLEAN:
        return "true" if any(content) else "false"
    return "" if tag == _NULL else None


def any_matches(tests: tuple[NameTest, ...], names: list[tuple[str, str]]) -> bool:
    """Whether one of the names passes one of the tests of its kind."""
    return any(kind == wanted and test(name) for kind, name in names for wanted, test in tests)


def dns_name_matches(wanted: str, presented: str) -> bool:
    """RFC 6125 section 6.4: a certificate's `*.` stands for exactly one label."""
    wanted, presented = wanted.lower(), presented.lower()
    if presented.startswith("*."):
        label, dot, rest = wanted.partition(".")
        return bool(label and dot) and rest == presented[2:] and "." in rest
    return wanted == presented


def _compile_test(matcher: Any, kind: str, path: str, ctx: CompileContext) -> Callable[[str], bool]:
    if kind == "DNS" and matcher.WhichOneof("match_pattern") == "exact":
        wanted = matcher.exact
        return lambda presented: dns_name_matches(wanted, presented)
    return compile_string_matcher(matcher, path, ctx)


def _normal_ip(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        return text
