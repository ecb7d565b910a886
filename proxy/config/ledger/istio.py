"""Istio's filters, and what it runs as WebAssembly inside Envoy's own process (the null VM)."""

TABLE = """
istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig
  + alpn_override

istio.envoy.config.filter.http.alpn.v2alpha1.AlpnOverride
  + upstream_protocol alpn_override

io.istio.network.authn.Config
  ~ connections upstream know no principals: shared

envoy.tcp.metadataexchange.config.MetadataExchange
  ~ peers tell each other nothing about themselves, so the protocol for it is not agreed on: protocol
  ~ there are no metrics of Istio: enable_discovery additional_labels

io.istio.http.peer_metadata.Config
  + downstream_discovery upstream_discovery
  ~ peers are told nothing about this workload: downstream_propagation upstream_propagation
  ~ there are no metrics of Istio: shared_with_upstream additional_labels

io.istio.http.peer_metadata.DiscoveryMethod
  + istio_headers
  ~ there are no metrics of Istio: baggage workload_discovery upstream_filter_state

io.istio.http.peer_metadata.IstioHeaders
  ~ peers are told nothing about this workload: skip_external_clusters

io.istio.http.connect_authority.Config
  - name the destination in filter state, with set_filter_state: enabled
  ~ names a tunnel that is refused: port

io.istio.http.connect_baggage.Config

stats.PluginConfig
  ~ there are no metrics of Istio: disable_host_header_fallback tcp_reporting_duration metrics definitions
  ~ there are no metrics of Istio: reporter rotation_interval graceful_deletion_interval

envoy.config.cluster.v3.Filter
  + name typed_config
  - network filters of upstream connections are not supported: config_discovery

istio.workload.BootstrapExtension
  ~ there are no metrics of Istio: config_source

envoy.extensions.filters.http.wasm.v3.Wasm
  + config

envoy.extensions.filters.network.wasm.v3.Wasm
  + config

envoy.extensions.wasm.v3.PluginConfig
  + vm_config
  ~ what runs in the null VM are metrics of Istio: name root_id configuration fail_open failure_policy
  ~ what runs in the null VM are metrics of Istio: reload_config capability_restriction_config
  ~ what runs in the null VM are metrics of Istio: allow_on_headers_stop_iteration

envoy.extensions.wasm.v3.VmConfig
  + runtime
  ~ what runs in the null VM are metrics of Istio: vm_id code configuration allow_precompiled
  ~ what runs in the null VM are metrics of Istio: nack_on_code_cache_miss environment_variables
"""
