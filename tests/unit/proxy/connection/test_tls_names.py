"""Subject alternative names."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from envoy.extensions.transport_sockets.tls.v3 import common_pb2
from google.protobuf import json_format

from proxy.config.context import CompileContext
from proxy.connection.tls_names import (
    all_names_of,
    any_matches,
    compile_name_tests,
    dns_name_matches,
    names_of,
)
from tests.support.certs import Authority

CERTIFICATE = {
    "subjectAltName": (
        ("DNS", "*.a.test"),
        ("URI", "spiffe://x/y"),
        ("IP Address", "0:0:0:0:0:0:0:1"),
        ("email", "me@a.test"),
    )
}


@pytest.mark.parametrize(
    ("wanted", "presented", "matches"),
    [
        ("x.a.test", "*.a.test", True),
        ("X.A.test", "*.a.TEST", True),
        ("a.test", "*.a.test", False),
        ("y.x.a.test", "*.a.test", False),
        ("a.test", "A.test", True),
        ("test", "*.test", False),
    ],
)
def test_a_wildcard_stands_for_one_label(wanted: str, presented: str, matches: bool) -> None:
    assert dns_name_matches(wanted, presented) is matches


@pytest.mark.parametrize(
    ("matcher", "matches"),
    [
        ({"san_type": "DNS", "matcher": {"exact": "x.a.test"}}, True),
        ({"san_type": "DNS", "matcher": {"suffix": ".a.test"}}, True),
        ({"san_type": "URI", "matcher": {"exact": "spiffe://x/y"}}, True),
        ({"san_type": "URI", "matcher": {"safe_regex": {"regex": "spiffe://x/.*"}}}, True),
        ({"san_type": "DNS", "matcher": {"exact": "spiffe://x/y"}}, False),
        ({"san_type": "IP_ADDRESS", "matcher": {"exact": "::1"}}, True),
        ({"san_type": "EMAIL", "matcher": {"prefix": "me@"}}, True),
    ],
)
def test_a_name_is_compared_with_matchers_of_its_kind(matcher: dict[str, object], matches: bool) -> None:
    message = json_format.ParseDict(
        {"match_typed_subject_alt_names": [matcher]}, common_pb2.CertificateValidationContext()
    )
    tests = compile_name_tests(message, "v", CompileContext())
    assert any_matches(tests, names_of(CERTIFICATE)) is matches


def test_a_name_with_a_type_of_its_own_is_compared_with_matchers_of_that_type(tmp_path: Path) -> None:
    issued = Authority(tmp_path).issue("1.2.3=me", "a@b.test", "10.1.2.3", "spiffe://x/y", "a.test")
    der = ssl.PEM_cert_to_DER_cert(issued.certificate.read_text())
    names = all_names_of(der)
    assert names == [
        ("othername:1.2.3", "me"),
        ("email", "a@b.test"),
        ("IP Address", "10.1.2.3"),
        ("URI", "spiffe://x/y"),
        ("DNS", "a.test"),
    ]
    message = common_pb2.CertificateValidationContext()
    typed = message.match_typed_subject_alt_names.add(san_type="OTHER_NAME", oid="1.2.3")
    typed.matcher.exact = "me"
    assert any_matches(compile_name_tests(message, "v", CompileContext()), names)
    typed.oid = "1.2.4"
    assert not any_matches(compile_name_tests(message, "v", CompileContext()), names)


def test_an_untyped_matcher_is_for_every_kind() -> None:
    message = common_pb2.CertificateValidationContext()
    message.match_subject_alt_names.add().exact = "spiffe://x/y"
    assert any_matches(compile_name_tests(message, "v", CompileContext()), names_of(CERTIFICATE))


def test_a_name_of_no_type_cannot_be_compared() -> None:
    message = common_pb2.CertificateValidationContext()
    message.match_typed_subject_alt_names.add(san_type=5).matcher.exact = "x"
    ctx = CompileContext()
    compile_name_tests(message, "v", ctx)
    assert [problem.path for problem in ctx.problems] == ["v.match_typed_subject_alt_names[0].oid"]
