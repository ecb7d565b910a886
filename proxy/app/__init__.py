"""The life of the process: command line, controller, fork server, workers.

In the order of a start: `command_line`, `validate`, `serve`, `logs`, `fork_server`, `config_loading`,
`runtime_layers`, `controller`, `worker_table`, `worker`, `ipc`, `connection_counts`, `name_resolution`,
`admin_state`, `server_stats`, `drain`.
"""
