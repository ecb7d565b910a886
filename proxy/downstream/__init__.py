"""Path 1: accept a connection and pick its filter chain.

In travel order: `listen_address` and `filter_chain` and `listener` (configuration), `listener_manager`
(which listeners run), `connection` (one accepted connection), `filter_chain_match` (the choice, or
`filter_chain_matcher` where a matcher tree chooses), `handshake` (TLS), `listener_stats`.
"""
