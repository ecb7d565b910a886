"""Sends the numbers of the whole proxy to the `stats_sinks` of the bootstrap, from the controller.

`snapshot` (what one flush tells) → `statsd` (its lines) → `senders` (datagrams, or a connection); `config` compiles
the sinks of a bootstrap, and `flusher` sends one flush to all of them.
"""
