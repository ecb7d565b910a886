"""What all balancers share."""

from proxy.base.address import Address
from proxy.base.runtime import Runtime
from proxy.upstream.host import Host
from proxy.upstream.lb.api import LbConfig, LbPolicy, no_host, weights_equal


def test_the_bias_may_come_from_the_runtime():
    config = LbConfig(LbPolicy.LEAST_REQUEST, active_request_bias=0.5, active_request_bias_key="k")
    assert config.bias(Runtime()) == 0.5
    assert config.bias(Runtime({"k": "2"})) == 2.0
    assert config.bias(Runtime({"k": "-2"})) == 1.0
    assert LbConfig().bias(Runtime({"": "3"})) == 1.0


def test_equal_weights():
    light, heavy = Host(Address("10.0.0.1", 1)), Host(Address("10.0.0.1", 2), weight=2)
    assert weights_equal([])
    assert weights_equal([light, light])
    assert not weights_equal([light, heavy])


def test_no_host():
    assert no_host(3) is None
