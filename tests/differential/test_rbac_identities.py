"""The rbac filter behind TLS: principals by what the client's certificate names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from tests.support.certs import Authority
from tests.support.differential import Pair
from tests.support.rbac import LOGGED, allowing, count, header, manager, mtls, policy, rbac, rules
from tests.support.tls_managers import CLIENTS, encrypted_managers, same_for_client

ISTIO: Final = {
    "exact": {"exact": "spiffe://cluster.local/ns/foo/sa/good"},
    "prefix": {"prefix": "spiffe://cluster.local/"},
    "suffix": {"suffix": "/sa/good"},
    "namespace": {"safe_regex": {"regex": ".*/ns/foo/.*"}},
    "dns": {"exact": "client.test"},
    "subject": {"exact": "CN=spiffe://cluster.local/ns/foo/sa/good"},
    "second": {"exact": "spiffe://second/one"},
    "empty": {"exact": ""},
    "any_name": {"safe_regex": {"regex": ".*"}},
    "some_name": {"safe_regex": {"regex": ".+"}},
}


MTLS: Final = {
    **{
        name: manager(rbac(rules=rules(p=policy(None, {"authenticated": {"principal_name": match}}))))
        for name, match in ISTIO.items()
    },
    **{
        f"not_{name}": manager(
            rbac(rules=rules(p=policy(None, {"not_id": {"authenticated": {"principal_name": match}}})))
        )
        for name, match in ISTIO.items()
    },
    "authenticated": manager(rbac(rules=rules(p=policy(None, {"authenticated": {}})))),
    "validated": manager(rbac(rules=rules(p=policy(None, mtls(any_validated_client_certificate=True))))),
    "validated_uri": manager(
        rbac(
            rules=rules(
                p=policy(
                    None,
                    mtls(
                        san_matcher={
                            "san_type": "URI",
                            "matcher": {"prefix": "spiffe://cluster.local/ns/foo/"},
                        }
                    ),
                )
            )
        )
    ),
    "validated_dns": manager(
        rbac(
            rules=rules(
                p=policy(None, mtls(san_matcher={"san_type": "DNS", "matcher": {"exact": "client.test"}}))
            )
        )
    ),
    "either": manager(
        rbac(
            rules=rules(
                p=policy(
                    None,
                    {
                        "or_ids": {
                            "ids": [
                                {"authenticated": {"principal_name": ISTIO["exact"]}},
                                {"authenticated": {"principal_name": ISTIO["dns"]}},
                                header("x-a", present_match=True),
                            ]
                        }
                    },
                )
            )
        )
    ),
    "sni": allowing({"requested_server_name": {"suffix": ".test"}}),
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="module")
def encrypted(authority: Authority) -> Iterator[Pair]:
    with encrypted_managers(MTLS, authority, log=LOGGED) as started:
        yield started


@pytest.mark.parametrize("client", CLIENTS)
def test_whom_a_certificate_names(encrypted: Pair, authority: Authority, client: str) -> None:
    same_for_client(encrypted, authority, client, {name: count(name) for name in MTLS})
