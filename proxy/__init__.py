"""The data plane and the process around it.

Packages in the order in which a connection and a request pass them: `downstream` (accept, filter chain),
`filters`, `hcm` (HTTP connection manager), `router`, `upstream` (cluster, host, pool). What they share: `base`,
`codec`, `config`, `connection`, `formatter`, `access_log`. Process life: `app`, `admin`, `demo`.
"""
