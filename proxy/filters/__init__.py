"""Envoy's three kinds of filters, found by the type URL of their config; nobody imports a filter by name."""
