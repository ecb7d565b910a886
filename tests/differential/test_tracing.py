"""Traced requests: which are, what goes on to the host, and what the collectors are told, beside Envoy.

Ids differ and are compared by where they come again, times by their order.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.client import get
from tests.support.configs import (
    Json,
    bootstrap,
    cluster,
    connection_manager,
    listener,
    route,
    typed,
    virtual_host,
)
from tests.support.envoy import Envoy
from tests.support.origin import Origin
from tests.support.outrider import subject
from tests.support.proxy_process import ProxyProcess

Fields = Mapping[str, str]
#: A path with the fields of a request.
Asked = tuple[str, Fields]

UPSTREAM_FIELDS: Final = (
    "b3",
    "traceparent",
    "tracestate",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "x-request-id",
    "x-envoy-decorator-operation",
)
_IDS: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}|[0-9a-f]{16}")
_UUID_LENGTH: Final = 36
COLLECTED: Final = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"
ANSWER: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
TOLD: Final = b"HTTP/1.1 200 OK\r\nx-envoy-decorator-operation: told\r\ncontent-length: 2\r\n\r\nok"
REFUSED: Final = b"HTTP/1.1 503 No\r\ngrpc-status: 14\r\ngrpc-message: busy\r\ncontent-length: 0\r\n\r\n"

TRACE: Final = "0af7651916cd43dd8448eb211c80319c"
PARENT: Final = "b7ad6b7169203331"
W3C: Final = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "a=b"}
UNSAMPLED: Final = {"traceparent": f"00-{TRACE}-{PARENT}-00"}
B3: Final = {"x-b3-traceid": "463ac35c9f6413ad", "x-b3-spanid": "a2fb4a1d1a96d312"}
SAMPLED: Final = {**B3, "x-b3-sampled": "1"}
CLIENT: Final = {"x-client-trace-id": "mine"}


def tag(name: str, **kind: Any) -> Json:
    return {"tag": name, **kind}


def metadata(kind: str, *path: str, **fields: Any) -> Json:
    """The `metadata` of a custom tag."""
    key = {"key": "of.test", "path": [{"key": one} for one in path]}
    return {"kind": {kind: {}}, "metadata_key": key, **fields}


TAGS: Final = [
    tag("literal", literal={"value": "v"}),
    tag("missing", environment={"name": "NOT_THERE", "default_value": "d"}),
    tag("nothing", environment={"name": "NOT_THERE"}),
    tag("field", request_header={"name": "X-A", "default_value": "none"}),
    tag("no_field", request_header={"name": "x-none"}),
    tag("of_route", metadata=metadata("route", "a", "b")),
    tag("whole", metadata=metadata("route", "a")),
    tag("of_cluster", metadata=metadata("cluster", "n", default_value="other")),
    tag("of_host", metadata=metadata("host", "n", default_value="other")),
    tag("value", value="%REQ(:METHOD)% %RESPONSE_CODE%"),
]
OF_ROUTE: Final = {"filter_metadata": {"of.test": {"a": {"b": "deep"}}}}
ALL: Final = {"numerator": 100}
ROUTES: Final[list[Json]] = [
    {**route(prefix="/decorated"), "decorator": {"operation": "named"}},
    {**route(prefix="/quiet"), "decorator": {"operation": "named", "propagate": False}},
    {**route(prefix="/never"), "tracing": {"random_sampling": {"numerator": 0}}},
    {
        **route(prefix="/tagged"),
        "metadata": OF_ROUTE,
        "tracing": {
            "client_sampling": ALL,
            "random_sampling": ALL,
            "overall_sampling": ALL,
            "custom_tags": [tag("own", literal={"value": "r"}), tag("literal", literal={"value": "r"})],
        },
    },
    {**route(prefix="/metadata"), "metadata": OF_ROUTE},
    {"match": {"prefix": "/500"}, "direct_response": {"status": 500}},
    {"match": {"prefix": "/404"}, "direct_response": {"status": 404}},
    {"match": {"prefix": "/moved"}, "redirect": {"path_redirect": "/x"}},
    {"match": {"prefix": "/dead"}, "route": {"cluster": "dead"}},
    {"match": {"prefix": "/nowhere"}, "route": {"cluster_header": "x-none"}},
    route(prefix="/rewritten", prefix_rewrite="/other"),
    {"match": {"prefix": "/told"}, "route": {"cluster": "telling"}},
    {"match": {"prefix": "/refused"}, "route": {"cluster": "refusing"}},
    {"match": {"path": "/"}, "route": {"cluster": "origin"}},
]


def zipkin(**fields: Any) -> Json:
    """`{name}` is that of the case."""
    config = {
        "collector_cluster": "collector",
        "collector_endpoint": "/{name}?x=1",
        "collector_endpoint_version": "HTTP_JSON",
        **fields,
    }
    return {
        "name": "envoy.tracers.zipkin",
        "typed_config": typed("envoy.config.trace.v3.ZipkinConfig", **config),
    }


def otel(**fields: Any) -> Json:
    """`{name}` is that of the case."""
    uri = {"uri": "http://otel.test:4318/{name}", "cluster": "collector", "timeout": "1s"}
    config = {"http_service": {"http_uri": uri}, "service_name": "svc", **fields}
    return {
        "name": "envoy.tracers.opentelemetry",
        "typed_config": typed("envoy.config.trace.v3.OpenTelemetryConfig", **config),
    }


OTEL: Final = "envoy.extensions.tracers.opentelemetry"
ALWAYS_ON: Final = {"name": "on", "typed_config": typed(f"{OTEL}.samplers.v3.AlwaysOnSamplerConfig")}
DETECTORS: Final = [
    {
        "name": "static",
        "typed_config": typed(
            f"{OTEL}.resource_detectors.v3.StaticConfigResourceDetectorConfig",
            attributes={"a": "b", "service.name": "replaced"},
        ),
    },
    {
        "name": "environment",
        "typed_config": typed(f"{OTEL}.resource_detectors.v3.EnvironmentResourceDetectorConfig"),
    },
]


def ids(**fields: Any) -> Json:
    return {
        "request_id_extension": {
            "typed_config": typed("envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig", **fields)
        }
    }


@dataclass(frozen=True)
class Case:
    tracing: Json
    asked: tuple[Asked, ...]
    hcm: Json | None = None
    outbound: bool = False


def paths(*targets: str) -> tuple[Asked, ...]:
    return tuple((target, {}) for target in targets)


def fields(*each: Fields) -> tuple[Asked, ...]:
    return tuple(("/", one) for one in each)


SPECIAL: Final = {
    "x-envoy-decorator-operation": "asked",
    "content-type": "application/grpc",
    "grpc-timeout": "5S",
    "user-agent": "ua",
    "x-envoy-downstream-service-cluster": "caller",
    **CLIENT,
}
EVERYTHING: Final = (
    *paths("/decorated/long/path?q=1", "/quiet", "/never", "/500", "/404", "/moved", "/dead", "/nowhere"),
    *paths("/rewritten/x", "/unknown", "/told", "/refused"),
    ("/decorated", SPECIAL),
    ("/decorated", {"x-envoy-decorator-operation": ""}),
    ("/never", CLIENT),
    ("/never", {"x-envoy-force-trace": "1"}),
)
PARENTS: Final = fields(
    {},
    W3C,
    UNSAMPLED,
    {"tracestate": "a=b"},
    {"traceparent": f"00-{TRACE.upper()}-{PARENT}-01"},
    {"traceparent": f"ff-{TRACE}-{PARENT}-03"},
    {"traceparent": f"00-{'0' * 32}-{PARENT}-01"},
    {"traceparent": f"00-{TRACE}-{'0' * 16}-01"},
    {"traceparent": f"00-{TRACE}-{PARENT}-0g"},
    {"traceparent": f"00-{TRACE}-{PARENT}-01-02"},
    {"traceparent": ""},
    {**W3C, **CLIENT},
)
B3_PARENTS: Final = fields(
    {},
    B3,
    SAMPLED,
    {**B3, "x-b3-sampled": "true"},
    {**B3, "x-b3-sampled": "0"},
    {**SAMPLED, "x-b3-parentspanid": "05e3ac9a4f6e3b90"},
    {**SAMPLED, "x-b3-parentspanid": ""},
    {**SAMPLED, "x-b3-parentspanid": "zz"},
    {"x-b3-traceid": TRACE, "x-b3-spanid": PARENT},
    {"x-b3-traceid": "0", "x-b3-spanid": "1"},
    {"x-b3-traceid": TRACE + PARENT, "x-b3-spanid": "1"},
    {"x-b3-traceid": "0x1", "x-b3-spanid": "1"},
    {"x-b3-traceid": "xyz", "x-b3-spanid": "1"},
    {"x-b3-spanid": "1"},
    {"x-b3-sampled": "1"},
    {"x-b3-flags": "1"},
    {"b3": ""},
    {"b3": "0"},
    {"b3": "1"},
    {"b3": "d"},
    {"b3": "x"},
    {"b3": f"463ac35c9f6413ad-{PARENT}"},
    {"b3": f"463ac35c9f6413ad-{PARENT}-1"},
    {"b3": f"463ac35c9f6413ad-{PARENT}-d"},
    {"b3": f"{TRACE}-{PARENT}-0"},
    {"b3": f"{TRACE}-{PARENT}-1-05e3ac9a4f6e3b90"},
    {"b3": f"463ac35c9f6413ad-{PARENT}-1-05e3ac9a4f6e3b90"},
    {"b3": f"463ac35c9f6413ad-{PARENT}-x"},
    {"b3": f"463ac35c9f6413ad-{PARENT}-"},
    {"b3": f"463ac35c9f6413ad-{PARENT}-1-"},
    {"b3": "463ac35c9f6413ad"},
    W3C,
    {**W3C, **SAMPLED},
)
GIVEN_IDS: Final = fields(
    *(
        {"x-request-id": one}
        for one in (
            "abc",
            "12345678-xx",
            "zz345678-aaaa-1aaa-aaaa-aaaaaaaaaaaa",
            "0x345678-aaaa-4aaa-aaaa-aaaaaaaaaaaa",
            "+1234567-aaaa-4aaa-aaaa-aaaaaaaaaaaa",
            "1_234567-aaaa-4aaa-aaaa-aaaaaaaaaaaa",
            "02345678-aaaa-4aaa-aaaa-aaaaaaaaaaaa",
            "02345678-aaaa-9aaa-aaaa-aaaaaaaaaaaa",
            "02345678-aaaa-aaaa-aaaa-aaaaaaaaaaaa",
            "02345678-aaaa-baaa-aaaa-aaaaaaaaaaaa",
        )
    ),
    {},
    CLIENT,
)
NEVER: Final = {"random_sampling": {"value": 0}}
CASES: Final[dict[str, Case]] = {
    "otel": Case({"provider": otel()}, EVERYTHING),
    "otel_outbound": Case({"provider": otel()}, EVERYTHING, outbound=True),
    "otel_parents": Case({"provider": otel()}, PARENTS),
    "otel_never": Case({"provider": otel(), **NEVER}, PARENTS),
    "otel_overall": Case({"provider": otel(), "overall_sampling": {"value": 0}}, PARENTS),
    "otel_verbose": Case(
        {"provider": otel(), "verbose": True, "max_path_tag_length": 8, "custom_tags": TAGS},
        (*paths("/decorated/long", "/dead", "/tagged", "/metadata", "/404"), ("/", {"x-a": "1, 2"})),
    ),
    "otel_always": Case({"provider": otel(sampler=ALWAYS_ON)}, PARENTS),
    "otel_always_never": Case({"provider": otel(sampler=ALWAYS_ON), **NEVER}, PARENTS),
    "otel_resource": Case({"provider": otel(resource_detectors=DETECTORS)}, paths("/")),
    "otel_spawned": Case(
        {"provider": otel(), "spawn_upstream_span": True},
        (*paths("/decorated", "/404", "/dead", "/refused", "/told"), ("/", W3C)),
    ),
    "otel_spawned_outbound": Case(
        {"provider": otel(), "spawn_upstream_span": True},
        (*paths("/decorated", "/404"), ("/", W3C)),
        outbound=True,
    ),
    "otel_operations": Case(
        {
            "provider": otel(),
            "spawn_upstream_span": True,
            "operation": "%REQ(:METHOD)% %REQ(:PATH)%",
            "upstream_operation": "to %UPSTREAM_CLUSTER%",
        },
        (*paths("/decorated", "/tagged", "/404"), ("/", {"x-envoy-decorator-operation": "asked"})),
    ),
    "otel_unpacked": Case(
        {"provider": otel()}, (*paths("/", "/never"), ("/", CLIENT)), ids(pack_trace_reason=False)
    ),
    "otel_all": Case(
        {"provider": otel(), **NEVER},
        (*paths("/", "/never"), ("/", CLIENT), ("/", W3C)),
        ids(use_request_id_for_trace_sampling=False),
    ),
    "otel_given": Case({"provider": otel()}, GIVEN_IDS, {"generate_request_id": False}),
    "otel_preserved": Case({"provider": otel()}, GIVEN_IDS, {"preserve_external_request_id": True}),
    "otel_internal": Case(
        {"provider": otel(), **NEVER},
        fields(
            {"x-envoy-force-trace": "no"}, {"x-forwarded-for": "10.0.0.1", "x-envoy-force-trace": "1"}, {}
        ),
        {
            "use_remote_address": True,
            "internal_address_config": {
                "cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}],
            },
        },
    ),
    "zipkin": Case({"provider": zipkin()}, EVERYTHING),
    "zipkin_outbound": Case({"provider": zipkin()}, EVERYTHING, outbound=True),
    "zipkin_parents": Case({"provider": zipkin()}, B3_PARENTS),
    "zipkin_never": Case({"provider": zipkin(), **NEVER}, B3_PARENTS),
    "zipkin_outbound_parents": Case({"provider": zipkin()}, B3_PARENTS, outbound=True),
    "zipkin_long": Case({"provider": zipkin(trace_id_128bit=True), "verbose": True}, B3_PARENTS),
    "zipkin_apart": Case({"provider": zipkin(shared_span_context=False)}, B3_PARENTS),
    "zipkin_w3c": Case({"provider": zipkin(trace_context_option="USE_B3_WITH_W3C_PROPAGATION")}, B3_PARENTS),
    "zipkin_split": Case({"provider": zipkin(split_spans_for_request=True)}, B3_PARENTS, outbound=True),
    "zipkin_spawned": Case(
        {"provider": zipkin(), "spawn_upstream_span": True},
        (*paths("/decorated", "/404", "/dead"), ("/", SAMPLED)),
    ),
    "zipkin_host": Case({"provider": zipkin(collector_hostname="zipkin.test")}, paths("/")),
    "nobody": Case({}, EVERYTHING),
    "nobody_outbound": Case({}, EVERYTHING, outbound=True),
}


class Side:
    """One proxy with a host and a collector of its own."""

    def __init__(self, kind: type[ProxyProcess], stack: ExitStack) -> None:
        self.origin = stack.enter_context(Origin(ANSWER))
        self.telling = stack.enter_context(Origin(TOLD))
        self.refusing = stack.enter_context(Origin(REFUSED))
        self.collector = stack.enter_context(Origin(COLLECTED))
        listeners = [
            listener(
                [self._manager(name, case)],
                name,
                **({"traffic_direction": "OUTBOUND"} if case.outbound else {}),
            )
            for name, case in CASES.items()
        ]
        clusters = [
            cluster("origin", self.origin.port, metadata={"filter_metadata": {"of.test": {"n": 7}}}),
            cluster("telling", self.telling.port, alt_stat_name="other_name"),
            cluster("refusing", self.refusing.port),
            cluster("collector", self.collector.port),
            cluster("dead", 1),
        ]
        runtime = {
            f"tracing.{kind}.{key}": value
            for kind in ("zipkin", "opentelemetry")
            for key, value in (("min_flush_spans", 100), ("flush_interval_ms", 300))
        }
        config = bootstrap(
            listeners,
            clusters,
            node={"id": "node", "cluster": "here", "locality": {"zone": "z1"}},
            layered_runtime={"layers": [{"name": "static", "static_layer": runtime}]},
        )
        self.proxy = stack.enter_context(kind(config, listeners=tuple(CASES)))

    @staticmethod
    def _manager(name: str, case: Case) -> Json:
        tracing = json.loads(json.dumps(case.tracing).replace("{name}", name))
        return connection_manager(
            {"name": "routes", "virtual_hosts": [virtual_host(ROUTES)]},
            stat_prefix=name,
            tracing=tracing,
            **(case.hcm or {}),
        )

    def tell(self, name: str) -> Any:
        """All that can be seen of a case."""
        seen: list[Any] = []
        for target, sent in CASES[name].asked:
            before = {one: len(one.requests) for one in (self.origin, self.telling, self.refusing)}
            lines = "".join(f"{key}: {value}\r\n" for key, value in sent.items())
            response = get(self.proxy.ports[name], target, fields=lines).responses[-1]
            passed = [request for one, count in before.items() for request in one.requests[count:]]
            seen.append(
                {
                    "asked": (target, dict(sent)),
                    "status": response.status,
                    "operation": response.get("x-envoy-decorator-operation"),
                    "passed": [
                        {key: one.get(key) for key in UPSTREAM_FIELDS if one.get(key) is not None}
                        for one in passed
                    ],
                }
            )
        return _related({"seen": seen, "spans": self._spans(name), "stats": self._stats(name)})

    def _spans(self, name: str) -> list[Any]:
        if "provider" not in CASES[name].tracing:
            return []
        # All that is to come comes with the report after next at the latest.
        time.sleep(0.9)
        found: list[Any] = []
        for report in self.collector.requests:
            if report.target.lstrip("/").partition("?")[0] == name:
                assert report.get("x-envoy-internal") == "true"
                facts = (report.method, report.target, report.get("host"), report.get("content-type"))
                told = _zipkin(report.body) if name.startswith("zipkin") else _otel(report.body)
                # It depends on the time how many reports there are, and what is told in each of them.
                found += [one for one in (facts, *told) if one not in found]
        return found

    def _stats(self, name: str) -> dict[str, str]:
        lines = (line.partition(": ") for line in self.proxy.admin("/stats")[1].splitlines())
        return {key: value for key, _, value in lines if key.startswith(f"http.{name}.tracing.")}


def _zipkin(body: bytes) -> list[Any]:
    found = []
    for span in json.loads(body):
        start, end = span.pop("timestamp"), span.pop("duration")
        assert start > 1e15
        assert 0 <= end < 5e6
        span["annotations"] = sorted(one["value"] for one in span["annotations"])
        span["localEndpoint"].pop("ipv4")
        found.append(dict(sorted(span.items())))
    return found


def _otel(body: bytes) -> list[Any]:
    found = []
    message = ExportTraceServiceRequest.FromString(body)
    for resource in message.resource_spans:
        attributes = {one.key: one.value.string_value for one in resource.resource.attributes}
        found.append({key: value for key, value in attributes.items() if not key.startswith("telemetry.")})
        for scope in resource.instrumentation_library_spans:
            for span in scope.spans:
                assert 1e18 < span.start_time_unix_nano <= span.end_time_unix_nano
                found.append(
                    {
                        "name": span.name,
                        "kind": span.kind,
                        "trace": span.trace_id.hex(),
                        "id": span.span_id.hex(),
                        "parent": span.parent_span_id.hex(),
                        "state": span.trace_state,
                        "status": span.status.code,
                        "tags": {one.key: one.value.string_value for one in span.attributes},
                        "events": sorted(event.name for event in span.events),
                    }
                )
    return found


def _related(told: Any) -> Any:
    """Each id by the order of its first appearance; of request ids, the digit that tells the reason stays."""
    known: dict[str, str] = {}
    given = {TRACE, PARENT, *B3.values(), "05e3ac9a4f6e3b90"}

    def name(match: re.Match[str]) -> str:
        text = match[0]
        if text in given or not text.strip("0"):
            return text
        reason = text[14] if len(text) == _UUID_LENGTH else ""
        return known.setdefault(text, f"<id {len(known)} {len(text)} {reason}>")

    addresses = re.sub(r"127\.0\.0\.1:\d+", "<host>", json.dumps(told))
    return json.loads(_IDS.sub(name, addresses))


@pytest.fixture(scope="module")
def sides() -> Iterator[tuple[Side, Side]]:
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("OTEL_RESOURCE_ATTRIBUTES", "k=v%201,other=x")
        yield Side(Envoy, stack), Side(subject(), stack)


@pytest.mark.parametrize("name", CASES)
def test_what_is_traced_and_told(sides: tuple[Side, Side], name: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        envoy, ours = pool.map(lambda side: side.tell(name), sides)
    assert ours["seen"] == envoy["seen"]
    assert ours["stats"] == envoy["stats"]
    assert _in_order(ours["spans"]) == _in_order(envoy["spans"])


def _in_order(spans: list[Any]) -> list[Any]:
    return sorted(spans, key=lambda one: json.dumps(one, sort_keys=True))


def test_a_manager_without_a_provider_uses_that_of_the_bootstrap() -> None:
    told = []
    for kind in (Envoy, subject()):
        with Origin(ANSWER) as origin, Origin(COLLECTED) as collector:
            manager = connection_manager(
                {"name": "routes", "virtual_hosts": [virtual_host([route()])]}, tracing={}
            )
            config = bootstrap(
                [listener([manager])],
                [cluster("origin", origin.port), cluster("collector", collector.port)],
                tracing={"http": zipkin()},
            )
            with kind(config) as proxy:
                for _ in range(5):
                    get(proxy.port)
                (report,) = collector.wait_for_requests(1)
            told.append((len(_zipkin(report.body)), "x-b3-spanid" in dict(origin.requests[0].fields)))
    assert told[0] == told[1] == (5, True)
