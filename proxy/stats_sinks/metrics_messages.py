"""Messages of `envoy.service.metrics.v3`, which are no part of the generated code that is published.

Source: envoy/service/metrics/v3/metrics_service.proto, and `io.prometheus.client` (metrics.proto of client_model).
They are in a pool of their own, so that they meet no other package's; the node is bytes, as it is on the wire.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

METHOD: Final = "/envoy.service.metrics.v3.MetricsService/StreamMetrics"

COUNTER: Final = 0
GAUGE: Final = 1
SUMMARY: Final = 2
HISTOGRAM: Final = 4
"""Values of `MetricFamily.type`."""

_PACKAGE: Final = "outrider.metrics"
_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS: Final = {
    "bytes": _Field.TYPE_BYTES,
    "double": _Field.TYPE_DOUBLE,
    "int32": _Field.TYPE_INT32,  # an enumeration, on the wire
    "int64": _Field.TYPE_INT64,
    "string": _Field.TYPE_STRING,
    "uint64": _Field.TYPE_UINT64,
}
_MESSAGES: Final = """
Identifier node=1:bytes
StreamMetricsMessage identifier=1:Identifier envoy_metrics=2:MetricFamily*
MetricFamily name=1:string type=3:int32 metric=4:Metric*
Metric label=1:Label* gauge=2:Value counter=3:Value summary=4:Summary timestamp_ms=6:int64 histogram=7:Histogram
Label name=1:string value=2:string
Value value=1:double
Summary sample_count=1:uint64 sample_sum=2:double quantile=3:Quantile*
Quantile quantile=1:double value=2:double
Histogram sample_count=1:uint64 sample_sum=2:double bucket=3:Bucket*
Bucket cumulative_count=1:uint64 upper_bound=2:double
"""


def _make() -> tuple[Any, Any]:
    # Of proto2, where a value of 0 is written too, as it is by Envoy.
    file = descriptor_pb2.FileDescriptorProto(name=f"{_PACKAGE}.proto", package=_PACKAGE, syntax="proto2")
    for line in _MESSAGES.split("\n"):
        name, *fields = line.split() or [""]
        if not name:
            continue
        message = file.message_type.add(name=name)
        for text in fields:
            field, _, rest = text.partition("=")
            number, _, kind = rest.partition(":")
            label = _Field.LABEL_REPEATED if kind.endswith("*") else _Field.LABEL_OPTIONAL
            added = message.field.add(name=field, number=int(number), label=label)
            kind = kind.rstrip("*")
            if kind in _SCALARS:
                added.type = _SCALARS[kind]
            else:
                added.type, added.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    whole, family = (
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in ("StreamMetricsMessage", "MetricFamily")
    )
    return whole, family


StreamMetricsMessage, MetricFamily = _make()
