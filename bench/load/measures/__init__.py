"""What can be measured; `registry` names each, for `measure` of a scenario's file."""
