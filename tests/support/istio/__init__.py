"""What Istio sends to its sidecars, in the shape that istiod gives it: bootstrap, listeners, clusters, routes.

Only what the machine cannot have is different: listeners bind to ports (as with interception mode NONE), and those
are free ones.
"""
