"""From Envoy's configuration to something the data path can run.

In travel order: `context`, then reading (`yaml_source`, `v2_upgrade`, `loader`), checking (`validation_rules`,
`ledger`), extension types (`extensions`).
"""
