"""The JSON transcoder in front of a scripted gRPC server: configs, requests, answers, and how sides compare.

The server is an HTTP/1 origin with trailers, which is all the same to the filter.
"""

from __future__ import annotations

import dataclasses
from base64 import b64encode
from collections.abc import Sequence
from typing import Any, Final

from tests.support.bookstore import SERVICE, descriptor_set, frame, frames_of, message, text_of
from tests.support.compare import Difference, diff_lists, diff_replies
from tests.support.configs import ROUTER, Json, cluster, route, typed
from tests.support.differential import Outcome, Pair
from tests.support.http_text import Message
from tests.support.managers import managers_fixture, post, same_everywhere
from tests.support.origin import Script

_TYPE: Final = "envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder"
_SET: Final = b64encode(descriptor_set()).decode()


def transcoder(**fields: Any) -> Json:
    return typed(_TYPE, **{"proto_descriptor_bin": _SET, "services": [SERVICE], **fields})


def chain(**fields: Any) -> Json:
    return {
        "http_filters": [
            {"name": "transcoder", "typed_config": transcoder(**fields)},
            {"name": "router", "typed_config": typed(ROUTER)},
        ],
        "http_protocol_options": {"enable_trailers": True},
    }


_SETTINGS: Final[dict[str, Json]] = {
    "plain": {},
    "strict": {
        "request_validation_options": {
            "reject_unknown_method": True,
            "reject_unknown_query_parameters": True,
            "reject_binding_body_field_collisions": True,
        },
        "auto_mapping": True,
        "case_insensitive_enum_parsing": True,
    },
    "lenient": {
        "ignore_unknown_query_parameters": True,
        "ignored_query_parameters": ["key", "theme"],
        "query_param_unescape_plus": True,
        "url_unescape_spec": "ALL_CHARACTERS",
        "match_unregistered_custom_verb": True,
        "match_incoming_request_route": True,
    },
    "printing": {
        "print_options": {
            "add_whitespace": True,
            "always_print_primitive_fields": True,
            "always_print_enums_as_ints": True,
            "preserve_proto_field_names": True,
        },
        "url_unescape_spec": "ALL_CHARACTERS_EXCEPT_SLASH",
    },
    "newline": {"print_options": {"stream_newline_delimited": True}},
    "events": {"print_options": {"stream_sse_style_delimited": True, "stream_newline_delimited": True}},
    "status": {"convert_grpc_status": True},
    "capture": {"capture_unknown_query_parameters": True},
    "small": {"max_request_body_size": 30, "max_response_body_size": 30},
}
_ROUTES: Final = [
    {
        **route(prefix="/off"),
        "typed_per_filter_config": {"transcoder": typed(_TYPE, proto_descriptor_bin="")},
    },
    {
        **route(prefix="/books"),
        "typed_per_filter_config": {"transcoder": transcoder(auto_mapping=True, convert_grpc_status=True)},
    },
    {"match": {"path": "/bookstore.Bookstore/DeleteShelf"}, "direct_response": {"status": 403}},
    route(prefix="/"),
]


def fixture(*names: str) -> Any:
    """The module-scoped `pair` with a listener for each of these settings."""
    return managers_fixture(
        {name: chain(**_SETTINGS[name]) for name in names},
        routes=_ROUTES,
        clusters=[cluster(http_protocol_options={"enable_trailers": True})],
    )


def answer(
    *messages: Any, status: str = "0", fields: Sequence[str] = (), trailers: Sequence[str] = ()
) -> bytes:
    """A gRPC response as HTTP/1 with trailers."""
    head = ["HTTP/1.1 200 OK", "Content-Type: application/grpc", *fields, "Transfer-Encoding: chunked"]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in map(frame, messages) if one)
    ending = [*([f"grpc-status: {status}"] if status else []), *trailers]
    return (
        ("\r\n".join(head) + "\r\n\r\n").encode()
        + chunks
        + b"0\r\n"
        + "".join(f"{line}\r\n" for line in ending).encode()
        + b"\r\n"
    )


def only_trailers(status: str, *fields: str) -> bytes:
    """A gRPC response that ends with its head."""
    lines = ["HTTP/1.1 200 OK", "Content-Type: application/grpc", f"grpc-status: {status}", *fields]
    return ("\r\n".join(lines) + "\r\nContent-Length: 0\r\n\r\n").encode()


SHELF: Final = message(
    "Shelf", id=7, theme="Art", displayName='<ä> "b"', genre="HISTORY_OF_ART", tags=["x", "y"]
)
OK: Final = answer(SHELF)


def decoded(request: Message, kind: str) -> Message:
    """The request with its messages as text, so that the order of their fields does not matter."""
    if not request.body or "application/grpc" not in dict(request.fields).get("content-type", ""):
        return request
    texts = [text_of(kind, one) for one in frames_of(request.body)]
    return dataclasses.replace(request, body="\n".join(texts).encode())


def same(
    pair: Pair, manager: str, cases: Sequence[tuple[bytes, Script]], kind: str = "Shelf", bodies: bool = True
) -> list[Outcome]:
    """All cases on both sides; what reached the server is compared as text, bodies of replies if asked."""
    no_matter = set() if bodies else {"response.body", "response.field.content-length"}

    def compare(envoy: Outcome, outrider: Outcome) -> list[Difference]:
        theirs, ours = (
            [decoded(request, kind) for request in side.all_requests] for side in (envoy, outrider)
        )
        found = [one for one in diff_replies(envoy.reply, outrider.reply) if one.where not in no_matter]
        return found + diff_lists("upstream", theirs, ours)

    return same_everywhere(pair, [(manager, sent, script) for sent, script in cases], compare=compare)


def json(path: str, text: str | bytes, *fields: str, method: str = "POST") -> bytes:
    """A request with a body of JSON."""
    body = text.encode() if isinstance(text, str) else text
    return post(path, body, "Content-Type: application/json", *fields, method=method)
