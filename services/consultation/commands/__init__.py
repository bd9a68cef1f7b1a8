"""Use cases of the consultation."""
