"""Benchmarks: `load` compares Outrider with real Envoy, `client` is `outrider bench`. See bench/README.md."""
