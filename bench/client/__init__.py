"""`outrider bench URL`: load on a server, and what it answered.

command: the flags; target, requests, mix: what is asked; schedule: when; load: the run; lane, http1, http2, tcp:
what carries one request at a time; histogram, tally: what is kept, bounded; observed: the proxy under load;
driver: wrk and h2load; summary, report, charts: what is shown.
"""
