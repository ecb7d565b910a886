"""What the access log says of clients that look alike."""

from __future__ import annotations

import http.client

import pytest

from tests.support.configs import file_log, http_proxy
from tests.support.differential import Pair

CONFIG = http_proxy(
    hcm={"access_log": [file_log("%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS%")]}
)


@pytest.mark.parametrize("repeats", [3])
def test_each_connection_is_logged_with_its_own_port(repeats: int) -> None:
    with Pair(CONFIG) as pair:
        for side in (pair.outrider, pair.envoy):
            expected = []
            for _ in range(repeats):
                client = http.client.HTTPConnection("127.0.0.1", side.proxy.port)
                for _ in range(repeats):
                    client.request("GET", "/")
                    client.getresponse().read()
                    address = "{}:{}".format(*client.sock.getsockname())
                    expected.append(f"{address} {address}")
                client.close()
            assert side.proxy.access_log(len(expected)) == expected
