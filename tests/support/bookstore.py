"""A gRPC service with HTTP rules, as a descriptor set, for the transcoder; and its messages."""

from __future__ import annotations

import struct
from typing import Any

from google.api import annotations_pb2, http_pb2, httpbody_pb2
from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    duration_pb2,
    field_mask_pb2,
    json_format,
    message_factory,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor_pool import DescriptorPool

Json = dict[str, Any]
SERVICE = "bookstore.Bookstore"
_IMPORTS = (
    descriptor_pb2,
    any_pb2,
    duration_pb2,
    field_mask_pb2,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
    http_pb2,
    annotations_pb2,
    httpbody_pb2,
)


def _field(name: str, number: int, kind: str, **more: Any) -> Json:
    made: Json = {"name": name, "number": number, "label": "LABEL_OPTIONAL", **more}
    if kind.startswith("repeated "):
        made["label"] = "LABEL_REPEATED"
        kind = kind.removeprefix("repeated ")
    if kind.startswith("enum "):
        return {**made, "type": "TYPE_ENUM", "typeName": kind.removeprefix("enum ")}
    if kind.startswith("."):
        return {**made, "type": "TYPE_MESSAGE", "typeName": kind}
    return {**made, "type": f"TYPE_{kind.upper()}"}


def _message(name: str, *fields: Json, **more: Any) -> Json:
    return {"name": name, "field": list(fields), **more}


def _method(name: str, request: str, response: str, rule: Json | None, streams: str = "") -> Json:
    made: Json = {
        "name": name,
        "inputType": request if request.startswith(".") else f".bookstore.{request}",
        "outputType": response if response.startswith(".") else f".bookstore.{response}",
        "clientStreaming": "client" in streams,
        "serverStreaming": "server" in streams,
    }
    if rule is not None:
        made["options"] = {"[google.api.http]": rule}
    return made


_WELL_KNOWN = {
    "time": "Timestamp",
    "duration": "Duration",
    "mask": "FieldMask",
    "struct": "Struct",
    "value": "Value",
    "list": "ListValue",
    "any": "Any",
    "bool_value": "BoolValue",
    "int_value": "Int64Value",
    "string_value": "StringValue",
    "double_value": "DoubleValue",
}
_SCALARS = (
    "int32 int64 uint32 uint64 sint32 sint64 fixed32 fixed64 sfixed32 sfixed64 bool string bytes double float"
)

FILE: Json = {
    "name": "bookstore.proto",
    "package": "bookstore",
    "syntax": "proto3",
    "dependency": [module.DESCRIPTOR.name for module in _IMPORTS],
    "enumType": [
        {
            "name": "Genre",
            "value": [
                {"name": "UNKNOWN_GENRE", "number": 0},
                {"name": "FICTION", "number": 1},
                {"name": "HISTORY_OF_ART", "number": 2},
            ],
        }
    ],
    "messageType": [
        _message(
            "Shelf",
            _field("id", 1, "int64"),
            _field("theme", 2, "string"),
            _field("display_name", 3, "string"),
            _field("genre", 4, "enum .bookstore.Genre"),
            _field("tags", 5, "repeated string"),
        ),
        _message(
            "Book",
            _field("name", 1, "string"),
            _field("pages", 2, "int32"),
            _field("shelf", 3, ".bookstore.Shelf"),
            _field("shelves", 4, "repeated .bookstore.Shelf"),
            _field("genres", 5, "repeated enum .bookstore.Genre"),
        ),
        _message(
            "All",
            *(_field(kind + "_field", number, kind) for number, kind in enumerate(_SCALARS.split(), 1)),
            _field("genre", 20, "enum .bookstore.Genre"),
            _field("numbers", 21, "repeated int32"),
            _field("counts", 22, "repeated .bookstore.All.CountsEntry"),
            _field("shelves_by_id", 23, "repeated .bookstore.All.ShelvesByIdEntry"),
            _field("text_choice", 24, "string", oneofIndex=0),
            _field("number_choice", 25, "int32", oneofIndex=0),
            _field("maybe", 26, "int32", oneofIndex=1, proto3Optional=True),
            _field("child", 27, ".bookstore.All"),
            *(
                _field(name, 30 + number, f".google.protobuf.{kind}")
                for number, (name, kind) in enumerate(_WELL_KNOWN.items())
            ),
            _field("times", 50, "repeated .google.protobuf.Timestamp"),
            oneofDecl=[{"name": "choice"}, {"name": "_maybe"}],
            nestedType=[
                _message(
                    "CountsEntry",
                    _field("key", 1, "string"),
                    _field("value", 2, "int32"),
                    options={"mapEntry": True},
                ),
                _message(
                    "ShelvesByIdEntry",
                    _field("key", 1, "int64"),
                    _field("value", 2, ".bookstore.Shelf"),
                    options={"mapEntry": True},
                ),
            ],
        ),
        _message(
            "Upload",
            _field("name", 1, "string"),
            _field("size", 2, "int32"),
            _field("content", 3, ".google.api.HttpBody"),
            _field("inner", 4, ".bookstore.Upload"),
        ),
        _message("Empty"),
    ],
    "service": [
        {
            "name": "Bookstore",
            "method": [
                _method("GetShelf", "Shelf", "Shelf", {"get": "/shelves/{id}"}),
                _method(
                    "CreateShelf",
                    "Shelf",
                    "Shelf",
                    {
                        "post": "/shelves",
                        "body": "*",
                        "additional_bindings": [
                            {"put": "/shelves/{id}", "body": "*"},
                            {"custom": {"kind": "REPORT", "path": "/shelves/{id}:report"}},
                            {"get": "/themes/{theme=**}"},
                            {"get": "/books/{theme=shelves/*/books/*}/tail"},
                        ],
                    },
                ),
                _method("DeleteShelf", "Shelf", "Empty", {"delete": "/shelves/{id}"}),
                _method(
                    "CreateBook",
                    "Book",
                    "Book",
                    {
                        "post": "/shelves/{shelf.id}/books/{name}",
                        "body": "shelf",
                        "additional_bindings": [
                            {"patch": "/books/{name}", "body": "*"},
                            {"post": "/names", "body": "name"},
                            {"post": "/lists", "body": "shelves"},
                            {"get": "/books"},
                        ],
                    },
                ),
                _method(
                    "Echo",
                    "All",
                    "All",
                    {"post": "/echo", "body": "*", "additional_bindings": [{"get": "/echo"}]},
                ),
                _method("ListShelves", "Empty", "Shelf", {"get": "/shelves"}, "server"),
                _method("BulkCreate", "Shelf", "Shelf", {"post": "/bulk/{theme}", "body": "*"}, "client"),
                _method("Chat", "Shelf", "Shelf", {"post": "/chat", "body": "*"}, "client server"),
                _method("Page", "Shelf", ".google.api.HttpBody", {"get": "/page/{id}"}),
                _method("Pages", "Shelf", ".google.api.HttpBody", {"get": "/pages/{id}"}, "server"),
                _method(
                    "PageOf", "Shelf", "Upload", {"get": "/page-of/{id}", "response_body": "inner.content"}
                ),
                _method("PutPage", ".google.api.HttpBody", "Shelf", {"post": "/raw", "body": "*"}),
                _method("Upload", "Upload", "Shelf", {"post": "/upload/{name}", "body": "inner.content"}),
                _method("Stream", "Upload", "Shelf", {"post": "/stream/{name}", "body": "content"}, "client"),
                _method("Unmapped", "Shelf", "Shelf", None),
                _method("Twice", "Shelf", "Shelf", {"get": "/twice"}),
                _method("TwiceAgain", "Shelf", "Shelf", {"get": "/twice"}),
            ],
        }
    ],
}


def descriptor_set(file: Json | None = None) -> bytes:
    """The serialised FileDescriptorSet, with all it imports."""
    files = descriptor_pb2.FileDescriptorSet()
    for module in _IMPORTS:
        module.DESCRIPTOR.CopyToProto(files.file.add())
    json_format.ParseDict(file or FILE, files.file.add())
    data: bytes = files.SerializeToString()
    return data


_POOL = DescriptorPool()
for _proto in descriptor_pb2.FileDescriptorSet.FromString(descriptor_set()).file:
    _POOL.Add(_proto)


def message(kind: str, /, **fields: Any) -> Any:
    """A message of the package, or of another by its full name, with fields as in JSON."""
    full_name = kind if "." in kind else f"bookstore.{kind}"
    made = message_factory.GetMessageClass(_POOL.FindMessageTypeByName(full_name))()
    return json_format.ParseDict(fields, made, descriptor_pool=_POOL)


def frame(made: Any, flags: int = 0) -> bytes:
    """A message, or bytes, as gRPC frames it."""
    data = made if isinstance(made, bytes) else made.SerializeToString()
    return struct.pack("!BI", flags, len(data)) + data


def frames_of(data: bytes) -> list[bytes]:
    """The messages in framed bytes; what is left over comes last."""
    found = []
    while len(data) >= 5:
        length = struct.unpack_from("!I", data, 1)[0]
        found.append(data[5 : 5 + length])
        data = data[5 + length :]
    return found + ([data] if data else [])


def text_of(kind: str, data: bytes) -> str:
    """A message as text, whatever the order of its fields on the wire."""
    made = message(kind)
    made.ParseFromString(data)
    try:
        return json_format.MessageToJson(made, sort_keys=True, descriptor_pool=_POOL)
    except TypeError:  # an Any with something that is not of the service
        return str(made)
