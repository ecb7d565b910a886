"""Bytes over sockets and the time they take: `sockets`, `tls`, `timers`."""
