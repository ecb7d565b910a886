"""All tests of the repository."""
