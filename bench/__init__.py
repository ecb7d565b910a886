"""Benchmarks: `load` runs the same scenario through Outrider and through real Envoy. See bench/README.md."""
