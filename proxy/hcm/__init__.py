"""The HTTP connection manager: path 3 of a request.

In travel order: `config` (compiled once), `http1_connection` (bytes to requests), `request_plan` (what is the
same for every equal request: `normalize`, `forwarding`, the route), `stream` (one request and its reply),
`filter_manager`, `response_plan`, `local_reply`, `connection_manager` (what the connections of one filter
chain share).
"""
