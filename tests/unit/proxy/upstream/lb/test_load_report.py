"""Load reports in all their forms, and what a host weighs by one."""

import base64

import pytest
from xds.data.orca.v3.orca_load_report_pb2 import OrcaLoadReport

from proxy.base.headers import HeaderMap
from proxy.upstream.lb.load_report import read_report, weight_of

BINARY = base64.b64encode(
    OrcaLoadReport(cpu_utilization=0.5, rps_fractional=10, named_metrics={"a": 0.25}).SerializeToString()
).decode()


def headers(**fields):
    made = HeaderMap()
    for name, value in fields.items():
        made.set(name.replace("_", "-"), value)
    return made


@pytest.mark.parametrize(
    "fields",
    [
        {"endpoint_load_metrics": "TEXT cpu_utilization=0.5, rps_fractional=10,named_metrics.a=0.25"},
        {
            "endpoint_load_metrics": "JSON "
            '{"cpuUtilization": 0.5, "rps_fractional": 10, "eps": null, "named_metrics": {"a": 0.25}}'
        },
        {"endpoint_load_metrics": f"BIN {BINARY}"},
        {"endpoint_load_metrics_bin": BINARY},
        {"endpoint_load_metrics_bin": BINARY.rstrip("=")},
    ],
)
def test_every_form_of_a_report(fields):
    report = read_report(headers(**fields))
    named = {name: value for name, value in report.items() if value}
    assert named == {"cpu_utilization": 0.5, "rps_fractional": 10.0, "named_metrics.a": 0.25}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cpu_utilization=0.5",
        "TEXT",
        "TEXT cpu_utilization",
        "TEXT cpu_utilization=a",
        "TEXT cpu_utilization=nan",
        "TEXT cpu_utilization=-1",
        "TEXT eps=1,eps=2",
        "TEXT other=1",
        "JSON [1]",
        "JSON {",
        'JSON {"eps": "a"}',
        'JSON {"eps": {"a": null}}',
        'JSON {"eps": [1]}',
        'JSON {"eps": true}',
        'JSON {"named_metrics": {"a": {}}}',
        f'JSON {{"eps": 1{"0" * 400}}}',
        f"JSON {'[' * 50_000}",
        "BIN ?",
        "BIN /////w==",
    ],
)
def test_what_cannot_be_read_is_no_report(text):
    assert read_report(headers(endpoint_load_metrics=text)) is None


def test_no_report():
    assert read_report(headers(other="x")) is None


@pytest.mark.parametrize(
    ("report", "weight"),
    [
        ({"rps_fractional": 100, "cpu_utilization": 0.5}, 200),
        ({"rps_fractional": 100, "cpu_utilization": 0.5, "application_utilization": 0.25}, 400),
        ({"rps_fractional": 100, "application_utilization": 0.25, "named_metrics.a": 0.8}, 125),
        ({"rps_fractional": 100, "cpu_utilization": 0.5, "eps": 50}, 100),
        ({"rps_fractional": 1e12, "cpu_utilization": 1e-9}, 2**32 - 1),
        ({"cpu_utilization": 0.5}, None),
        ({"rps_fractional": 100}, None),
    ],
)
def test_the_weight_is_requests_by_utilization(report, weight):
    assert weight_of(report, ["named_metrics.a"], 1.0) == weight


def test_all_of_a_map_may_be_looked_at():
    report = {"rps_fractional": 100, "utilization.a": 0.2, "utilization.b": 0.4}
    assert weight_of(report, ["utilization.*"], 1.0) == 250
