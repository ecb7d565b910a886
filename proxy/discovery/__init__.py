"""What becomes of discovered resources, in the controller: checked, warmed, given to the workers.

In the order of a resource's way: `client` makes the xDS client that the bootstrap asks for, and `session` ties it
to the tables; `accept` reads and checks the bytes of a resource; `clusters` and `listeners` hold those that a
control plane lists by itself, `wanted` those that another resource refers to by name (`checks` knows their types);
`warming` is the wait of one resource for others, `turns` cuts long work into pieces, `places` are those in shared
memory.
"""
