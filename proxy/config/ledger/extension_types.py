"""Extension types that fit in no other area."""

TABLE = """
envoy.extensions.formatter.metadata.v3.Metadata

envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink
  + event_log_path

envoy.extensions.regex_engines.v3.GoogleRE2

envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate

envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig
  + metadata_match

envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate

envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig
  + update_frequency

envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery
"""
