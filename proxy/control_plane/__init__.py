"""A control plane for development, `outrider control-plane DIR`: a folder of resources served to proxies.

`streams` is the server's side of the discovery protocols without a network, `folder` reads and checks files,
`journal` says what proxies do, `server` joins them over gRPC, `__main__` is the verb.
"""
