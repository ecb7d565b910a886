"""Subject alternative names: which a peer's certificate must have, and whether it has one of them."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any, Final

from proxy.base.matchers import compile_string_matcher
from proxy.config.context import CompileContext

#: (kind, name) of one name in a certificate, as `ssl.SSLSocket.getpeercert` has it.
_KINDS: Final = {1: "email", 2: "DNS", 3: "URI", 4: "IP Address"}

NameTest = tuple[str, Callable[[str], bool]]


def compile_name_tests(message: Any, path: str, ctx: CompileContext) -> tuple[NameTest, ...]:
    """`match_typed_subject_alt_names` of a validation context, or the older untyped list."""
    tests: list[NameTest] = []
    for i, typed in enumerate(message.match_typed_subject_alt_names):
        at = f"{path}.match_typed_subject_alt_names[{i}]"
        kind = _KINDS.get(typed.san_type)
        if kind is None:
            ctx.problem(f"{at}.san_type", "only EMAIL, DNS, URI and IP_ADDRESS are supported")
            continue
        tests.append((kind, _compile_test(typed.matcher, kind, f"{at}.matcher", ctx)))
    if not tests:
        for i, matcher in enumerate(message.match_subject_alt_names):
            at = f"{path}.match_subject_alt_names[{i}]"
            tests.extend((kind, _compile_test(matcher, kind, at, ctx)) for kind in _KINDS.values())
    return tuple(tests)


def names_of(certificate: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Every (kind, name) of a certificate as `getpeercert` describes it."""
    if not certificate:
        return []
    return [
        (kind, _normal_ip(name) if kind == "IP Address" else name)
        for kind, name in certificate.get("subjectAltName", ())
    ]


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
