"""Role based access control, for connections and for requests.

`engine` makes what judges a stream of a filter's config: `rules` (`envoy.config.rbac.v3.RBAC`), which look at
`facts`, or a `matcher`, which looks at `inputs`. `principals` has the names of a certificate's owner, `verdict` is
what an engine says, `stats` what is counted of it.
"""
