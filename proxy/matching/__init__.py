"""The matcher tree of xDS (`xds.type.matcher.v3.Matcher`), for whatever has inputs and actions of its own.

`tree` compiles a matcher, `ip_ranges` is the matcher of addresses by range that may stand in it, `input_matchers`
are the predicates that are extensions, `network_inputs` the inputs that a datagram offers.
"""
