"""Opening a connection: what goes wrong, in Envoy's words."""

import asyncio
import errno
import socket

import pytest

from proxy.base.runtime import Runtime
from proxy.upstream.cluster import Cluster
from proxy.upstream.pool import connect
from proxy.upstream.pool.connect import ConnectError, open_connection
from tests.support.cluster_messages import compiled, endpoint


class Loop:
    """A loop whose connections end as the test says."""

    def __init__(self, outcome=None):
        self.outcome = outcome
        self.sockets = []
        self.options = {}

    async def sock_connect(self, sock, address):
        self.sockets.append(sock)
        self.address = address
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        if self.outcome == "never":
            await asyncio.sleep(3600)

    async def create_connection(self, factory, **options):
        self.options = options
        factory()


def opened(loop, config):
    host = Cluster(config, Runtime(), lambda: 0).hosts[0]
    return asyncio.run(open_connection(loop, host, config, asyncio.Protocol(), None))


def test_a_connection_goes_to_the_host_without_delay():
    loop = Loop()
    with opened(loop, compiled(endpoint("192.0.2.1", 81))) as sock:
        assert loop.address == ("192.0.2.1", 81)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert loop.options["sock"] is sock


def test_keepalive_as_configured():
    options = {"tcp_keepalive": {"keepalive_probes": 4, "keepalive_time": 50, "keepalive_interval": 6}}
    with opened(Loop(), compiled(endpoint(), upstream_connection_options=options)) as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 4
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 50
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 6


@pytest.mark.parametrize(
    ("number", "local"),
    [
        (errno.ECONNREFUSED, False),
        (errno.EHOSTUNREACH, False),
        (errno.EMFILE, True),
        (errno.EADDRNOTAVAIL, True),
    ],
)
def test_a_failure_says_why_and_on_which_side(number, local):
    loop = Loop(OSError(number, "x"))
    with pytest.raises(ConnectError) as caught:
        opened(loop, compiled(endpoint()))
    assert caught.value.local is local
    assert not caught.value.timeout
    assert loop.sockets[0].fileno() == -1


def test_a_refused_connection_in_the_words_of_envoy():
    assert connect.reason_of(OSError(errno.ECONNREFUSED, "x")) == "delayed connect error: Connection refused"


def test_the_time_limit():
    loop = Loop("never")
    with pytest.raises(ConnectError) as caught:
        opened(loop, compiled(endpoint(), connect_timeout="0.001s"))
    assert caught.value.timeout
    assert loop.sockets[0].fileno() == -1


def test_a_cancelled_attempt_leaves_no_socket():
    loop = Loop(asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        opened(loop, compiled(endpoint()))
    assert loop.sockets[0].fileno() == -1
