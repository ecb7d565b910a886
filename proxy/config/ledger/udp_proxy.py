"""UDP listeners and the UDP proxy."""

TABLE = """
envoy.config.listener.v3.UdpListenerConfig
  + downstream_socket_config
  - QUIC is not supported: quic_options
  - datagrams are written one by one, as by default: udp_packet_packet_writer_config

envoy.config.core.v3.UdpSocketConfig
  + max_rx_datagram_size prefer_gro

envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig
  + stat_prefix cluster matcher idle_timeout use_original_src_ip hash_policies upstream_socket_config
  + use_per_packet_load_balancing access_log proxy_access_log access_log_options
  - session_filters
  - UDP over HTTP is not supported: tunneling_config

envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig.HashPolicy
  + source_ip key

envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig.UdpAccessLogOptions
  + access_log_flush_interval
  ~ there are no tunnels: flush_access_log_on_tunnel_connected

envoy.extensions.filters.udp.udp_proxy.v3.Route
  + cluster
"""
