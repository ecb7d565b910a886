"""Every command that a format may use, and what to say about those that it may not."""

from __future__ import annotations

from collections.abc import Container

from proxy.config.context import CompileContext
from proxy.config.suggest import did_you_mean
from proxy.formatter import (
    address_operators,
    data_operators,
    http_operators,
    message_operators,
    stream_operators,
    time_operators,
    tls_operators,
    upstream_operators,
)
from proxy.formatter.parse import Command, FormatError
from proxy.formatter.spec import Argument, Operator, OperatorSpec


def _coalesce(command: Command, context: CompileContext) -> Operator:
    return data_operators.compile_coalesce(command, context, compile_command)


OPERATORS: dict[str, OperatorSpec] = {
    **message_operators.OPERATORS,
    **http_operators.OPERATORS,
    **stream_operators.OPERATORS,
    **upstream_operators.OPERATORS,
    **address_operators.OPERATORS,
    **time_operators.OPERATORS,
    **tls_operators.OPERATORS,
    **data_operators.OPERATORS,
    "COALESCE": OperatorSpec(_coalesce, Argument.REQUIRED, length=True),
}

#: Commands that exist only where the config lists the formatter extension that brings them.
EXTENSION_OPERATORS: dict[str, OperatorSpec] = {"REQ_WITHOUT_QUERY": message_operators.REQ_WITHOUT_QUERY}

#: Commands of Envoy that we refuse, and why.
UNSUPPORTED = {
    "CEL": "CEL expressions are not supported",
    "TYPED_CEL": "CEL expressions are not supported",
    "DOWNSTREAM_CX_RTT": "the round-trip time of a connection is not measured",
    "FILE_CONTENT": "the formatter extension envoy.formatter.file_content is not supported",
    "SECRET": "the formatter extension envoy.formatter.generic_secret is not supported",
}


def compile_command(command: Command, context: CompileContext, extensions: Container[str] = ()) -> Operator:
    """Compile one command; `extensions` names the commands that listed extensions bring.

    Raises `FormatError` for an unknown command or one in a form that it does not take.
    """
    name = command.name
    spec = OPERATORS.get(name)
    if spec is None and name in extensions:
        spec = EXTENSION_OPERATORS[name]
    if spec is None:
        raise FormatError(_unknown(name))
    spec.check(command)
    return spec.build(command, context)


def _unknown(name: str) -> str:
    if name in UNSUPPORTED:
        return f"%{name}% is not supported: {UNSUPPORTED[name]}"
    if name in EXTENSION_OPERATORS:
        return f"%{name}% needs its formatter extension listed under `formatters`"
    return f"unknown command %{name}%{did_you_mean(name, OPERATORS)}"
