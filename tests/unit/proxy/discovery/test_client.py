from __future__ import annotations

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.service.discovery.v3 import discovery_pb2

from proxy.base.errors import ConfigError
from proxy.discovery.client import read_response

FILE = b"""
version_info: "7"
resources:
- "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
  name: c
  connect_timeout: 1s
- "@type": type.googleapis.com/envoy.service.discovery.v3.Resource
  name: d
  resource:
    "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
    name: d
"""


def test_the_resources_of_a_file_come_whole_also_in_their_wrapper() -> None:
    response = discovery_pb2.DiscoveryResponse.FromString(read_response(FILE, "cds.yaml"))
    assert response.version_info == "7"
    bare, wrapped = response.resources
    message = cluster_pb2.Cluster()
    assert bare.Unpack(message)
    assert (message.name, message.connect_timeout.seconds) == ("c", 1)
    wrapper = discovery_pb2.Resource()
    assert wrapped.Unpack(wrapper)
    assert wrapper.resource.Unpack(message)
    assert message.name == "d"


def test_a_file_that_is_no_yaml_is_named_with_the_place() -> None:
    with pytest.raises(ConfigError, match=r"cds\.yaml:"):
        read_response(b"resources: [", "cds.yaml")
