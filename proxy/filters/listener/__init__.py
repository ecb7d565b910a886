"""Listener filters: each module holds one filter and its factory; see `proxy.filters.registry`."""
