"""What tests share. See tests/README.md."""
