"""Access logs: a filter, a format and a sink each.

In travel order: `filters`, `compile`, `logger`, `sinks` (with `descriptors` underneath).
Entries for a gRPC service: `grpc_config`, `grpc_entry`, `grpc_sink`.
"""
