"""HTTP requests that this proxy makes itself, over the pools of its clusters: one request, one whole response.

`client` makes the requests of one user of a cluster, `exchange` is one of them.
"""
