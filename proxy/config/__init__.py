"""From Envoy's configuration to something the data path can run.

In travel order: `context`, then reading (`loader`, `yaml_source`, `v2_upgrade`, `message_reader`), checking
(`check`, `validation_rules`, `ledger`), extension types (`extensions`, `any_unpack`).
"""
