"""What becomes of discovered resources, in the controller: checked, warmed, given to the workers.

In the order of a resource's way: `accept` reads and checks the bytes of one; `clusters` and `listeners` hold those
that a control plane lists by itself, `wanted` those that another resource refers to by name (`checks` knows their
types); `warming` is the wait of one resource for others; `session` ties the tables to the client; `places` gives
each cluster and listener its place in shared memory.
"""
