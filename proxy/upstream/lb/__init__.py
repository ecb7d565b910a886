"""Load balancers: `api`, `round_robin`, `least_request`, `random_pick`, and the schedule `edf`."""
