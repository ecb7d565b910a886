from __future__ import annotations

from typing import Any

import pytest
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.extensions.bootstrap.internal_listener.v3 import internal_listener_pb2

from proxy.app.bootstrap_extensions import internal_buffer_bytes


@pytest.mark.parametrize(("kilobytes", "size"), [(None, 1024 * 1024), (1, 1024), (8192, 8 << 20)])
def test_the_extension_allows_internal_listeners(kilobytes: int | None, size: int) -> None:
    bootstrap: Any = bootstrap_pb2.Bootstrap()
    assert internal_buffer_bytes(bootstrap) is None
    message = internal_listener_pb2.InternalListener()
    if kilobytes is not None:
        message.buffer_size_kb.value = kilobytes
    bootstrap.bootstrap_extensions.add().typed_config.Pack(message)
    assert internal_buffer_bytes(bootstrap) == size
