"""Access logs: a filter, a format and a sink each.

In travel order: `filters`, `compile`, `logger`, `sinks` (with `descriptors` underneath).
"""
