"""The life of the process: command line, controller, fork server, workers.

In the order of a start: `command_line`, `validate`, `serve`, `logs`, `fork_server`, `config_loading`
(`admin_plan`, `overload`, `runtime_layers`, `disk_layers`, `bootstrap_extensions`), `controller`.

What the controller has: `live_runtime`, `followed_secrets` (`secret_watch`, `secret_files`), `name_resolution`,
`dns_caches`, `control_planes` (`discovery_client`, `load_reporting`); hosts in `host_health`, `health_checks`,
`outliers`; `served_listeners` (`active_listener`, `connection_counts`); workers in `worker_table`,
`worker_messages`, `ipc`, `worker`; for operators `admin_runner`, `admin_state`, `discovery_view`, `process_stats`,
`loaded_certificates`, `log_control`, `signals`, `service_manager`, `application_log`, `descriptor_watch`. Small
helpers: `machine`, `draw`, `proto_wire`.

What changes or ends it: `reload` (`config_reading`, `unchangeable`), `lifecycle` (`drain`), `hot_restart`.
"""
