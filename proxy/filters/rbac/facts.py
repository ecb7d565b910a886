"""What permissions and principals look at, as tests on a stream: a request, or a connection.

Each function compiles one kind of message to a test; problems go to the context. What follows from the connection
and from few other facts is remembered, for a connection brings many requests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

from envoy.extensions.path.match.uri_template.v3.uri_template_match_pb2 import UriTemplateMatchConfig

from proxy.base.address import Address
from proxy.base.matchers import (
    StringMatch,
    cidr_ranges_at,
    compile_cidr_ranges,
    compile_header_matcher,
    compile_string_matcher,
    never,
    without_query,
)
from proxy.base.regex import wire_text
from proxy.base.stream_info import StreamInfo
from proxy.base.value_matchers import compile_metadata_matcher
from proxy.config.context import CompileContext
from proxy.filters.rbac.principals import principal_names
from proxy.formatter.json_value import plain_value
from proxy.router.paths import unpack_as
from proxy.router.route_match import without_parameters
from proxy.router.uri_template import TemplateError, compile_template

Test = Callable[[StreamInfo], bool]
#: Messages of one kind with their paths: alternatives that are tested together.
Places = Sequence[tuple[Any, str]]

#: Addresses and certificates remembered for each test; clients choose them, so there is an end to their number.
_REMEMBERED: Final = 1024


def address_test(places: Places, ctx: CompileContext, read: Callable[[StreamInfo], Address]) -> Test:
    """Whether the address that `read` gives is in any of several `CidrRange`s."""
    problems = len(ctx.problems)
    ranges = cidr_ranges_at(places, ctx)
    if len(ctx.problems) > problems:
        return never
    inside = lru_cache(_REMEMBERED)(ranges.__contains__)
    return lambda info: inside(read(info).ip)


def destination(info: StreamInfo) -> Address:
    """Where the connection went."""
    return info.connection.local_address


def source(info: StreamInfo) -> Address:
    """Where the connection came from, as listener filters say."""
    return info.connection.remote_address


def direct_source(info: StreamInfo) -> Address:
    """The other end of the socket."""
    return info.connection.direct_remote_address


def client(info: StreamInfo) -> Address:
    """The client: of a request as the connection manager finds it."""
    return info.remote_address or info.connection.remote_address


def port_test(start: int, end: int) -> Test:
    """Whether the destination's port is in [start, end); a path has none."""

    def matches(info: StreamInfo) -> bool:
        address = info.connection.local_address
        return not address.path and start <= address.port < end

    return matches


def port_range_test(message: Any, path: str, ctx: CompileContext) -> Test:
    """`envoy.type.v3.Int32Range`."""
    start, end = message.start, message.end
    for name, value in (("start", start), ("end", end)):
        if not 0 <= value <= 65536:
            ctx.problem(f"{path}.{name}", f"range {name} {value} is out of bounds")
    if start >= end:
        ctx.problem(path, f"range start {start} cannot be greater or equal than range end {end}")
    return port_test(start, end)


def server_name_test(message: Any, path: str, ctx: CompileContext) -> Test:
    """Of the name that the client asked for in its ClientHello, "" without one."""
    test = compile_string_matcher(message, path, ctx)
    return lambda info: test(info.connection.requested_server_name)


def header_test(message: Any, path: str, ctx: CompileContext) -> Test:
    """`envoy.config.route.v3.HeaderMatcher`, on the request."""
    test = compile_header_matcher(message, path, ctx)
    return lambda info: test(info.request)


def path_test(message: Any, path: str, ctx: CompileContext) -> Test:
    """`envoy.type.matcher.v3.PathMatcher`; reads `StreamInfo.route`."""
    return _on_path(compile_string_matcher(message.path, f"{path}.path", ctx))


def exact_path_test(places: Places) -> Test:
    """Any of several such, each for one path as it is written; reads `StreamInfo.route`."""
    return _on_path(frozenset(wire_text(message.path.exact) for message, _ in places).__contains__)


def template_test(message: Any, path: str, ctx: CompileContext) -> Test:
    """An extension `envoy.path.match`; reads `StreamInfo.route`."""
    config = unpack_as(message.typed_config, UriTemplateMatchConfig, f"{path}.typed_config", ctx)
    if config is None:
        return never
    try:
        template = compile_template(config.path_template)
    except TemplateError as error:
        ctx.problem(f"{path}.typed_config.path_template", f"{config.path_template} is invalid: {error}")
        return never
    return _on_path(template.regex.full_match)


def _on_path(test: StringMatch) -> Test:
    def matches(info: StreamInfo) -> bool:
        assert info.request is not None
        path = info.request.path
        if not path:
            return False  # of a CONNECT
        route = info.route
        if route is not None and route.ignores_path_parameters:
            return test(without_parameters(without_query(path)))
        return test(without_query(path))

    return matches


def metadata_test(message: Any, path: str, ctx: CompileContext) -> Test:
    """`envoy.type.matcher.v3.MetadataMatcher`, on the stream's dynamic metadata."""
    test = compile_metadata_matcher(message, path, ctx)
    return lambda info: test(info.own_metadata)


def route_metadata_test(message: Any, path: str, ctx: CompileContext) -> Test:
    """The same on those of the route; reads `StreamInfo.route`. Without a route nothing matches."""
    test = compile_metadata_matcher(message, path, ctx)

    def matches(info: StreamInfo) -> bool:
        route = info.route
        if route is None:
            return False
        if route.metadata is None:
            return test(None)
        fields = route.metadata.filter_metadata
        namespace = message.filter
        return test({namespace: plain_value(fields[namespace])} if namespace in fields else None)

    return matches


def filter_state_test(message: Any, path: str, ctx: CompileContext) -> Test:
    """`envoy.type.matcher.v3.FilterStateMatcher`, on the stream's objects and those of its connection."""
    key = message.key
    test: Callable[[Any], bool]
    if message.WhichOneof("matcher") == "address_match":
        ranges = compile_cidr_ranges(message.address_match.ranges, f"{path}.address_match.ranges", ctx)
        test = lambda value: getattr(value, "ip", str(value)) in ranges  # noqa: E731
    else:
        text = compile_string_matcher(message.string_match, f"{path}.string_match", ctx)
        test = lambda value: text(str(value))  # noqa: E731

    def matches(info: StreamInfo) -> bool:
        value = info.state_object(key)
        return value is not None and test(value)

    return matches


def encrypted(info: StreamInfo) -> bool:
    """What `Principal.Authenticated` without a name asks for."""
    return info.connection.tls is not None


def principal_test(places: Places, ctx: CompileContext) -> Test:
    """Whether the client's certificate has a name that any of several `Principal.Authenticated` matches."""
    tests = [
        compile_string_matcher(message.principal_name, f"{path}.principal_name", ctx)
        for message, path in places
    ]

    @lru_cache(_REMEMBERED)
    def names_one(der: bytes) -> bool:
        names = principal_names(der).all
        return any(test(name) for test in tests for name in names)

    def matches(info: StreamInfo) -> bool:
        tls = info.connection.tls
        return tls is not None and names_one(tls.peer_certificate_der)

    return matches


def custom_principal_test(message: Any, path: str, ctx: CompileContext) -> Test:
    """An extension `envoy.rbac.principals`: a client whose certificate was found good, and may need a name."""
    from envoy.extensions.rbac.principals.mtls_authenticated.v3.mtls_authenticated_pb2 import Config

    from proxy.connection.tls_names import NameTest, all_names_of, any_matches, compile_name_test

    if not message.HasField("typed_config"):
        ctx.problem(f"{path}.typed_config", "is required")
        return never
    at = f"{path}.typed_config"
    config = unpack_as(message.typed_config, Config, at, ctx)
    if config is None:
        return never
    tests: tuple[NameTest, ...] = ()
    if config.HasField("san_matcher"):
        tests = (compile_name_test(config.san_matcher, f"{at}.san_matcher", ctx),)
    elif not config.any_validated_client_certificate:
        ctx.problem(at, "set san_matcher or any_validated_client_certificate")

    @lru_cache(_REMEMBERED)
    def names_one(der: bytes) -> bool:
        return any_matches(tests, all_names_of(der))

    def matches(info: StreamInfo) -> bool:
        tls = info.connection.tls
        if tls is None or not tls.peer_certificate_validated:
            return False
        return not tests or names_one(tls.peer_certificate_der)

    return matches
