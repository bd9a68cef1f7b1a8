"""Decisions of follow-up."""
