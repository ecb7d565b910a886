"""Dynamic forward proxies: the DNS cache, the cluster, the filters."""

TABLE = """
envoy.extensions.common.dynamic_forward_proxy.v3.DnsCacheConfig
  + name dns_lookup_family dns_refresh_rate dns_min_refresh_rate host_ttl max_hosts dns_failure_refresh_rate
  + dns_cache_circuit_breaker use_tcp_for_dns_lookups dns_resolution_config typed_dns_resolver_config
  + preresolve_hostnames dns_query_timeout
  - what is known is not kept on disk: key_value_config
  - a host that failed is asked for again after the failure rate: disable_dns_refresh_on_failure

envoy.extensions.common.dynamic_forward_proxy.v3.DnsCacheCircuitBreakers
  + max_pending_requests

envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig
  + dns_cache_config allow_insecure_cluster_options
  ~ it is a permission that is not made use of, every host has connections of its own: allow_coalesced_connections
  - clusters are not made for hosts, a DNS cache serves all of them: sub_clusters_config

envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig
  + dns_cache_config save_upstream_address allow_dynamic_host_from_filter_state
  - clusters are not made for hosts, a DNS cache serves all of them: sub_cluster_config

envoy.extensions.filters.http.dynamic_forward_proxy.v3.PerRouteConfig
  + host_rewrite_literal host_rewrite_header

envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig
  + dns_cache_config port_value
  - nothing reads the address of a connection's host before it is connected: save_upstream_address
"""
