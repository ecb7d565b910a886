"""The admin server: what an operator asks a running proxy, under Envoy's paths.

In the order of a request: `server` (a local port), `connection` (h11), `http` (requests and answers), `commands`
(path to handler), then what the handlers print: `state` (what the controller tells), stats and their formats,
tags, `config_dump`.
"""
