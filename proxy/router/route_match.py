"""`RouteMatch` compiled: what a request must look like for a route to apply.

The path is tested without query and fragment, as in Envoy.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from envoy.extensions.path.match.uri_template.v3.uri_template_match_pb2 import UriTemplateMatchConfig
from msgspec import Struct

from proxy.base.matchers import (
    HeaderMatch,
    ascii_lower,
    compile_cidr_ranges,
    compile_header_matchers,
    compile_query_parameter_matcher,
    compile_runtime_fraction,
    compile_string_matcher,
    never,
    parse_query,
)
from proxy.base.messages import RequestHead
from proxy.base.regex import compile_regex, wire_text
from proxy.base.stream_info import StreamInfo
from proxy.base.value_matchers import compile_metadata_matcher
from proxy.codec.grpc import is_grpc
from proxy.config.context import CompileContext
from proxy.router.paths import unpack_as
from proxy.router.uri_template import TemplateError, UriTemplate, compile_template

#: What stands behind the name in a segment of a path (RFC 3986, section 3.3).
_PARAMETERS: Final = re.compile(r";[^/]*")

#: Tests on what is not in the head: runtime, TLS facts, metadata, filter state.
InfoMatch = Callable[[StreamInfo, Callable[[], int]], bool]


class PathKind(enum.IntEnum):
    """How `RouteMatch` looks at the path. CONNECT needs no path; the others never match without one."""

    PREFIX = 0
    EXACT = 1
    TEST = 2
    CONNECT = 3


class CompiledMatch(Struct, frozen=True):
    """A compiled `RouteMatch`.

    `text` is the prefix or exact path; `test` looks at the path for `PathKind.TEST`.
    `matched_length` is how much of the path a prefix rewrite replaces, None for all of it.
    `head_tests` need the head only; with `info_tests` the choice of the route is not a function of the head.
    """

    kind: PathKind
    text: str = ""
    test: Callable[[str], bool] = never
    matched_length: int | None = None
    template: UriTemplate | None = None
    head_tests: tuple[HeaderMatch, ...] = ()
    info_tests: tuple[InfoMatch, ...] = ()


def compile_match(message: Any, path: str, ctx: CompileContext, *, strip_parameters: bool) -> CompiledMatch:
    """Compile `envoy.config.route.v3.RouteMatch`.

    With `strip_parameters` the path is tested without what follows a `;` in its segments.
    """
    kind, text, test, length, template = _compile_path(message, path, ctx)
    if strip_parameters and kind is not PathKind.CONNECT and template is None:
        kind, test = PathKind.TEST, _stripping(kind, text, test)
    return CompiledMatch(
        kind,
        text,
        test,
        length,
        template,
        _compile_head_tests(message, path, ctx),
        _compile_info_tests(message, path, ctx),
    )


_PathTest = tuple[PathKind, str, Callable[[str], bool], int | None, UriTemplate | None]


def _compile_path(message: Any, path: str, ctx: CompileContext) -> _PathTest:
    case_sensitive = not message.HasField("case_sensitive") or message.case_sensitive.value
    specifier = message.WhichOneof("path_specifier")
    if specifier in {"prefix", "path", "path_separated_prefix"}:
        text = wire_text(getattr(message, specifier))
        return _compile_text(specifier, text, case_sensitive=case_sensitive)
    if specifier == "safe_regex":
        regex = compile_regex(message.safe_regex.regex, f"{path}.safe_regex.regex", ctx)
        return PathKind.TEST, "", regex.full_match if regex is not None else never, None, None
    if specifier == "connect_matcher":
        return PathKind.CONNECT, "", never, None, None
    if specifier == "path_match_policy":
        template = _compile_template(message.path_match_policy, f"{path}.path_match_policy", ctx)
        return PathKind.TEST, "", template.regex.full_match if template else never, None, template
    ctx.problem(path, "path_specifier is required")
    return PathKind.TEST, "", never, None, None


def _compile_text(specifier: str, text: str, *, case_sensitive: bool) -> _PathTest:
    length = len(text)
    if specifier == "path_separated_prefix":
        if case_sensitive:
            separated = f"{text}/"
            return (
                PathKind.TEST,
                text,
                lambda path: path == text or path.startswith(separated),
                length,
                None,
            )
        lowered = ascii_lower(text)

        def below(path: str) -> bool:
            return ascii_lower(path[:length]) == lowered and (len(path) == length or path[length] == "/")

        return PathKind.TEST, text, below, length, None
    kind = PathKind.PREFIX if specifier == "prefix" else PathKind.EXACT
    if case_sensitive:
        return kind, text, never, length, None
    lowered = ascii_lower(text)
    if kind is PathKind.PREFIX:
        return PathKind.TEST, text, lambda path: ascii_lower(path[:length]) == lowered, length, None
    return PathKind.TEST, text, lambda path: ascii_lower(path) == lowered, length, None


def _stripping(kind: PathKind, text: str, test: Callable[[str], bool]) -> Callable[[str], bool]:
    if kind is PathKind.PREFIX:
        return lambda path: without_parameters(path).startswith(text)
    if kind is PathKind.EXACT:
        return lambda path: without_parameters(path) == text
    return lambda path: test(without_parameters(path))


def without_parameters(path: str) -> str:
    """A path without what follows a `;` in its segments."""
    return _PARAMETERS.sub("", path) if ";" in path else path


def _compile_template(message: Any, path: str, ctx: CompileContext) -> UriTemplate | None:
    config = unpack_as(message.typed_config, UriTemplateMatchConfig, f"{path}.typed_config", ctx)
    if config is None:
        return None
    try:
        return compile_template(config.path_template)
    except TemplateError as error:
        ctx.problem(f"{path}.typed_config.path_template", f"{config.path_template} is invalid: {error}")
        return None


def _compile_head_tests(message: Any, path: str, ctx: CompileContext) -> tuple[HeaderMatch, ...]:
    tests: list[HeaderMatch] = []
    if message.HasField("grpc"):
        tests.append(_is_grpc_request)
    if message.headers:
        tests += compile_header_matchers(message.headers, f"{path}.headers", ctx)
    if message.query_parameters:
        query_tests = [
            compile_query_parameter_matcher(parameter, f"{path}.query_parameters[{index}]", ctx)
            for index, parameter in enumerate(message.query_parameters)
        ]
        tests.append(_query_test(query_tests))
    return tuple(tests)


def _query_test(tests: list[Callable[[Mapping[str, str]], bool]]) -> HeaderMatch:
    def matches(head: RequestHead) -> bool:
        parameters = parse_query(head.path)
        return all(test(parameters) for test in tests)

    return matches


def _is_grpc_request(head: RequestHead) -> bool:
    return is_grpc(head.headers.get("content-type", ""))


def _compile_info_tests(message: Any, path: str, ctx: CompileContext) -> tuple[InfoMatch, ...]:
    tests: list[InfoMatch] = []
    if message.HasField("runtime_fraction"):
        applies = compile_runtime_fraction(message.runtime_fraction, ctx.runtime)
        tests.append(lambda _info, draw: applies(draw))
    if message.HasField("tls_context"):
        tests.append(_tls_test(message.tls_context))
    for index, matcher in enumerate(message.dynamic_metadata):
        tests.append(_metadata_test(matcher, f"{path}.dynamic_metadata[{index}]", ctx))
    for index, matcher in enumerate(message.filter_state):
        tests.append(_filter_state_test(matcher, f"{path}.filter_state[{index}]", ctx))
    return tuple(tests)


def _tls_test(message: Any) -> InfoMatch:
    presented = message.presented.value if message.HasField("presented") else None
    validated = message.validated.value if message.HasField("validated") else None

    def matches(info: StreamInfo, _draw: Callable[[], int]) -> bool:
        tls = info.connection.tls
        has_certificate = tls is not None and bool(tls.peer_certificate_der)
        is_valid = tls is not None and tls.peer_certificate_validated
        return presented in {None, has_certificate} and validated in {None, is_valid}

    return matches


def _metadata_test(message: Any, path: str, ctx: CompileContext) -> InfoMatch:
    test = compile_metadata_matcher(message, path, ctx)
    return lambda info, _draw: test(info.dynamic_metadata)


def _filter_state_test(message: Any, path: str, ctx: CompileContext) -> InfoMatch:
    """On the text of the object under `key`; an absent object never matches."""
    key = message.key
    test: Callable[[str], bool]
    if message.WhichOneof("matcher") == "address_match":
        test = compile_cidr_ranges(
            message.address_match.ranges, f"{path}.address_match.ranges", ctx
        ).__contains__
    else:
        test = compile_string_matcher(message.string_match, f"{path}.string_match", ctx)

    def matches(info: StreamInfo, _draw: Callable[[], int]) -> bool:
        value = info.state_object(key)
        return value is not None and test(str(value))

    return matches
