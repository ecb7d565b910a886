"""Active health checks: config → verdicts on one host (`verdict`) → probes on the wire → all hosts of a cluster.

Run by the controller alone; workers hear of the outcome as `proxy.upstream.health_flags`.
"""
