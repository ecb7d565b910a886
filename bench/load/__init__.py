"""The same load through Outrider and through Envoy, in turn.

run: the command; settings, scenarios, http2_scenarios: what is measured; subjects: the proxies as pinned
processes; configs, certificate: their bootstraps; processes: CPU, memory and descriptors of a process tree;
generator, http2_generator: wrk, h2load or our own clients; origin, client, http2_origin, http2_client,
grpc_server, grpc_client: the two ends; report: ratios, table, result file.
"""
