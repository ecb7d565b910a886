"""`envoy.config.rbac.v3.RBAC` for connections: who may do what, as functions of a connection.

What needs a request (headers) is refused as Envoy does; a path matches nothing, because a connection has none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from msgspec import Struct

from proxy.base.matchers import compile_cidr_ranges, compile_string_matcher, never
from proxy.base.regex import wire_text
from proxy.base.stream_info import ConnectionInfo
from proxy.base.value_matchers import compile_metadata_matcher
from proxy.config.context import CompileContext

Test = Callable[[ConnectionInfo], bool]

ALLOW: Final = 0
LOG: Final = 2

#: Fields that are oneof members here but need what a connection does not have, or an extension.
_REFUSED: Final = {
    "header": "Found header rule, not supported by RBAC network filter",
    "uri_template": "a connection has no path",
    "matcher": "matcher extensions are not supported",
    "custom": "principal extensions are not supported",
}


class Rules(Struct, frozen=True):
    """An engine. `policies` are names and tests in the order of their names, which is that of Envoy."""

    action: int
    policies: tuple[tuple[str, Test], ...]

    def judge(self, connection: ConnectionInfo) -> tuple[bool, str, bool]:
        """Whether the connection is allowed, the policy that matched ("" if none), and whether one did."""
        for name, matches in self.policies:
            if matches(connection):
                return self.action in {ALLOW, LOG}, name, True
        return self.action != ALLOW, "", False


def compile_rules(message: Any, path: str, ctx: CompileContext) -> Rules:
    """`envoy.config.rbac.v3.RBAC`."""
    if message.HasField("audit_logging_options"):
        ctx.problem(f"{path}.audit_logging_options", "is not supported")
    policies = [
        (name, _policy(message.policies[name], f'{path}.policies["{name}"]', ctx))
        for name in sorted(message.policies, key=str.encode)
    ]
    return Rules(message.action, tuple(policies))


def _policy(message: Any, path: str, ctx: CompileContext) -> Test:
    for name in ("condition", "checked_condition", "cel_config"):
        if message.HasField(name):
            ctx.problem(f"{path}.{name}", "CEL expressions are not supported")
    for name in ("permissions", "principals"):
        if not len(getattr(message, name)):
            ctx.problem(f"{path}.{name}", "value must contain at least 1 item(s)")
    permitted = _any_of(_all(message.permissions, _permission, f"{path}.permissions", ctx))
    identified = _any_of(_all(message.principals, _principal, f"{path}.principals", ctx))
    return lambda connection: permitted(connection) and identified(connection)


def _all(
    messages: Any, compile_one: Callable[[Any, str, CompileContext], Test], path: str, ctx: CompileContext
) -> list[Test]:
    return [compile_one(one, f"{path}[{index}]", ctx) for index, one in enumerate(messages)]


def _any_of(tests: list[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]
    return lambda connection: any(test(connection) for test in tests)


def _all_of(tests: list[Test]) -> Test:
    return lambda connection: all(test(connection) for test in tests)


def _not(test: Test) -> Test:
    return lambda connection: not test(connection)


def _always(_connection: ConnectionInfo) -> bool:
    return True


def _permission(message: Any, path: str, ctx: CompileContext) -> Test:
    kind = message.WhichOneof("rule")
    at = f"{path}.{kind}"
    match kind:
        case "and_rules":
            return _all_of(_all(message.and_rules.rules, _permission, f"{at}.rules", ctx))
        case "or_rules":
            return _any_of(_all(message.or_rules.rules, _permission, f"{at}.rules", ctx))
        case "not_rule":
            return _not(_permission(message.not_rule, at, ctx))
        case "destination_ip":
            inside = _range(message.destination_ip, at, ctx)
            return lambda connection: inside(connection.local_address.ip)
        case "destination_port":
            port = message.destination_port
            return lambda connection: (
                not connection.local_address.path and (connection.local_address.port == port)
            )
        case "destination_port_range":
            return _port_range(message.destination_port_range, at, ctx)
        case "requested_server_name":
            named = compile_string_matcher(message.requested_server_name, at, ctx)
            return lambda connection: named(connection.requested_server_name)
    return _common(message, kind, path, ctx)


def _principal(message: Any, path: str, ctx: CompileContext) -> Test:
    kind = message.WhichOneof("identifier")
    at = f"{path}.{kind}"
    match kind:
        case "and_ids":
            return _all_of(_all(message.and_ids.ids, _principal, f"{at}.ids", ctx))
        case "or_ids":
            return _any_of(_all(message.or_ids.ids, _principal, f"{at}.ids", ctx))
        case "not_id":
            return _not(_principal(message.not_id, at, ctx))
        case "source_ip" | "remote_ip":
            inside = _range(getattr(message, kind), at, ctx)
            return lambda connection: inside(connection.remote_address.ip)
        case "direct_remote_ip":
            inside = _range(message.direct_remote_ip, at, ctx)
            return lambda connection: inside(connection.direct_remote_address.ip)
        case "authenticated":
            return _authenticated(message.authenticated, at, ctx)
        case "filter_state":
            return _filter_state(message.filter_state, at, ctx)
    return _common(message, kind, path, ctx)


def _common(message: Any, kind: str | None, path: str, ctx: CompileContext) -> Test:
    at = f"{path}.{kind}"
    match kind:
        case "any":
            if not message.any:
                ctx.problem(at, "value must equal true")
            return _always
        case "url_path":
            return never
        case "metadata":
            test = compile_metadata_matcher(message.metadata, at, ctx)
            return lambda connection: test(connection.dynamic_metadata)
        case "sourced_metadata":
            return _sourced_metadata(message.sourced_metadata, at, ctx)
        case None:
            ctx.problem(path, "value is required")
        case _:
            ctx.problem(at, _REFUSED[kind])
    return never


def _sourced_metadata(message: Any, path: str, ctx: CompileContext) -> Test:
    test = compile_metadata_matcher(message.metadata_matcher, f"{path}.metadata_matcher", ctx)
    if message.metadata_source:
        return never  # that of the route, which a connection does not have
    return lambda connection: test(connection.dynamic_metadata)


def _range(message: Any, path: str, ctx: CompileContext) -> Callable[[str], bool]:
    problems = len(ctx.problems)
    ranges = compile_cidr_ranges([message], path, ctx)
    if len(ctx.problems) > problems:
        return never
    return ranges.__contains__


def _port_range(message: Any, path: str, ctx: CompileContext) -> Test:
    start, end = message.start, message.end
    for name, value in (("start", start), ("end", end)):
        if not 0 <= value <= 65536:
            ctx.problem(f"{path}.{name}", f"range {name} {value} is out of bounds")
    if start >= end:
        ctx.problem(path, f"range start {start} cannot be greater or equal than range end {end}")
    return lambda connection: (
        not connection.local_address.path and (start <= connection.local_address.port < end)
    )


def _filter_state(message: Any, path: str, ctx: CompileContext) -> Test:
    key = message.key
    if message.WhichOneof("matcher") == "address_match":
        ranges = compile_cidr_ranges(message.address_match.ranges, f"{path}.address_match.ranges", ctx)

        def in_ranges(connection: ConnectionInfo) -> bool:
            value = connection.filter_state.get(key)
            return value is not None and getattr(value, "ip", str(value)) in ranges

        return in_ranges
    test = compile_string_matcher(message.string_match, f"{path}.string_match", ctx)

    def matches(connection: ConnectionInfo) -> bool:
        value = connection.filter_state.get(key)
        return value is not None and test(str(value))

    return matches


def _authenticated(message: Any, path: str, ctx: CompileContext) -> Test:
    if not message.HasField("principal_name"):
        return lambda connection: connection.tls is not None
    test = compile_string_matcher(message.principal_name, f"{path}.principal_name", ctx)

    def matches(connection: ConnectionInfo) -> bool:
        tls = connection.tls
        if tls is None:
            return False
        return any(test(name) for name in principal_names(tls.peer_certificate_der))

    return matches


@lru_cache(maxsize=256)
def principal_names(der: bytes) -> tuple[str, ...]:
    """What a certificate calls its owner: URI names, DNS names, then the subject (also if it is empty)."""
    if not der:
        return ("",)
    # Imported late: it costs a worker 10 MB.
    from cryptography import x509

    from proxy.formatter.certificate_facts import certificate_facts

    names: list[str] = []
    try:
        certificate = x509.load_der_x509_certificate(der)
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names += alternative.get_values_for_type(x509.UniformResourceIdentifier)
        names += alternative.get_values_for_type(x509.DNSName)
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
        pass
    return (*map(wire_text, names), wire_text(certificate_facts(der).subject))


def with_values(
    metadata: Mapping[str, Mapping[str, Any]], namespace: str, values: Mapping[str, Any]
) -> dict[str, Mapping[str, Any]]:
    """`metadata` with `values` added under `namespace`."""
    return {**metadata, namespace: {**metadata.get(namespace, {}), **values}}
