"""Free ports, as the benchmarks choose them."""

from bench.load.ports import free_port

__all__ = ["free_port"]
