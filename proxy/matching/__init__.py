"""The matcher tree of xDS (`xds.type.matcher.v3.Matcher`), for whatever has inputs and actions of its own.

`tree` compiles a matcher, `ip_ranges` and `domains` are the matchers of addresses by range and of names by pattern
that may stand in it, `input_matchers` are the predicates that are extensions, `network_inputs` the inputs that a
datagram offers and a connection before its filter chain is chosen.
"""
