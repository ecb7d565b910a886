"""The client of the discovery protocols, independent of the proxy that uses its resources.

From the user to the wire: `resource_types` and `api` are what users see; `client` finds the source that a config
asks for. A source is a `mux` with a `group` for each type: the subscriptions (`watches`) and the state of
the protocol (`state`, `sotw`, `delta`: no I/O). It is fed by a `stream` (with `backoff`), by `files` or by `rest`.
Below: `grpc_transport` with `google_credentials`, `dial`, `hosts`; tables in `services`, `names`, `messages`.
"""
