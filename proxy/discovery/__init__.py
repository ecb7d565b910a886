"""What becomes of discovered resources, in the controller: checked, warmed, given to the workers.

In the order of a resource's way: `client` makes the xDS client that the bootstrap asks for, and `session` ties it
to the tables; `accept` reads and checks the bytes of a resource; `clusters` and `listeners` hold those that a
control plane lists by itself, `wanted` those that another resource refers to by name (`checks` knows their types);
`warming` is the wait of one resource for others, `turns` cuts long work into pieces, `places` are those in shared
memory; `changes` is what a reload makes of the bootstrap's clusters and listeners.

Between client and tables: `unknown_fields` looks for what no proto knows, `surviving_client` keeps what was
accepted (its subscriptions are `surviving_watch`, what it has of one type `kept_part`) in `snapshot_store`, whose
file is `snapshot_file`; `snapshot_secrets` tells what may not be written in the clear. Both clients are a
`forwarding_client`.
"""
