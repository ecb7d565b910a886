"""Retries to HTTP/2 hosts beside Envoy: streams that are refused or reset, and statuses of gRPC."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.support.configs import Json, http2_cluster, route
from tests.support.differential import Pair
from tests.support.http2_frames import Code
from tests.support.http2_origin import Http2Answer, Http2Origin
from tests.support.stories import Stories, Story

FAST: Final = {"base_interval": "0.001s", "max_interval": "0.001s"}
OK: Final = Http2Answer(body=b"good")


def policy(on: str, retries: int = 1, **fields: Any) -> Json:
    return {"retry_on": on, "num_retries": retries, "retry_back_off": FAST, **fields}


def by_turns(*answers: Http2Answer | Code) -> Any:
    """The script of an origin that goes from answer (or reset) to answer with the tries of a request."""

    def play(stream: Any) -> None:
        stream.wait_end()
        number = int(stream.view.get("x-envoy-attempt-count")) - 1
        answer = answers[min(number, len(answers) - 1)]
        if isinstance(answer, Code):
            stream.reset(answer)
        else:
            stream.answer(answer)

    return play


def grpc(status: int) -> Http2Answer:
    """A response that is a status alone."""
    fields = (("content-type", "application/grpc"), ("grpc-status", str(status)))
    return Http2Answer(fields=fields, body=None)


def story(retry: Json, *answers: Http2Answer | Code, send: bytes = b"") -> Story:
    return Story(
        send or b"GET / HTTP/1.1\r\nHost: story.test\r\n\r\n",
        by_turns(*answers),
        [route("{cluster}", retry_policy=retry)],
        {"include_request_attempt_count": True, "include_attempt_count_in_response": True},
    )


POST: Final = b"POST / HTTP/1.1\r\nHost: story.test\r\ncontent-length: 5\r\n\r\nhello"
CALL: Final = POST.replace(
    b"content-length", b"content-type: application/grpc\r\nte: trailers\r\ncontent-length"
)
REFUSED: Final = Code.REFUSED_STREAM
STORIES: Final = {
    "refused": story(policy("refused-stream"), REFUSED, OK),
    "refused twice": story(policy("refused-stream"), REFUSED, REFUSED, send=POST),
    "refused, and no condition for it": story(policy("retriable-4xx"), REFUSED, OK),
    "refused, and only connections count": story(policy("connect-failure"), REFUSED, OK),
    "refused before a request": story(policy("reset-before-request"), REFUSED, OK),
    "reset where only refusals count": story(policy("refused-stream"), Code.CANCEL, OK),
    "reset": story(policy("reset"), Code.INTERNAL_ERROR, OK, send=POST),
    "refused, then reset before a request": story(
        policy("refused-stream,reset-before-request", 3), REFUSED, Code.CANCEL, OK
    ),
    "refused, then bad": story(policy("refused-stream,5xx", 3), REFUSED, Http2Answer(503), OK, send=POST),
    "gRPC, in the head": story(policy("unavailable"), grpc(14), grpc(0), send=CALL),
    "gRPC, another status": story(policy("unavailable"), grpc(13), grpc(0), send=CALL),
    "gRPC, refused": story(policy("refused-stream"), REFUSED, grpc(0), send=CALL),
}


def flags_in_order(line: str) -> str:
    """Envoy names flags in the order in which they came to it, and we in that of their numbers."""
    host, code, flags, rest = line.split(" ", 3)
    return f"{host} {code} {','.join(sorted(flags.split(',')))} {rest}"


stories = Stories(
    STORIES,
    counters=("upstream_rq_", "retry."),
    log="%REQ(:AUTHORITY)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% "
    "%UPSTREAM_REQUEST_ATTEMPT_COUNT% %BYTES_SENT% %BYTES_RECEIVED%",
    mask=flags_in_order,
    make_cluster=http2_cluster,
    origin=Http2Origin,
)
pair, told = stories.pair, stories.told


@pytest.mark.parametrize("title", STORIES)
def test_retries(pair: Pair, told: Any, title: str) -> None:
    stories.same(pair, told, title)
