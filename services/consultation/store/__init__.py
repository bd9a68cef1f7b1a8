"""All SQL of the consultation."""
