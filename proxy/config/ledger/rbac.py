"""Role based access control: the HTTP filter, and the rules that it shares with the network filter."""

TABLE = """
envoy.extensions.filters.http.rbac.v3.RBAC
  + rules matcher rules_stat_prefix shadow_rules shadow_matcher shadow_rules_stat_prefix track_per_rule_stats

envoy.extensions.filters.http.rbac.v3.RBACPerRoute
  + rbac

envoy.config.rbac.v3.Action
  + name action

envoy.config.rbac.v3.RBAC
  + action policies
  - audit_logging_options

envoy.config.rbac.v3.Policy
  + permissions principals
  - CEL expressions are not supported: condition checked_condition cel_config

envoy.config.rbac.v3.Permission
  + and_rules or_rules any url_path destination_ip destination_port destination_port_range metadata not_rule
  + requested_server_name sourced_metadata header uri_template
  - matcher

envoy.config.rbac.v3.Permission.Set
  + rules

envoy.config.rbac.v3.Principal
  + and_ids or_ids any authenticated source_ip direct_remote_ip remote_ip url_path metadata filter_state not_id
  + sourced_metadata header custom

envoy.config.rbac.v3.Principal.Set
  + ids

envoy.config.rbac.v3.Principal.Authenticated
  + principal_name

envoy.extensions.rbac.principals.mtls_authenticated.v3.Config
  + san_matcher any_validated_client_certificate

envoy.config.rbac.v3.SourcedMetadata
  + metadata_matcher metadata_source

envoy.type.matcher.v3.PathMatcher
  + path
"""
