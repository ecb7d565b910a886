"""JSON over HTTP to gRPC and back, sans-IO: what the grpc_json_transcoder filter is made of.

In the order of a request: `http_template` and `path_matcher` find the method, `json_reader` reads the body,
`weaver` puts path and query values into it, `message_writer` makes the message (`scalars` its values), `request`
ties these together; `json_printer` and `response` do the way back. `methods` reads a descriptor set. The behaviour
is that of Envoy and its transcoding library.
"""
