"""The gRPC methods of a descriptor set with their HTTP rules (`google.api.http`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from google.api import annotations_pb2, http_pb2, httpbody_pb2
from google.protobuf import any_pb2, descriptor_pb2, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.rpc import status_pb2
from msgspec import Struct

from proxy.transcoding.http_template import TemplateError, unescape
from proxy.transcoding.path_matcher import MatcherOptions, PathMatcher
from proxy.transcoding.status import TranscodeError

HTTP_BODY: Final = "google.api.HttpBody"


class DescriptorError(Exception):
    """The descriptor set or its rules cannot be used; the text is for the operator."""


class Method(Struct, frozen=True):
    """`path` is that of the gRPC call; body paths lead to a `google.api.HttpBody`, where one is."""

    path: str
    request: Any
    response: Any
    client_streaming: bool
    server_streaming: bool
    request_http_body: tuple[Any, ...] | None
    response_http_body: tuple[Any, ...] | None


def load_pool(data: bytes, *, with_status: bool) -> tuple[DescriptorPool, list[Any]]:
    """The pool of a serialised FileDescriptorSet and its files. Raises `DescriptorError`."""
    descriptors = descriptor_pb2.FileDescriptorSet()
    try:
        descriptors.ParseFromString(data)
    except DecodeError:
        raise DescriptorError("Unable to parse proto descriptor") from None
    pool = DescriptorPool()
    files = list(descriptors.file)
    known = {file.name for file in files}
    extra = []
    if with_status:
        for module in (any_pb2, status_pb2):
            if module.DESCRIPTOR.name not in known:
                proto = descriptor_pb2.FileDescriptorProto()
                module.DESCRIPTOR.CopyToProto(proto)
                extra.append(proto)
    for file in [*files, *extra]:
        try:
            pool.Add(file)
            pool.FindFileByName(file.name)
        except (KeyError, TypeError):
            raise DescriptorError("Unable to build proto descriptor pool") from None
    return pool, files


def load_methods(
    pool: DescriptorPool,
    files: Sequence[Any],
    services: Sequence[str],
    options: MatcherOptions,
    *,
    auto_mapping: bool,
) -> PathMatcher[Method]:
    """A matcher of the services' methods. Raises `DescriptorError`."""
    matcher: PathMatcher[Method] = PathMatcher(options)
    protos = dict(_services(files))
    for name in services:
        proto = protos.get(name)
        if proto is None:
            raise DescriptorError(f"Could not find '{name}' in the proto descriptor")
        descriptor = pool.FindServiceByName(name)
        for method in proto.method:
            if method.options.HasExtension(annotations_pb2.http):
                rule = method.options.Extensions[annotations_pb2.http]
            else:
                rule = http_pb2.HttpRule()
                if auto_mapping:
                    rule = http_pb2.HttpRule(post=f"/{name}/{method.name}", body="*")
            found = descriptor.FindMethodByName(method.name)
            try:
                made = _method(found, rule)
            except TranscodeError as error:
                raise DescriptorError(f"Cannot register '{found.full_name}': {error.message}") from None
            try:
                _register(matcher, rule, made)
            except TemplateError:
                raise DescriptorError(f"Cannot register '{found.full_name}' to path matcher") from None
    return matcher


def _services(files: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    for file in files:
        for service in file.service:
            yield f"{file.package}.{service.name}" if file.package else service.name, service


def _method(descriptor: Any, rule: Any) -> Method:
    request_path = resolve(descriptor.input_type, _names(rule.body))
    response_path = resolve(descriptor.output_type, _names(rule.response_body))
    response_body = _http_body(descriptor.output_type, response_path)
    if response_path and response_body is None:
        raise TranscodeError(
            'Setting "response_body" is not supported yet for non-HttpBody fields: ' + descriptor.full_name
        )
    return Method(
        f"/{descriptor.containing_service.full_name}/{descriptor.name}",
        message_factory.GetMessageClass(descriptor.input_type),
        message_factory.GetMessageClass(descriptor.output_type),
        descriptor.client_streaming,
        descriptor.server_streaming,
        _http_body(descriptor.input_type, request_path),
        response_body,
    )


def _names(path: str) -> list[str]:
    return [] if path == "*" else [name for name in path.split(".") if name]


def _http_body(descriptor: Any, path: tuple[Any, ...]) -> tuple[Any, ...] | None:
    kind = path[-1].message_type if path else descriptor
    return path if kind is not None and kind.full_name == HTTP_BODY else None


def resolve(descriptor: Any, names: Sequence[str]) -> tuple[Any, ...]:
    """The fields on the way down a message; names may be JSON names, and escaped. Raises `TranscodeError`."""
    path = []
    for index, name in enumerate(names):
        field = _find(descriptor, name)
        if field is None and "%" in name:
            field = _find(descriptor, unescape(name))
        if field is None:
            raise TranscodeError(f'Could not find field "{name}" in the type "{descriptor.full_name}".')
        path.append(field)
        if index < len(names) - 1:
            descriptor = field.message_type
            if descriptor is None:
                raise TranscodeError(
                    f'Encountered a non-leaf field "{field.name}" that is not a message while parsing a field path'
                )
    return tuple(path)


def _find(descriptor: Any, name: str) -> Any:
    found = descriptor.fields_by_name.get(name)
    if found is None:
        found = descriptor.fields_by_camelcase_name.get(name)
    return found


def _register(matcher: PathMatcher[Method], rule: Any, method: Method) -> None:
    match rule.WhichOneof("pattern"):
        case None:
            pass
        case "custom":
            matcher.register(rule.custom.kind, rule.custom.path, rule.body, method)
        case kind:
            matcher.register(kind.upper(), getattr(rule, kind), rule.body, method)
    for additional in rule.additional_bindings:
        _register(matcher, additional, method)


def wrapped_http_body(path: Sequence[Any], content_type: str, data: bytes, parameters: Any = None) -> bytes:
    """A serialised HttpBody as the field at `path`; `parameters` goes along as an extension."""
    body = httpbody_pb2.HttpBody(content_type=content_type, data=data)
    if parameters is not None:
        body.extensions.add().Pack(parameters)
    made: bytes = body.SerializeToString()
    # Envoy writes the field even where there are no data; receivers cannot tell.
    for field in reversed(path):
        made = _varint(field.number << 3 | 2) + _varint(len(made)) + made
    return made


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def http_body_of(message: Any, path: Sequence[Any]) -> Any:
    """The HttpBody in a response message."""
    for field in path:
        message = getattr(message, field.name)
    return message
