"""Where the addresses of hosts come from; runs in the controller."""
