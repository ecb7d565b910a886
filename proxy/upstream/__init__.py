"""Path 5: cluster → host → pool → endpoint socket.

In travel order: `cluster_manager`, `cluster` (with `cluster_config`, `cluster_compile` and its `compile_*`
parts, `cluster_stats`, `circuit_breaker`), `host_set`, `host`, `lb`, `discovery`, `pool`.
"""
