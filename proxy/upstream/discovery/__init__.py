"""Where the addresses of hosts come from; runs in the controller.

`dns` drives DNS clusters, `schedule` decides when to ask again, `resolver` asks, `hosts_file` knows local
names.
"""
