"""The TCP proxy."""

TABLE = """
envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
  + stat_prefix cluster weighted_clusters idle_timeout access_log max_connect_attempts hash_policy
  + max_downstream_connection_duration max_downstream_connection_duration_jitter_percentage
  + access_log_flush_interval flush_access_log_on_connected access_log_options
  ~ Envoy has not implemented it either: downstream_idle_timeout upstream_idle_timeout
  - clusters have no subsets yet: metadata_match
  - comes with xDS: on_demand
  - tunneling_config backoff_options proxy_protocol_tlvs upstream_connect_mode max_early_data_bytes

envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster
  + clusters

envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight
  + name weight
  - clusters have no subsets yet: metadata_match

envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.TcpAccessLogOptions
  + access_log_flush_interval flush_access_log_on_connected

envoy.type.v3.HashPolicy
  + source_ip filter_state

envoy.type.v3.HashPolicy.SourceIp

envoy.type.v3.HashPolicy.FilterState
  + key
"""
