"""`envoy.filters.udp_listener.udp_proxy`: carries datagrams to hosts of clusters and their answers back.

In the order of a datagram's way: `config` (compiled), `filter` (of one listener, live in a worker), `clusters` (the
sessions to one cluster), `session` (one client's, with a socket of its own), `socket_poll` (tells which of these
sockets have answers), `log_entry` and `stats` (what is told of it).
"""
