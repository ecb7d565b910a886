"""Extension types that fit in no other area."""

TABLE = """
envoy.extensions.formatter.metadata.v3.Metadata

envoy.extensions.regex_engines.v3.GoogleRE2

envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery
"""
