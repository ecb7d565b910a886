"""`envoy.config.rbac.v3.RBAC` compiled: who may do what, as functions of a stream.

For a connection what needs a request (headers) is refused as Envoy does; a path matches nothing, because a
connection has none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from proxy.base.matchers import never
from proxy.base.stream_info import StreamInfo
from proxy.config.context import CompileContext
from proxy.filters.rbac import facts
from proxy.filters.rbac.facts import Test
from proxy.filters.rbac.verdict import LOG, Judge, Verdict, unmatched, verdict_of

#: Members of the oneofs that are refused: those that need a request, in a filter of connections; and extensions.
_REFUSED: Final = {
    "header": "Found header rule, not supported by RBAC network filter",
    "uri_template": "a connection has no path",
    "matcher": "matcher extensions are not supported",
}


def compile_rules(message: Any, path: str, ctx: CompileContext, *, http: bool) -> Judge:
    """An engine for requests (`http`; it reads `StreamInfo.route`) or for connections.

    Policies are asked in the order of their names, and the first that matches decides.
    """
    if message.HasField("audit_logging_options"):
        ctx.problem(f"{path}.audit_logging_options", "is not supported")
    compiler = _Compiler(ctx, http=http)
    action = message.action
    policies = [
        (
            compiler.policy(message.policies[name], f'{path}.policies["{name}"]'),
            verdict_of(action, name, logs=action == LOG),
        )
        for name in sorted(message.policies, key=str.encode)
    ]
    otherwise = unmatched(action)
    if len(policies) == 1:
        only, verdict = policies[0]
        return lambda info: verdict if only(info) else otherwise

    def judge(info: StreamInfo) -> Verdict:
        for matches, verdict in policies:
            if matches(info):
                return verdict
        return otherwise

    return judge


_CompileOne = Callable[[Any, str], Test]
#: Fields that are ranges of addresses, and which address each is about.
_ADDRESSES: Final = {
    "destination_ip": facts.destination,
    "source_ip": facts.source,
    "remote_ip": facts.client,
    "direct_remote_ip": facts.direct_source,
}


class _Compiler:
    """Compiles the messages under one RBAC; each method takes one with its path."""

    def __init__(self, ctx: CompileContext, *, http: bool) -> None:
        self._ctx = ctx
        self._http = http

    def policy(self, message: Any, path: str) -> Test:
        for name in ("condition", "checked_condition", "cel_config"):
            if message.HasField(name):
                self._ctx.problem(f"{path}.{name}", "CEL expressions are not supported")
        for name in ("permissions", "principals"):
            if not len(getattr(message, name)):
                self._ctx.problem(f"{path}.{name}", "value must contain at least 1 item(s)")
        permitted = self._any(message.permissions, self._permission, f"{path}.permissions")
        identified = self._any(message.principals, self._principal, f"{path}.principals")
        return _all_of((permitted, identified))

    @staticmethod
    def _all(messages: Any, compile_one: _CompileOne, path: str) -> Test:
        return _all_of([compile_one(one, f"{path}[{index}]") for index, one in enumerate(messages)])

    def _any(self, messages: Any, compile_one: _CompileOne, path: str) -> Test:
        """Alternatives. Those that ask the same fact are one look-up together: policies list hundreds of names."""
        tests = []
        together: dict[str, list[tuple[Any, str]]] = {}
        for index, one in enumerate(messages):
            at = f"{path}[{index}]"
            kind = self._table_kind(one)
            if kind:
                together.setdefault(kind, []).append((getattr(one, kind), f"{at}.{kind}"))
            else:
                tests.append(compile_one(one, at))
        tests += [self._table(kind, places) for kind, places in together.items()]
        return _any_of(tests)

    def _table_kind(self, message: Any) -> str:
        """The field of a permission or principal that `_table` takes, "" if it takes none of it."""
        kind: str | None = message.WhichOneof(message.DESCRIPTOR.oneofs[0].name)
        if kind in _ADDRESSES:
            return kind
        if kind == "authenticated" and message.authenticated.HasField("principal_name"):
            return kind
        if kind == "url_path" and self._http:
            pattern = message.url_path.path
            if pattern.WhichOneof("match_pattern") == "exact" and not pattern.ignore_case:
                return kind
        return ""

    def _table(self, kind: str, places: Sequence[tuple[Any, str]]) -> Test:
        if kind == "authenticated":
            return facts.principal_test(places, self._ctx)
        if kind == "url_path":
            return facts.exact_path_test(places)
        return facts.address_test(places, self._ctx, _ADDRESSES[kind])

    def _permission(self, message: Any, path: str) -> Test:
        kind = message.WhichOneof("rule")
        at = f"{path}.{kind}"
        ctx = self._ctx
        match kind:
            case "and_rules":
                return self._all(message.and_rules.rules, self._permission, f"{at}.rules")
            case "or_rules":
                return self._any(message.or_rules.rules, self._permission, f"{at}.rules")
            case "not_rule":
                return _not(self._permission(message.not_rule, at))
            case "destination_port":
                return facts.port_test(message.destination_port, message.destination_port + 1)
            case "destination_port_range":
                return facts.port_range_test(message.destination_port_range, at, ctx)
            case "requested_server_name":
                return facts.server_name_test(message.requested_server_name, at, ctx)
            case "uri_template" if self._http:
                return facts.template_test(message.uri_template, at, ctx)
        return self._common(message, kind, path)

    def _principal(self, message: Any, path: str) -> Test:
        kind = message.WhichOneof("identifier")
        at = f"{path}.{kind}"
        match kind:
            case "and_ids":
                return self._all(message.and_ids.ids, self._principal, f"{at}.ids")
            case "or_ids":
                return self._any(message.or_ids.ids, self._principal, f"{at}.ids")
            case "not_id":
                return _not(self._principal(message.not_id, at))
            case "authenticated" if not message.authenticated.HasField("principal_name"):
                return facts.encrypted
            case "filter_state":
                return facts.filter_state_test(message.filter_state, at, self._ctx)
            case "custom":
                return facts.custom_principal_test(message.custom, at, self._ctx)
        return self._common(message, kind, path)

    def _common(self, message: Any, kind: str | None, path: str) -> Test:
        at = f"{path}.{kind}"
        ctx = self._ctx
        table_kind = self._table_kind(message)
        if table_kind:
            return self._table(table_kind, [(getattr(message, table_kind), at)])
        match kind:
            case "any":
                if not message.any:
                    ctx.problem(at, "value must equal true")
                return _always
            case "header" if self._http:
                return facts.header_test(message.header, at, ctx)
            case "url_path":
                test = facts.path_test(message.url_path, at, ctx)
                return test if self._http else never
            case "metadata":
                return facts.metadata_test(message.metadata, at, ctx)
            case "sourced_metadata":
                of = message.sourced_metadata
                compile_test = facts.route_metadata_test if of.metadata_source else facts.metadata_test
                return compile_test(of.metadata_matcher, f"{at}.metadata_matcher", ctx)
            case None:
                ctx.problem(path, "value is required")
            case _:
                ctx.problem(at, _REFUSED[kind])
        return never


def _always(_info: StreamInfo) -> bool:
    return True


def _any_of(tests: Sequence[Test]) -> Test:
    if _always in tests:
        return _always
    if len(tests) == 1:
        return tests[0]

    def matches(info: StreamInfo) -> bool:
        for test in tests:  # noqa: SIM110 - a generator costs three times as much
            if test(info):
                return True
        return False

    return matches


def _all_of(tests: Sequence[Test]) -> Test:
    tests = [test for test in tests if test is not _always]
    if not tests:
        return _always
    if len(tests) == 1:
        return tests[0]
    if len(tests) == 2:
        first, second = tests
        return lambda info: first(info) and second(info)

    def matches(info: StreamInfo) -> bool:
        for test in tests:  # noqa: SIM110 - as above
            if not test(info):
                return False
        return True

    return matches


def _not(test: Test) -> Test:
    return lambda info: not test(info)
