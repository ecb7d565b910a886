"""Outlier detection: hosts that answer badly get no traffic for a while.

`config` is what a cluster says of it. `outcomes` counts in each worker and tells the controller; `detector` decides
there, for the whole process, and `event_log` writes each decision as Envoy does.
"""
