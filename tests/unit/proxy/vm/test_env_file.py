from __future__ import annotations

from pathlib import Path

import pytest

from proxy.vm.bootstrap import TEMPLATE, render
from proxy.vm.env_file import Settings, parse, read
from proxy.vm.errors import VmError
from proxy.vm.identity import Identity, find

PUBLISHED = """\
# User to run the proxy as.
ENVOY_USER=envoy
EXCLUDE_ENVOY_USER_FROM_INTERCEPT='true'
SERVICE_CIDR='*'
GCP_PROJECT_NUMBER='111222333444'
VPC_NETWORK_NAME="default" # of the VM
export ENVOY_PORT='15001'
ENVOY_ADMIN_PORT='15000'
LOG_DIR='/var/log/envoy/'
LOG_LEVEL='info'
XDS_SERVER_CERT=''
TRACING_ENABLED='false'
ACCESSLOG_PATH=''
BACKEND_INBOUND_PORTS=''
"""


def test_the_file_of_the_scripts_is_read() -> None:
    assert parse(PUBLISHED.replace("BACKEND_INBOUND_PORTS=''\n", ""), "e") == Settings(
        project_number="111222333444", network_name="default"
    )


def test_rules_are_those_of_the_simple_mode() -> None:
    settings = parse("SERVICE_CIDR=10.0.0.0/8,fd00::/8\nENVOY_PORT=16000", "e")
    config = settings.rules(42)
    assert (config.outbound_only, config.envoy_port, config.proxy_uid, config.proxy_gid) == (
        True,
        16000,
        ("42",),
        (),
    )
    assert (config.service_cidr, config.ipv6) == (("10.0.0.0/8", "fd00::/8"), True)
    assert parse("EXCLUDE_ENVOY_USER_FROM_INTERCEPT=false", "e").rules(42).proxy_uid == ()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("ENVOY_PORT=0", "ENVOY_PORT: '0' is not a port from 1 to 65535"),
        ("ENVOY_PORT=15000", "ENVOY_PORT and ENVOY_ADMIN_PORT are both 15000; choose another one"),
        ("ENVOY_PROT=1", "ENVOY_PROT: unknown variable; did you mean ENVOY_PORT?"),
        ("FOO=1", "FOO: unknown variable; remove the line"),
        ("ENVOY_PORT = 1", "no assignment; write NAME=value, or # before a comment"),
        ("rm -rf /", "no assignment; write NAME=value, or # before a comment"),
        ("LOG_DIR=$HOME", "LOG_DIR: the value needs single quotes around it; nothing in it is expanded"),
        ('LOG_DIR="`id`"', "LOG_DIR: the value needs single quotes around it; nothing in it is expanded"),
        ("LOG_DIR='/a", "LOG_DIR: the value needs single quotes around it; nothing in it is expanded"),
        ("LOG_DIR=logs", "LOG_DIR: 'logs' is not an absolute path"),
        ("LOG_DIR=", "LOG_DIR: write the absolute path of a folder for logs, such as /var/log/envoy"),
        ("LOG_LEVEL=loud", "LOG_LEVEL: error: invalid log level specified 'loud'"),
        ("SERVICE_CIDR=''", "SERVICE_CIDR: empty: nothing would be captured"),
        ("SERVICE_CIDR='10.0.0.1'", "SERVICE_CIDR: '10.0.0.1' is not an IP range such as 10.0.0.0/8"),
        ("SERVICE_CIDR='*,10.0.0.0/8'", "SERVICE_CIDR: '*' is not an IP range"),
        ("TRACING_ENABLED=yes", "TRACING_ENABLED: 'yes' is neither true nor false"),
        ("GCP_PROJECT_NUMBER=my-project", "GCP_PROJECT_NUMBER: 'my-project' is not a project's number"),
        ("ENVOY_USER='a;b'", "ENVOY_USER: 'a;b' is not the name of a user, such as envoy"),
        ("VPC_NETWORK_NAME='a\"b'", "VPC_NETWORK_NAME: 'a\"b' is not the name of a VPC network"),
        ("BACKEND_INBOUND_PORTS=80", "BACKEND_INBOUND_PORTS: "),
    ],
)
def test_a_bad_line_is_told_with_its_place_and_a_remedy(line: str, reason: str) -> None:
    with pytest.raises(VmError) as caught:
        parse(f"# first\n\n{line}\n", "/etc/sidecar.env")
    assert str(caught.value).startswith(f"/etc/sidecar.env:3: {reason}")


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        VmError, match=r"none: No such file or directory; give the file of the sidecar with --env"
    ):
        read(tmp_path / "none")
    binary = tmp_path / "binary"
    binary.write_bytes(b"ENVOY_PORT=1\n\xff\xfe\n")
    with pytest.raises(VmError, match=r"binary:2: the file is not UTF-8 text"):
        read(binary)
    binary.write_bytes(b"#" * 70000)
    with pytest.raises(VmError, match=r"this is no sidecar\.env"):
        read(binary)


def test_the_metadata_server_tells_what_the_file_does_not() -> None:
    known = {
        "project/numeric-project-id": "42",
        "instance/network-interfaces/0/network": "projects/42/networks/prod",
        "instance/zone": "projects/42/zones/europe-west1-b",
    }
    found = find(Settings(), lambda path: known[path], "10.0.0.2", "e")
    assert (found.project_number, found.network_name, found.zone) == ("42", "prod", "europe-west1-b")
    assert found.node_id.startswith("projects/42/networks/prod/nodes/")
    with pytest.raises(VmError, match="e: GCP_PROJECT_NUMBER is not set"):
        find(Settings(), lambda path: "", "10.0.0.2", "e")
    with pytest.raises(VmError, match="e: VPC_NETWORK_NAME is not set"):
        find(Settings(project_number="1"), lambda path: "", "10.0.0.2", "e")


def test_the_bootstrap_has_the_settings() -> None:
    identity = Identity("42", "default", "z", "10.0.0.2", "u")
    text = render(TEMPLATE.read_text(), Settings(access_log="/a.log"), identity, "/roots.pem", "t")
    for part in (
        'id: "projects/42/networks/default/nodes/u"',
        "port_value: 15000",
        'filename: "/roots.pem"',
        'TRAFFICDIRECTOR_INTERCEPTION_PORT: "15001"',
        'TRAFFICDIRECTOR_ACCESS_LOG_PATH: "/a.log"',
    ):
        assert part in text
    with pytest.raises(VmError, match=r"t:2: nothing is known as \{NODE\}; use ACCESSLOG_PATH"):
        render("a\n{NODE}\n", Settings(), identity, "", "t")
