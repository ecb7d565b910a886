"""Tracing: what connection managers and routes say of it, and the collectors."""

TABLE = """
envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.Tracing
  + client_sampling random_sampling overall_sampling verbose max_path_tag_length custom_tags provider
  + spawn_upstream_span operation upstream_operation

envoy.config.route.v3.Tracing
  + client_sampling random_sampling overall_sampling custom_tags operation upstream_operation

envoy.config.route.v3.Decorator
  + operation propagate

envoy.config.trace.v3.Tracing
  + http

envoy.config.trace.v3.Tracing.Http
  + name typed_config

envoy.config.trace.v3.ZipkinConfig
  + collector_cluster collector_endpoint trace_id_128bit shared_span_context collector_endpoint_version
  + collector_hostname split_spans_for_request trace_context_option collector_service

envoy.config.trace.v3.OpenTelemetryConfig
  + grpc_service http_service service_name resource_detectors sampler max_cache_size

envoy.extensions.tracers.opentelemetry.resource_detectors.v3.EnvironmentResourceDetectorConfig

envoy.extensions.tracers.opentelemetry.resource_detectors.v3.StaticConfigResourceDetectorConfig
  + attributes

envoy.extensions.tracers.opentelemetry.samplers.v3.AlwaysOnSamplerConfig

envoy.config.core.v3.HttpService
  + http_uri request_headers_to_add

envoy.config.core.v3.HttpUri
  + uri cluster timeout

envoy.type.tracing.v3.CustomTag
  + tag literal environment request_header metadata value

envoy.type.tracing.v3.CustomTag.Literal
  + value

envoy.type.tracing.v3.CustomTag.Environment
  + name default_value

envoy.type.tracing.v3.CustomTag.Header
  + name default_value

envoy.type.tracing.v3.CustomTag.Metadata
  + kind metadata_key default_value
"""
