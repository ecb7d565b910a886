"""Which responses count as errors of their host, where a cluster says so, beside Envoy."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import pytest

from tests.support.client import exchange
from tests.support.configs import HTTP_OPTIONS, Json, cluster, http_proxy, route, typed
from tests.support.differential import Pair, Side, pair_fixture, same_verdict
from tests.support.origin import Answer

STRICT: Final = {
    "interval": "60s",
    "max_ejection_percent": 100,
    "consecutive_5xx": 2,
    "consecutive_gateway_failure": 2,
    "enforcing_consecutive_gateway_failure": 100,
    "consecutive_local_origin_failure": 2,
}


def response(*headers: Json) -> Json:
    return {"http_response_headers_match": {"headers": list(headers)}}


def status(number: int) -> Json:
    return {"name": ":status", "string_match": {"exact": str(number)}}


def reply(number: int, fields: str = "", body: str = "x") -> bytes:
    return f"HTTP/1.1 {number} X\r\ncontent-length: {len(body)}\r\n{fields}\r\n{body}".encode()


class Case(NamedTuple):
    """What a cluster takes for errors, and what its host answers twice."""

    matcher: Json
    answers: list[Any]
    #: Of the request.
    fields: str = ""
    #: Of the `OutlierDetection` of the cluster.
    outlier: Json = {}  # noqa: RUF012 - nobody changes it


MARK: Final = {"name": "x-error", "present_match": True}
MARKED: Final = "x-error: 1\r\n"
GRPC: Final = "content-type: application/grpc\r\n"
OK: Final = reply(200)
RESET: Final = Answer(b"", end="reset")
REQUEST: Final = {"http_request_headers_match": {"headers": [MARK]}}
TRAILERS: Final = {"http_response_trailers_match": {"headers": [MARK]}}
BODY: Final = {"http_response_generic_body_match": {"patterns": [{"string_match": "x"}]}}
CASES: Final[dict[str, Case]] = {
    "a status": Case(response(status(404)), [reply(404)] * 2),
    "another status": Case(response(status(404)), [reply(410)] * 2),
    "5xx that are none": Case(response(status(404)), [reply(503)] * 2),
    "a gateway failure": Case(response(status(503)), [reply(503)] * 2),
    "another 5xx": Case(response(status(500)), [reply(500)] * 2),
    "a field": Case(response(MARK), [reply(200, MARKED)] * 2),
    "a field of a gateway failure": Case(response(MARK), [reply(503, MARKED)] * 2),
    "one of two": Case(response(MARK), [reply(200, MARKED), OK]),
    "both fields": Case(response(status(404), MARK), [reply(404, MARKED)] * 2),
    "one of both fields": Case(response(status(404), MARK), [reply(404)] * 2),
    "no field at all": Case(response(), [OK] * 2),
    "anything": Case({"any_match": True}, [OK] * 2),
    "or": Case({"or_match": {"rules": [response(status(404)), response(status(410))]}}, [reply(410)] * 2),
    "and": Case({"and_match": {"rules": [response(status(200)), response(MARK)]}}, [reply(200, MARKED)] * 2),
    "and not": Case({"and_match": {"rules": [response(status(200)), response(MARK)]}}, [OK] * 2),
    "not": Case({"not_match": response(status(200))}, [reply(301)] * 2),
    "a range": Case(
        response({"name": ":status", "range_match": {"start": 400, "end": 600}}), [reply(404), reply(500)]
    ),
    "fields of the request": Case(REQUEST, [OK] * 2, MARKED),
    "no fields of the request": Case({"not_match": REQUEST}, [OK] * 2, MARKED),
    "trailers": Case(TRAILERS, [OK] * 2),
    "a body": Case(BODY, [OK] * 2),
    "gRPC": Case(response(MARK), [reply(200, f"{GRPC}grpc-status: 14\r\n{MARKED}", "")] * 2, GRPC),
    "gRPC that is good": Case(
        response(MARK), [reply(200, f"{GRPC}grpc-status: 0\r\n{MARKED}", "")] * 2, GRPC
    ),
    "gRPC that is no error": Case(response(MARK), [reply(200, f"{GRPC}grpc-status: 14\r\n", "")] * 2, GRPC),
    "gRPC that says so later": Case(response(MARK), [reply(200, f"{GRPC}{MARKED}", "")] * 2, GRPC),
    "gRPC that is refused": Case(response(status(404)), [reply(404)] * 2, GRPC),
    "gRPC that fails": Case(response(status(404)), [reply(503)] * 2, GRPC),
    "a reset": Case(response(status(404)), [RESET] * 2),
    "a reset after an error": Case(response(status(404)), [reply(404), RESET]),
    "too late": Case(response(status(404)), [Answer(OK, delay=1.0)] * 2),
    "split": Case(
        response(status(404)), [reply(404)] * 2, outlier={"split_external_local_origin_errors": True}
    ),
    "split and reset": Case(
        response(status(404)), [RESET] * 2, outlier={"split_external_local_origin_errors": True}
    ),
}
NAMES: Final = {title: f"case{number}" for number, title in enumerate(CASES)}


def judged(name: str, matcher: Json, **outlier: Any) -> Json:
    options = typed(
        HTTP_OPTIONS,
        explicit_http_config={"http_protocol_options": {}},
        outlier_detection={"error_matcher": matcher},
    )
    return cluster(
        name,
        "{{origin_port}}",
        typed_extension_protocol_options={HTTP_OPTIONS: options},
        outlier_detection={**STRICT, **outlier},
    )


pair = pair_fixture(
    http_proxy(
        routes=[route(name, f"/{name}/", timeout="0.5s") for name in NAMES.values()],
        clusters=[
            cluster(),
            *(judged(NAMES[title], case.matcher, **case.outlier) for title, case in CASES.items()),
        ],
    )
)


@pytest.mark.parametrize("title", CASES)
def test_what_is_an_error(pair: Pair, title: str) -> None:
    name, case = NAMES[title], CASES[title]
    sent = f"GET /{name}/ HTTP/1.1\r\nhost: a.test\r\n{case.fields}\r\n".encode()

    def run(side: Side) -> list[int]:
        side.origin.script(case.answers)
        return [exchange(side.proxy.port, sent, timeout=5.0).status for _ in range(2)]

    pair.same_value("statuses", run, settle=0)
    # Not what has changed: a host that is ejected stays so.
    pair.same_value("numbers", lambda side: side.proxy.stats(f"cluster.{name}.outlier_detection"))


@pytest.mark.parametrize(
    "matcher", [{"any_match": False}, {}, {"or_match": {"rules": [{"any_match": True}]}}, {"or_match": {}}]
)
def test_what_is_refused(matcher: Json) -> None:
    same_verdict(http_proxy(clusters=[judged("origin", matcher)]), {"origin_port": 1, "listener_port": 2})
