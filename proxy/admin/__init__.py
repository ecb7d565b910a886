"""The admin server: what an operator asks a running proxy, under Envoy's paths.

In the order of a request: `server` (h11 on a local port), `http` (requests and answers), `commands` (path to
handler), then what the handlers print: `state` (what the controller tells), stats and their formats, tags,
`config_dump`.
"""
