"""The client of the discovery protocols, independent of the proxy that uses its resources.

resource_types: the type URLs, the only list of them. api: what users of the client see.
"""
