"""`GrpcJsonTranscoder` compiled: descriptors, methods by path, and the options of both directions.

Source: envoy.extensions.filters.http.grpc_json_transcoder.v3. The same message serves the filter and routes; one
without services switches transcoding off.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.rpc import status_pb2
from msgspec import Struct

from proxy.config.context import CompileContext
from proxy.transcoding.http_template import Unescape
from proxy.transcoding.json_printer import JsonPrinter, PrintOptions
from proxy.transcoding.message_writer import MessageWriter
from proxy.transcoding.methods import DescriptorError, Method, load_methods, load_pool
from proxy.transcoding.path_matcher import MatcherOptions, PathMatcher

assert status_pb2  # known to the generated pool, which descriptor sets without it are completed from


class TranscoderConfig(Struct, frozen=True):
    """`matcher` is None where transcoding is off. Limits are bytes, None for the connection's buffer limit."""

    matcher: PathMatcher[Method] | None = None
    writer: MessageWriter | None = None
    printer: JsonPrinter | None = None
    #: How messages of a stream are set apart: "" for a JSON list, "newline", "sse".
    delimited: str = ""
    match_incoming_request_route: bool = False
    ignore_unknown_query_parameters: bool = False
    capture_unknown_query_parameters: bool = False
    convert_grpc_status: bool = False
    reject_unknown_method: bool = False
    reject_unknown_query_parameters: bool = False
    reject_collisions: bool = False
    max_request_bytes: int | None = None
    max_response_bytes: int | None = None


def compile_transcoder(message: Any, path: str, context: CompileContext) -> TranscoderConfig:
    """The config of the filter or of a route."""
    if not message.services:
        return TranscoderConfig()
    data = _descriptor_set(message, path, context)
    if data is None:
        return TranscoderConfig()
    try:
        pool, files = load_pool(data, with_status=message.convert_grpc_status)
        matcher = load_methods(
            pool,
            files,
            list(message.services),
            MatcherOptions(
                frozenset(message.ignored_query_parameters),
                Unescape(message.url_unescape_spec),
                message.query_param_unescape_plus,
                message.match_unregistered_custom_verb,
            ),
            auto_mapping=message.auto_mapping,
        )
    except DescriptorError as error:
        context.problem(path, f"transcoding_filter: {error}")
        return TranscoderConfig()
    printing = message.print_options
    validation = message.request_validation_options
    return TranscoderConfig(
        matcher,
        MessageWriter(pool, any_case_enums=message.case_insensitive_enum_parsing),
        JsonPrinter(
            pool,
            PrintOptions(
                printing.add_whitespace,
                printing.always_print_primitive_fields,
                printing.always_print_enums_as_ints,
                printing.preserve_proto_field_names,
            ),
        ),
        "sse"
        if printing.stream_sse_style_delimited
        else "newline"
        if printing.stream_newline_delimited
        else "",
        message.match_incoming_request_route,
        message.ignore_unknown_query_parameters,
        message.capture_unknown_query_parameters,
        message.convert_grpc_status,
        validation.reject_unknown_method,
        validation.reject_unknown_query_parameters,
        validation.reject_binding_body_field_collisions,
        message.max_request_body_size.value if message.HasField("max_request_body_size") else None,
        message.max_response_body_size.value if message.HasField("max_response_body_size") else None,
    )


def _descriptor_set(message: Any, path: str, context: CompileContext) -> bytes | None:
    match message.WhichOneof("descriptor_set"):
        case "proto_descriptor":
            try:
                return Path(message.proto_descriptor).read_bytes()
            except OSError as error:
                context.problem(
                    f"{path}.proto_descriptor", f"cannot read {message.proto_descriptor!r}: {error.strerror}"
                )
        case "proto_descriptor_bin":
            data: bytes = message.proto_descriptor_bin
            return data
        case _:
            context.problem(path, "transcoding_filter: descriptor not set")
    return None
