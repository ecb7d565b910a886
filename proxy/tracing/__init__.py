"""Spans of HTTP requests: which are recorded, what they tell, and where they are sent.

In the order of a request: `config` (a compiled `HttpConnectionManager.Tracing` or route's `Tracing`), `decision`
(whether a request is traced, kept in its id), `tracer` (the live object of a connection manager, and the span of a
stream), `b3` and `w3c` (the contexts that requests carry), `tags` (what a span tells), `zipkin` and `opentelemetry`
(a span as their collectors want it), `reporter` (gathers spans and sends them).
"""
