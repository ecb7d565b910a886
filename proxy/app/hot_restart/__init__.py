"""Hot restart: a new process takes the listening sockets and numbers of the one that runs, which then drains.

In the order of a takeover: `names` (where a process can be found), `packets` and `messages` (what is said),
`predecessor` (the side of the new process), `inherited` (sockets that it took), `carried_stats` (its numbers),
`successor` (the side of the old process), `restart` (both, as the controller has them).

Behaviour: https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/operations/hot_restart. The protocol is
our own: both sides are Outrider.
"""
