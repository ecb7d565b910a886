"""The words of failures are Envoy's, because they stand in bodies and logs."""

from proxy.upstream.pool.api import PoolFailure, ResetReason


def test_words():
    assert {failure.value for failure in PoolFailure} == {
        "overflow",
        "local connection failure",
        "remote connection failure",
        "connection timeout",
    }
    assert ResetReason.CONNECTION_TERMINATION.value == "connection termination"
    assert ResetReason.PROTOCOL_ERROR.value == "protocol error"
