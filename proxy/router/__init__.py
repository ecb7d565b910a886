"""The router: which virtual host, route and cluster a request gets, and what the route does to it.

In travel order: `route_table`, `virtual_host`, `route_index`, `route_match` (`uri_template`), `route`; the
actions `cluster_action` (`cluster_choice`, `hash_policy`, `mirror_policy`, `internal_redirect`, `rewrite`),
`redirect` and `direct_response`; `header_operations` and `per_filter_config`, which every level has.
"""
