"""What a route does to the path and the authority of a request on its way upstream.

Order and details follow Envoy's `RouteEntryImplBase::finalizeRequestHeaders`: header operations first (the
caller's), then the host, then the path.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from envoy.extensions.path.rewrite.uri_template.v3.uri_template_rewrite_pb2 import UriTemplateRewriteConfig

from proxy.base.matchers import ascii_lower, without_query
from proxy.base.messages import RequestHead
from proxy.base.regex import Regex, Substitution, compile_regex, compile_substitution, wire_text
from proxy.base.stream_info import StreamInfo
from proxy.config.context import CompileContext
from proxy.router.paths import unpack_as
from proxy.router.route_match import CompiledMatch
from proxy.router.uri_template import TemplateError, compile_rewrite, expand, parse_rewrite

#: The new path of a request with its query; None leaves it alone.
PathRewrite = Callable[[RequestHead, StreamInfo], str | None]
#: The new authority; None or "" leaves it alone.
HostRewrite = Callable[[RequestHead, StreamInfo], str | None]


def compile_regex_rewrite(message: Any, path: str, ctx: CompileContext) -> tuple[Regex, Substitution] | None:
    """`envoy.type.matcher.v3.RegexMatchAndSubstitute`."""
    regex = compile_regex(message.pattern.regex, f"{path}.pattern.regex", ctx)
    if regex is None:
        return None
    return regex, compile_substitution(message.substitution, regex, f"{path}.substitution", ctx)


def compile_path_rewrite(
    message: Any, match: CompiledMatch, path: str, ctx: CompileContext
) -> PathRewrite | None:
    """The rewrite of a `RouteAction`, None if it has none."""
    configured = [
        name
        for name, present in (
            ("prefix_rewrite", bool(message.prefix_rewrite)),
            ("regex_rewrite", message.HasField("regex_rewrite")),
            ("path_rewrite_policy", message.HasField("path_rewrite_policy")),
            ("path_rewrite", bool(message.path_rewrite)),
        )
        if present
    ]
    if len(configured) > 1:
        ctx.problem(
            f"{path}.{configured[1]}", f"only one path rewrite is allowed, {configured[0]} is set too"
        )
        return None
    match configured:
        case ["prefix_rewrite"]:
            if match.template is not None:
                ctx.problem(f"{path}.prefix_rewrite", "cannot be used with path_match_policy")
            return prefix_rewrite(message.prefix_rewrite, match)
        case ["regex_rewrite"]:
            return _compile_regex_rewrite(message.regex_rewrite, f"{path}.regex_rewrite", ctx)
        case ["path_rewrite_policy"]:
            return _template_rewrite(message.path_rewrite_policy, match, f"{path}.path_rewrite_policy", ctx)
        case ["path_rewrite"]:
            return _format_rewrite(message.path_rewrite, f"{path}.path_rewrite", ctx)
    return None


def prefix_rewrite(text: str, match: CompiledMatch) -> PathRewrite:
    """Replace what the route matched by `text`; a regex or CONNECT route matched the whole path."""
    replacement = wire_text(text)
    length = match.matched_length
    if length is None:
        return lambda head, _info: replacement + head.path[len(without_query(head.path)) :]
    matched = ascii_lower(match.text)

    def rewrite(head: RequestHead, _info: StreamInfo) -> str | None:
        path = head.path
        # A filter may have changed the path after the route was chosen.
        if ascii_lower(path[:length]) != matched:
            return None
        return replacement + path[length:]

    return rewrite


def _compile_regex_rewrite(message: Any, path: str, ctx: CompileContext) -> PathRewrite | None:
    compiled = compile_regex_rewrite(message, path, ctx)
    return regex_rewrite(*compiled) if compiled is not None else None


def regex_rewrite(regex: Regex, substitution: Substitution) -> PathRewrite:
    """Replace all matches in the path without its query; an empty result leaves the path as it was."""

    def rewrite(head: RequestHead, _info: StreamInfo) -> str | None:
        before = without_query(head.path)
        after = regex.sub(before, substitution)
        return after + head.path[len(before) :] if after else None

    return rewrite


def _template_rewrite(
    message: Any, match: CompiledMatch, path: str, ctx: CompileContext
) -> PathRewrite | None:
    config = unpack_as(message.typed_config, UriTemplateRewriteConfig, f"{path}.typed_config", ctx)
    if config is None:
        return None
    field = f"{path}.typed_config.path_template_rewrite"
    try:
        parse_rewrite(config.path_template_rewrite)
        if match.template is None:
            ctx.problem(path, "needs a uri_template path_match_policy in the match")
            return None
        template = match.template
        pieces = compile_rewrite(config.path_template_rewrite, template.names)
    except TemplateError as error:
        ctx.problem(field, f"{config.path_template_rewrite} is invalid: {error}")
        return None

    def rewrite(head: RequestHead, _info: StreamInfo) -> str | None:
        before = without_query(head.path)
        after = expand(template, pieces, before)
        return head.path if after is None else after + head.path[len(before) :]

    return rewrite


def _format_rewrite(text: str, path: str, ctx: CompileContext) -> PathRewrite:
    from proxy.formatter.compile import compile_format  # few routes need formats

    render = compile_format(text, path, ctx, omit_empty=True).render

    def rewrite(head: RequestHead, info: StreamInfo) -> str | None:
        after = render(info)
        return after + head.path[len(without_query(head.path)) :] if after else None

    return rewrite


def compile_host_rewrite(message: Any, path: str, ctx: CompileContext) -> HostRewrite | None:
    """The `host_rewrite_specifier` of a `RouteAction` except `auto_host_rewrite`."""
    match message.WhichOneof("host_rewrite_specifier"):
        case "host_rewrite_literal":
            literal = wire_text(message.host_rewrite_literal)
            return (lambda _head, _info: literal) if literal else None
        case "host_rewrite_header":
            name = message.host_rewrite_header.lower()
            return (lambda head, _info: first_value(head, name)) if name else None
        case "host_rewrite_path_regex":
            compiled = compile_regex_rewrite(
                message.host_rewrite_path_regex, f"{path}.host_rewrite_path_regex", ctx
            )
            if compiled is None:
                return None
            regex, substitution = compiled
            return lambda head, _info: regex.sub(without_query(head.path), substitution)
        case "host_rewrite":
            from proxy.formatter.compile import compile_format  # few routes need formats

            render = compile_format(message.host_rewrite, f"{path}.host_rewrite", ctx).render
            return lambda _head, info: render(info)
    return None


def first_value(head: RequestHead, name: str) -> str | None:
    """The first line of a header (or the pseudo-header) `name`; a client may have sent several."""
    values = head.headers.values_of(name)
    return values[0] if values else head.field(name)


def rewrite_path(head: RequestHead, info: StreamInfo, rewrite: PathRewrite, keep_original: bool) -> None:
    """Apply `rewrite` and note the old path in x-envoy-original-path."""
    path = rewrite(head, info)
    if path is None:
        return
    if keep_original:
        head.headers.set("x-envoy-original-path", head.path)
    head.path = path


def update_authority(head: RequestHead, authority: str, append: bool, keep_original: bool) -> None:
    """Replace the authority; `append` adds the old one to x-forwarded-host unless it is the last there."""
    old = head.authority
    headers = head.headers
    if append and old:
        forwarded = headers.get("x-forwarded-host", "")
        entries = [entry for entry in forwarded.split(",") if entry]
        if not entries:
            headers.set("x-forwarded-host", old)
        elif entries[-1] != old:
            headers.set("x-forwarded-host", f"{forwarded},{old}")
    if keep_original and old:
        headers.set("x-envoy-original-host", old)
    head.authority = authority
