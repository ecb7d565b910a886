"""Access logs, their filters and formatters."""

TABLE = """
envoy.config.accesslog.v3.AccessLog
  + name filter typed_config

envoy.config.accesslog.v3.AccessLogFilter
  + status_code_filter duration_filter not_health_check_filter runtime_filter and_filter or_filter
  + header_filter
  + response_flag_filter grpc_status_filter metadata_filter log_type_filter
  + traceable_filter
  - comes with CEL: extension_filter

envoy.config.accesslog.v3.StatusCodeFilter
  + comparison

envoy.config.accesslog.v3.ComparisonFilter
  + op value

envoy.config.accesslog.v3.DurationFilter
  + comparison

envoy.config.accesslog.v3.NotHealthCheckFilter

envoy.config.accesslog.v3.TraceableFilter

envoy.config.accesslog.v3.RuntimeFilter
  + runtime_key percent_sampled use_independent_randomness

envoy.config.accesslog.v3.AndFilter
  + filters

envoy.config.accesslog.v3.OrFilter
  + filters

envoy.config.accesslog.v3.HeaderFilter
  + header

envoy.config.accesslog.v3.ResponseFlagFilter
  + flags

envoy.config.accesslog.v3.GrpcStatusFilter
  + statuses exclude

envoy.config.accesslog.v3.MetadataFilter
  + matcher match_if_key_not_found

envoy.config.accesslog.v3.LogTypeFilter
  + types exclude

envoy.extensions.access_loggers.file.v3.FileAccessLog
  + path format json_format typed_json_format log_format

envoy.extensions.access_loggers.stream.v3.StderrAccessLog
  + log_format

envoy.extensions.access_loggers.stream.v3.StdoutAccessLog
  + log_format

envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig
  + common_config additional_request_headers_to_log additional_response_headers_to_log
  + additional_response_trailers_to_log

envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig
  + common_config

envoy.extensions.access_loggers.grpc.v3.CommonGrpcAccessLogConfig
  + log_name grpc_service transport_api_version buffer_flush_interval buffer_size_bytes
  + filter_state_objects_to_log custom_tags
  - a stream that fails is opened again by the next flush: grpc_stream_retry_policy
"""
