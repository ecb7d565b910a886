"""How requests share HTTP/2 connections to a host: limits, ages, keepalive, breakers, the choice by ALPN."""

import threading
import time

import pytest

from tests.support import http2_frames as h2
from tests.support.certs import Authority
from tests.support.client import exchange
from tests.support.configs import cluster, file_log, http2_cluster, http_proxy, typed
from tests.support.differential import Pair
from tests.support.http2_client import Http2Client
from tests.support.http2_origin import Http2Answer, Http2Origin
from tests.support.origin import Origin

GET = b"GET / HTTP/1.1\r\nhost: a\r\nx-request-id: r\r\n\r\n"
LOG = file_log("%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_PROTOCOL%")
IGNORED = (
    "cluster.origin.http2.nghttp2_upstream_connections",
    # Envoy takes it for an error that a connection closes while it handles the last frame.
    "cluster.origin.upstream_cx_protocol_error",
    *(
        f"cluster.origin.upstream_cx_{name}"
        for name in ("rx_bytes_total", "tx_bytes_total", "rx_bytes_buffered", "tx_bytes_buffered")
    ),
)
ONE_STREAM = {h2.MAX_CONCURRENT_STREAMS: 1}


def run(script, drive, *, settings=None, **fields):
    """What `drive` gives for a side must be the same for both, and so must numbers and logs."""
    config = http_proxy(hcm={"access_log": [LOG]}, clusters=[http2_cluster(**fields)])
    origins = {"origin": lambda: Http2Origin(script, settings=settings)}
    with Pair(config, origins=origins) as pair:
        with pair.same_stats("cluster.origin.", ignore=IGNORED):
            envoy, outrider = pair.both(drive)
            assert outrider == envoy
        lines = len(outrider[0])
        log = [sorted(side.proxy.access_log(lines)) for side in (pair.envoy, pair.outrider)]
        assert log[1] == log[0]
    return outrider


def one_after_another(count, pause):
    def drive(side):
        statuses = []
        for _ in range(count):
            statuses.append(exchange(side.proxy.port, GET).status)
            time.sleep(pause)
        return statuses, len(side.origin.connections)

    return drive


def at_once(count, pause=0.15):
    """Requests that start one shortly after another and overlap."""

    def drive(side):
        statuses = [0] * count

        def ask(number):
            statuses[number] = exchange(side.proxy.port, GET, timeout=5.0).status

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
            time.sleep(pause)
        for thread in threads:
            thread.join()
        return statuses, len(side.origin.connections)

    return drive


SLOW = Http2Answer(delay=0.5)


def test_requests_share_a_connection():
    assert run(SLOW, at_once(3)) == ([200] * 3, 1)


def test_the_hosts_limit_of_streams_opens_another_connection():
    assert run(SLOW, at_once(2), settings=ONE_STREAM) == ([200] * 2, 2)


def test_our_own_limit_of_streams_opens_another_connection():
    assert run(SLOW, at_once(2), http2={"max_concurrent_streams": 1}) == ([200] * 2, 2)


def breakers(**limits):
    return {"circuit_breakers": {"thresholds": [limits]}}


def test_with_no_further_connection_allowed_a_request_waits_for_a_stream():
    result = run(SLOW, at_once(2), http2={"max_concurrent_streams": 1}, **breakers(max_connections=1))
    assert result == ([200] * 2, 1)


def test_too_many_waiting_requests():
    limits = breakers(max_connections=1, max_pending_requests=1)
    result = run(SLOW, at_once(3, 0.1), http2={"max_concurrent_streams": 1}, **limits)
    assert result == ([200, 200, 503], 1)


def test_too_many_requests():
    assert run(SLOW, at_once(2), **breakers(max_requests=1)) == ([200, 503], 1)


def test_a_connection_carries_its_number_of_requests():
    assert run(Http2Answer(), one_after_another(3, 0.05), common={"max_requests_per_connection": 2}) == (
        [200] * 3,
        2,
    )


def test_an_old_connection_is_not_used():
    result = run(Http2Answer(), one_after_another(3, 0.4), common={"max_connection_duration": "0.6s"})
    assert result == ([200] * 3, 2)


def test_an_old_connection_finishes_its_streams():
    result = run(
        Http2Answer(delay=0.6), one_after_another(1, 0.1), common={"max_connection_duration": "0.3s"}
    )
    assert result == ([200], 1)


def test_an_idle_connection_closes():
    assert run(Http2Answer(), one_after_another(2, 0.6), common={"idle_timeout": "0.3s"}) == ([200] * 2, 2)


class Deaf(Http2Origin):
    """Answers no PING."""

    def __init__(self, script):
        super().__init__(script, answer_pings=False)


def test_a_host_that_answers_no_ping_is_given_up():
    keepalive = {"interval": "0.2s", "timeout": "0.2s"}
    config = http_proxy(
        hcm={"access_log": [LOG]}, clusters=[http2_cluster(http2={"connection_keepalive": keepalive})]
    )
    with Pair(config, origins={"origin": lambda: Deaf(lambda stream: stream.wait_end())}) as pair:
        with pair.same_stats("cluster.origin.", ignore=IGNORED):
            pair.same(GET, lambda stream: time.sleep(1), timeout=3.0)
        pair.same_log()


def test_a_host_that_answers_pings_is_kept():
    keepalive = {"interval": "0.1s", "timeout": "0.2s"}
    result = run(Http2Answer(delay=0.7), one_after_another(2, 0.2), http2={"connection_keepalive": keepalive})
    assert result == ([200] * 2, 1)


def test_a_ping_goes_ahead_of_a_stream_after_a_pause():
    keepalive = {"timeout": "5s", "connection_idle_interval": "0.3s"}

    def drive(side):
        statuses, connections = one_after_another(2, 0.6)(side)
        frames = [frame.name for frame in side.origin.connections[0].frames]
        return statuses, connections, [name for name in frames if name in ("PING", "HEADERS")]

    result = run(Http2Answer(), drive, http2={"connection_keepalive": keepalive})
    assert result == ([200] * 2, 1, ["HEADERS", "PING", "HEADERS"])


def test_a_refused_connection():
    config = http_proxy(hcm={"access_log": [LOG]}, clusters=[http2_cluster("origin", 9)])
    with Pair(config, origins=()) as pair:
        with pair.same_stats("cluster.origin.", ignore=IGNORED):
            replies = pair.both(lambda side: exchange(side.proxy.port, GET).raw.partition(b"\r\n\r\n")[2])
            assert replies[0] == replies[1]
        pair.same_log()


OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
TLS = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"


def tls_cluster(tls=None, **options):
    socket = {"name": "tls", "typed_config": typed(TLS, common_tls_context=tls or {})}
    return cluster(
        typed_extension_protocol_options={OPTIONS: typed(OPTIONS, **options)}, transport_socket=socket
    )


@pytest.fixture(scope="module")
def issued(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority")).issue("origin.test")


@pytest.mark.parametrize(
    ("kind", "alpn"), [(Http2Origin, ("h2", "http/1.1")), (Origin, ("http/1.1",)), (Origin, ())]
)
def test_the_host_chooses_the_version_by_alpn(issued, kind, alpn):
    config = http_proxy(hcm={"access_log": [LOG]}, clusters=[tls_cluster(auto_config={})])
    context = issued.server_context(alpn=alpn)
    with Pair(config, origins={"origin": lambda: kind(tls=context)}) as pair:
        with pair.same_stats("cluster.origin.upstream_", ignore=IGNORED):
            for _ in range(2):
                pair.same(GET)
        assert pair.same_log(2)[0].endswith("HTTP/2" if kind is Http2Origin else "HTTP/1.1")


@pytest.mark.parametrize("tls", [None, {"alpn_protocols": ["h2"]}, {"alpn_protocols": ["other"]}])
def test_an_http2_cluster_speaks_http2_whatever_alpn_says(issued, tls):
    config = http_proxy(
        hcm={"access_log": [LOG]},
        clusters=[tls_cluster(tls, explicit_http_config={"http2_protocol_options": {}})],
    )
    context = issued.server_context(alpn=("h2",))
    with Pair(config, origins={"origin": lambda: Http2Origin(tls=context)}) as pair:
        pair.same(GET)
        pair.same_log()


def downstream_version(kind):
    """A proxy to a cluster that speaks the client's version, and that wants origins of a kind."""
    options = {OPTIONS: typed(OPTIONS, use_downstream_protocol_config={"http2_protocol_options": {}})}
    config = http_proxy(
        hcm={"access_log": [LOG]}, clusters=[cluster(typed_extension_protocol_options=options)]
    )
    return Pair(config, origins={"origin": kind})


def test_an_http1_client_may_choose_http1():
    with downstream_version(Origin) as pair:
        pair.same(GET)
        assert pair.same_log()[0].endswith("HTTP/1.1")


def test_an_http2_client_may_choose_http2():
    def ask(side):
        with Http2Client(side.proxy.port) as client:
            return client.request(1).get(":status")

    with downstream_version(Http2Origin) as pair:
        assert pair.both(ask) == ("200", "200")
        assert pair.same_log()[0].endswith("HTTP/2")
