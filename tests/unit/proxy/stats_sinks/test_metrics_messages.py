"""The messages are those of the protos, on the wire."""

from __future__ import annotations

from proxy.stats_sinks.metrics_messages import COUNTER, StreamMetricsMessage


def test_values_of_zero_are_written() -> None:
    message = StreamMetricsMessage()
    family = message.envoy_metrics.add(name="a", type=COUNTER)
    family.metric.add(timestamp_ms=5).counter.value = 0
    # MetricFamily: name, type; Metric: counter with a value, timestamp.
    metric = b"\x1a\x09\x09" + bytes(8) + b"\x30\x05"
    body = b"\x0a\x01a\x18\x00\x22" + bytes([len(metric)]) + metric
    assert message.SerializeToString() == b"\x12" + bytes([len(body)]) + body


def test_the_node_is_a_message_in_the_identifier() -> None:
    message = StreamMetricsMessage()
    message.identifier.node = b"\x0a\x01n"
    assert message.SerializeToString() == b"\x0a\x05\x0a\x03\x0a\x01n"
