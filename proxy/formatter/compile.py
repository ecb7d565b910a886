"""A format text compiled into one list of getters and one template."""

from __future__ import annotations

from collections.abc import Callable, Container

from proxy.base.stream_info import StreamInfo
from proxy.config.context import CompileContext
from proxy.formatter.parse import FormatError, parse
from proxy.formatter.registry import compile_command
from proxy.formatter.spec import Operator, all_facts
from proxy.formatter.template import Hole, Template
from proxy.formatter.wire import to_wire


class Format:
    """A compiled format.

    `static`: what it renders depends only on fields of the request head (`x-request-id` excepted) and on
    the client's IP, so that a caller may keep it for an identical head. `constant` is the text of a format
    without commands, else None. `facts` are those that the operators read. `render` gives the text for one
    stream, as wire text.
    """

    __slots__ = ("constant", "facts", "render", "static")

    def __init__(self, parts: list[str | Operator], empty: str) -> None:
        operators = [part for part in parts if isinstance(part, Operator)]
        self.render: Callable[[StreamInfo], str] = Template(
            [to_wire(part) if isinstance(part, str) else Hole(part.text, part.kept) for part in parts], empty
        ).render
        self.static = all(part.static for part in operators)
        self.facts = all_facts(operators)
        self.constant = (
            None if operators else "".join(to_wire(part) for part in parts if isinstance(part, str))
        )


def compile_parts(
    text: str, path: str, context: CompileContext, extensions: Container[str] = ()
) -> list[str | Operator]:
    """Literals and operators of a format; every problem in it is reported under `path`."""
    try:
        parsed = parse(text)
    except FormatError as error:
        context.problem(path, str(error))
        return []
    parts: list[str | Operator] = []
    for part in parsed:
        if isinstance(part, str):
            parts.append(part)
            continue
        try:
            parts.append(compile_command(part, context, extensions))
        except FormatError as error:
            context.problem(path, str(error))
    return parts


def compile_format(
    text: str,
    path: str,
    context: CompileContext,
    *,
    omit_empty: bool = False,
    extensions: Container[str] = (),
) -> Format:
    """Compile a format; a fact that a stream lacks shows as "-", or not at all with `omit_empty`.

    `extensions` are the commands brought by formatter extensions, see
    `proxy.formatter.body_format.compile_formatter_extensions`.
    """
    return Format(compile_parts(text, path, context, extensions), "" if omit_empty else "-")
