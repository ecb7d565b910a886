"""`Bootstrap` and the messages that only it uses."""

TABLE = """
envoy.config.bootstrap.v3.Bootstrap
  + default_regex_engine
  + node static_resources cluster_manager flags_path stats_config stats_flush_interval
  + stats_flush_on_admin layered_runtime admin stats_server_version_override
  ~ stats are created when they are first used anyway: deferred_stat_options
  ~ there are no watched threads: watchdog watchdogs enable_dispatcher_stats fatal_actions
  ~ names are resolved by our own resolver: use_tcp_for_dns_lookups dns_resolution_config
  ~ names are resolved by our own resolver: typed_dns_resolver_config
  ~ there is one kind of socket: default_socket_interface
  ~ header lookup needs no declaration: inline_headers
  ~ there are no performance traces: perf_tracing_file_path
  ~ the memory allocator is Python's: memory_allocator_manager
  ~ no gRPC client is in use yet: grpc_async_client_manager_config
  + dynamic_resources node_context_params config_sources default_config_source
  + hds_config
  - comes with xDS: xds_delegate_extension
  - comes with xDS: xds_config_tracker_extension
  + stats_sinks
  - comes with the eviction of stats: stats_eviction_interval
  + tracing
  + overload_manager
  - name the certificates, or use SDS: certificate_provider_instances
  + bootstrap_extensions
  - listener_manager
  + application_log_config
  - x-envoy is the only prefix: header_prefix

envoy.extensions.bootstrap.internal_listener.v3.InternalListener
  + buffer_size_kb

envoy.config.bootstrap.v3.Bootstrap.ApplicationLogConfig
  + log_format

envoy.config.bootstrap.v3.Bootstrap.ApplicationLogConfig.LogFormat
  + json_format text_format

envoy.config.overload.v3.OverloadManager
  + resource_monitors refresh_interval actions loadshed_points
  - streams are not reset for the memory that they take: buffer_factory_config

envoy.config.overload.v3.OverloadAction
  + name triggers typed_config

envoy.config.overload.v3.ScaleTimersOverloadActionConfig
  + timer_scale_factors

envoy.config.overload.v3.ScaleTimersOverloadActionConfig.ScaleTimer
  + timer min_timeout min_scale

envoy.config.overload.v3.LoadShedPoint
  + name triggers

envoy.config.overload.v3.Trigger
  + name threshold scaled

envoy.config.overload.v3.ThresholdTrigger
  + value

envoy.config.overload.v3.ScaledTrigger
  + scaling_threshold saturation_threshold

envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig
  + max_heap_size_bytes

envoy.extensions.resource_monitors.injected_resource.v3.InjectedResourceConfig
  + filename

envoy.extensions.resource_monitors.cgroup_memory.v3.CgroupMemoryConfig
  + max_memory_bytes

envoy.config.overload.v3.ResourceMonitor
  + name typed_config

envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig
  + max_active_downstream_connections

envoy.config.bootstrap.v3.Bootstrap.DynamicResources
  + lds_config cds_config ads_config lds_resources_locator cds_resources_locator

envoy.config.bootstrap.v3.Bootstrap.StaticResources
  + listeners clusters secrets

envoy.config.bootstrap.v3.Bootstrap.DeferredStatOptions
  + enable_deferred_creation_stats

envoy.config.bootstrap.v3.ClusterManager
  + local_cluster_name load_stats_config outlier_detection
  ~ every cluster is created at its first use: enable_deferred_cluster_creation
  - comes with L4 and TLS: upstream_bind_config

envoy.config.bootstrap.v3.ClusterManager.OutlierDetection
  + event_log_path
  - ejections are written to a file: event_service

envoy.config.bootstrap.v3.Admin
  + access_log access_log_path address socket_options ignore_global_conn_limit allow_paths
  ~ there is no CPU profiler: profile_path

envoy.config.bootstrap.v3.LayeredRuntime
  + layers

envoy.config.bootstrap.v3.RuntimeLayer
  + name static_layer disk_layer admin_layer rtds_layer

envoy.config.bootstrap.v3.RuntimeLayer.DiskLayer
  + symlink_root subdirectory append_service_cluster

envoy.config.bootstrap.v3.RuntimeLayer.AdminLayer

envoy.config.bootstrap.v3.RuntimeLayer.RtdsLayer
  + name rtds_config

envoy.service.runtime.v3.Runtime
  + name layer

envoy.config.bootstrap.v3.Watchdog
  + actions miss_timeout megamiss_timeout kill_timeout max_kill_timeout_jitter multikill_timeout
  + multikill_threshold

envoy.config.bootstrap.v3.Watchdog.WatchdogAction
  + event
  - config

envoy.config.bootstrap.v3.Watchdogs
  + main_thread_watchdog worker_watchdog

envoy.config.bootstrap.v3.FatalAction
  - config

envoy.config.bootstrap.v3.CustomInlineHeader
  + inline_header_name inline_header_type

envoy.config.bootstrap.v3.Bootstrap.GrpcAsyncClientManagerConfig
  + max_cached_entry_idle_duration

envoy.config.bootstrap.v3.MemoryAllocatorManager
  + bytes_to_release memory_release_interval

envoy.config.metrics.v3.StatsSink
  + name typed_config

envoy.config.metrics.v3.StatsdSink
  + address tcp_cluster_name prefix

envoy.config.metrics.v3.MetricsServiceConfig
  + grpc_service transport_api_version report_counters_as_deltas emit_tags_as_labels
  + histogram_emit_mode batch_size

envoy.config.metrics.v3.DogStatsdSink
  + address prefix max_bytes_per_datagram

envoy.config.metrics.v3.StatsConfig
  + stats_tags use_all_default_tags stats_matcher histogram_bucket_settings

envoy.config.metrics.v3.TagSpecifier
  + tag_name regex fixed_value

envoy.config.metrics.v3.StatsMatcher
  + reject_all exclusion_list inclusion_list

envoy.config.metrics.v3.HistogramBucketSettings
  + match buckets
  ~ bins are allocated as values come: bins
"""
