"""Wire formats, sans-IO: no loop, no clock, no socket.

In travel order: `http1_request` and `http1_response` (heads), `http1_fields` (what both share), `http1_body`
(framing of bodies), `http1_render` (heads back to bytes).
"""
