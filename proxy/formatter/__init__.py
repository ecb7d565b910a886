"""Envoy's `%COMMAND(args):length%` formats, compiled once: access logs, header values, local reply bodies.

In travel order: `wire`, `parse`, `spec`, `coalesced`, the operators (`message_operators`, `http_operators`,
`stream_operators`, `upstream_operators`, `address_operators`, `date_format` and `time_operators`,
`certificate_facts` and `tls_operators`, `json_value` and `data_operators`), `registry`, `compile`,
`json_format`, `body_format`, `header_ops`.
"""
