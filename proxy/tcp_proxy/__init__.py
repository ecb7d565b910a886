"""`envoy.filters.network.tcp_proxy`: carries the bytes of a connection to a host of a cluster and back.

In the order of a connection's way: `config` (compiled), `filter` (one of a filter chain, live in a worker),
`session` (a client's connection), `on_demand` (its wait for a cluster that is asked for), `upstream` (the
connection to the host), `tunnel_config`, `tunnel_session` and `tunnel` (the same by way of a request), `splice`
(bulk), `early` (servers that speak first), `log_entry` and `stats` (what is told of it).
"""
