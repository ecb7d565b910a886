"""Shared leaves: no I/O, no asyncio, nothing imported from other packages of the proxy.

In travel order: `address`, `headers`, `messages`, `cookies`, `response_flags`, `response_details`, `errors`,
`stats`, `stream_info`, `runtime`, `regex`, `matchers`.
"""
