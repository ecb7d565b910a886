"""Path 1: accept a connection and pick its filter chain.

In travel order: `listen_address` and `filter_chain` and `listener` (configuration), `listener_manager`
(which listeners run), `connection` (one accepted connection), `filter_chain_match` (the choice),
`handshake` (TLS), `listener_stats`.
"""
