"""The proxy beside an app, and in the order of a machine's start: `own_flags`, `admin_client`, `wait`, `run`."""
