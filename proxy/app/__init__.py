"""The life of the process: command line, controller, fork server, workers.

In the order of a start: `command_line`, `validate`, `serve`, `logs`, `fork_server`,
`config_loading`, `runtime_layers`, `controller`, `machine`, `active_listener`, `connection_counts`,
`worker_table`, `ipc`, `worker`, `draw`, `name_resolution`, `admin_runner`, `admin_state`, `loaded_certificates`,
`proto_wire`, `drain`, `service_manager`, `reload`, `config_reading`, `unchangeable`.
"""
