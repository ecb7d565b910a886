"""Benchmarks of single functions, in process: `python -m bench.micro.<name>` prints a table."""
