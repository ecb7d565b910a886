"""Wire formats, sans-IO: no loop, no clock, no socket.

`messages` is what a parsed head is in any version of HTTP, `head_template` a rendered head with holes.

HTTP/1 in travel order: `http1_request` and `http1_response` (heads), `http1_fields` (what both share), `http1_body`
(framing of bodies), `http1_render` (heads back to bytes).

HTTP/2: `hpack_*` (field compression), `http2_frames`, `http2_connection` with its parts `http2_field_sections`,
`http2_control` and `http2_output`, `http2_stream`, `http2_limits`; `http2_fields`, `http2_request` and
`http2_response` (what field sections mean), `http2_render` (heads back to blocks).

`grpc` and `connect_rpc` are what gRPC and Connect look like on the wire.
"""
