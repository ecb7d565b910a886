"""Traffic capture: the rules that lead the connections of a workload through the proxy.

Nothing here yet. It will hold typed rules computed from a validated config, their rendering as
iptables-restore text, the comparison with what is installed, and the one runner that touches the system. It
imports neither `proxy` nor `xds_client`, so that an init container can run it alone.
"""
