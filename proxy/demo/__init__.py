"""`outrider demo`: the front proxy of Envoy's documentation, with every process real.

__main__: the verb; plan: which processes on which ports; children: starting, watching and ending them;
replica: the tiny origin behind the sidecars; front_proxy/: the configs, also in examples/front-proxy.
"""
