"""Role based access control, for connections and for requests.

`rules` compiles `envoy.config.rbac.v3.RBAC` to an engine that judges a stream, `facts` are what permissions and
principals look at, `principals` the names of a certificate's owner, `verdict` what an engine says, `stats` what is
counted of it.
"""
