"""Finds the compression library of a `compressor_library` or `decompressor_library`.

A library's module is imported when a config asks for it: workers that compress nothing do not carry it.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

from proxy.compression.api import CompressorLibrary, DecompressorLibrary
from proxy.config.any_unpack import unpack
from proxy.config.context import CompileContext

_PREFIX: Final = "envoy.extensions.compression."


def compile_compressor_library(
    extension: Any, path: str, context: CompileContext
) -> CompressorLibrary | None:
    """The library of a TypedExtensionConfig; None with a problem reported."""
    made: CompressorLibrary | None = _compile(extension, path, context, "compressor")
    return made


def compile_decompressor_library(
    extension: Any, path: str, context: CompileContext
) -> DecompressorLibrary | None:
    """The library of a TypedExtensionConfig; None with a problem reported."""
    made: DecompressorLibrary | None = _compile(extension, path, context, "decompressor")
    return made


def _compile(extension: Any, path: str, context: CompileContext, direction: str) -> Any:
    path = f"{path}.typed_config"
    if not extension.HasField("typed_config"):
        context.problem(path, "is required")
        return None
    message = unpack(extension.typed_config, path, context)
    if message is None:
        return None
    name = message.DESCRIPTOR.full_name
    library, _, rest = name.removeprefix(_PREFIX).partition(".")
    if not name.startswith(_PREFIX) or not rest.startswith(f"{direction}."):
        context.problem(path, f"{name} is no {direction} library")
        return None
    module = importlib.import_module(f"proxy.compression.{library}")
    return getattr(module, f"compile_{direction}")(message, path, context)
