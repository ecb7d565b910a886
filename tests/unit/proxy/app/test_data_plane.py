from __future__ import annotations

import proxy.app.data_plane
from proxy.filters.api import network_filter


def test_the_filters_of_the_data_plane_are_registered() -> None:
    assert proxy.app.data_plane.__doc__
    for name in ("echo.v3.Echo", "http_connection_manager.v3.HttpConnectionManager"):
        assert network_filter(f"envoy.extensions.filters.network.{name}") is not None
