"""`outrider bench URL`: load on a server, and what it answered.

command: the flags; target, requests: what is asked; schedule: when; load: the run; lane, http1, tcp: a connection
each; histogram, tally: what is kept, bounded; summary, report, charts: what is shown.
"""
