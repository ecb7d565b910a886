"""`envoy.config.core.v3.SubstitutionFormatString`: a text or JSON format with its options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from proxy.base.stream_info import StreamInfo
from proxy.config.context import CompileContext
from proxy.config.data_source import read_data_source
from proxy.formatter.compile import Format, compile_format
from proxy.formatter.json_format import JsonFormat, compile_json_format

#: Formatter extension by the name of its message → the command that it brings ("" if that is built in).
_EXTENSIONS = {
    "envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery": "REQ_WITHOUT_QUERY",
    "envoy.extensions.formatter.metadata.v3.Metadata": "",
}


class BodyFormat(Struct, frozen=True):
    """A compiled `SubstitutionFormatString`.

    `content_type` is what the message says, else "application/json" or "text/plain". JSON ends with a
    newline.
    """

    render: Callable[[StreamInfo], str]
    content_type: str
    static: bool = False


def compile_formatter_extensions(
    messages: Sequence[Any], path: str, context: CompileContext
) -> frozenset[str]:
    """The commands that `formatters` adds; `path` is that of the list."""
    commands: set[str] = set()
    for index, message in enumerate(messages):
        type_name = message.typed_config.type_url.rpartition("/")[2]
        command = _EXTENSIONS.get(type_name)
        if command is None:
            supported = ", ".join(_EXTENSIONS)
            context.problem(
                f"{path}[{index}].typed_config",
                f"formatter extension {type_name or message.name!r} is not supported; supported: {supported}",
            )
        elif command:
            commands.add(command)
    return frozenset(commands)


def compile_substitution(
    message: Any, path: str, context: CompileContext, formatters: Sequence[Any] = ()
) -> Format | JsonFormat:
    """Compile the format of a `SubstitutionFormatString`; `formatters` are further ones that apply to it."""
    extensions = compile_formatter_extensions(message.formatters, f"{path}.formatters", context)
    if formatters:
        extensions |= compile_formatter_extensions(formatters, f"{path}.formatters", context)
    omit_empty: bool = message.omit_empty_values
    match message.WhichOneof("format"):
        case "json_format":
            return compile_json_format(
                message.json_format,
                f"{path}.json_format",
                context,
                omit_empty=omit_empty,
                extensions=extensions,
            )
        case "text_format_source":
            where = f"{path}.text_format_source"
            text = read_data_source(message.text_format_source, where, context).decode(
                "utf-8", "surrogateescape"
            )
        case "text_format":
            where = f"{path}.text_format"
            text = message.text_format
        case _:
            context.problem(path, "one of text_format_source, json_format and text_format must be set")
            where, text = path, ""
    return compile_format(text, where, context, omit_empty=omit_empty, extensions=extensions)


def compile_substitution_format(
    message: Any, path: str, context: CompileContext, formatters: Sequence[Any] = ()
) -> BodyFormat:
    """Compile a `SubstitutionFormatString` for the body of a local reply."""
    compiled = compile_substitution(message, path, context, formatters)
    default = "application/json" if isinstance(compiled, JsonFormat) else "text/plain"
    return BodyFormat(compiled.render, message.content_type or default, compiled.static)
