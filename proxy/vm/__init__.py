"""The sidecar of a VM, as Traffic Director's scripts set it up, from the same `sidecar.env`.

In the order of a start: `env_file`, `identity`, `bootstrap`, `steps`, `machine`, `cli`.
"""
