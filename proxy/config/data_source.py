"""`envoy.config.core.v3.DataSource`: a text or bytes given inline, in a file or in an environment variable."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from proxy.config.context import CompileContext


def read_data_source(source: Any, path: str, context: CompileContext, max_bytes: int = 0) -> bytes:
    """The bytes behind `source`; b"" with a problem reported if they cannot be had.

    `max_bytes` refuses larger content; 0 means no limit.
    """
    kind = source.WhichOneof("specifier")
    data = b""
    match kind:
        case "inline_bytes":
            data = source.inline_bytes
        case "inline_string":
            data = source.inline_string.encode("utf-8")
        case "filename":
            try:
                data = Path(source.filename).read_bytes()
            except OSError as error:
                context.problem(f"{path}.filename", f"cannot read {source.filename!r}: {error.strerror}")
        case "environment_variable":
            value = os.environ.get(source.environment_variable)
            if value is None:
                context.problem(
                    f"{path}.environment_variable",
                    f"environment variable {source.environment_variable!r} is not set",
                )
            else:
                data = value.encode("utf-8", "surrogateescape")
        case _:
            context.problem(
                path, "one of filename, inline_bytes, inline_string, environment_variable is required"
            )
    if max_bytes and len(data) > max_bytes:
        context.problem(path, f"{len(data)} bytes, at most {max_bytes} are allowed")
    return data
