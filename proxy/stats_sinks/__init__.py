"""Sends the numbers of the whole proxy to the `stats_sinks` of the bootstrap, from the controller.

`snapshot` (what one flush tells) → `statsd` (its lines) → `senders` (datagrams, or a connection), or →
`metrics_service` (messages of gRPC). `config` compiles the sinks of a bootstrap, `flusher` sends to all of them.
"""
