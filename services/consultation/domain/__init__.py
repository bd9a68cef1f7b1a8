"""Decisions of the consultation: who is who, and what is known of a case."""
