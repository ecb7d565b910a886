"""The overload manager: what happens under pressure, decided by the controller and done by the workers.

`config` (monitors, actions, load shed points) → `monitors` (how much of a resource is used) → `triggers` (what that
means for actions, without a clock) → `view` (what a worker knows of it). `proxy.app.overload` runs it.
"""
