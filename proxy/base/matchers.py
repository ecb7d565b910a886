"""Envoy's matchers, compiled to plain functions.

Every `compile_*` takes (message, path, ctx), reports to `ctx` what is wrong and then returns a matcher that
is never used. Texts of the data path are latin-1 decoded; configured texts are brought to that form once.

A header matcher works on anything with `headers` and `field(name)`, so on response heads too.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from proxy.base.headers import HeaderMap
from proxy.base.regex import compile_regex, wire_text
from proxy.base.reporting import Reporter
from proxy.base.runtime import Runtime

StringMatch = Callable[[str], bool]


class Head(Protocol):
    """What a header matcher looks at: `RequestHead` and `ResponseHead`."""

    headers: HeaderMap

    def field(self, name: str) -> str | None:
        """The joined value of a header or pseudo-header, None if absent."""


HeaderMatch = Callable[[Any], bool]
Draw = Callable[[], int]


def never(_value: object) -> bool:
    """The matcher that stands in for a refused one."""
    return False


def ascii_lower(text: str) -> str:
    """Lower case for ASCII letters only, as Envoy compares; other bytes of the wire stay."""
    return text.lower() if text.isascii() else text.encode("latin-1").lower().decode("latin-1")


def compile_string_matcher(message: Any, path: str, ctx: Reporter) -> StringMatch:
    """`envoy.type.matcher.v3.StringMatcher`."""
    kind = message.WhichOneof("match_pattern")
    if kind is None:
        ctx.problem(path, "match_pattern is required")
        return never
    if kind == "custom":
        ctx.problem(f"{path}.custom", "custom string matchers are not supported")
        return never
    if kind == "safe_regex":
        if message.ignore_case:
            ctx.problem(f"{path}.ignore_case", "ignore_case has no effect for safe_regex")
        regex = compile_regex(message.safe_regex.regex, f"{path}.safe_regex.regex", ctx)
        return regex.full_match if regex is not None else never
    return string_test(kind, getattr(message, kind), ignore_case=message.ignore_case)


def string_test(kind: str, text: str, *, ignore_case: bool = False) -> StringMatch:
    """The test for `kind`: exact, prefix, suffix or contains."""
    wanted = wire_text(text)
    if ignore_case:
        return _ignoring_case(kind, ascii_lower(wanted))
    if kind == "exact":
        return lambda value: value == wanted
    if kind == "prefix":
        return lambda value: value.startswith(wanted)
    if kind == "suffix":
        return lambda value: value.endswith(wanted)
    return lambda value: wanted in value


def _ignoring_case(kind: str, wanted: str) -> StringMatch:
    if kind == "exact":
        return lambda value: ascii_lower(value) == wanted
    if kind == "prefix":
        return lambda value: ascii_lower(value).startswith(wanted)
    if kind == "suffix":
        return lambda value: ascii_lower(value).endswith(wanted)
    return lambda value: wanted in ascii_lower(value)


def compile_list_string_matcher(message: Any, path: str, ctx: Reporter) -> StringMatch:
    """`envoy.type.matcher.v3.ListStringMatcher`: any of its patterns."""
    tests = [
        compile_string_matcher(pattern, f"{path}.patterns[{index}]", ctx)
        for index, pattern in enumerate(message.patterns)
    ]
    if len(tests) == 1:
        return tests[0]
    return lambda value: any(test(value) for test in tests)


def compile_path_matcher(message: Any, path: str, ctx: Reporter) -> StringMatch:
    """`envoy.type.matcher.v3.PathMatcher`: the path without query and fragment."""
    test = compile_string_matcher(message.path, f"{path}.path", ctx)
    return lambda value: test(without_query(value))


def without_query(path: str) -> str:
    """A request target up to its query or fragment."""
    if "?" in path:
        path = path[: path.index("?")]
    if "#" in path:
        path = path[: path.index("#")]
    return path


def compile_header_matcher(message: Any, path: str, ctx: Reporter) -> HeaderMatch:
    """`envoy.config.route.v3.HeaderMatcher`.

    Of several lines of one header any may match, each on its own; an inverted matcher wants that none does.
    """
    name = message.name.lower()
    if not name:
        ctx.problem(f"{path}.name", "must not be empty")
        return never
    kind = message.WhichOneof("header_match_specifier") or "present_match"
    read = _getter(name)
    if kind == "present_match":
        wanted = not message.HasField("present_match") or message.present_match
        if message.treat_missing_header_as_empty:
            # The header always counts as there.
            always = wanted != message.invert_match
            return lambda _head: always
        present = wanted != message.invert_match
        return lambda head: (read(head) is not None) is present
    test = _value_test(message, kind, path, ctx)
    missing = message.treat_missing_header_as_empty and test("") != message.invert_match
    return _value_match(name, read, test, message.invert_match, missing)


def _value_match(
    name: str, read: Callable[[Any], str | None], test: StringMatch, invert: bool, missing: bool
) -> HeaderMatch:
    if name.startswith(":") or name == "host":

        def matches_pseudo_header(head: Any) -> bool:
            value = read(head)
            return missing if value is None else test(value) is not invert

        return matches_pseudo_header

    def matches(head: Any) -> bool:
        headers = head.headers
        value = headers.get(name)
        if value is None:
            return missing
        repeated = headers.repeated
        if repeated is None or name not in repeated:
            return test(value) is not invert
        return any(test(one) for one in repeated[name]) is not invert

    return matches


def _getter(name: str) -> Callable[[Any], str | None]:
    if name.startswith(":") or name == "host":
        return lambda head: head.field(name)
    return lambda head: head.headers.get(name)


def _value_test(message: Any, kind: str, path: str, ctx: Reporter) -> StringMatch:
    if kind == "string_match":
        return compile_string_matcher(message.string_match, f"{path}.string_match", ctx)
    if kind == "range_match":
        return _range_test(message.range_match.start, message.range_match.end)
    if kind == "safe_regex_match":
        regex = compile_regex(message.safe_regex_match.regex, f"{path}.safe_regex_match.regex", ctx)
        return regex.full_match if regex is not None else never
    text = getattr(message, kind)
    if kind == "exact_match" and not text:
        return lambda _value: True
    return string_test(kind.removesuffix("_match"), text)


def _range_test(start: int, end: int) -> StringMatch:
    """A decimal 64-bit integer in [start, end)."""

    def in_range(value: str) -> bool:
        number = parse_integer(value)
        return number is not None and start <= number < end

    return in_range


def parse_integer(text: str) -> int | None:
    """A decimal integer as Envoy (absl::SimpleAtoi) reads it: sign and outer blanks allowed, nothing else."""
    digits = text.strip(" \t\n\v\f\r")
    unsigned = digits[1:] if digits[:1] in {"-", "+"} else digits
    if not unsigned.isascii() or not unsigned.isdigit() or len(unsigned) > 40:
        return None
    number = int(digits)
    return number if -(1 << 63) <= number < 1 << 63 else None


def compile_header_matchers(messages: Sequence[Any], path: str, ctx: Reporter) -> tuple[HeaderMatch, ...]:
    """All of `messages`; they match if every one does. `path` is that of the repeated field."""
    return tuple(
        compile_header_matcher(message, f"{path}[{index}]", ctx) for index, message in enumerate(messages)
    )


QueryMatch = Callable[[Mapping[str, str]], bool]


def parse_query(path: str) -> dict[str, str]:
    """The parameters of a request target, not decoded; the first one of a name counts, as in Envoy."""
    start = path.find("?")
    if start < 0:
        return {}
    found: dict[str, str] = {}
    end = path.find("#", start)
    for parameter in path[start + 1 : end if end >= 0 else None].split("&"):
        name, _, value = parameter.partition("=")
        found.setdefault(name, value)
    return found


def compile_query_parameter_matcher(message: Any, path: str, ctx: Reporter) -> QueryMatch:
    """`envoy.config.route.v3.QueryParameterMatcher`, on the result of `parse_query`."""
    name = wire_text(message.name)
    if message.WhichOneof("query_parameter_match_specifier") == "string_match":
        test = compile_string_matcher(message.string_match, f"{path}.string_match", ctx)
        return lambda parameters: name in parameters and test(parameters[name])
    present = not message.HasField("present_match") or message.present_match
    return lambda parameters: (name in parameters) is present


def compile_runtime_fraction(message: Any, runtime: Runtime) -> Callable[[Draw], bool]:
    """`envoy.config.core.v3.RuntimeFractionalPercent`; the draw is an integer from 0 to 2**64-1."""
    key = message.runtime_key
    numerator = message.default_value.numerator
    denominator = fraction_denominator(message.default_value)
    return lambda draw: runtime.feature_enabled(key, numerator, denominator, draw)


def fraction_denominator(message: Any) -> int:
    """100, 10,000 or 1,000,000 for an `envoy.type.v3.FractionalPercent`."""
    return int((100, 10_000, 1_000_000)[message.denominator])


class CidrRanges:
    """Sets of addresses, IPv4 and IPv6, by `envoy.config.core.v3.CidrRange`."""

    __slots__ = ("_networks",)

    def __init__(self, networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> None:
        self._networks: Final = tuple(
            (network.version, int(network.network_address), network.max_prefixlen - network.prefixlen)
            for network in networks
        )

    def __contains__(self, ip: str) -> bool:
        """Whether a textual address is in one of the ranges; False for what is no address."""
        try:
            address = ipaddress.ip_address(ip.partition("%")[0])
        except ValueError:
            return False
        version = address.version
        number = int(address)
        return any(
            version == wanted and number >> bits == base >> bits for wanted, base, bits in self._networks
        )


def compile_cidr_ranges(messages: Sequence[Any], path: str, ctx: Reporter) -> CidrRanges:
    """Repeated `CidrRange`; host bits below the prefix are ignored, as in Envoy."""
    return cidr_ranges_at([(message, f"{path}[{index}]") for index, message in enumerate(messages)], ctx)


def cidr_ranges_at(places: Iterable[tuple[Any, str]], ctx: Reporter) -> CidrRanges:
    """The same of messages that stand in different places, each with its path."""
    networks = []
    for message, path in places:
        try:
            address = ipaddress.ip_address(message.address_prefix)
        except ValueError:
            ctx.problem(f"{path}.address_prefix", f"malformed IP address: {message.address_prefix}")
            continue
        length = min(message.prefix_len.value, address.max_prefixlen)
        networks.append(ipaddress.ip_network(f"{address}/{length}", strict=False))
    return CidrRanges(networks)
