"""gRPC calls that this proxy makes itself, over the pools of its clusters.

`config` (a compiled `GrpcService`), `client` (makes the calls of one user of a service), `unary` (one call with one
message each way), `streaming` (one call with many messages to the server).
"""
