"""The same load through Outrider and through Envoy, in turn.

run: the command; scenarios: what is measured; subjects: the proxies as pinned processes; configs: their
bootstraps; processes: CPU, memory and descriptors of a process tree; generator: wrk or our own client;
origin, client: the two ends; report: ratios, table, result file.
"""
