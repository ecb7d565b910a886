"""OCSP responses stapled to server certificates, beside real Envoy: by policy, for clients that ask and others."""

from __future__ import annotations

import datetime
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certs import Authority, Issued
from tests.support.configs import (
    Json,
    bootstrap,
    connection_manager,
    file_log,
    listener,
    typed,
    virtual_host,
)
from tests.support.differential import Pair, Side, same_verdict

TLS = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
ANSWER = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
LOG = "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%"
POLICIES = {"lenient": "LENIENT_STAPLING", "strict": "STRICT_STAPLING", "must": "MUST_STAPLE"}
STAPLES = ("none", "good", "expired", "endless")
CASES = (
    *(
        f"{policy}_{staple}"
        for policy in POLICIES
        for staple in STAPLES
        if (policy, staple) != ("must", "none")
    ),
    *("lenient_demanded", "lenient_outdated", "lenient_two"),
)
STATS = tuple(f"ocsp_staple_{what}" for what in ("failed", "omitted", "requests", "responses"))
LASTS = {
    "good": datetime.timedelta(days=1),
    "demanded": datetime.timedelta(days=1),
    "expired": datetime.timedelta(hours=1),
    "outdated": datetime.timedelta(hours=1),
    "endless": None,
}


class Stapled:
    """Certificates, and the responses for them."""

    def __init__(self, directory: Path) -> None:
        self.authority = Authority(directory)
        self.usual = self.authority.issue("server.test")
        self.other = self.authority.issue("server.test", rsa_key=True)
        self.demanding = self.authority.issue("server.test", must_staple=True)

    def certificate(self, issued: Issued, staple: Path | None) -> Json:
        made: Json = {
            "certificate_chain": {"filename": str(issued.certificate)},
            "private_key": {"filename": str(issued.key)},
        }
        return made if staple is None else {**made, "ocsp_staple": {"filename": str(staple)}}

    def certificates(self, staple: str) -> list[Json]:
        if staple == "none":
            return [self.certificate(self.usual, None)]
        if staple == "two":
            good = self.authority.staple(self.other, LASTS["good"])
            return [self.certificate(self.usual, None), self.certificate(self.other, good)]
        issued = self.demanding if staple in ("demanded", "outdated") else self.usual
        return [self.certificate(issued, self.authority.staple(issued, LASTS[staple]))]

    def listener(self, name: str, policy: str, certificates: list[Json]) -> Json:
        manager = connection_manager({"name": "r", "virtual_hosts": [virtual_host([ANSWER])]})
        made = listener([manager], name, stat_prefix=name, access_log=[file_log(LOG)])
        config = typed(TLS, common_tls_context={"tls_certificates": certificates}, ocsp_staple_policy=policy)
        made["filter_chains"][0]["transport_socket"] = {"name": "tls", "typed_config": config}
        return made


@pytest.fixture(scope="module")
def stapled(tmp_path_factory: pytest.TempPathFactory) -> Stapled:
    return Stapled(tmp_path_factory.mktemp("stapled"))


@pytest.fixture(scope="module")
def pair(stapled: Stapled) -> Iterator[Pair]:
    made = []
    for name in CASES:
        policy, _, staple = name.partition("_")
        made.append(stapled.listener(name, POLICIES[policy], stapled.certificates(staple)))
    with Pair(bootstrap(made), listeners=CASES, origins=()) as started:
        yield started


def asked(port: int, version: str, *options: str) -> str:
    """What OpenSSL's client hears of the status of the server's certificate: "" if the handshake fails."""
    command = ("openssl", "s_client", "-connect", f"127.0.0.1:{port}", f"-{version}", *options)
    done = subprocess.run(command, input=b"", capture_output=True, timeout=10, check=False)
    text = done.stdout.decode(errors="replace")
    if "Cipher is (NONE)" in text:
        return ""
    found = re.search(r"OCSP Response Status: (\w+)|OCSP response: (no response sent)", text)
    return "not asked" if found is None else found[1] or found[2]


@pytest.mark.parametrize("name", CASES)
def test_what_a_client_hears(pair: Pair, name: str) -> None:
    def hears(side: Side) -> list[tuple[str, str]]:
        port = side.proxy.ports[name]
        heard = []
        for version in ("tls1_2", "tls1_3"):
            for options in (("-status",), (), ("-status", "-sigalgs", "RSA-PSS+SHA256")):
                if name.endswith("_two") or "-sigalgs" not in options:
                    before = len(side.proxy.access_log(0))
                    status = asked(port, version, *options)
                    (line,) = side.proxy.access_log(before + 1)[before:]
                    heard.append((status, line))
        return heard

    with pair.same_stats(*(f"listener.{name}.ssl.{stat}" for stat in STATS)):
        envoy, outrider = pair.both(hears)
        assert outrider == envoy


@pytest.mark.parametrize("what", ["rubbish", "of_another", "not_there", "demanded", "by_policy"])
def test_what_cannot_be_stapled_is_refused(stapled: Stapled, tmp_path: Path, what: str) -> None:
    rubbish = tmp_path / "rubbish.der"
    rubbish.write_bytes(b"0\x03\x02\x01\x00")
    staples = {
        "rubbish": rubbish,
        "of_another": stapled.authority.staple(stapled.other, LASTS["good"]),
        "not_there": tmp_path / "not_there.der",
    }
    issued = stapled.demanding if what == "demanded" else stapled.usual
    certificate = stapled.certificate(issued, staples.get(what))
    policy = POLICIES["must" if what == "by_policy" else "lenient"]
    accepted, text = same_verdict(
        bootstrap([stapled.listener("one", policy, [certificate])]), {"one_port": 1}
    )
    assert not accepted
    assert "tls_certificates" in text
    assert "OCSP" in text or what == "not_there"


def test_certificates_show_their_responses(pair: Pair) -> None:
    def masked(details: Json) -> list[str]:
        """A response without an end is shown to end now."""
        now = datetime.datetime.now(datetime.UTC)
        end = datetime.datetime.fromisoformat(details["expiration"])
        return [
            details["valid_from"],
            "now" if abs((end - now).total_seconds()) < 60 else details["expiration"],
        ]

    def details(side: Side) -> list[list[str]]:
        found = json.loads(side.proxy.admin("/certs")[1])["certificates"]
        shown = [one.get("ocsp_details") for entry in found for one in entry["cert_chain"]]
        return sorted(masked(one) for one in shown if one)

    assert len(pair.same_value("/certs", details)) == len(
        [name for name in CASES if not name.endswith("_none")]
    )
