"""Connection pools: one per host and priority. `api` (what a request and a pool say to each other), `http1`
(the pool), `http1_connection` (one connection), `connect` (opening one)."""
